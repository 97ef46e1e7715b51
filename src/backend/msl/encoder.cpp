// Checking the bindings of a kernel, and recording it.
#include "backend/msl/encoder.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "backend/msl/launch.h"
#include "base/fail.h"

namespace mslt::msl {
namespace {

// The MSL name of an element type.
std::string_view element_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "float";
    case DType::bf16:
      return "bfloat";
    case DType::f16:
      return "half";
    case DType::i32:
      return "int";
    case DType::u32:
      return "uint";
    case DType::i8:
      return "char";
    case DType::u8:
      return "uchar";
  }
  return "";
}

// "float" for "float4" and "packed_float4", "uint" for "uint32_t"; empty for a struct.
std::string_view scalar_of(std::string_view element) {
  if (element == "uint32_t") return "uint";
  if (element == "int32_t") return "int";
  if (element == "uint8_t") return "uchar";
  if (element == "int8_t") return "char";
  constexpr std::string_view packed = "packed_";
  if (element.starts_with(packed)) element.remove_prefix(packed.size());
  if (!element.empty() && element.back() >= '2' && element.back() <= '4') element.remove_suffix(1);
  constexpr std::array<std::string_view, 11> scalars = {"float", "half",  "bfloat", "int",  "uint", "char",
                                                        "uchar", "short", "ushort", "long", "ulong"};
  return std::find(scalars.begin(), scalars.end(), element) != scalars.end() ? element : std::string_view();
}

std::string_view kind_name(ArgumentKind kind) {
  switch (kind) {
    case ArgumentKind::buffer:
      return "a buffer";
    case ArgumentKind::bytes:
      return "bytes";
    case ArgumentKind::threadgroup:
      return "threadgroup memory";
  }
  return "";
}

std::uint64_t product(GridSize size) {
  return std::uint64_t{size.x} * size.y * size.z;
}

}  // namespace

std::string kernel_name(std::string_view kernel, DType dtype) {
  return fmt::format("{}_{}", kernel, name_of(dtype));
}

std::string kernel_name(std::string_view kernel, DType first, DType second) {
  return fmt::format("{}_{}_{}", kernel, name_of(first), name_of(second));
}

std::uint32_t group_count(std::int64_t items, std::int64_t per_group) {
  if (items < 0 || per_group <= 0)
    fail(ErrorKind::input, "{} items in groups of {} are not possible.", items, per_group);
  const std::int64_t groups = items / per_group + (items % per_group != 0 ? 1 : 0);
  if (groups > std::numeric_limits<std::uint32_t>::max()) {
    fail(ErrorKind::input, "{} items in groups of {} are {} groups; at most 4294967295 can be dispatched.", items,
         per_group, groups);
  }
  return static_cast<std::uint32_t>(groups);
}

Encoder::Encoder(Recorder& recorder, std::string_view kernel) : Encoder(recorder, recorder.kernel(kernel)) {}

Encoder::Encoder(Recorder& recorder, const Recorder::Kernel& kernel)
    : recorder_(recorder), info_(*kernel.info), pipeline_(*kernel.pipeline), commands_(recorder.commands()) {
  commands_.set_pipeline(pipeline_);
}

std::string Encoder::where() const {
  return fmt::format("kernel '{}' ({}:{})", info_.name, info_.file, info_.line);
}

const ArgumentInfo& Encoder::argument(std::uint32_t index, ArgumentKind kind) const {
  const bool wants_threadgroup = kind == ArgumentKind::threadgroup;
  for (const ArgumentInfo& argument : info_.arguments) {
    if (argument.index != index || (argument.kind == ArgumentKind::threadgroup) != wants_threadgroup) continue;
    if (argument.kind != kind) {
      fail(ErrorKind::device, "{}: argument {} '{}' takes {}, but is given {}.", where(), index, argument.name,
           kind_name(argument.kind), kind_name(kind));
    }
    return argument;
  }
  fail(ErrorKind::device, "{}: it has no argument [[{}({})]].", where(), wants_threadgroup ? "threadgroup" : "buffer",
       index);
}

void Encoder::mark(const ArgumentInfo& argument) {
  const auto position = static_cast<std::size_t>(&argument - info_.arguments.data());
  if ((bound_ >> position & 1u) != 0) {
    fail(ErrorKind::device, "{}: argument {} '{}' is bound twice.", where(), argument.index, argument.name);
  }
  bound_ |= std::uint64_t{1} << position;
}

void Encoder::check_tensor(const ArgumentInfo& argument, const Tensor& tensor) const {
  if (!tensor) {
    fail(ErrorKind::device, "{}: the tensor for argument {} '{}' is absent, but required.", where(), argument.index,
         argument.name);
  }
  // Vectors are aligned to their size, vectors of three like vectors of four; structs and packed vectors to at most 4
  // bytes.
  const std::string_view scalar = scalar_of(argument.element);
  const bool packed = scalar.empty() || argument.element.starts_with("packed_");
  const std::size_t alignment = packed ? 1 : std::min<std::size_t>(argument.element_bytes, 16);
  if (alignment > 1 && tensor.offset() % alignment != 0) {
    fail(ErrorKind::device,
         "{}: argument {} '{}' is {}, which starts at byte {} of its buffer; {} needs a multiple of {}.", where(),
         argument.index, argument.name, tensor.describe(), tensor.offset(), argument.element, alignment);
  }
}

void Encoder::check_element(const ArgumentInfo& argument, const Tensor& tensor) const {
  const std::string_view scalar = scalar_of(argument.element);
  if (!scalar.empty() && scalar != element_of(tensor.dtype())) {
    fail(ErrorKind::device, "{}: argument {} '{}' has elements of {}, but is given {}.", where(), argument.index,
         argument.name, argument.element, tensor.describe());
  }
}

void Encoder::bind(const ArgumentInfo& argument, Buffer& buffer, std::size_t offset, std::size_t bytes) {
  mark(argument);
  // An empty tensor may be at the end of its buffer, where a device binds nothing.
  Buffer& bound = bytes == 0 ? recorder_.placeholder() : buffer;
  if (bytes == 0) offset = 0;
  buffers_[buffer_count_++] = {&argument, &bound, offset, offset + bytes};
  bound_bytes_ += bytes;
  commands_.set_buffer_range(argument.index, bound, offset, bytes, argument.access);
}

Encoder& Encoder::buffer(std::uint32_t index, const Tensor& tensor) {
  const ArgumentInfo& found = argument(index, ArgumentKind::buffer);
  check_tensor(found, tensor);
  check_element(found, tensor);
  bind(found, tensor.buffer(), tensor.offset(), tensor.bytes());
  return *this;
}

Encoder& Encoder::buffer(std::uint32_t index, const Tensor& tensor, std::int64_t needed) {
  const ArgumentInfo& found = argument(index, ArgumentKind::buffer);
  if (tensor && tensor.elements() < needed) {
    fail(ErrorKind::device, "{}: argument {} '{}' must have at least {} elements ({} bytes), but {} has {} ({} bytes).",
         where(), index, found.name, needed, static_cast<std::uint64_t>(needed) * size_of(tensor.dtype()),
         tensor.describe(), tensor.elements(), tensor.bytes());
  }
  return buffer(index, tensor);
}

Encoder& Encoder::untyped(std::uint32_t index, const Tensor& tensor) {
  const ArgumentInfo& found = argument(index, ArgumentKind::buffer);
  check_tensor(found, tensor);
  bind(found, tensor.buffer(), tensor.offset(), tensor.bytes());
  return *this;
}

Encoder& Encoder::optional(std::uint32_t index, const Tensor& tensor) {
  if (tensor) return buffer(index, tensor);
  const ArgumentInfo& found = argument(index, ArgumentKind::buffer);
  // An empty range, so two absent arguments do not count as overlapping.
  bind(found, recorder_.placeholder(), 0, 0);
  return *this;
}

Encoder& Encoder::raw_bytes(std::uint32_t index, std::span<const std::byte> bytes) {
  const ArgumentInfo& found = argument(index, ArgumentKind::bytes);
  if (bytes.size() != found.element_bytes) {
    fail(ErrorKind::device, "{}: argument {} '{}' is a {} of {} bytes, but is given {}.", where(), index, found.name,
         found.element, found.element_bytes, bytes.size());
  }
  const std::uint32_t limit = recorder_.device().limits().max_bytes_argument;
  if (bytes.size() > limit) {
    fail(ErrorKind::device, "{}: argument {} '{}' has {} bytes; the device takes at most {}.", where(), index,
         found.name, bytes.size(), limit);
  }
  mark(found);
  commands_.set_bytes(index, bytes);
  return *this;
}

Encoder& Encoder::threadgroup(std::uint32_t index, std::uint64_t bytes) {
  const ArgumentInfo& found = argument(index, ArgumentKind::threadgroup);
  const std::uint32_t limit = recorder_.device().limits().threadgroup_memory_bytes;
  if (bytes == 0 || bytes > limit) {
    fail(ErrorKind::device, "{}: argument {} '{}' asks for {} bytes of threadgroup memory; the device has 1 to {}.",
         where(), index, found.name, bytes, limit);
  }
  if (bytes < found.element_bytes) {
    fail(ErrorKind::device, "{}: argument {} '{}' is given {} bytes of threadgroup memory; one {} takes {}.", where(),
         index, found.name, bytes, found.element, found.element_bytes);
  }
  mark(found);
  threadgroup_bytes_ += bytes;
  commands_.set_threadgroup_memory(index, static_cast<std::uint32_t>(bytes));
  return *this;
}

Encoder& Encoder::in_place(std::uint32_t first, std::uint32_t second) {
  argument(first, ArgumentKind::buffer);
  argument(second, ArgumentKind::buffer);
  in_place_.at(in_place_count_++) = {first, second};
  return *this;
}

bool Encoder::may_overlap(std::uint32_t first, std::uint32_t second) const {
  return std::any_of(in_place_.begin(), in_place_.begin() + in_place_count_, [&](const auto& pair) {
    return (pair.first == first && pair.second == second) || (pair.first == second && pair.second == first);
  });
}

void Encoder::check_bound() const {
  for (std::size_t i = 0; i < info_.arguments.size(); ++i) {
    if ((bound_ >> i & 1u) != 0) continue;
    const ArgumentInfo& missing = info_.arguments[i];
    fail(ErrorKind::device, "{}: argument {} '{}', {} of {}, is not bound.", where(), missing.index, missing.name,
         kind_name(missing.kind), missing.element);
  }
}

void Encoder::check_overlaps() const {
  for (std::uint32_t i = 0; i < buffer_count_; ++i) {
    const Binding& a = buffers_[i];
    for (std::uint32_t j = 0; j < i; ++j) {
      const Binding& b = buffers_[j];
      if (a.argument->access == ArgumentAccess::read && b.argument->access == ArgumentAccess::read) continue;
      if (a.buffer != b.buffer || a.begin >= b.end || b.begin >= a.end) continue;
      if (may_overlap(a.argument->index, b.argument->index)) continue;
      const Binding& written = a.argument->access == ArgumentAccess::write ? a : b;
      const Binding& other = &written == &a ? b : a;
      fail(ErrorKind::device,
           "{}: it writes argument {} '{}', bytes {} to {} of '{}', which overlaps argument {} '{}', bytes {} to {}.",
           where(), written.argument->index, written.argument->name, written.begin, written.end,
           written.buffer->label(), other.argument->index, other.argument->name, other.begin, other.end);
    }
  }
}

std::uint32_t Encoder::most_threads() const {
  const std::uint32_t most =
      std::min(recorder_.device().limits().max_threads_per_threadgroup, pipeline_.max_threads_per_threadgroup());
  return info_.max_threads_per_threadgroup == 0 ? most : std::min(most, info_.max_threads_per_threadgroup);
}

void Encoder::check_fixed(GridSize threads) const {
  if (product(threads) > simdgroup_width && info_.max_threads_per_threadgroup == 0) {
    fail(ErrorKind::device,
         "{}: groups of {} threads are fixed, but the kernel does not declare max_total_threads_per_threadgroup, "
         "without "
         "which devices may allow it fewer.",
         where(), product(threads));
  }
}

void Encoder::check_launch(GridSize groups, GridSize threads) const {
  const DeviceLimits& limits = recorder_.device().limits();
  const std::uint32_t most = most_threads();
  if (product(threads) == 0 || product(threads) > most) {
    fail(ErrorKind::device, "{}: a threadgroup of {} x {} x {} threads has {}; 1 to {} are possible.", where(),
         threads.x, threads.y, threads.z, product(threads), most);
  }
  constexpr std::uint64_t positions = std::uint64_t{1} << 32;
  if (product(groups) == 0 || std::uint64_t{groups.x} * threads.x > positions ||
      std::uint64_t{groups.y} * threads.y > positions || std::uint64_t{groups.z} * threads.z > positions) {
    fail(ErrorKind::device,
         "{}: {} x {} x {} threadgroups of {} x {} x {} threads; 1 to {} threads per direction are possible.", where(),
         groups.x, groups.y, groups.z, threads.x, threads.y, threads.z, positions);
  }
  const std::uint64_t bytes = threadgroup_bytes_ + info_.static_threadgroup_bytes;
  if (bytes > limits.threadgroup_memory_bytes) {
    fail(ErrorKind::device,
         "{}: it takes {} bytes of threadgroup memory, {} of them for its own arrays; the device has {}.", where(),
         bytes, info_.static_threadgroup_bytes, limits.threadgroup_memory_bytes);
  }
}

Encoder& Encoder::work(double flops, std::uint64_t read_again) {
  flops_ = flops;
  read_again_ = read_again;
  return *this;
}

Encoder& Encoder::skips(std::uint64_t bytes) {
  skipped_bytes_ = bytes;
  return *this;
}

Encoder& Encoder::moves(std::uint64_t bytes) {
  moved_bytes_ = bytes;
  return *this;
}

void Encoder::dispatch(GridSize groups, GridSize threads) {
  launch(groups, threads, true);
}

void Encoder::launch(GridSize groups, GridSize threads, bool fixed) {
  check_bound();
  check_overlaps();
  check_launch(groups, threads);
  if (fixed) check_fixed(threads);
  commands_.dispatch(groups, threads);
  const std::uint64_t moved = moved_bytes_.value_or(bound_bytes_ + read_again_ - skipped_bytes_);
  recorder_.dispatched(bound_bytes_, {info_.name, static_cast<double>(moved), flops_});
}

void Encoder::dispatch_spans(std::int64_t count, std::int64_t threads) {
  const Launch shape = span_launch(count, std::min<std::int64_t>(threads, most_threads()));
  launch(shape.groups, shape.threads, false);
}

void Encoder::dispatch_tiles(std::int64_t rows, std::int64_t columns, std::int64_t threads) {
  // Tiles are powers of two.
  const Launch shape = tile_launch(rows, columns, std::min<std::int64_t>(threads, std::bit_floor(most_threads())));
  launch(shape.groups, shape.threads, false);
}

void Encoder::dispatch_rows(std::int64_t rows, std::int64_t group_rows) {
  const Launch shape = row_launch(rows, std::clamp<std::int64_t>(most_threads() / simdgroup_width, 1, group_rows));
  launch(shape.groups, shape.threads, false);
}

}  // namespace mslt::msl

// Batches of recorded commands, and the memory that each holds until it is done.
#include "backend/msl/recorder.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <iterator>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/fail.h"

namespace mslt::msl {
namespace {

// With more committed batches than this, finished ones give their staging memory back at each commit.
constexpr std::size_t most_batches = 1024;
// Parts of uploads begin at multiples of so many bytes.
constexpr std::size_t part_alignment = 256;
// Staging memory has a multiple of so many bytes, so that any scalar's serves another's.
constexpr std::size_t staging_unit = 256;

std::size_t in_staging_units(std::size_t bytes) {
  return (bytes + staging_unit - 1) / staging_unit * staging_unit;
}

void check_transfer(std::string_view operation, const Tensor& tensor, std::size_t bytes) {
  if (!tensor) fail(ErrorKind::input, "{}: the tensor is absent, but required.", operation);
  if (tensor.bytes() != bytes) {
    fail(ErrorKind::input, "{}: the tensor is {}, {} bytes, but the host's memory has {}; both must be the same.",
         operation, tensor.describe(), tensor.bytes(), bytes);
  }
}

}  // namespace

Scratch::Scratch(Recorder& recorder, std::unique_ptr<Buffer> buffer, DType dtype, const Shape& shape)
    : recorder_(recorder), buffer_(std::move(buffer)), tensor_(*buffer_, 0, dtype, shape) {}

Scratch::Scratch(Scratch&& other) noexcept = default;

Scratch::~Scratch() {
  if (buffer_) recorder_.free_scratch_.push_back(std::move(buffer_));
}

struct Recorder::Batch {
  struct ReadBack {
    const Buffer* staging = nullptr;
    std::size_t bytes = 0;
    std::function<void(std::span<const std::byte>)> receive;
  };

  std::uint64_t number = 0;  // from 1
  std::unique_ptr<CommandBuffer> commands;
  std::uint64_t dispatches = 0;
  std::uint64_t submission = 0;  // the number of the submit() that it belongs to
  std::uint64_t bytes = 0;
  std::vector<std::unique_ptr<Buffer>> staging;
  std::vector<ReadBack> read_backs;
  std::vector<CommandNote> notes;  // of all commands, while times are kept
  // Written by the completion handler, which may outlive the batch.
  struct Outcome {
    CommandTiming timing;
    double seen = 0.0;
    std::atomic<bool> done = false;
  };
  std::shared_ptr<Outcome> outcome = std::make_shared<Outcome>();

  std::size_t staged_bytes() const {
    std::size_t bytes = 0;
    for (const std::unique_ptr<Buffer>& buffer : staging) bytes += buffer->size();
    return bytes;
  }
};

Recorder::Recorder(Device& device, std::span<const KernelInfo> kernels)
    : device_(device), table_(kernels), placeholder_(device.allocate(16, "absent arguments", false)) {}

Recorder::~Recorder() {
  for (const std::unique_ptr<Batch>& batch : committed_) {
    try {
      batch->commands->wait();
    } catch (const Error&) {
      continue;  // nobody is left to report it to
    }
  }
}

const Recorder::Kernel& Recorder::kernel(std::string_view name) {
  const auto known = kernels_.find(name);
  if (known != kernels_.end()) return known->second;
  const auto found =
      std::lower_bound(table_.begin(), table_.end(), name,
                       [](const KernelInfo& info, std::string_view wanted) { return info.name < wanted; });
  if (found == table_.end() || found->name != name) {
    fail(ErrorKind::device, "There is no kernel '{}' among the {} of kernels/.", name, table_.size());
  }
  return kernels_.emplace(std::string(name), Kernel{&*found, &device_.pipeline(name)}).first->second;
}

std::vector<std::string_view> Recorder::used_kernels() const {
  std::vector<std::string_view> names;
  names.reserve(kernels_.size());
  for (const auto& [name, kernel] : kernels_) names.push_back(name);
  return names;
}

Recorder::Batch& Recorder::batch() {
  if (!open_) {
    open_ = std::make_unique<Batch>();
    open_->number = ++batches_;
    open_->commands = device_.command_buffer();
    if (timing_) open_->commands->mark();
  }
  return *open_;
}

Commands& Recorder::commands() {
  do_pending();
  RecordedCommands* const recorded = recorded_.get();
  if (recorded == nullptr) return *batch().commands;
  if (std::exchange(part_is_full_, false)) recorded->parts.emplace_back();
  return recorded->parts.back().commands;
}

void Recorder::do_pending() {
  if (!pending_) return;
  std::swap(operation_, pending_operation_);
  std::exchange(pending_, {})();
  std::swap(operation_, pending_operation_);
}

bool Recorder::is_full(std::uint64_t dispatches, std::uint64_t bytes) const {
  const DeviceLimits& limits = device_.limits();
  return dispatches >= limits.batch_dispatches || bytes >= limits.batch_bytes;
}

void Recorder::count(std::uint64_t dispatches, std::uint64_t bytes, const DispatchRecord& record) {
  const auto add_to = [&](auto& commands) {
    commands.dispatches += dispatches;
    commands.bytes += bytes;
    return is_full(commands.dispatches, commands.bytes);
  };
  const auto mark = [&](Commands& commands, std::vector<CommandNote>& notes) {
    commands.mark();
    notes.push_back({std::string(record.kernel), {.flops = record.flops, .bytes = record.bytes}, operation_});
  };
  if (RecordedCommands* const recorded = recorded_.get()) {
    RecordedCommands::Part& part = recorded->parts.back();
    mark(part.commands, part.notes);
    part_is_full_ = add_to(part);
    return;
  }
  counters_.dispatches += dispatches;
  if (observer_ && !record.kernel.empty()) observer_(record);
  Batch& open = batch();
  if (timing_) mark(*open.commands, open.notes);
  if (add_to(open) || (timing_ && !device_.has_marks())) commit();
}

std::unique_ptr<RecordedCommands> Recorder::record(const std::function<void()>& work) {
  auto recording = std::make_unique<RecordedCommands>();
  recording->of = this;
  recording->parts.emplace_back();
  recorded_.record(*recording, [&] {
    part_is_full_ = false;
    pending_ = {};
    try {
      work();
      do_pending();
    } catch (...) {
      pending_ = {};
      throw;
    }
  });
  return recording;
}

bool Recorder::may_read_early(std::initializer_list<const Tensor*> tensors) {
  do_pending();
  RecordedCommands* const recorded = recorded_.get();
  if (recorded == nullptr) return false;
  for (const Tensor* tensor : tensors) {
    if (!*tensor) continue;
    for (const RecordedCommands::Part& part : recorded->parts) {
      if (part.commands.writes_to(tensor->buffer(), tensor->offset(), tensor->offset() + tensor->bytes())) return false;
    }
  }
  recorded->is_alone = true;
  return true;
}

void Recorder::replay(const RecordedCommands& recording) {
  recorded_.require_none("replay");
  if (recording.of != this) fail(ErrorKind::usage, "The recording is of another backend.");
  const bool joins = !recording.is_alone && recording.parts.size() == 1 &&
                     recording.parts.front().dispatches < device_.limits().least_replay;
  if (!joins) commit();
  const std::size_t first_operation = std::exchange(operations_, operations_ + recording.operations);
  for (const RecordedCommands::Part& part : recording.parts) {
    counters_.dispatches += part.dispatches;
    play(part, first_operation);
    if (!joins || (open_ && is_full(open_->dispatches, open_->bytes))) commit();
  }
  if (!observer_) return;
  for (const RecordedCommands::Part& part : recording.parts) {
    for (const CommandNote& each : part.notes) observer_({each.kernel, each.work.bytes, each.work.flops});
  }
}

void Recorder::play(const RecordedCommands::Part& part, std::size_t first_operation) {
  const auto note = [&](CommandNote each) {
    if (each.operation != KernelTime::no_operation) each.operation += first_operation;
    batch().notes.push_back(std::move(each));
  };
  if (timing_ && !device_.has_marks()) {
    std::size_t at = 0;
    for (const CommandNote& each : part.notes) {
      at = part.commands.encode_to_mark(*batch().commands, at);
      note(each);
      commit();
    }
    return;
  }
  batch().commands->play(part.commands, timing_);
  batch().dispatches += part.dispatches;
  batch().bytes += part.bytes;
  if (timing_) std::ranges::for_each(part.notes, note);
}

std::unique_ptr<Buffer> Recorder::take(std::vector<std::unique_ptr<Buffer>>& free, std::size_t bytes,
                                       bool host_visible) {
  if (host_visible) bytes = in_staging_units(bytes);
  // The smallest buffer that is large enough, but not more than twice as large.
  auto best = free.end();
  for (auto candidate = free.begin(); candidate != free.end(); ++candidate) {
    const std::size_t size = (*candidate)->size();
    if (size >= bytes && size / 2 <= bytes && (best == free.end() || size < (*best)->size())) best = candidate;
  }
  if (best != free.end()) {
    std::unique_ptr<Buffer> buffer = std::move(*best);
    free.erase(best);
    return buffer;
  }
  auto buffer = device_.allocate(bytes, host_visible ? "staging" : "scratch", host_visible);
  (host_visible ? held_.staging : held_.scratch) += bytes;
  return buffer;
}

Buffer& Recorder::stage(std::size_t bytes) {
  const std::size_t most = device_.limits().staging_bytes;
  if (open_ && open_->staged_bytes() > 0 && open_->staged_bytes() + bytes > most) commit();
  std::size_t used = bytes + (open_ ? open_->staged_bytes() : 0);
  std::size_t fitting = 0;
  for (auto each = committed_.rbegin(); each != committed_.rend(); ++each, ++fitting) {
    const std::size_t staged = (*each)->staged_bytes();
    if (staged > 0 && used + staged > most) break;
    used += staged;
  }
  if (fitting < committed_.size()) {
    ++counters_.waits;
    retire_until(fitting);
  }
  std::vector<std::unique_ptr<Buffer>>& staging = batch().staging;
  staging.push_back(take(free_staging_, bytes, true));
  return *staging.back();
}

void Recorder::recycle(std::vector<std::unique_ptr<Buffer>> staging) {
  std::move(staging.begin(), staging.end(), std::back_inserter(free_staging_));
  std::size_t kept = 0;
  for (const std::unique_ptr<Buffer>& buffer : free_staging_) kept += buffer->size();
  // The last one stays whatever its size: what comes again each step is not allocated each step.
  auto oldest = free_staging_.begin();
  for (; kept > device_.limits().staging_bytes && std::next(oldest) != free_staging_.end(); ++oldest) {
    kept -= (*oldest)->size();
    held_.staging -= (*oldest)->size();
  }
  free_staging_.erase(free_staging_.begin(), oldest);
}

std::size_t Recorder::part_bytes() const {
  return std::max<std::size_t>(device_.limits().staging_bytes / 4 / part_alignment, 1) * part_alignment;
}

Scratch Recorder::scratch(DType dtype, const Shape& shape) {
  const std::size_t bytes = std::max<std::size_t>(static_cast<std::size_t>(shape.elements()) * size_of(dtype), 1);
  return Scratch(*this, take(free_scratch_, bytes, false), dtype, shape);
}

void Recorder::library_call(std::string_view name, std::span<const Argument> arguments, const Work& work,
                            std::size_t workspace_bytes, LibraryCall call) {
  std::vector<BufferAccess> accesses;
  std::uint64_t bytes = 0;
  const auto add = [&](const Tensor& tensor, bool is_written) {
    if (!tensor) return;
    accesses.push_back({&tensor.buffer(), tensor.offset(), tensor.offset() + tensor.bytes(), is_written});
    bytes += tensor.bytes();
  };
  for (const Argument& argument : arguments) add(*argument.tensor, argument.is_written());
  LibraryContext context = {.stream = nullptr, .workspace = nullptr, .workspace_bytes = workspace_bytes};
  std::optional<Scratch> workspace;
  if (workspace_bytes > 0) {
    workspace.emplace(scratch(DType::u8, {static_cast<std::int64_t>(workspace_bytes)}));
    add(*workspace, true);
    context.workspace = device_.address(*workspace);
  }
  commands().library_call(name, accesses, context, std::move(call));
  dispatched(bytes, {name, work.bytes, work.flops});
}

void Recorder::copy(const Tensor& destination, const Tensor& source) {
  check_transfer("copy", source, destination.bytes());
  if (source.bytes() == 0) return;
  commands().copy(destination.buffer(), destination.offset(), source.buffer(), source.offset(), source.bytes());
  count(0, 2 * source.bytes(), {"copy", 2.0 * static_cast<double>(source.bytes()), 0.0});
}

void Recorder::fill_bytes(const Tensor& destination, std::uint8_t value) {
  if (destination.bytes() == 0) return;
  commands().fill(destination.buffer(), destination.offset(), destination.bytes(), value);
  count(0, destination.bytes(), {"fill", static_cast<double>(destination.bytes()), 0.0});
}

bool Recorder::upload_at_once(const Tensor& destination, std::span<const std::byte> source) {
  recorded_.require_none("upload");
  check_transfer("upload", destination, source.size());
  if (source.empty()) return true;
  poll();
  if (open_ || !committed_.empty() || destination.buffer().host() == nullptr) return false;
  std::memcpy(destination.buffer().host() + destination.offset(), source.data(), source.size());
  return true;
}

std::uint64_t Recorder::upload_from(Buffer& staging, const Tensor& destination) {
  const std::uint64_t number = batch().number;
  commands().copy(destination.buffer(), destination.offset(), staging, 0, destination.bytes());
  count(0, 2 * destination.bytes());
  return number;
}

std::unique_ptr<Buffer> Recorder::allocate_staging(std::size_t bytes, std::string_view label) {
  auto buffer = device_.allocate(in_staging_units(std::max<std::size_t>(bytes, 1)), label, true);
  held_.staging += buffer->size();
  return buffer;
}

void Recorder::release_staging(std::unique_ptr<Buffer> staging, std::uint64_t batch) {
  const auto reads = [batch](const std::unique_ptr<Batch>& each) {
    return each->number == batch;
  };
  const auto reader = std::find_if(committed_.begin(), committed_.end(), reads);
  if (open_ && reads(open_)) {
    open_->staging.push_back(std::move(staging));
  } else if (reader != committed_.end()) {
    (*reader)->staging.push_back(std::move(staging));
  } else {
    std::vector<std::unique_ptr<Buffer>> unread;
    unread.push_back(std::move(staging));
    recycle(std::move(unread));
  }
}

void Recorder::finish(std::uint64_t batch) {
  poll();
  if (open_ && open_->number <= batch) commit();
  const auto later = std::find_if(committed_.begin(), committed_.end(),
                                  [batch](const std::unique_ptr<Batch>& each) { return each->number > batch; });
  if (later == committed_.begin()) return;
  ++counters_.waits;
  retire_until(static_cast<std::size_t>(committed_.end() - later));
}

void Recorder::upload(const Tensor& destination, std::span<const std::byte> source) {
  if (upload_at_once(destination, source)) return;
  for (std::size_t begin = 0; begin < source.size(); begin += part_bytes()) {
    const std::span<const std::byte> bytes = source.subspan(begin, std::min(part_bytes(), source.size() - begin));
    Buffer& staging = stage(bytes.size());
    std::memcpy(staging.host(), bytes.data(), bytes.size());
    commands().copy(destination.buffer(), destination.offset() + begin, staging, 0, bytes.size());
    count(0, 2 * bytes.size());
  }
}

void Recorder::download(const Tensor& source, std::span<std::byte> destination) {
  recorded_.require_none("download");
  check_transfer("download", source, destination.size());
  if (destination.empty()) {
    wait();
    return;
  }
  if (const std::byte* host = source.buffer().host(); host != nullptr) {
    wait();
    std::memcpy(destination.data(), host + source.offset(), destination.size());
    return;
  }
  for (std::size_t begin = 0; begin < destination.size(); begin += part_bytes()) {
    const std::span<std::byte> part = destination.subspan(begin, std::min(part_bytes(), destination.size() - begin));
    read_back({source.buffer(), source.offset() + begin, DType::u8, {static_cast<std::int64_t>(part.size())}},
              [part](std::span<const std::byte> bytes) { std::memcpy(part.data(), bytes.data(), bytes.size()); });
  }
  wait();
}

void Recorder::read_back(const Tensor& source, std::function<void(std::span<const std::byte>)> receive) {
  recorded_.require_none("read_back");
  if (!source) fail(ErrorKind::input, "read_back: the tensor is absent, but required.");
  Buffer& staging = stage(std::max<std::size_t>(source.bytes(), 1));
  if (source.bytes() > 0) commands().copy(staging, 0, source.buffer(), source.offset(), source.bytes());
  batch().read_backs.push_back({&staging, source.bytes(), std::move(receive)});
  count(0, 2 * source.bytes());
}

void Recorder::commit() {
  if (!open_) return;
  open_->commands->on_completed([outcome = open_->outcome](const CommandTiming& timing, std::string_view) {
    outcome->timing = timing;
    outcome->seen = steady_seconds();
    outcome->done.store(true);
  });
  open_->commands->commit();
  open_->submission = submissions_;
  ++counters_.commits;
  committed_.push_back(std::move(open_));
  if (committed_.size() > most_batches) poll();
}

void Recorder::retire_first() {
  const std::unique_ptr<Batch> batch = std::move(committed_.front());
  committed_.pop_front();
  try {
    batch->commands->wait();
  } catch (const Error&) {
    recycle(std::move(batch->staging));
    timing_ = false;  // which marks ran is not known
    throw;
  }
  const CommandTiming& timing = batch->outcome->timing;
  const double seconds = std::max(0.0, timing.gpu_end - std::max(timing.gpu_start, device_end_));
  counters_.device_seconds += seconds;
  if (timing_) timed_.push_back({std::move(batch->notes), timing, batch->outcome->seen});
  device_end_ = std::max(device_end_, timing.gpu_end);
  std::exception_ptr error;
  for (const Batch::ReadBack& read_back : batch->read_backs) {
    try {
      read_back.receive({read_back.staging->host(), read_back.bytes});
    } catch (...) {
      if (!error) error = std::current_exception();
    }
  }
  recycle(std::move(batch->staging));
  if (error) std::rethrow_exception(error);
}

void Recorder::poll() {
  while (!committed_.empty() && committed_.front()->outcome->done.load()) retire_first();
}

void Recorder::retire_until(std::size_t last) {
  std::exception_ptr error;
  while (committed_.size() > (error ? 0 : last)) {
    try {
      retire_first();
    } catch (...) {
      if (!error) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

void Recorder::submit() {
  recorded_.require_none("submit");
  commit();
  ++submissions_;
  poll();
}

void Recorder::wait() {
  recorded_.require_none("wait");
  ++counters_.waits;
  commit();
  retire_until(0);
}

void Recorder::throttle(std::size_t in_flight) {
  recorded_.require_none("throttle");
  ++counters_.waits;
  const auto runs_on = [&](const std::unique_ptr<Batch>& batch) {
    return batch->submission + in_flight >= submissions_;
  };
  retire_until(static_cast<std::size_t>(std::count_if(committed_.begin(), committed_.end(), runs_on)));
}

}  // namespace mslt::msl

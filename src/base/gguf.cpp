// Reading GGUF files with a check of every count, length and offset before its use.
#include "base/gguf.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstring>
#include <fstream>
#include <limits>
#include <utility>

#include "base/checked.h"
#include "base/fail.h"
#include "base/printable.h"

namespace mslt {
namespace {

constexpr std::string_view magic = "GGUF";
constexpr std::uint64_t max_name_bytes = 65535;
constexpr std::uint32_t max_rank = 4;
constexpr int max_nesting = 8;
constexpr std::uint64_t usual_alignment = 32;

constexpr std::array<GgufBlock, 34> blocks = {{
    {0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},      {3, "Q4_1", 32, 20},
    {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},      {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 40},
    {10, "Q2_K", 256, 84},    {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},
    {14, "Q6_K", 256, 210},   {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66}, {17, "IQ2_XS", 256, 74},
    {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},   {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},
    {22, "IQ2_S", 256, 82},   {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},         {25, "I16", 1, 2},
    {26, "I32", 1, 4},        {27, "I64", 1, 8},        {28, "F64", 1, 8},        {29, "IQ1_M", 256, 56},
    {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},   {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},
    {40, "NVFP4", 64, 36},    {41, "Q1_0", 128, 18},
}};

// Bytes of a value, or the least of them.
std::uint64_t least_bytes(GgufType type) {
  switch (type) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::boolean:
      return 1;
    case GgufType::u16:
    case GgufType::i16:
      return 2;
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::f32:
      return 4;
    case GgufType::u64:
    case GgufType::i64:
    case GgufType::f64:
    case GgufType::text:
      return 8;
    case GgufType::array:
      return 12;
  }
  return 1;
}

template <class T>
T load(std::span<const std::byte> bytes) {
  std::array<std::byte, sizeof(T)> own{};
  std::copy_n(bytes.begin(), sizeof(T), own.begin());
  if constexpr (std::endian::native == std::endian::big) std::ranges::reverse(own);
  return std::bit_cast<T>(own);
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Calls body(value) with the number of that type; false if it is none.
template <class Body>
bool with_number(GgufType type, std::span<const std::byte> bytes, Body&& body) {
  switch (type) {
    case GgufType::u8:
      body(load<std::uint8_t>(bytes));
      return true;
    case GgufType::i8:
      body(load<std::int8_t>(bytes));
      return true;
    case GgufType::u16:
      body(load<std::uint16_t>(bytes));
      return true;
    case GgufType::i16:
      body(load<std::int16_t>(bytes));
      return true;
    case GgufType::u32:
      body(load<std::uint32_t>(bytes));
      return true;
    case GgufType::i32:
      body(load<std::int32_t>(bytes));
      return true;
    case GgufType::f32:
      body(load<float>(bytes));
      return true;
    case GgufType::u64:
      body(load<std::uint64_t>(bytes));
      return true;
    case GgufType::i64:
      body(load<std::int64_t>(bytes));
      return true;
    case GgufType::f64:
      body(load<double>(bytes));
      return true;
    case GgufType::boolean:
    case GgufType::text:
    case GgufType::array:
      return false;
  }
  return false;
}

// The integer, if it is one that 63 bits hold.
std::optional<std::int64_t> integer(GgufType type, std::span<const std::byte> bytes) {
  std::optional<std::int64_t> result;
  with_number(type, bytes, [&](auto value) {
    if constexpr (std::integral<decltype(value)>) {
      if (std::in_range<std::int64_t>(value)) result = static_cast<std::int64_t>(value);
    }
  });
  return result;
}

}  // namespace

std::optional<GgufBlock> gguf_block(std::uint32_t type) {
  const auto* const found = std::ranges::find(blocks, type, &GgufBlock::type);
  return found == blocks.end() ? std::nullopt : std::optional(*found);
}

std::optional<GgufBlock> gguf_block(std::string_view name) {
  const auto* const found = std::ranges::find(blocks, name, &GgufBlock::name);
  return found == blocks.end() ? std::nullopt : std::optional(*found);
}

// A position in the file; what is being read, for errors.
class Gguf::Reader {
 public:
  Reader(std::span<const std::byte> file, std::string_view source) : file_(file), source_(source) {}

  void at(std::string what) { what_ = std::move(what); }
  std::uint64_t position() const { return position_; }
  std::uint64_t remaining() const { return file_.size() - position_; }

  [[noreturn]] void reject(std::string_view how) const { fail(ErrorKind::input, "{}: {} {}.", source_, what_, how); }

  std::span<const std::byte> take(std::uint64_t bytes) {
    if (bytes > remaining()) {
      reject(fmt::format("would take {} bytes, but the file ends after {}; it may be truncated", bytes, remaining()));
    }
    const auto result = file_.subspan(static_cast<std::size_t>(position_), static_cast<std::size_t>(bytes));
    position_ += bytes;
    return result;
  }

  template <class T>
  T number() {
    return load<T>(take(sizeof(T)));
  }

  std::string name() {
    const auto length = number<std::uint64_t>();
    if (length == 0 || length > max_name_bytes) {
      reject(fmt::format("has a name of {} bytes; valid are 1 to {}", length, max_name_bytes));
    }
    return std::string(as_text(take(length)));
  }

  // `count` things of at least `least` bytes each.
  std::uint64_t count(std::uint64_t count, std::uint64_t least, std::string_view things) const {
    if (count > remaining() / least) {
      reject(fmt::format("has {} {}, but only {} bytes follow; the file may be truncated", count, things, remaining()));
    }
    return count;
  }

  GgufType type() {
    const auto type = number<std::uint32_t>();
    if (type > static_cast<std::uint32_t>(GgufType::f64)) {
      reject(fmt::format("is of type {}; valid are 0 to {}", type, static_cast<std::uint32_t>(GgufType::f64)));
    }
    return static_cast<GgufType>(type);
  }

  Value value(GgufType type, int depth = 0) {
    Value result{.type = type};
    if (type == GgufType::text) {
      result.bytes = take(number<std::uint64_t>());
    } else if (type == GgufType::array) {
      if (depth == max_nesting) reject(fmt::format("nests more than {} arrays", max_nesting));
      result.element = this->type();
      result.count = count(number<std::uint64_t>(), least_bytes(result.element), "elements");
      const std::uint64_t begin = position_;
      if (result.element == GgufType::text || result.element == GgufType::array) {
        for (std::uint64_t i = 0; i < result.count; ++i) value(result.element, depth + 1);
      } else {
        take(result.count * least_bytes(result.element));
      }
      result.bytes = file_.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(position_ - begin));
    } else {
      result.bytes = take(least_bytes(type));
      if (type == GgufType::boolean && std::to_integer<unsigned>(result.bytes.front()) > 1) {
        reject("is a boolean that is neither 0 nor 1");
      }
    }
    return result;
  }

 private:
  std::span<const std::byte> file_;
  std::string_view source_;
  std::string what_ = "the header";
  std::uint64_t position_ = 0;
};

Gguf::Gguf(std::span<const std::byte> file, std::string source) : file_(file), source_(std::move(source)) {
  Reader reader(file, source_);
  if (file.size() < magic.size() || as_text(reader.take(magic.size())) != magic) {
    fail(ErrorKind::input, "{} is not a GGUF file: it does not begin with \"GGUF\".", source_);
  }
  version_ = reader.number<std::uint32_t>();
  if (version_ != 2 && version_ != 3) {
    const bool big_endian = version_ != 0 && (version_ & 0xffffu) == 0;
    fail(ErrorKind::input, "{}: {}; supported are the versions 2 and 3 in little endian.", source_,
         big_endian ? std::string("the file is in big endian") : fmt::format("the version is {}", version_));
  }
  const auto tensor_count = reader.number<std::uint64_t>();
  // A name of one byte, its type and a value of one; a tensor's name, rank, a dimension, its type and offset.
  constexpr std::uint64_t least_entry = 8 + 1 + 4 + 1;
  constexpr std::uint64_t least_tensor = 8 + 1 + 4 + 8 + 4 + 8;
  const std::uint64_t keys = reader.count(reader.number<std::uint64_t>(), least_entry, "keys");
  reader.count(tensor_count, least_tensor, "tensors");
  for (std::uint64_t i = 0; i < keys; ++i) {
    reader.at(fmt::format("key {} of {}", i + 1, keys));
    std::string name = reader.name();
    reader.at(fmt::format("the key '{}'", printable(name)));
    const GgufType type = reader.type();
    const Value value = reader.value(type);
    if (!metadata_.emplace(std::move(name), value).second) reader.reject("occurs twice");
  }
  read_tensors(reader, tensor_count);
}

void Gguf::read_tensors(Reader& reader, std::uint64_t count) {
  constexpr std::string_view alignment_key = "general.alignment";
  const std::uint64_t alignment = unsigned_number(alignment_key).value_or(usual_alignment);
  if (!std::has_single_bit(alignment)) reject(alignment_key, "valid are powers of two");
  std::vector<std::uint64_t> offsets;
  for (std::uint64_t i = 0; i < count; ++i) {
    reader.at(fmt::format("tensor {} of {}", i + 1, count));
    GgufTensor tensor{.name = reader.name(), .block = {}, .shape = {}, .data = {}};
    reader.at(fmt::format("the tensor '{}'", printable(tensor.name)));
    const auto rank = reader.number<std::uint32_t>();
    if (rank == 0 || rank > max_rank)
      reader.reject(fmt::format("has {} dimensions; valid are 1 to {}", rank, max_rank));
    for (std::uint32_t d = 0; d < rank; ++d) tensor.shape.push_back(reader.number<std::uint64_t>());
    std::ranges::reverse(tensor.shape);
    const auto type = reader.number<std::uint32_t>();
    const auto block = gguf_block(type);
    if (!block) reader.reject(fmt::format("is of the unknown type {}", type));
    tensor.block = *block;
    offsets.push_back(reader.number<std::uint64_t>());
    if (offsets.back() % alignment != 0) {
      reader.reject(fmt::format("is at byte {} of the data, which is no multiple of the alignment, {}", offsets.back(),
                                alignment));
    }
    tensors_.push_back(std::move(tensor));
  }
  const std::uint64_t data_offset = checked_add(reader.position(), alignment - 1, source_) & ~(alignment - 1);
  const std::uint64_t data_bytes = file_.size() - std::min<std::uint64_t>(file_.size(), data_offset);
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    GgufTensor& tensor = tensors_[i];
    reader.at(fmt::format("the tensor '{}' of shape [{}] and type {}", printable(tensor.name),
                          fmt::join(tensor.shape, ", "), tensor.block.name));
    if (tensor.shape.back() % tensor.block.elements != 0) {
      reader.reject(fmt::format("has rows that are no multiple of {} elements", tensor.block.elements));
    }
    std::uint64_t bytes = tensor.block.bytes;
    for (std::size_t d = 0; d < tensor.shape.size(); ++d) {
      if (tensor.shape[d] == 0) reader.reject("has a dimension of 0");
      const std::uint64_t units =
          d + 1 == tensor.shape.size() ? tensor.shape[d] / tensor.block.elements : tensor.shape[d];
      bytes = checked_multiply(bytes, units, fmt::format("{}: the tensor '{}'", source_, printable(tensor.name)));
    }
    if (offsets[i] > data_bytes || bytes > data_bytes - offsets[i]) {
      reader.reject(fmt::format("takes {} bytes from byte {} of the data on, which has {}; the file may be truncated",
                                bytes, offsets[i], data_bytes));
    }
    tensor.data = file_.subspan(static_cast<std::size_t>(data_offset + offsets[i]), static_cast<std::size_t>(bytes));
  }
  std::ranges::sort(tensors_, {}, [](const GgufTensor& tensor) { return tensor.data.data(); });
  check_layout();
}

void Gguf::check_layout() const {
  std::vector<std::string_view> names;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    names.push_back(tensors_[i].name);
    if (i == 0 || tensors_[i].data.data() >= tensors_[i - 1].data.data() + tensors_[i - 1].data.size()) continue;
    fail(ErrorKind::input, "{}: the tensor '{}' lies inside the tensor '{}'.", source_, printable(tensors_[i].name),
         printable(tensors_[i - 1].name));
  }
  std::ranges::sort(names);
  const auto twice = std::ranges::adjacent_find(names);
  if (twice != names.end()) {
    fail(ErrorKind::input, "{}: the tensor '{}' occurs twice.", source_, printable(*twice));
  }
}

const GgufTensor* Gguf::find_tensor(std::string_view name) const {
  const auto found = std::ranges::find(tensors_, name, &GgufTensor::name);
  return found == tensors_.end() ? nullptr : &*found;
}

std::vector<std::string_view> Gguf::keys() const {
  std::vector<std::string_view> keys;
  for (const auto& [key, value] : metadata_) keys.push_back(key);
  return keys;
}

const Gguf::Value* Gguf::find(std::string_view key) const {
  const auto found = metadata_.find(key);
  return found == metadata_.end() ? nullptr : &found->second;
}

const Gguf::Value& Gguf::require(std::string_view key) const {
  const Value* const value = find(key);
  if (value == nullptr) fail(ErrorKind::input, "{}: the key '{}' is missing.", source_, key);
  return *value;
}

void Gguf::reject(std::string_view key, std::string_view expected) const {
  const Value& value = require(key);
  std::string shown;
  constexpr std::size_t most = 60;
  if (value.type == GgufType::text) {
    const std::string_view text = as_text(value.bytes);
    shown = fmt::format("\"{}\"", text.size() > most ? printable(text.substr(0, most)) + "..." : printable(text));
  } else if (value.type == GgufType::array) {
    shown = fmt::format("an array of {} values", value.count);
  } else if (value.type == GgufType::boolean) {
    shown = value.bytes.front() == std::byte{0} ? "false" : "true";
  } else {
    with_number(value.type, value.bytes, [&](auto number) { shown = fmt::format("{}", number); });
  }
  fail(ErrorKind::input, "{}: the key '{}' is {}; {}.", source_, printable(key), shown, expected);
}

bool Gguf::is_array(std::string_view key) const {
  const Value* const value = find(key);
  return value != nullptr && value->type == GgufType::array;
}

std::int64_t Gguf::size(std::string_view key) const {
  const Value& value = require(key);
  constexpr std::int64_t largest = std::numeric_limits<std::int32_t>::max();
  const auto number = integer(value.type, value.bytes);
  if (!number || *number < 1 || *number > largest)
    reject(key, fmt::format("valid are whole numbers from 1 to {}", largest));
  return *number;
}

std::int64_t Gguf::size(std::string_view key, std::int64_t fallback) const {
  return has(key) ? size(key) : fallback;
}

std::optional<std::uint64_t> Gguf::unsigned_number(std::string_view key) const {
  const Value* const value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto number = integer(value->type, value->bytes);
  if (!number || *number < 0) reject(key, "valid are whole numbers from 0 to 2^63 - 1");
  return static_cast<std::uint64_t>(*number);
}

double Gguf::number(std::string_view key) const {
  const Value& value = require(key);
  double result = std::numeric_limits<double>::infinity();
  with_number(value.type, value.bytes, [&](auto number) { result = static_cast<double>(number); });
  if (!std::isfinite(result)) reject(key, "valid are finite numbers");
  return result;
}

double Gguf::number(std::string_view key, double fallback) const {
  return has(key) ? number(key) : fallback;
}

bool Gguf::boolean(std::string_view key, bool fallback) const {
  const Value* const value = find(key);
  if (value == nullptr) return fallback;
  if (value->type != GgufType::boolean) reject(key, "valid are true and false");
  return value->bytes.front() != std::byte{0};
}

std::string_view Gguf::text(std::string_view key) const {
  const Value& value = require(key);
  if (value.type != GgufType::text) reject(key, "valid is a text");
  return as_text(value.bytes);
}

std::string_view Gguf::text(std::string_view key, std::string_view fallback) const {
  return has(key) ? text(key) : fallback;
}

std::vector<std::string_view> Gguf::texts(std::string_view key) const {
  const Value& value = require(key);
  if (value.type != GgufType::array || value.element != GgufType::text) reject(key, "valid is an array of texts");
  std::vector<std::string_view> result;
  result.reserve(static_cast<std::size_t>(value.count));
  Reader reader(value.bytes, source_);
  for (std::uint64_t i = 0; i < value.count; ++i) result.push_back(as_text(reader.value(GgufType::text).bytes));
  return result;
}

std::vector<std::int64_t> Gguf::integers(std::string_view key) const {
  const Value& value = require(key);
  std::vector<std::int64_t> result;
  bool valid = value.type == GgufType::array;
  const std::uint64_t size = valid ? least_bytes(value.element) : 1;
  for (std::uint64_t i = 0; valid && i < value.count; ++i) {
    const auto number = integer(value.element, value.bytes.subspan(static_cast<std::size_t>(i * size)));
    valid = number.has_value();
    if (valid) result.push_back(*number);
  }
  if (!valid) reject(key, "valid is an array of whole numbers");
  return result;
}

std::vector<double> Gguf::numbers(std::string_view key) const {
  const Value& value = require(key);
  std::vector<double> result;
  const std::uint64_t size = value.type == GgufType::array ? least_bytes(value.element) : 1;
  for (std::uint64_t i = 0; i < value.count; ++i) {
    double element = std::numeric_limits<double>::infinity();
    with_number(value.element, value.bytes.subspan(static_cast<std::size_t>(i * size)),
                [&](auto number) { element = static_cast<double>(number); });
    if (!std::isfinite(element)) reject(key, "valid is an array of finite numbers");
    result.push_back(element);
  }
  if (value.type != GgufType::array) reject(key, "valid is an array of finite numbers");
  return result;
}

bool is_gguf_file(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return false;
  std::ifstream file(path, std::ios::binary);
  std::string begin(magic.size(), '\0');
  return file.read(begin.data(), static_cast<std::streamsize>(begin.size())) && begin == magic;
}

}  // namespace mslt

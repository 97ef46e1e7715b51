// A SAX parser of safetensors headers; hostile JSON costs no more memory than its own length.
#include "formats/safetensors_header.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>
#include <utility>

#include "base/checked.h"

namespace mslt {
namespace {

struct DTypeBits {
  std::string_view name;
  unsigned bits;
};
constexpr std::array<DTypeBits, 22> known_dtypes = {
    {{"BOOL", 8},        {"U8", 8},   {"I8", 8},      {"U16", 16},    {"I16", 16},    {"U32", 32},
     {"I32", 32},        {"U64", 64}, {"I64", 64},    {"F16", 16},    {"BF16", 16},   {"F32", 32},
     {"F64", 64},        {"C64", 64}, {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
     {"F8_E5M2FNUZ", 8}, {"F4", 4},   {"F6_E2M3", 6}, {"F6_E3M2", 6}}};

constexpr std::size_t max_rank_in_file = 64;

// Accepts exactly the header's grammar and fails on the first other event.
class HeaderHandler {
 public:
  HeaderHandler(SafetensorsHeader& header, std::string_view source) : header_(header), source_(source) {}

  bool null() { unexpected("null"); }
  bool boolean(bool) { unexpected("a boolean"); }
  bool number_integer(std::int64_t value) { unexpected(fmt::format("the negative number {}", value)); }
  bool number_float(double, const std::string& text) { unexpected(fmt::format("the number {}", text)); }
  bool binary(std::vector<std::uint8_t>&) { unexpected("binary data"); }

  bool number_unsigned(std::uint64_t value) {
    switch (place_) {
      case Place::shape:
        if (entry_.shape.size() == max_rank_in_file) {
          fail(ErrorKind::input, "{}: the tensor '{}' has more than {} dimensions.", source_, entry_.name,
               max_rank_in_file);
        }
        entry_.shape.push_back(value);
        return true;
      case Place::offsets:
        if (offset_count_ == 2) unexpected("a third number");
        (offset_count_++ == 0 ? entry_.begin : entry_.end) = value;
        return true;
      default:
        unexpected(fmt::format("the number {}", value));
    }
  }

  bool string(std::string& value) {
    if (place_ == Place::metadata) {
      header_.metadata[member_] = std::move(value);
      return true;
    }
    if (place_ == Place::tensor && member_ == "dtype") {
      entry_.dtype = std::move(value);
      return true;
    }
    unexpected(fmt::format("the text '{}'", value));
  }

  bool start_object(std::size_t) {
    if (place_ == Place::start) {
      place_ = Place::top;
    } else if (place_ == Place::top) {
      place_ = member_ == "__metadata__" ? Place::metadata : Place::tensor;
      entry_ = SafetensorsEntry{};
      entry_.name = member_;
      seen_members_.clear();
    } else {
      unexpected("an object");
    }
    return true;
  }

  bool key(std::string& name) {
    const bool repeated = place_ == Place::top ? !names_.insert(name).second : !seen_members_.insert(name).second;
    if (repeated) fail(ErrorKind::input, "{}: '{}' occurs twice in {}.", source_, name, place_name());
    if (place_ == Place::tensor && name != "dtype" && name != "shape" && name != "data_offsets") {
      fail(ErrorKind::input, "{}: {} has the member '{}'; valid are dtype, shape and data_offsets.", source_,
           place_name(), name);
    }
    member_ = std::move(name);
    return true;
  }

  bool end_object() {
    if (place_ == Place::tensor) {
      if (seen_members_.size() != 3) {
        fail(ErrorKind::input, "{}: {} lacks one of dtype, shape and data_offsets.", source_, place_name());
      }
      header_.entries.push_back(std::move(entry_));
    }
    place_ = place_ == Place::top ? Place::end : Place::top;
    return true;
  }

  bool start_array(std::size_t) {
    if (place_ == Place::tensor && member_ == "shape") {
      place_ = Place::shape;
    } else if (place_ == Place::tensor && member_ == "data_offsets") {
      place_ = Place::offsets;
      offset_count_ = 0;
    } else {
      unexpected("a list");
    }
    return true;
  }

  bool end_array() {
    if (place_ == Place::offsets && offset_count_ != 2) unexpected("fewer than two numbers");
    place_ = Place::tensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) {
    fail(ErrorKind::input, "{} is not a safetensors file: its header stops being JSON at byte {}.", source_,
         position + 7);
  }

 private:
  enum class Place { start, top, metadata, tensor, shape, offsets, end };

  std::string place_name() const {
    switch (place_) {
      case Place::start:
      case Place::end:
      case Place::top:
        return "the header";
      case Place::metadata:
        return "__metadata__";
      case Place::tensor:
        return fmt::format("the tensor '{}'", entry_.name);
      case Place::shape:
        return fmt::format("the shape of the tensor '{}'", entry_.name);
      case Place::offsets:
        return fmt::format("data_offsets of the tensor '{}'", entry_.name);
    }
    return {};
  }

  [[noreturn]] void unexpected(std::string_view what) const {
    fail(
        ErrorKind::input,
        "{}: {} contains {}. A header maps names to objects of dtype (a text), shape (a list of non-negative integers) "
        "and data_offsets (two of them), and __metadata__ to an object of texts.",
        source_, place_name(), what);
  }

  SafetensorsHeader& header_;
  std::string_view source_;
  Place place_ = Place::start;
  std::string member_;  // the key read last
  SafetensorsEntry entry_;
  int offset_count_ = 0;
  std::set<std::string> names_;
  std::set<std::string> seen_members_;
};

void check_size(const SafetensorsEntry& entry, std::string_view source) {
  const std::string what = fmt::format("{}: the tensor '{}' of shape {}", source, entry.name, shape_text(entry.shape));
  std::uint64_t elements = 1;
  // Zero dimensions last, so an overflow of the others is still detected.
  for (const std::uint64_t dimension : entry.shape) {
    if (dimension != 0) elements = checked_multiply(elements, dimension, what);
  }
  if (std::find(entry.shape.begin(), entry.shape.end(), 0u) != entry.shape.end()) elements = 0;
  const auto bits = safetensors_dtype_bits(entry.dtype);
  if (!bits) return;
  const std::uint64_t all_bits = checked_multiply(elements, *bits, what);
  if (all_bits % 8 != 0 || entry.end - entry.begin != all_bits / 8) {
    fail(ErrorKind::input, "{} and dtype {} takes {} bits, but its data_offsets [{}, {}] span {} bytes.", what,
         entry.dtype, all_bits, entry.begin, entry.end, entry.end - entry.begin);
  }
}

void check_layout(std::vector<SafetensorsEntry>& entries, std::uint64_t data_bytes, std::string_view source) {
  for (const SafetensorsEntry& entry : entries) {
    if (entry.begin > entry.end || entry.end > data_bytes) {
      fail(ErrorKind::input, "{}: data_offsets [{}, {}] of the tensor '{}' do not lie within the {} bytes of data.{}",
           source, entry.begin, entry.end, entry.name, data_bytes,
           entry.end > data_bytes ? " The file may be truncated." : "");
    }
    check_size(entry, source);
  }
  std::sort(entries.begin(), entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  std::uint64_t position = 0;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.begin < position) {
      fail(ErrorKind::input, "{}: the tensor '{}' begins at byte {} of the data, inside the tensor before it.", source,
           entry.name, entry.begin);
    }
    if (entry.begin > position) {
      fail(ErrorKind::input, "{}: bytes {} to {} of the data, before the tensor '{}', belong to no tensor.", source,
           position, entry.begin, entry.name);
    }
    position = entry.end;
  }
  if (position != data_bytes) {
    fail(ErrorKind::input, "{}: the last {} bytes of the file belong to no tensor.", source, data_bytes - position);
  }
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file, std::string_view source) {
  if (file.size() < 10) {
    fail(ErrorKind::input, "{} is not a safetensors file: it has only {} bytes.", source, file.size());
  }
  std::uint64_t length = 0;
  for (std::size_t i = 8; i-- > 0;) length = length << 8 | std::to_integer<std::uint64_t>(file[i]);
  if (length > max_safetensors_header_bytes) {
    fail(ErrorKind::input, "{} is not a safetensors file: its header would have {} bytes, at most {} are valid.",
         source, length, max_safetensors_header_bytes);
  }
  if (length > file.size() - 8) {
    fail(ErrorKind::input, "{}: its header should have {} bytes, but the file ends after {} bytes.", source, length,
         file.size());
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + 8, static_cast<std::size_t>(length));
  if (!text.starts_with('{')) {
    fail(ErrorKind::input, "{} is not a safetensors file: its header does not start with '{{'.", source);
  }
  SafetensorsHeader header;
  header.data_offset = 8 + length;
  HeaderHandler handler(header, source);
  nlohmann::json::sax_parse(text, &handler);
  check_layout(header.entries, file.size() - header.data_offset, source);
  return header;
}

std::string format_safetensors_header(std::span<const SafetensorsEntry> entries,
                                      const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (!metadata.empty()) json["__metadata__"] = metadata;
  for (const SafetensorsEntry& entry : entries) {
    // push_back rather than operator[], whose search in an ordered object is linear.
    json.get_ref<nlohmann::ordered_json::object_t&>().push_back(
        {entry.name,
         nlohmann::ordered_json{
             {"dtype", entry.dtype}, {"shape", entry.shape}, {"data_offsets", std::array{entry.begin, entry.end}}}});
  }
  std::string text = json.dump();
  constexpr std::size_t alignment = 64;
  std::string result(8, '\0');
  text.append((alignment - (result.size() + text.size()) % alignment) % alignment, ' ');
  for (std::size_t i = 0; i < 8; ++i) result[i] = static_cast<char>(text.size() >> (8 * i) & 0xffu);
  return result + text;
}

std::optional<unsigned> safetensors_dtype_bits(std::string_view dtype) {
  for (const DTypeBits& known : known_dtypes) {
    if (known.name == dtype) return known.bits;
  }
  return std::nullopt;
}

std::string_view safetensors_dtype(DType dtype) {
  constexpr std::array<std::string_view, 7> names = {"F32", "BF16", "F16", "I32", "U32", "I8", "U8"};
  return names[static_cast<std::size_t>(dtype)];
}

std::optional<DType> dtype_from_safetensors(std::string_view dtype) {
  for (const DType candidate : {DType::f32, DType::bf16, DType::f16, DType::i32, DType::u32, DType::i8, DType::u8}) {
    if (safetensors_dtype(candidate) == dtype) return candidate;
  }
  return std::nullopt;
}

std::string shape_text(std::span<const std::uint64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace mslt

// The bytes of a GGUF file's head.
#include "base/gguf_writer.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/checked.h"

namespace mslt {
namespace {

constexpr std::uint64_t alignment = 32;

std::uint64_t padding(std::uint64_t bytes) {
  return (alignment - bytes % alignment) % alignment;
}

template <class T>
void append(std::string& to, T value) {
  auto bytes = std::bit_cast<std::array<char, sizeof(T)>>(value);
  if constexpr (std::endian::native == std::endian::big) std::ranges::reverse(bytes);
  to.append(bytes.data(), bytes.size());
}

void append_text(std::string& to, std::string_view text) {
  append(to, std::uint64_t{text.size()});
  to += text;
}

void append_type(std::string& to, GgufType type) {
  append(to, static_cast<std::uint32_t>(type));
}

}  // namespace

GgufWriter::GgufWriter() {
  set("general.alignment", alignment);
}

void GgufWriter::add_key(std::string_view key, GgufType type) {
  append_text(keys_, key);
  append_type(keys_, type);
  ++key_count_;
}

void GgufWriter::set(std::string_view key, std::uint32_t value) {
  add_key(key, GgufType::u32);
  append(keys_, value);
}

void GgufWriter::set_real(std::string_view key, float value) {
  add_key(key, GgufType::f32);
  append(keys_, value);
}

void GgufWriter::set_boolean(std::string_view key, bool value) {
  add_key(key, GgufType::boolean);
  append(keys_, static_cast<char>(value));
}

void GgufWriter::set_text(std::string_view key, std::string_view value) {
  add_key(key, GgufType::text);
  append_text(keys_, value);
}

void GgufWriter::set_texts(std::string_view key, std::span<const std::string> values) {
  add_key(key, GgufType::array);
  append_type(keys_, GgufType::text);
  append(keys_, std::uint64_t{values.size()});
  for (const std::string& value : values) append_text(keys_, value);
}

void GgufWriter::set_integers(std::string_view key, std::span<const std::int32_t> values) {
  add_key(key, GgufType::array);
  append_type(keys_, GgufType::i32);
  append(keys_, std::uint64_t{values.size()});
  for (const std::int32_t value : values) append(keys_, value);
}

void GgufWriter::set_reals(std::string_view key, std::span<const float> values) {
  add_key(key, GgufType::array);
  append_type(keys_, GgufType::f32);
  append(keys_, std::uint64_t{values.size()});
  for (const float value : values) append(keys_, value);
}

void GgufWriter::add_tensor(std::string name, const GgufBlock& block, std::vector<std::uint64_t> shape) {
  std::uint64_t units = block.bytes;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    units = checked_multiply(units, d + 1 == shape.size() ? shape[d] / block.elements : shape[d], name);
  }
  tensors_.push_back({std::move(name), block, std::move(shape), units});
}

std::string GgufWriter::table() const {
  std::string table;
  std::uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    append_text(table, tensor.name);
    append(table, static_cast<std::uint32_t>(tensor.shape.size()));
    for (std::size_t d = tensor.shape.size(); d-- > 0;) append(table, tensor.shape[d]);
    append(table, tensor.block.type);
    append(table, offset);
    offset = checked_add(offset, checked_add(tensor.bytes, padding(tensor.bytes), tensor.name), tensor.name);
  }
  return table;
}

void GgufWriter::write_head(AtomicFile& file) const {
  std::string head = "GGUF";
  append(head, std::uint32_t{3});
  append(head, std::uint64_t{tensors_.size()});
  append(head, key_count_);
  file.write(head);
  file.write(keys_);
  file.write(table());
  write_padding(file, file.size());
}

void GgufWriter::write_padding(AtomicFile& file, std::uint64_t bytes) {
  file.write(std::string(static_cast<std::size_t>(padding(bytes)), '\0'));
}

std::uint64_t GgufWriter::file_bytes() const {
  std::uint64_t bytes = 4 + 4 + 8 + 8 + keys_.size() + table().size();
  bytes += padding(bytes);
  for (const Tensor& tensor : tensors_) bytes += tensor.bytes + padding(tensor.bytes);
  return bytes;
}

}  // namespace mslt

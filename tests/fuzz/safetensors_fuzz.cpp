// Fuzzes the header of safetensors files: accepted headers cover the data exactly and survive being written again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "formats/safetensors_header.h"
#include "mslt/error.h"

namespace {

void require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

void check(std::string_view file) {
  mslt::SafetensorsHeader header;
  try {
    header = mslt::parse_safetensors_header(std::as_bytes(std::span(file.data(), file.size())), "fuzz");
  } catch (const mslt::Error& error) {
    require(error.kind() == mslt::ErrorKind::input);
    return;
  }
  std::uint64_t position = 0;
  for (const mslt::SafetensorsEntry& entry : header.entries) {
    require(entry.begin == position && entry.end >= entry.begin);
    position = entry.end;
  }
  require(header.data_offset + position == file.size());
  std::string again = mslt::format_safetensors_header(header.entries, header.metadata);
  require(again.size() % 8 == 0);
  again.append(static_cast<std::size_t>(position), '\0');
  const auto back = mslt::parse_safetensors_header(std::as_bytes(std::span(again.data(), again.size())), "again");
  require(back.metadata == header.metadata && back.entries.size() == header.entries.size());
  for (std::size_t i = 0; i < header.entries.size(); ++i) {
    require(back.entries[i].name == header.entries[i].name && back.entries[i].shape == header.entries[i].shape);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  check(bytes);
  // Once more as a header with the correct length, followed by some data, to get past the first check.
  std::string file(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) file[i] = static_cast<char>(size >> (8 * i) & 0xffu);
  file += bytes;
  file.append(size % 17, 'd');
  check(file);
  return 0;
}

// The header of a safetensors file: strict parsing, and writing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/dtype.h"

namespace mslt {

// One tensor as described in a file. `begin` and `end` count bytes from the start of the data, which follows the
// header. The dtype keeps the file's spelling ("F32", "I64", ...): a file may contain tensors of types that mslt never
// computes with.
struct SafetensorsEntry {
  std::string name;
  std::string dtype;
  std::vector<std::uint64_t> shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // in the order of their data
  std::map<std::string, std::string> metadata;
  std::uint64_t data_offset = 0;  // from the start of the file
};

// The largest header, as in the format's reference implementation.
inline constexpr std::uint64_t max_safetensors_header_bytes = 100'000'000;

// Parses the header of a whole file in memory. Throws Error(input) naming `source` and the tensor if the file is too
// short, the header is not the JSON described in docs/file-formats.md, a name occurs twice, a size is not
// product(shape) · element size or overflows 64 bits, data lies outside the file, two tensors overlap, or bytes belong
// to none. For an unknown dtype, everything except the size is checked.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file, std::string_view source);

// The length field and the header of `entries` and `metadata`, padded with spaces so that the data starts at a multiple
// of 64, where kernels can read it mapped. Entries appear in the given order.
std::string format_safetensors_header(std::span<const SafetensorsEntry> entries,
                                      const std::map<std::string, std::string>& metadata);

// Bits per element of a safetensors dtype, or nothing for an unknown name.
std::optional<unsigned> safetensors_dtype_bits(std::string_view dtype);
// "F32" for DType::f32 and so on, and back; nothing for types that mslt does not compute with.
std::string_view safetensors_dtype(DType dtype);
std::optional<DType> dtype_from_safetensors(std::string_view dtype);

// "[2, 3]", for messages.
std::string shape_text(std::span<const std::uint64_t> shape);

}  // namespace mslt

// Converting and transposing matrices of floating-point elements between dtypes, on the host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "tensor/dtype.h"

namespace mslt {

// The floating-point elements that weight files may hold.
enum class FileFloat : std::uint8_t { f32, bf16, f16, f64 };

// By safetensors' spelling ("F32", "BF16", "F16", "F64"); nothing for any other.
std::optional<FileFloat> file_float(std::string_view dtype);
// Throws Error(input) if `dtype` is not f32, bf16 or f16.
FileFloat file_float(DType dtype);
// Bytes of one element.
std::size_t size_of(FileFloat type);

// Converts elements to `out_dtype` (f32, bf16, f16; to nearest even, f64 through f32 like PyTorch). Neither side needs
// alignment. out.size() determines the count; in must hold as many elements.
void convert_elements(std::span<const std::byte> in, FileFloat in_type, std::span<std::byte> out, DType out_dtype);

// Rows [first_row, first_row + count) of the transpose of a [rows, columns] matrix, converted the same way: out is
// [count, rows], out[r][c] = in[c][first_row + r].
void transpose_elements(std::span<const std::byte> in, FileFloat in_type, std::int64_t rows, std::int64_t columns,
                        std::int64_t first_row, std::int64_t count, std::span<std::byte> out, DType out_dtype);

}  // namespace mslt

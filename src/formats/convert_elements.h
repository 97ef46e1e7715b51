// Converting and transposing matrices of floating-point elements between dtypes, on the host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/dtype.h"

namespace mslt {

// Converts elements from `in_dtype` to `out_dtype` (f32, bf16, f16; to nearest even). Neither side need be aligned.
// out.size() fixes the count; in must hold as many elements.
void convert_elements(std::span<const std::byte> in, DType in_dtype, std::span<std::byte> out, DType out_dtype);

// Rows [first_row, first_row + count) of the transpose of a [rows, columns] matrix, converted likewise: out is
// [count, rows], out[r][c] = in[c][first_row + r].
void transpose_elements(std::span<const std::byte> in, DType in_dtype, std::int64_t rows, std::int64_t columns,
                        std::int64_t first_row, std::int64_t count, std::span<std::byte> out, DType out_dtype);

}  // namespace mslt

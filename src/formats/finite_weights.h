// Refusing weights that are not numbers.
#pragma once

#include <span>
#include <string_view>

#include "formats/file_tensor.h"
#include "tensor/dtype.h"

namespace mslt {

// Throws Error(numeric) naming `source`, the first of `tensors` that contains NaN or infinity, and the element. Reads
// every byte once, on all threads; the first token of a generation, or the first batch of an evaluation, would read the
// same bytes from disk. F64 elements must stay finite as floats. Of quantised blocks, it
// names the block. Skips tensors of other dtypes.
void require_finite(std::span<const FileTensor* const> tensors, std::string_view source);

// Whether all elements of `bytes` are finite; `dtype` is f32, bf16 or f16.
bool all_finite(std::span<const std::byte> bytes, DType dtype);

// The types, for people, that hold numbers beyond the range of `dtype`, f16 or bf16.
std::string_view wider_types(DType dtype);

}  // namespace mslt

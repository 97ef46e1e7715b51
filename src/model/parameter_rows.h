// Parameters in the host's memory, whether a model keeps them plain, packed or transposed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "model/transformer.h"

namespace mslt {

// Copies rows [first, first + count) of a parameter to `rows`, which gets their size, and returns their dtype: the
// parameter's, or f32 where it is packed, with the values that its groups stand for. The spare rows of the matrix that
// makes logits are not reached. Throws Error(input) if the model has no such parameter. Waits for the device.
DType download_rows(const Transformer& model, std::string_view name, std::int64_t first, std::int64_t count,
                    std::vector<std::byte>& rows);

}  // namespace mslt

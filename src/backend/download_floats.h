// Reading tensors back as floats.
#pragma once

#include <vector>

#include "backend/backend.h"

namespace mslt {

// The elements of a tensor of dtype f32, bf16 or f16. Waits for the device; throws as Backend::download.
std::vector<float> download_floats(Backend& backend, const Tensor& tensor);

}  // namespace mslt

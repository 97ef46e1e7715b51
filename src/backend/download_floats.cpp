// Reading tensors back as floats.
#include "backend/download_floats.h"

#include <algorithm>
#include <cstdint>
#include <span>

#include "tensor/half.h"

namespace mslt {

std::vector<float> download_floats(Backend& backend, const Tensor& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
  if (tensor.dtype() == DType::f32) {
    backend.download(tensor, std::as_writable_bytes(std::span(values)));
    return values;
  }
  std::vector<std::uint16_t> halves(values.size());
  backend.download(tensor, std::as_writable_bytes(std::span(halves)));
  std::ranges::transform(halves, values.begin(), [&](std::uint16_t bits) {
    return tensor.dtype() == DType::bf16 ? to_float(BFloat16{bits}) : to_float(Float16{bits});
  });
  return values;
}

}  // namespace mslt

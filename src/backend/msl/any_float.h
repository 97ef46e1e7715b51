// Binding tensors whose dtype a kernel learns at run time, in the form that kernels/lib/any_float.h reads.
#pragma once

#include <cstdint>

#include "backend/msl/encoder.h"
#include "tensor/tensor.h"

namespace mslt::msl {

// The number of a floating tensor's dtype there; 0 if absent.
inline std::uint32_t any_float_type(const Tensor& tensor) {
  if (!tensor || tensor.dtype() == DType::f32) return 0;
  return tensor.dtype() == DType::bf16 ? 1 : 2;
}

// Binds the tensor, or zeros in place of an absent one.
inline Encoder& bind_any_float(Encoder& encoder, std::uint32_t index, const Tensor& tensor) {
  return tensor ? encoder.untyped(index, tensor) : encoder.optional(index, tensor);
}

}  // namespace mslt::msl

// Which tensors the CUDA driver's own kernels take.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "tensor/tensor.h"

namespace mslt {

inline bool is_16_bit(DType dtype) {
  return dtype == DType::bf16 || dtype == DType::f16;
}

// Whether the tensors are absent or all of the element type, and begin at multiples of 16 bytes.
inline bool suit(DType dtype, std::initializer_list<const Tensor*> tensors) {
  return std::ranges::all_of(tensors, [dtype](const Tensor* tensor) {
    return !*tensor || (tensor->dtype() == dtype && tensor->offset() % 16 == 0);
  });
}

}  // namespace mslt

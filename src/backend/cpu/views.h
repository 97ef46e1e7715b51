// Tensors as the CPU backend's kernels see them.
#pragma once

#include <initializer_list>
#include <string_view>

#include "backend/backend.h"
#include "base/fail.h"

namespace mslt {

// The first byte of a tensor's memory, or null where it is absent.
inline std::byte* bytes_of(const Tensor& tensor) {
  return tensor ? tensor.buffer().host() + tensor.offset() : nullptr;
}

// The first element, or null where the tensor is absent. Throws Error(input) where T is not its dtype.
template <class T>
T* data_of(const Tensor& tensor) {
  return tensor ? tensor.host<T>().data() : nullptr;
}

// Throws Error(input) naming the operation where one of the tensors present is not f32.
inline void require_f32(std::string_view operation, std::initializer_list<Tensor> tensors) {
  for (const Tensor& tensor : tensors) {
    if (tensor && tensor.dtype() != DType::f32) {
      fail(ErrorKind::input, "{}: an argument is {}, but the CPU backend takes f32 there.", operation,
           tensor.describe());
    }
  }
}

}  // namespace mslt

// Views of tensors for the CPU backend's kernels.
#pragma once

#include "backend/backend.h"
#include "base/fail.h"

namespace mslt {

// The first byte of a tensor's memory, or null if absent.
inline std::byte* bytes_of(const Tensor& tensor) {
  return tensor ? tensor.buffer().host() + tensor.offset() : nullptr;
}

// The first element, or null if the tensor is absent. Throws Error(input) if T is not its dtype.
template <class T>
T* data_of(const Tensor& tensor) {
  return tensor ? tensor.host<T>().data() : nullptr;
}

// Throws Error(input) naming the operation if one of its f tensors is not f32.
template <class Op>
void require_f32(const Op& op) {
  for (const Argument& argument : op.arguments()) {
    if (argument.elements != Elements::f || !*argument.tensor || argument.tensor->dtype() == DType::f32) continue;
    fail(ErrorKind::input, "{}: {} is {}, but the CPU backend takes f32 there.", Op::name, argument.name,
         argument.tensor->describe());
  }
}

}  // namespace mslt

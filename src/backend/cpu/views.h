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

// Whether dropout keeps an element with this word, and the seed, step and operation it is counted under.
struct DropoutState {
  explicit DropoutState(const Dropout& dropout) : probability(dropout.probability), operation(dropout.operation) {
    if (probability <= 0.0f) return;
    const std::span<const std::uint32_t> state = dropout.random_state.host<std::uint32_t>();
    seed = state[0] | (std::uint64_t{state[1]} << 32);
    step = state[2];
    scale = 1.0f / (1.0f - probability);
  }

  float probability = 0.0f;
  float scale = 1.0f;  // of the elements kept
  std::uint64_t seed = 0;
  std::uint32_t step = 0;
  std::uint32_t operation = 0;
};

}  // namespace mslt

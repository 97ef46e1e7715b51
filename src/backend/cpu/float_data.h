// Reading and writing f32, bf16 and f16 memory as floats, so every kernel is written once, for float.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/tensor.h"

namespace mslt {

// out[i] = in[i] for i < n, exactly; `in` holds elements of `dtype`, which is f32, bf16 or f16.
void widen(float* out, const std::byte* in, DType dtype, std::int64_t n);
// out[i] = in[i] for i < n, rounded to nearest even.
void narrow(std::byte* out, DType dtype, const float* in, std::int64_t n);

// The elements of a floating-point tensor in host memory. f32 is used in place; 16-bit elements go through the caller's
// buffer. A value type that owns nothing.
class FloatData {
 public:
  FloatData() = default;
  // An absent tensor gives an absent FloatData. Throws Error(input) if the host cannot access the tensor's memory.
  explicit FloatData(const Tensor& tensor);

  explicit operator bool() const { return bytes_ != nullptr; }
  DType dtype() const { return dtype_; }

  // Elements [first, first + n): in place, or copied to `buffer` of at least n floats.
  const float* read(std::int64_t first, std::int64_t n, float* buffer) const {
    if (dtype_ == DType::f32) return floats() + first;
    widen(buffer, at(first), dtype_, n);
    return buffer;
  }
  // Where to write the elements starting at `first`; call commit() afterwards.
  float* target(std::int64_t first, float* buffer) const { return dtype_ == DType::f32 ? floats() + first : buffer; }
  // Stores the values written to target().
  void commit(std::int64_t first, std::int64_t n, const float* values) const {
    if (dtype_ != DType::f32) narrow(at(first), dtype_, values, n);
  }
  std::byte* at(std::int64_t first) const { return bytes_ + static_cast<std::size_t>(first) * size_of(dtype_); }

 private:
  float* floats() const { return reinterpret_cast<float*>(bytes_); }

  std::byte* bytes_ = nullptr;
  DType dtype_ = DType::f32;
};

}  // namespace mslt

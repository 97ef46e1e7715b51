// Tensor: a typed, shaped view of a Buffer.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "tensor/buffer.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace mslt {

// A row-major contiguous view; a value type that owns nothing. A default-constructed Tensor is empty and means "absent"
// for optional arguments of operations. The Buffer must outlive all its views.
class Tensor {
 public:
  Tensor() = default;
  // Views shape.elements() elements starting at byte `offset`. Throws Error(input) if they would exceed the buffer or
  // the offset is not a multiple of the element size.
  Tensor(Buffer& buffer, std::size_t offset, DType dtype, const Shape& shape);

  explicit operator bool() const { return buffer_ != nullptr; }
  Buffer& buffer() const { return *buffer_; }
  std::size_t offset() const { return offset_; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  std::int64_t elements() const { return shape_.elements(); }
  std::size_t bytes() const { return static_cast<std::size_t>(elements()) * size_of(dtype_); }

  // The same elements with another shape of equal size; throws Error(input) otherwise.
  Tensor reshape(const Shape& shape) const;
  // Elements [begin, begin + count) of the first dimension; throws Error(input) if they do not exist.
  Tensor slice(std::int64_t begin, std::int64_t count) const;

  // The elements in host memory. Throws Error(input) if T is not the dtype or the host cannot access the buffer.
  template <class T>
  std::span<T> host() const {
    return {reinterpret_cast<T*>(host_bytes(dtype_of<T>)), static_cast<std::size_t>(elements())};
  }

  // "f32 [2, 3] of 'activations'", for messages.
  std::string describe() const;

 private:
  std::byte* host_bytes(DType expected) const;

  Buffer* buffer_ = nullptr;
  std::size_t offset_ = 0;
  DType dtype_ = DType::f32;
  Shape shape_;
};

}  // namespace mslt

// Checked construction of tensor views.
#include "tensor/tensor.h"

#include "base/fail.h"

namespace mslt {

Tensor::Tensor(Buffer& buffer, std::size_t offset, DType dtype, const Shape& shape)
    : buffer_(&buffer), offset_(offset), dtype_(dtype), shape_(shape) {
  const std::size_t element = size_of(dtype);
  if (offset % element != 0 || offset > buffer.size() ||
      static_cast<std::size_t>(shape.elements()) > (buffer.size() - offset) / element) {
    fail(ErrorKind::input, "A {} tensor {} at byte {} does not fit the buffer '{}' of {} bytes.", name_of(dtype),
         shape.to_string(), offset, buffer.label(), buffer.size());
  }
}

Tensor Tensor::reshape(const Shape& shape) const {
  if (shape.elements() != elements()) {
    fail(ErrorKind::input, "{} cannot be viewed as {}.", describe(), shape.to_string());
  }
  Tensor result = *this;
  result.shape_ = shape;
  return result;
}

Tensor Tensor::slice(std::int64_t begin, std::int64_t count) const {
  if (shape_.rank() == 0 || begin < 0 || count < 0 || begin > shape_[0] || count > shape_[0] - begin) {
    fail(ErrorKind::input, "{} has no rows {} to {}.", describe(), begin, begin + count);
  }
  std::array<std::int64_t, Shape::max_rank> dimensions = {count};
  std::int64_t inner = 1;
  for (int i = 1; i < shape_.rank(); ++i) {
    dimensions[static_cast<std::size_t>(i)] = shape_[i];
    inner *= shape_[i];
  }
  Tensor result = *this;
  result.shape_ = Shape(dimensions.data(), static_cast<std::size_t>(shape_.rank()));
  result.offset_ += static_cast<std::size_t>(begin * inner) * size_of(dtype_);
  return result;
}

std::string Tensor::describe() const {
  if (buffer_ == nullptr) return "an absent tensor";
  return fmt::format("{} {} of '{}'", name_of(dtype_), shape_.to_string(), buffer_->label());
}

std::byte* Tensor::host_bytes(DType expected) const {
  if (buffer_ == nullptr || expected != dtype_) {
    fail(ErrorKind::input, "Expected {} elements, found {}.", name_of(expected), describe());
  }
  if (buffer_->host() == nullptr) fail(ErrorKind::input, "{} is not in host memory.", describe());
  return buffer_->host() + offset_;
}

}  // namespace mslt

// Lifetimes of tensors, counted in steps.
#include "model/dry_run_backend.h"

#include "base/fail.h"

namespace mslt {

class DryRunBackend::TrackedBuffer final : public Buffer {
 public:
  TrackedBuffer(std::size_t bytes, std::string_view label) : Buffer(bytes, nullptr, label) {}

  std::int64_t first_use = -1;
  std::int64_t last_use = -1;
};

DryRunBackend::DryRunBackend() {
  device_.backend = "dry-run";
  device_.name = "dry run";
  device_.trains_16_bit = true;
}

DryRunBackend::~DryRunBackend() = default;

Tensor DryRunBackend::track(std::string_view name, DType dtype, const Shape& shape) {
  const std::size_t bytes = static_cast<std::size_t>(shape.elements()) * size_of(dtype);
  tracked_.push_back(std::make_unique<TrackedBuffer>(bytes, name));
  return {*tracked_.back(), 0, dtype, shape};
}

std::vector<Lifetime> DryRunBackend::lifetimes() const {
  std::vector<Lifetime> result;
  for (const auto& buffer : tracked_) {
    if (buffer->first_use < 0) fail(ErrorKind::input, "Nothing uses the activation '{}'.", buffer->label());
    result.push_back({std::string(buffer->label()), buffer->size(), buffer->first_use, buffer->last_use});
  }
  return result;
}

std::unique_ptr<Buffer> DryRunBackend::allocate(std::size_t bytes, std::string_view label) {
  return std::make_unique<TrackedBuffer>(bytes, label);
}

void DryRunBackend::touch(const Tensor& tensor) {
  if (!tensor) return;
  auto& buffer = static_cast<TrackedBuffer&>(tensor.buffer());
  if (buffer.first_use < 0) buffer.first_use = now_;
  buffer.last_use = now_;
}

void DryRunBackend::upload(const Tensor& destination, std::span<const std::byte> /*source*/) {
  touch(destination);
  ++now_;
}

void DryRunBackend::download(const Tensor& source, std::span<std::byte> /*destination*/) {
  touch(source);
  ++now_;
}

void DryRunBackend::read_back(const Tensor& source, std::function<void(std::span<const std::byte>)> /*receive*/) {
  touch(source);
  ++now_;
}

}  // namespace mslt

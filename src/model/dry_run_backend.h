// DryRunBackend: a device that computes nothing and notes which tensors each operation touches.
#pragma once

#include <vector>

#include "backend/memoryless_backend.h"
#include "tensor/planner.h"

namespace mslt {

// Running a pass on it yields the lifetimes of the pass's tensors, so the memory plan follows from the code that uses
// it. Its buffers have a size but no memory; every operation is one step of the schedule.
class DryRunBackend final : public MemorylessBackend<DryRunBackend> {
 public:
  DryRunBackend();
  ~DryRunBackend() override;

  // A tensor with a buffer of its own, whose lifetime is noted.
  Tensor track(std::string_view name, DType dtype, const Shape& shape);
  // Lifetimes of the tracked tensors in the order of track(). Throws Error(input) naming one that nothing touched.
  std::vector<Lifetime> lifetimes() const;

  template <class Op>
  void each(const Op& op) {
    for (const Argument& argument : op.arguments()) touch(*argument.tensor);
    ++now_;
  }

  std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label) override;
  void upload(const Tensor& destination, std::span<const std::byte> source) override;
  void download(const Tensor& source, std::span<std::byte> destination) override;
  void read_back(const Tensor& source, std::function<void(std::span<const std::byte>)> receive) override;

 private:
  class TrackedBuffer;
  // Uses the tensor, where it is present, in the step that is under way.
  void touch(const Tensor& tensor);

  std::int64_t now_ = 0;
  std::vector<std::unique_ptr<TrackedBuffer>> tracked_;
};

}  // namespace mslt

// What training on the CPU would hold beside its tensors, without computing anything.
#include <algorithm>
#include <utility>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/scratch.h"
#include "backend/for_each_operation.h"

namespace mslt {
namespace {

class SizeOnlyBuffer final : public Buffer {
 public:
  SizeOnlyBuffer(std::size_t bytes, std::string_view label) : Buffer(bytes, nullptr, label) {}
};

class Rehearsal final : public ForEachOperation<Rehearsal> {
 public:
  explicit Rehearsal(DeviceInfo device) : device_(std::move(device)) {}

  template <class Op>
  void each(const Op& op) {
    floats_ = std::max(floats_, scratch_floats(op));
  }
  WorkingMemory working_memory() const override { return {.scratch = floats_ * sizeof(float)}; }

  const DeviceInfo& device() const override { return device_; }
  std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label) override {
    return std::make_unique<SizeOnlyBuffer>(bytes, label);
  }
  void upload(const Tensor& /*destination*/, std::span<const std::byte> /*source*/) override {}
  void download(const Tensor& /*source*/, std::span<std::byte> /*destination*/) override {}
  void read_back(const Tensor& /*source*/, std::function<void(std::span<const std::byte>)> /*receive*/) override {}
  void submit() override {}
  void wait() override {}
  void throttle(std::size_t /*in_flight*/) override {}

 private:
  DeviceInfo device_;
  std::size_t floats_ = 0;
};

}  // namespace

WorkingMemory CpuBackend::rehearse(const std::function<void(Backend&)>& work) const {
  Rehearsal rehearsal(device_);
  work(rehearsal);
  return rehearsal.working_memory();
}

}  // namespace mslt

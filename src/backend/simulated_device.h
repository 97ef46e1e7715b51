// For tests: a device without memory, which tells what it is asked to run and computes nothing.
#pragma once

#include <functional>
#include <memory>
#include <string_view>
#include <utility>

#include "backend/for_each_operation.h"

namespace mslt {

class SimulatedDevice final : public ForEachOperation<SimulatedDevice> {
 public:
  // Called with each operation's name, the type of its first tensor, and its work.
  using Ran = std::function<void(std::string_view operation, DType dtype, const Work& work)>;

  explicit SimulatedDevice(Ran ran) : ran_(std::move(ran)) { device_.trains_16_bit = true; }

  template <class Op>
  void each(const Op& op) {
    ran_(Op::name, op.arguments().front().tensor->dtype(), work_of(op));
  }

  const DeviceInfo& device() const override { return device_; }
  std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label) override {
    return std::make_unique<SizeOnly>(bytes, label);
  }
  void upload(const Tensor& /*destination*/, std::span<const std::byte> /*source*/) override {}
  void download(const Tensor& /*source*/, std::span<std::byte> /*destination*/) override {}
  void read_back(const Tensor& /*source*/, std::function<void(std::span<const std::byte>)> /*receive*/) override {}
  void submit() override {}
  void wait() override {}
  void throttle(std::size_t /*in_flight*/) override {}

 private:
  struct SizeOnly final : Buffer {
    SizeOnly(std::size_t bytes, std::string_view label) : Buffer(bytes, nullptr, label) {}
  };

  DeviceInfo device_;
  Ran ran_;
};

}  // namespace mslt

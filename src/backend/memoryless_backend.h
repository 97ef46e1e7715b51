// A backend that treats all operations alike and holds no memory.
#pragma once

#include <memory>

#include "backend/for_each_operation.h"

namespace mslt {

// Buffers of MemorylessBackend: a size and a label.
class SizeOnlyBuffer final : public Buffer {
 public:
  SizeOnlyBuffer(std::size_t bytes, std::string_view label) : Buffer(bytes, nullptr, label) {}
};

// ForEachOperation for a class that only looks at operations: its buffers have a size but no memory, and what moves
// data or waits does nothing. One thread at a time.
template <class Self>
class MemorylessBackend : public ForEachOperation<Self> {
 public:
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

 protected:
  DeviceInfo device_;
};

}  // namespace mslt

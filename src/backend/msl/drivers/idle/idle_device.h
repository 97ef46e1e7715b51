// A device that runs nothing: for counting the work of a model on a real device.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include "backend/msl/driver.h"

namespace mslt::msl::idle {

// Reports `info` and `limits` as its own. Buffers that need not be host_visible have a size but no memory. Commands are
// dropped, and done only when they are waited for; read-backs deliver the contents of the staging memory.
class IdleDevice final : public Device {
 public:
  IdleDevice(DeviceInfo info, DeviceLimits limits);
  ~IdleDevice() override;

  const DeviceInfo& info() const override { return info_; }
  const DeviceLimits& limits() const override { return limits_; }
  std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label, bool host_visible) override;
  // Aligned as on any other device.
  void* address(const Tensor& tensor) const override { return reinterpret_cast<void*>(tensor.offset()); }
  const Pipeline& pipeline(std::string_view name) override;
  std::unique_ptr<CommandBuffer> command_buffer() override;

 private:
  DeviceInfo info_;
  DeviceLimits limits_;
  std::unique_ptr<Pipeline> pipeline_;
};

}  // namespace mslt::msl::idle

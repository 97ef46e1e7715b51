// MetalDevice: the driver for Apple's GPUs. Objective-C++ only; see backend/msl/metal_backend.h for C++.
#pragma once

#import <Metal/Metal.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backend/msl/driver.h"
#include "backend/msl/drivers/metal/metal_library.h"
#include "backend/msl/drivers/metal/retained.h"

namespace mslt::msl::metal {

struct MetalOptions {
  // Which GPU: empty for the system's default one or, without a default, the first; a number for that one of
  // metal_devices(); otherwise a part of its name.
  std::string device;
  std::string_view source;         // of the kernels; must outlive the device
  std::filesystem::path compiled;  // the same, compiled ahead of time; see load_library
};

// The GPUs that a MetalDevice can use.
std::vector<DeviceInfo> metal_devices();

// Command buffers run asynchronously, in the order of their commits. All memory is shared: host_visible. One thread at
// a time; completion handlers come from Metal's threads.
class MetalDevice final : public Device {
 public:
  // Compiles the kernels. Throws Error(device) if there is no such GPU, if it is older than the M1 generation (no
  // simdgroup matrices), or if the kernels do not compile.
  explicit MetalDevice(const MetalOptions& options);
  // Finishes committed work.
  ~MetalDevice() override;

  const DeviceInfo& info() const override { return info_; }
  const DeviceLimits& limits() const override { return limits_; }
  std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label, bool host_visible) override;
  std::unique_ptr<Buffer> wrap(std::span<const std::byte> memory, std::string_view label,
                               std::shared_ptr<const void> owner) override;
  const Pipeline& pipeline(std::string_view name) override;
  std::unique_ptr<CommandBuffer> command_buffer() override;

  // For MetalCommandBuffer.
  id<MTLCommandQueue> queue() const { return queue_.get(); }
  id<MTLFence> fence() const { return fence_.get(); }
  // Announces the next command buffer to be committed.
  void committing(id<MTLCommandBuffer> commands);
  // Every byte value, `repeats` times in a row.
  static constexpr std::size_t repeats = 4;
  Buffer& byte_values() { return *byte_values_; }

 private:
  Retained<id<MTLDevice>> device_;
  Retained<id<MTLCommandQueue>> queue_;
  Retained<id<MTLFence>> fence_;  // orders all encoders, see MetalCommandBuffer
  Retained<id<MTLLibrary>> library_;
  Retained<id<MTLCommandBuffer>> last_committed_;
  DeviceInfo info_;
  DeviceLimits limits_;
  std::map<std::string, std::unique_ptr<MetalPipeline>, std::less<>> pipelines_;
  std::unique_ptr<Buffer> byte_values_;
};

}  // namespace mslt::msl::metal

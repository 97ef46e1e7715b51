// Encoding, committing and awaiting one MTLCommandBuffer. Objective-C++ only.
#pragma once

#import <Metal/Metal.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "backend/msl/driver.h"
#include "backend/msl/drivers/metal/hazards.h"
#include "backend/msl/drivers/metal/metal_library.h"
#include "backend/msl/drivers/metal/retained.h"

namespace mslt::msl::metal {

class MetalDevice;

// Dispatches go to concurrent compute encoders and run side by side; a barrier stands before each one that touches what
// another wrote since the last barrier, or writes what another touched. Copies and fills go to blit encoders, or, where
// they are not multiples of 4 bytes, which blits must be, to the kernel copy_bytes. Buffers are not tracked by Metal:
// every encoder waits for the device's fence before it starts and updates it at its end, so encoders run in order,
// those of earlier command buffers first.
class MetalCommandBuffer final : public CommandBuffer {
 public:
  explicit MetalCommandBuffer(MetalDevice& device);
  // What was not committed is dropped. What was goes on.
  ~MetalCommandBuffer() override;

  void set_pipeline(const Pipeline& pipeline) override;
  void set_buffer(std::uint32_t index, Buffer& buffer, std::size_t offset) override;
  void set_buffer_range(std::uint32_t index, Buffer& buffer, std::size_t offset, std::size_t bytes,
                        ArgumentAccess access) override;
  void set_bytes(std::uint32_t index, std::span<const std::byte> bytes) override;
  void set_threadgroup_memory(std::uint32_t index, std::uint32_t bytes) override;
  void dispatch(GridSize groups, GridSize threads) override;
  void copy(Buffer& destination, std::size_t destination_offset, Buffer& source, std::size_t source_offset,
            std::size_t bytes) override;
  void fill(Buffer& destination, std::size_t offset, std::size_t bytes, std::uint8_t value) override;
  void on_completed(std::function<void(const CommandTiming&, std::string_view error)> handler) override;
  void commit() override;
  void wait() override;

 private:
  class Completion;

  static constexpr std::size_t max_buffers = 31;
  static constexpr std::size_t max_threadgroup_arguments = 31;

  void check_open() const;
  void check_index(std::uint32_t index, std::size_t count, std::string_view what) const;
  // The encoder for what comes next; ends the one of the other kind.
  id<MTLComputeCommandEncoder> compute();
  id<MTLBlitCommandEncoder> blit();
  void end_encoding();
  void blit_copy(Buffer& destination, std::size_t destination_offset, Buffer& source, std::size_t source_offset,
                 std::size_t bytes);
  void blit_fill(Buffer& destination, std::size_t offset, std::size_t bytes, std::uint8_t value);
  // By a kernel, byte by byte.
  void kernel_copy(Buffer& destination, std::size_t destination_offset, Buffer& source, std::size_t source_offset,
                   std::size_t bytes);
  // A blit encoder in which a command with these accesses can run beside the others.
  id<MTLBlitCommandEncoder> blit_for(std::span<const MemoryAccess> accesses);

  MetalDevice& device_;
  std::shared_ptr<Completion> completion_;
  Retained<id<MTLCommandBuffer>> commands_;
  Retained<id<MTLComputeCommandEncoder>> compute_;
  Retained<id<MTLBlitCommandEncoder>> blit_;
  HazardTracker hazards_;  // of the open encoder since its last barrier
  const MetalPipeline* pipeline_ = nullptr;
  const MetalPipeline* encoded_pipeline_ = nullptr;  // what the open compute encoder has
  std::array<MemoryAccess, max_buffers> bound_;
  std::array<std::uint32_t, max_threadgroup_arguments> threadgroup_bytes_{};
  bool committed_ = false;
};

}  // namespace mslt::msl::metal

// Recording, encoding, committing and awaiting one MTLCommandBuffer. Objective-C++ only.
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
#include "backend/msl/drivers/metal/metal_recording.h"
#include "backend/msl/drivers/metal/retained.h"

namespace mslt::msl::metal {

class MetalDevice;

// Dispatches go to concurrent compute encoders and run at the same time. A barrier precedes each one that accesses what
// another wrote since the last barrier, or writes what another accessed. Copies and fills go to blit encoders, or to
// the kernel copy_bytes if they are not multiples of 4 bytes, as blits must be. Metal does not track the buffers: every
// encoder waits for the device's fence before it starts and updates it at its end, so encoders run in order, after
// those of earlier command buffers. commit() encodes everything, within one autorelease pool.
class MetalCommandBuffer final : public CommandBuffer {
 public:
  explicit MetalCommandBuffer(MetalDevice& device);
  // Drops uncommitted work. Committed work continues.
  ~MetalCommandBuffer() override = default;

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
  enum class Kind { none, compute, blit };

  static constexpr std::size_t max_buffers = 31;
  static constexpr std::size_t max_threadgroup_arguments = 31;

  void check_open() const;
  void check_index(std::uint32_t index, std::size_t count, std::string_view what) const;
  // Begins an encoder of that kind, unless the last one already is.
  void compute();
  void blit();
  void begin(Kind kind);
  void blit_copy(Buffer& destination, std::size_t destination_offset, Buffer& source, std::size_t source_offset,
                 std::size_t bytes);
  void blit_fill(Buffer& destination, std::size_t offset, std::size_t bytes, std::uint8_t value);
  // By a kernel, byte by byte.
  void kernel_copy(Buffer& destination, std::size_t destination_offset, Buffer& source, std::size_t source_offset,
                   std::size_t bytes);
  // Begins a blit encoder if a command with these accesses cannot run together with the others of the last one.
  void blit_for(std::span<const MemoryAccess> accesses);

  MetalDevice& device_;
  std::shared_ptr<Completion> completion_;
  Retained<id<MTLCommandBuffer>> commands_;
  MetalRecording recording_;
  Kind kind_ = Kind::none;  // of the last encoder
  HazardTracker hazards_;   // of the last encoder since its last barrier
  const MetalPipeline* pipeline_ = nullptr;
  const MetalPipeline* encoded_pipeline_ = nullptr;  // pipeline of the last compute encoder
  std::array<MemoryAccess, max_buffers> bound_;
  std::array<std::uint32_t, max_threadgroup_arguments> threadgroup_bytes_{};
  bool committed_ = false;
};

}  // namespace mslt::msl::metal

// The calls that a command buffer will encode, kept until it is committed. Objective-C++ only.
#pragma once

#import <Metal/Metal.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "backend/msl/driver.h"
#include "backend/msl/drivers/metal/metal_library.h"
#include "backend/msl/drivers/metal/retained.h"

namespace mslt::msl::metal {

// Metal's calls in order. encode() makes them all at once, so one autorelease pool, which begins and ends there,
// releases their objects. A pool kept open between calls could end out of order with those of the surrounding program.
class MetalRecording {
 public:
  // Begins the encoder for the next calls; ends the previous one.
  void begin_compute() { calls_.emplace_back(BeginCompute{}); }
  void begin_blit() { calls_.emplace_back(BeginBlit{}); }

  // For a compute encoder. Pipelines must outlive the recording; buffers are retained.
  void pipeline(const MetalPipeline& pipeline) { calls_.emplace_back(SetPipeline{&pipeline}); }
  void buffer(std::uint32_t index, id<MTLBuffer> buffer, std::size_t offset);
  void bytes(std::uint32_t index, std::span<const std::byte> bytes);
  void threadgroup_memory(std::uint32_t index, std::uint32_t bytes) {
    calls_.emplace_back(SetThreadgroupMemory{index, bytes});
  }
  void barrier() { calls_.emplace_back(Barrier{}); }
  void dispatch(GridSize groups, GridSize threads) { calls_.emplace_back(Dispatch{groups, threads}); }

  // For a blit encoder.
  void copy(id<MTLBuffer> destination, std::size_t destination_offset, id<MTLBuffer> source, std::size_t source_offset,
            std::size_t bytes);
  void fill(id<MTLBuffer> destination, std::size_t offset, std::size_t bytes, std::uint8_t value);

  // Every encoder waits for the fence first and updates it last. Throws Error(device) if Metal gives no encoder. Call
  // it within an autorelease pool.
  void encode(id<MTLCommandBuffer> commands, id<MTLFence> fence) const;

 private:
  using Memory = Retained<id<MTLBuffer>>;
  struct BeginCompute {};
  struct BeginBlit {};
  struct SetPipeline {
    const MetalPipeline* pipeline;
  };
  struct SetBuffer {
    std::uint32_t index;
    std::size_t offset;
    Memory buffer;
  };
  // Refers to bytes_.
  struct SetBytes {
    std::uint32_t index;
    std::size_t begin;
    std::size_t length;
  };
  struct SetThreadgroupMemory {
    std::uint32_t index;
    std::uint32_t bytes;
  };
  struct Barrier {};
  struct Dispatch {
    GridSize groups;
    GridSize threads;
  };
  struct Copy {
    Memory destination;
    std::size_t destination_offset;
    Memory source;
    std::size_t source_offset;
    std::size_t bytes;
  };
  struct Fill {
    Memory destination;
    std::size_t offset;
    std::size_t bytes;
    std::uint8_t value;
  };
  using Call = std::variant<BeginCompute, BeginBlit, SetPipeline, SetBuffer, SetBytes, SetThreadgroupMemory, Barrier,
                            Dispatch, Copy, Fill>;
  class Encoding;

  std::vector<Call> calls_;
  std::vector<std::byte> bytes_;
};

}  // namespace mslt::msl::metal

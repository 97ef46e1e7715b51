// Making the recorded calls.
#include "backend/msl/drivers/metal/metal_recording.h"

#include "base/fail.h"

namespace mslt::msl::metal {
namespace {

MTLSize to_size(GridSize size) {
  return MTLSizeMake(size.x, size.y, size.z);
}

}  // namespace

// The encoder in use, held by the surrounding pool; always ended.
class MetalRecording::Encoding {
 public:
  Encoding(const MetalRecording& recording, id<MTLCommandBuffer> commands, id<MTLFence> fence)
      : recording_(recording), commands_(commands), fence_(fence) {}
  Encoding(const Encoding&) = delete;
  Encoding& operator=(const Encoding&) = delete;
  ~Encoding() { end(); }

  void operator()(const BeginCompute&) {
    end();
    compute_ = [commands_ computeCommandEncoderWithDispatchType:MTLDispatchTypeConcurrent];
    if (compute_ == nil) fail(ErrorKind::device, "metal: no compute encoder could be made.");
    [compute_ waitForFence:fence_];
  }

  void operator()(const BeginBlit&) {
    end();
    blit_ = [commands_ blitCommandEncoder];
    if (blit_ == nil) fail(ErrorKind::device, "metal: no blit encoder could be made.");
    [blit_ waitForFence:fence_];
  }

  void operator()(const SetPipeline& call) { [compute_ setComputePipelineState:call.pipeline->state()]; }

  void operator()(const SetBuffer& call) {
    [compute_ setBuffer:call.buffer.get() offset:call.offset atIndex:call.index];
  }

  void operator()(const SetBytes& call) {
    [compute_ setBytes:recording_.bytes_.data() + call.begin length:call.length atIndex:call.index];
  }

  void operator()(const SetThreadgroupMemory& call) {
    [compute_ setThreadgroupMemoryLength:call.bytes atIndex:call.index];
  }

  void operator()(const Barrier&) { [compute_ memoryBarrierWithScope:MTLBarrierScopeBuffers]; }

  void operator()(const Dispatch& call) {
    [compute_ dispatchThreadgroups:to_size(call.groups) threadsPerThreadgroup:to_size(call.threads)];
  }

  void operator()(const Copy& call) {
    [blit_ copyFromBuffer:call.source.get()
             sourceOffset:call.source_offset
                 toBuffer:call.destination.get()
        destinationOffset:call.destination_offset
                     size:call.bytes];
  }

  void operator()(const Fill& call) {
    [blit_ fillBuffer:call.destination.get() range:NSMakeRange(call.offset, call.bytes) value:call.value];
  }

 private:
  void end() {
    [compute_ updateFence:fence_];
    [compute_ endEncoding];
    [blit_ updateFence:fence_];
    [blit_ endEncoding];
    compute_ = nil;
    blit_ = nil;
  }

  const MetalRecording& recording_;
  id<MTLCommandBuffer> commands_;
  id<MTLFence> fence_;
  id<MTLComputeCommandEncoder> compute_ = nil;
  id<MTLBlitCommandEncoder> blit_ = nil;
};

void MetalRecording::buffer(std::uint32_t index, id<MTLBuffer> buffer, std::size_t offset) {
  calls_.emplace_back(SetBuffer{index, offset, Memory::retain(buffer)});
}

void MetalRecording::bytes(std::uint32_t index, std::span<const std::byte> bytes) {
  calls_.emplace_back(SetBytes{index, bytes_.size(), bytes.size()});
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
}

void MetalRecording::copy(id<MTLBuffer> destination, std::size_t destination_offset, id<MTLBuffer> source,
                          std::size_t source_offset, std::size_t bytes) {
  calls_.emplace_back(
      Copy{Memory::retain(destination), destination_offset, Memory::retain(source), source_offset, bytes});
}

void MetalRecording::fill(id<MTLBuffer> destination, std::size_t offset, std::size_t bytes, std::uint8_t value) {
  calls_.emplace_back(Fill{Memory::retain(destination), offset, bytes, value});
}

void MetalRecording::encode(id<MTLCommandBuffer> commands, id<MTLFence> fence) const {
  Encoding encoding(*this, commands, fence);
  for (const Call& call : calls_) std::visit(encoding, call);
}

}  // namespace mslt::msl::metal

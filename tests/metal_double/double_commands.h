// Queues, command buffers and encoders of the double.
#pragma once

#include <array>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "backend/msl/drivers/host/entry.h"
#include "tests/metal_double/double_device.h"
#include "tests/metal_double/double_library.h"
#include "tests/metal_double/executor.h"
#include "tests/metal_double/ordering.h"

namespace mslt::metal_double {

// The number of unfinished command buffers of a queue.
struct QueueState {
  static constexpr int most = 64;
  std::mutex mutex;
  std::condition_variable done;
  int pending = 0;
  int uncommitted = 0;
};

// A command buffer's records and progress.
struct CommandState {
  Script script;
  std::vector<MTLCommandBufferHandler> handlers;  // copied blocks
  std::vector<id> held;                           // retained: objects that the commands use
  std::vector<std::uint64_t> encoders;
  bool encoding = false;  // an encoder is open
  std::mutex mutex;       // guards the members below
  std::condition_variable changed;
  MTLCommandBufferStatus status = MTLCommandBufferStatusNotEnqueued;
  NSError* error = nil;
  double gpu_start = 0.0;
  double gpu_end = 0.0;

  bool is(MTLCommandBufferStatus wanted) {
    const std::lock_guard lock(mutex);
    return status == wanted;
  }
  bool finished() const { return status == MTLCommandBufferStatusCompleted || status == MTLCommandBufferStatusError; }
};

// The binding of an index of a compute encoder.
struct Binding {
  MsltDoubleBuffer* buffer = nil;
  std::size_t offset = 0;
  std::size_t bytes = 0;  // up to the end, unless a dispatch is announced
  std::shared_ptr<std::vector<std::byte>> constant;
};

struct ComputeState {
  MsltDoublePipeline* pipeline = nil;
  std::array<Binding, msl::host::max_buffers> bindings;
  std::array<std::uint32_t, msl::host::max_threadgroup_arguments> threadgroup_bytes{};
};

}  // namespace mslt::metal_double

@interface MsltDoubleQueue : MsltDoubleObject <MTLCommandQueue> {
  std::shared_ptr<mslt::metal_double::QueueState>* state_;
}
@end

@interface MsltDoubleCommandBuffer : MsltDoubleObject <MTLCommandBuffer> {
  MsltDoubleQueue* queue_;
  std::shared_ptr<mslt::metal_double::QueueState>* queue_state_;
  mslt::metal_double::CommandState* state_;
}
- (instancetype)initWithQueue:(MsltDoubleQueue*)queue
                        state:(const std::shared_ptr<mslt::metal_double::QueueState>&)queue_state;
- (mslt::metal_double::CommandState*)state;
// Keeps it until the commands are done.
- (void)hold:(id)object;
@end

// Common to both kinds of encoders.
@interface MsltDoubleEncoder : MsltDoubleObject <MTLCommandEncoder> {
  MsltDoubleCommandBuffer* commands_;
  std::uint64_t number_;
  BOOL ended_;
}
- (instancetype)initWithCommands:(MsltDoubleCommandBuffer*)commands;
- (void)updateFence:(id<MTLFence>)fence;
- (void)waitForFence:(id<MTLFence>)fence;
// Whether it still accepts commands; reports if not.
- (BOOL)isOpen;
- (void)add:(mslt::metal_double::Command)command work:(mslt::metal_double::Work)work;
@end

@interface MsltDoubleComputeEncoder : MsltDoubleEncoder <MTLComputeCommandEncoder> {
  mslt::metal_double::ComputeState* compute_;
  MTLDispatchType type_;
}
- (instancetype)initWithCommands:(MsltDoubleCommandBuffer*)commands type:(MTLDispatchType)type;
@end

@interface MsltDoubleBlitEncoder : MsltDoubleEncoder <MTLBlitCommandEncoder>
@end

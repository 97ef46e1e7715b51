// Queues and command buffers: committing, running, finishing.
#include "tests/metal_double/double_commands.h"

#include <Foundation/NSThread.h>

#include <chrono>
#include <utility>

#include "tests/metal_double/world.h"

using namespace mslt::metal_double;

NSErrorDomain const MTLCommandBufferErrorDomain = @"MTLCommandBufferErrorDomain";

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The fault of this command buffer, if it has one.
std::optional<CommandFault> take_fault() {
  const std::lock_guard lock(world().mutex);
  std::optional<CommandFault>& fault = world().command_fault;
  if (!fault) return std::nullopt;
  if (fault->after > 0) {
    --fault->after;
    return std::nullopt;
  }
  return std::exchange(fault, std::nullopt);
}

// The GPU's part, on its thread. Owns a reference to the command buffer.
void execute(MsltDoubleCommandBuffer* commands, const std::shared_ptr<QueueState>& queue, mslt::msl::host::Team& team,
             Dice& dice) {
  NSAutoreleasePool* pool = [[NSAutoreleasePool alloc] init];
  CommandState& state = *[commands state];
  nap(dice);
  const double start = now();
  NSError* error = nil;
  if (const std::optional<CommandFault> fault = take_fault()) {
    set_error(&error, MTLCommandBufferErrorDomain, fault->code, fault->reason);
  } else if (const std::string mistake = run(state.script, team, dice); !mistake.empty()) {
    set_error(&error, MTLCommandBufferErrorDomain, MTLCommandBufferErrorPageFault, mistake);
  }
  {
    const std::lock_guard lock(state.mutex);
    state.gpu_start = start;
    state.gpu_end = now();
    state.error = [error retain];
    state.status = error == nil ? MTLCommandBufferStatusCompleted : MTLCommandBufferStatusError;
  }
  // Waiters may continue before the handlers are called: Metal promises nothing else.
  state.changed.notify_all();
  nap(dice);
  for (MTLCommandBufferHandler handler : state.handlers) {
    handler(commands);
    Block_release(handler);
  }
  state.handlers.clear();
  state.script.clear();
  for (id object : state.held) [object release];
  state.held.clear();
  {
    const std::lock_guard lock(queue->mutex);
    --queue->pending;
  }
  queue->done.notify_all();
  [commands release];
  [pool drain];
}

}  // namespace

@implementation MsltDoubleQueue

- (instancetype)initWithDevice:(id<MTLDevice>)device {
  self = [super initWithDevice:device];
  state_ = new std::shared_ptr<QueueState>(std::make_shared<QueueState>());
  return self;
}

- (void)dispose {
  delete state_;
}

- (id<MTLCommandBuffer>)commandBuffer {
  QueueState& state = **state_;
  {
    std::unique_lock lock(state.mutex);
    if (state.uncommitted >= QueueState::most) {
      [self report:"all its command buffers are handed out and none is committed: it would wait for ever."];
      return nil;
    }
    state.done.wait(lock, [&state] { return state.pending + state.uncommitted < QueueState::most; });
    ++state.uncommitted;
  }
  {
    const std::lock_guard lock(world().mutex);
    ++world().counts.command_buffers;
  }
  return [[[MsltDoubleCommandBuffer alloc] initWithQueue:self state:*state_] autorelease];
}

@end

@implementation MsltDoubleCommandBuffer

- (instancetype)initWithQueue:(MsltDoubleQueue*)queue state:(const std::shared_ptr<QueueState>&)queue_state {
  self = [super initWithDevice:[queue device]];
  queue_ = [queue retain];
  queue_state_ = new std::shared_ptr<QueueState>(queue_state);
  state_ = new CommandState;
  return self;
}

- (void)dispose {
  if (state_->encoding) [self report:"released with an open encoder."];
  if (state_->is(MTLCommandBufferStatusNotEnqueued)) {
    {
      const std::lock_guard lock((*queue_state_)->mutex);
      --(*queue_state_)->uncommitted;
    }
    (*queue_state_)->done.notify_all();
    const std::lock_guard lock(world().mutex);
    for (const std::uint64_t encoder : state_->encoders) world().ordering.drop(encoder);
  }
  for (MTLCommandBufferHandler handler : state_->handlers) Block_release(handler);
  for (id object : state_->held) [object release];
  [state_->error release];
  delete state_;
  delete queue_state_;
  [queue_ release];
}

- (CommandState*)state {
  return state_;
}

- (void)hold:(id)object {
  state_->held.push_back([object retain]);
}

- (id<MTLCommandQueue>)commandQueue {
  return queue_;
}

- (BOOL)mayEncode {
  if (!state_->is(MTLCommandBufferStatusNotEnqueued)) {
    [self report:"an encoder is asked for after commit."];
    return NO;
  }
  if (state_->encoding) {
    [self report:"an encoder is asked for while another is open."];
    return NO;
  }
  return YES;
}

- (id<MTLBlitCommandEncoder>)blitCommandEncoder {
  if (![self mayEncode]) return nil;
  {
    const std::lock_guard lock(world().mutex);
    ++world().counts.blit_encoders;
  }
  return [[[MsltDoubleBlitEncoder alloc] initWithCommands:self] autorelease];
}

- (id<MTLComputeCommandEncoder>)computeCommandEncoderWithDispatchType:(MTLDispatchType)dispatchType {
  if (![self mayEncode]) return nil;
  {
    const std::lock_guard lock(world().mutex);
    ++world().counts.compute_encoders;
  }
  return [[[MsltDoubleComputeEncoder alloc] initWithCommands:self type:dispatchType] autorelease];
}

- (void)addCompletedHandler:(MTLCommandBufferHandler)block {
  if (!state_->is(MTLCommandBufferStatusNotEnqueued)) {
    [self report:"a handler is added after commit."];
    return;
  }
  state_->handlers.push_back(Block_copy(block));
}

- (void)commit {
  if (!state_->is(MTLCommandBufferStatusNotEnqueued)) {
    [self report:"committed twice."];
    return;
  }
  if (state_->encoding) {
    [self report:"committed with an open encoder."];
    return;
  }
  {
    const std::lock_guard lock(state_->mutex);
    state_->status = MTLCommandBufferStatusCommitted;
  }
  const std::shared_ptr<QueueState> queue = *queue_state_;
  {
    const std::lock_guard lock(queue->mutex);
    --queue->uncommitted;
    ++queue->pending;
  }
  {
    const std::lock_guard lock(world().mutex);
    ++world().counts.commits;
  }
  MsltDoubleCommandBuffer* commands = [self retain];
  world().executor->post([commands, queue](mslt::msl::host::Team& team, Dice& dice) {
    const bool foreign = GSRegisterCurrentThread();
    execute(commands, queue, team, dice);
    if (foreign) GSUnregisterCurrentThread();
  });
}

- (void)waitUntilCompleted {
  {
    std::unique_lock lock(state_->mutex);
    if (state_->status == MTLCommandBufferStatusNotEnqueued) {
      lock.unlock();
      [self report:"waited for before commit: it would wait for ever."];
      return;
    }
    state_->changed.wait(lock, [self] { return state_->finished(); });
  }
  const std::lock_guard lock(world().mutex);
  if (!state_->encoders.empty()) world().ordering.done_through(state_->encoders.back());
}

- (MTLCommandBufferStatus)status {
  const std::lock_guard lock(state_->mutex);
  return state_->status;
}

- (NSError*)error {
  const std::lock_guard lock(state_->mutex);
  return [[state_->error retain] autorelease];
}

- (BOOL)hasTimes {
  const std::lock_guard lock(state_->mutex);
  if (state_->finished()) return YES;
  [self report:"asked for its times before it is done."];
  return NO;
}

- (CFTimeInterval)GPUStartTime {
  return [self hasTimes] ? state_->gpu_start : 0.0;
}

- (CFTimeInterval)GPUEndTime {
  return [self hasTimes] ? state_->gpu_end : 0.0;
}

@end

// Encoders: checking what is encoded, and turning it into work for the host driver's threads.
#include <algorithm>
#include <cstring>

#include "backend/msl/drivers/host/group_runner.h"
#include "kernels/layout_args.h"
#include "tests/metal_double/double_commands.h"
#include "tests/metal_double/out_of_bounds.h"
#include "tests/metal_double/world.h"

using namespace mslt::metal_double;
namespace msl = mslt::msl;

namespace {

constexpr NSUInteger most_constant_bytes = 4096;
constexpr NSUInteger threadgroup_alignment = 16;
constexpr NSUInteger blit_alignment = 4;

// The required alignment of an offset: the size of a scalar or vector element, 4 for structs.
NSUInteger alignment_of(const msl::ArgumentInfo& argument) {
  if (argument.element.starts_with("packed_")) return 1;
  const std::uint32_t bytes = argument.element_bytes;
  return bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8 || bytes == 16 ? bytes : 4;
}

// One dispatch with its constants and ranges.
struct Dispatch {
  msl::host::Dispatch dispatch;
  std::vector<BoundRange> ranges;
  std::vector<std::shared_ptr<std::vector<std::byte>>> constants;
};

Access access_of(const msl::ArgumentInfo& argument, const Binding& binding) {
  return {.buffer = binding.buffer,
          .begin = binding.offset,
          .end = binding.offset + binding.bytes,
          .writes = argument.access == msl::ArgumentAccess::write,
          .tracked = [binding.buffer isTracked] == YES,
          .name = std::string(argument.name)};
}

Access access_of(MsltDoubleBuffer* buffer, NSUInteger offset, NSUInteger size, bool writes) {
  const char* label = [[buffer label] UTF8String];
  return {.buffer = buffer,
          .begin = offset,
          .end = offset + size,
          .writes = writes,
          .tracked = [buffer isTracked] == YES,
          .name = label == nullptr ? "" : label};
}

// The driver copies odd sizes by this kernel itself; its constants contain the number of bytes.
void know_copy(const msl::KernelInfo& info, ComputeState& state) {
  if (info.name != "copy_bytes" || !state.bindings[2].constant) return;
  SpanArgs args{};
  std::memcpy(&args, state.bindings[2].constant->data(), std::min(sizeof(args), state.bindings[2].constant->size()));
  for (const std::size_t i : {0, 1})
    state.bindings[i].bytes = std::min<std::size_t>(state.bindings[i].bytes, args.count);
}

const void* address_of(const Binding& binding) {
  return binding.buffer == nil ? nullptr : static_cast<std::byte*>([binding.buffer contents]) + binding.offset;
}

// Narrows the bindings to the announced ones, if they are for this dispatch. Returns whether they fit into the buffers.
bool know_announced(const msl::KernelInfo& info, ComputeState& state) {
  const Announcement* announcement = next_announced();
  if (announcement == nullptr || announcement->kernel != info.name) return true;
  for (const Announcement::Use& use : announcement->uses) {
    if (address_of(state.bindings.at(use.index)) != use.address) return true;
  }
  bool fits = true;
  for (const Announcement::Use& use : announcement->uses) {
    Binding& binding = state.bindings[use.index];
    fits = fits && use.bytes <= [binding.buffer length] - binding.offset;
    binding.bytes = use.bytes;
  }
  announced_came();
  return fits;
}

// The error in the binding of an argument, or an empty string.
std::string binding_mistake(const msl::ArgumentInfo& argument, const ComputeState& state) {
  if (argument.kind == msl::ArgumentKind::threadgroup) {
    const std::uint32_t bytes = state.threadgroup_bytes.at(argument.index);
    return bytes >= argument.element_bytes && bytes > 0 ? "" : "has no threadgroup memory";
  }
  const Binding& binding = state.bindings.at(argument.index);
  if (binding.buffer == nil && !binding.constant) return "is not bound";
  const std::size_t size = binding.constant ? binding.constant->size() : [binding.buffer length] - binding.offset;
  if (size < argument.element_bytes) {
    return argument.kind == msl::ArgumentKind::bytes ? "is too small for its struct" : "has no room for one element";
  }
  if (binding.buffer != nil && binding.offset % alignment_of(argument) != 0) return "has a misaligned offset";
  return {};
}

}  // namespace

@implementation MsltDoubleEncoder

- (instancetype)initWithCommands:(MsltDoubleCommandBuffer*)commands {
  self = [super initWithDevice:[commands device]];
  commands_ = [commands retain];
  CommandState& state = *[commands state];
  state.encoding = true;
  state.script.emplace_back();
  const std::lock_guard lock(world().mutex);
  number_ = world().ordering.begin_encoder();
  state.encoders.push_back(number_);
  return self;
}

- (void)dispose {
  if (!ended_) [self report:"released without endEncoding."];
  [commands_ release];
}

- (BOOL)isOpen {
  if (ended_) [self report:"used after endEncoding."];
  return !ended_;
}

- (void)endEncoding {
  if (![self isOpen]) return;
  ended_ = YES;
  [commands_ state]->encoding = false;
  const std::lock_guard lock(world().mutex);
  world().ordering.end_encoder(number_);
}

- (void)updateFence:(id<MTLFence>)fence {
  if (![self isOpen]) return;
  [commands_ hold:fence];
  const std::lock_guard lock(world().mutex);
  world().ordering.update(number_, fence);
}

- (void)waitForFence:(id<MTLFence>)fence {
  if (![self isOpen]) return;
  [commands_ hold:fence];
  const std::lock_guard lock(world().mutex);
  world().ordering.wait(number_, fence);
}

- (void)add:(Command)command work:(Work)work {
  [commands_ state]->script.back().push_back(std::move(work));
  const std::lock_guard lock(world().mutex);
  world().ordering.add(number_, std::move(command));
}

@end

@implementation MsltDoubleComputeEncoder

- (instancetype)initWithCommands:(MsltDoubleCommandBuffer*)commands type:(MTLDispatchType)type {
  self = [super initWithCommands:commands];
  compute_ = new ComputeState;
  type_ = type;
  return self;
}

- (void)dispose {
  delete compute_;
  [super dispose];
}

- (MTLDispatchType)dispatchType {
  return type_;
}

- (void)setComputePipelineState:(id<MTLComputePipelineState>)state {
  if (![self isOpen]) return;
  if (state == nil) {
    [self report:"the pipeline is nil."];
    return;
  }
  [commands_ hold:state];
  compute_->pipeline = static_cast<MsltDoublePipeline*>(state);
}

- (BOOL)mayBind:(NSUInteger)index {
  if (![self isOpen]) return NO;
  if (index >= compute_->bindings.size()) [self report:fmt::format("there is no index {}.", index).c_str()];
  return index < compute_->bindings.size();
}

- (void)setBytes:(const void*)bytes length:(NSUInteger)length atIndex:(NSUInteger)index {
  if (![self mayBind:index]) return;
  if (bytes == nullptr || length == 0 || length > most_constant_bytes) {
    [self report:fmt::format("setBytes of {} bytes.", length).c_str()];
    return;
  }
  const auto* first = static_cast<const std::byte*>(bytes);
  compute_->bindings[index] = {.constant = std::make_shared<std::vector<std::byte>>(first, first + length)};
}

- (void)setBuffer:(id<MTLBuffer>)buffer offset:(NSUInteger)offset atIndex:(NSUInteger)index {
  if (![self mayBind:index]) return;
  auto* bound = static_cast<MsltDoubleBuffer*>(buffer);
  if (bound != nil && offset >= [bound length]) {
    [self report:fmt::format("offset {} is not within the {} bytes of its buffer.", offset, [bound length]).c_str()];
    return;
  }
  [commands_ hold:bound];
  compute_->bindings[index] = {
      .buffer = bound, .offset = offset, .bytes = [bound length] - offset, .constant = nullptr};
}

- (void)setThreadgroupMemoryLength:(NSUInteger)length atIndex:(NSUInteger)index {
  if (![self mayBind:index]) return;
  if (length % threadgroup_alignment != 0 || length > world().settings.threadgroup_bytes) {
    [self report:fmt::format("{} bytes of threadgroup memory; multiples of 16 up to {} are possible.", length,
                             world().settings.threadgroup_bytes)
                     .c_str()];
    return;
  }
  compute_->threadgroup_bytes[index] = static_cast<std::uint32_t>(length);
}

- (BOOL)mayDispatch:(MTLSize)groups threads:(MTLSize)threads {
  if (![self isOpen]) return NO;
  if (compute_->pipeline == nil) {
    [self report:"a dispatch without a pipeline."];
    return NO;
  }
  const msl::KernelInfo& info = *[compute_->pipeline info];
  const std::uint32_t factor = world().settings.threadgroup_factor;
  NSUInteger memory = [compute_->pipeline staticThreadgroupMemoryLength];
  for (const msl::ArgumentInfo& argument : info.arguments) {
    if (argument.kind == msl::ArgumentKind::threadgroup)
      memory += factor * compute_->threadgroup_bytes.at(argument.index);
    const std::string mistake = binding_mistake(argument, *compute_);
    if (mistake.empty()) continue;
    [self report:fmt::format("{}: argument '{}' {}.", info.name, argument.name, mistake).c_str()];
    return NO;
  }
  if (memory > world().settings.threadgroup_bytes) {
    [self report:fmt::format("{}: {} bytes of threadgroup memory.", info.name, memory).c_str()];
    return NO;
  }
  const NSUInteger most =
      std::min<NSUInteger>([compute_->pipeline maxTotalThreadsPerThreadgroup], world().settings.max_threads);
  const NSUInteger count = threads.width * threads.height * threads.depth;
  if (count == 0 || count > most || groups.width * groups.height * groups.depth == 0) {
    [self report:fmt::format("{}: {} groups of {} threads.", info.name, groups.width * groups.height * groups.depth,
                             count)
                     .c_str()];
    return NO;
  }
  return YES;
}

- (void)dispatchThreadgroups:(MTLSize)groups threadsPerThreadgroup:(MTLSize)threads {
  if (![self mayDispatch:groups threads:threads]) return;
  const msl::KernelInfo& info = *[compute_->pipeline info];
  if (!know_announced(info, *compute_)) [self report:"more is announced than the buffer has."];
  know_copy(info, *compute_);
  Command command = {.name = std::string(info.name), .accesses = {}};
  auto recorded = std::make_shared<Dispatch>();
  msl::host::Dispatch& dispatch = recorded->dispatch;
  dispatch.kernel = [compute_->pipeline kernel];
  dispatch.order = world().settings.order;
  dispatch.flush_subnormals = world().settings.flush_subnormals;
  dispatch.groups = {static_cast<std::uint32_t>(groups.width), static_cast<std::uint32_t>(groups.height),
                     static_cast<std::uint32_t>(groups.depth)};
  dispatch.threads = {static_cast<std::uint32_t>(threads.width), static_cast<std::uint32_t>(threads.height),
                      static_cast<std::uint32_t>(threads.depth)};
  for (const msl::ArgumentInfo& argument : info.arguments) {
    if (argument.kind == msl::ArgumentKind::threadgroup) {
      dispatch.threadgroup_bytes.at(argument.index) = compute_->threadgroup_bytes.at(argument.index);
      continue;
    }
    const Binding& binding = compute_->bindings.at(argument.index);
    if (binding.constant) {
      recorded->constants.push_back(binding.constant);
      dispatch.bindings.buffers.at(argument.index) = binding.constant->data();
    } else {
      dispatch.bindings.buffers.at(argument.index) =
          static_cast<std::byte*>([binding.buffer contents]) + binding.offset;
      command.accesses.push_back(access_of(argument, binding));
      recorded->ranges.push_back(
          {[binding.buffer contents], [binding.buffer length], binding.offset, binding.offset + binding.bytes});
    }
  }
  {
    const std::lock_guard lock(world().mutex);
    ++world().counts.dispatches;
  }
  [self add:std::move(command)
       work:[recorded](msl::host::Team& team) {
         const OutOfBounds forbidden(recorded->ranges);
         return team.run(recorded->dispatch);
       }];
  if (type_ == MTLDispatchTypeSerial) [self separate];
}

// Later commands run after earlier ones.
- (void)separate {
  [commands_ state]->script.emplace_back();
  const std::lock_guard lock(world().mutex);
  world().ordering.barrier(number_);
}

- (void)memoryBarrierWithScope:(MTLBarrierScope)scope {
  if (![self isOpen]) return;
  if ((scope & MTLBarrierScopeBuffers) == 0) return;
  {
    const std::lock_guard lock(world().mutex);
    ++world().counts.barriers;
  }
  [self separate];
}

@end

@implementation MsltDoubleBlitEncoder

- (BOOL)mayTouch:(id<MTLBuffer>)buffer offset:(NSUInteger)offset size:(NSUInteger)size {
  if (![self isOpen]) return NO;
  if (buffer == nil || size == 0 || size > [buffer length] || offset > [buffer length] - size) {
    [self report:fmt::format("{} bytes from byte {} of a buffer of {}.", size, offset, [buffer length]).c_str()];
    return NO;
  }
  if ((offset | size) % blit_alignment != 0) {
    [self report:fmt::format("{} bytes from byte {}; both must be multiples of 4.", size, offset).c_str()];
    return NO;
  }
  [commands_ hold:buffer];
  return YES;
}

- (void)copyFromBuffer:(id<MTLBuffer>)sourceBuffer
          sourceOffset:(NSUInteger)sourceOffset
              toBuffer:(id<MTLBuffer>)destinationBuffer
     destinationOffset:(NSUInteger)destinationOffset
                  size:(NSUInteger)size {
  if (![self mayTouch:sourceBuffer offset:sourceOffset size:size]) return;
  if (![self mayTouch:destinationBuffer offset:destinationOffset size:size]) return;
  if (sourceBuffer == destinationBuffer && sourceOffset < destinationOffset + size &&
      destinationOffset < sourceOffset + size) {
    [self report:"a copy over itself."];
    return;
  }
  {
    const std::lock_guard lock(world().mutex);
    ++world().counts.copies;
  }
  const auto* from = static_cast<const std::byte*>([sourceBuffer contents]) + sourceOffset;
  auto* to = static_cast<std::byte*>([destinationBuffer contents]) + destinationOffset;
  Command command = {
      .name = "a copy",
      .accesses = {access_of(static_cast<MsltDoubleBuffer*>(sourceBuffer), sourceOffset, size, false),
                   access_of(static_cast<MsltDoubleBuffer*>(destinationBuffer), destinationOffset, size, true)}};
  [self add:std::move(command)
       work:[from, to, size](msl::host::Team&) {
         std::memcpy(to, from, size);
         return std::string();
       }];
}

- (void)fillBuffer:(id<MTLBuffer>)buffer range:(NSRange)range value:(uint8_t)value {
  if (![self mayTouch:buffer offset:range.location size:range.length]) return;
  {
    const std::lock_guard lock(world().mutex);
    ++world().counts.fills;
  }
  auto* to = static_cast<std::byte*>([buffer contents]) + range.location;
  Command command = {
      .name = "a fill",
      .accesses = {access_of(static_cast<MsltDoubleBuffer*>(buffer), range.location, range.length, true)}};
  [self add:std::move(command)
       work:[to, range, value](msl::host::Team&) {
         std::memset(to, value, range.length);
         return std::string();
       }];
}

@end

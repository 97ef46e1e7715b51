// Which encoders and barriers a command needs; completion.
#include "backend/msl/drivers/metal/metal_command_buffer.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <string>

#include "backend/msl/drivers/metal/command_error.h"
#include "backend/msl/drivers/metal/metal_buffer.h"
#include "backend/msl/drivers/metal/metal_device.h"
#include "backend/msl/drivers/metal/text.h"
#include "base/fail.h"
#include "kernels/layout_args.h"

namespace mslt::msl::metal {
namespace {

constexpr std::size_t blit_alignment = 4;            // of offsets and sizes in blit encoders
constexpr std::uint32_t threadgroup_alignment = 16;  // of setThreadgroupMemoryLength
constexpr std::uint32_t copy_threads = 256;          // of copy_bytes, each of which copies:
constexpr std::size_t copy_bytes_a_thread = 16;

std::uint32_t rounded_up(std::uint32_t bytes) {
  return (bytes + threadgroup_alignment - 1) / threadgroup_alignment * threadgroup_alignment;
}

}  // namespace

// What a command buffer shares with the handler that Metal calls at its end, possibly after the command buffer is gone.
class MetalCommandBuffer::Completion {
 public:
  std::vector<std::function<void(const CommandTiming&, std::string_view)>> handlers;
  KernelCounts kernels;

  void finish(id<MTLCommandBuffer> commands) {
    const AutoreleasePool pool;
    CommandTiming timing;
    timing.gpu_start = [commands GPUStartTime];
    timing.gpu_end = [commands GPUEndTime];
    std::string error;
    if ([commands status] == MTLCommandBufferStatusError) error = describe_command_error([commands error], kernels);
    for (const auto& handler : handlers) {
      try {
        handler(timing, error);
      } catch (const std::exception& exception) {
        if (error.empty()) error = exception.what();
      }
    }
    handlers.clear();
    const std::lock_guard lock(mutex_);
    error_ = std::move(error);
    done_ = true;
    finished_.notify_all();
  }

  void wait() {
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [this] { return done_; });
    if (!error_.empty()) fail(ErrorKind::device, "metal: {}", error_);
  }

 private:
  std::mutex mutex_;
  std::condition_variable finished_;
  bool done_ = false;
  std::string error_;
};

MetalCommandBuffer::MetalCommandBuffer(MetalDevice& device)
    : device_(device), completion_(std::make_shared<Completion>()) {}

void MetalCommandBuffer::check_open() const {
  if (committed_) fail(ErrorKind::device, "metal: a committed command buffer accepts no more commands.");
}

void MetalCommandBuffer::check_index(std::uint32_t index, std::size_t count, std::string_view what) const {
  check_open();
  if (pipeline_ == nullptr) fail(ErrorKind::device, "metal: set_pipeline comes before bindings and dispatches.");
  if (index >= count) {
    fail(ErrorKind::device, "metal: kernel '{}' is given {} {}; 0 to {} exist.", pipeline_->name(), what, index,
         count - 1);
  }
}

void MetalCommandBuffer::begin(Kind kind) {
  if (kind == Kind::compute) {
    recording_.begin_compute();
  } else {
    recording_.begin_blit();
  }
  kind_ = kind;
  encoded_pipeline_ = nullptr;
  hazards_.clear();
}

void MetalCommandBuffer::compute() {
  if (kind_ != Kind::compute) begin(Kind::compute);
}

void MetalCommandBuffer::blit() {
  if (kind_ != Kind::blit) begin(Kind::blit);
}

void MetalCommandBuffer::set_pipeline(const Pipeline& pipeline) {
  check_open();
  pipeline_ = &static_cast<const MetalPipeline&>(pipeline);
  bound_.fill({});
  threadgroup_bytes_.fill(0);
  if (kind_ == Kind::compute && encoded_pipeline_ == pipeline_) return;
  compute();
  recording_.pipeline(*pipeline_);
  encoded_pipeline_ = pipeline_;
}

void MetalCommandBuffer::set_buffer(std::uint32_t index, Buffer& buffer, std::size_t offset) {
  set_buffer_range(index, buffer, offset, buffer.size() - std::min(offset, buffer.size()), ArgumentAccess::write);
}

void MetalCommandBuffer::set_buffer_range(std::uint32_t index, Buffer& buffer, std::size_t offset, std::size_t bytes,
                                          ArgumentAccess access) {
  check_index(index, max_buffers, "buffer");
  // Metal binds nothing at the end of a buffer.
  if (offset > buffer.size() || bytes > buffer.size() - offset || (offset > 0 && offset == buffer.size())) {
    fail(ErrorKind::device, "metal: kernel '{}' is given {} bytes from byte {} of '{}', which has {}.",
         pipeline_->name(), bytes, offset, buffer.label(), buffer.size());
  }
  recording_.buffer(index, metal_buffer(buffer), offset);
  bound_[index] = {&buffer, offset, offset + bytes, access == ArgumentAccess::write};
}

void MetalCommandBuffer::set_bytes(std::uint32_t index, std::span<const std::byte> bytes) {
  check_index(index, max_buffers, "buffer");
  const std::uint32_t most = device_.limits().max_bytes_argument;
  if (bytes.empty() || bytes.size() > most) {
    fail(ErrorKind::device, "metal: kernel '{}' is given {} bytes as buffer {}; 1 to {} are possible.",
         pipeline_->name(), bytes.size(), index, most);
  }
  recording_.bytes(index, bytes);
  bound_[index] = {};
}

void MetalCommandBuffer::set_threadgroup_memory(std::uint32_t index, std::uint32_t bytes) {
  check_index(index, max_threadgroup_arguments, "threadgroup memory");
  const std::uint32_t most = device_.limits().threadgroup_memory_bytes;
  if (bytes > most) {
    fail(ErrorKind::device, "metal: kernel '{}' asks for {} bytes of threadgroup memory; {} has {}.", pipeline_->name(),
         bytes, device_.info().name, most);
  }
  threadgroup_bytes_[index] = rounded_up(bytes);
  recording_.threadgroup_memory(index, threadgroup_bytes_[index]);
}

void MetalCommandBuffer::dispatch(GridSize groups, GridSize threads) {
  check_index(0, 1, "dispatch");
  std::uint64_t threadgroup = pipeline_->static_threadgroup_bytes();
  for (const std::uint32_t bytes : threadgroup_bytes_) threadgroup += bytes;
  if (threadgroup > device_.limits().threadgroup_memory_bytes) {
    fail(ErrorKind::device, "metal: kernel '{}' takes {} bytes of threadgroup memory; {} has {}.", pipeline_->name(),
         threadgroup, device_.info().name, device_.limits().threadgroup_memory_bytes);
  }
  const std::uint64_t count = std::uint64_t{threads.x} * threads.y * threads.z;
  if (count == 0 || count > pipeline_->max_threads_per_threadgroup() ||
      std::uint64_t{groups.x} * groups.y * groups.z == 0) {
    fail(ErrorKind::device,
         "metal: kernel '{}' is dispatched as {} x {} x {} groups of {} x {} x {} threads; a group has 1 to {}.",
         pipeline_->name(), groups.x, groups.y, groups.z, threads.x, threads.y, threads.z,
         pipeline_->max_threads_per_threadgroup());
  }
  if (hazards_.conflicts(bound_)) {
    recording_.barrier();
    hazards_.clear();
  }
  recording_.dispatch(groups, threads);
  hazards_.record(bound_);
  completion_->kernels.add(pipeline_->name());
}

void MetalCommandBuffer::copy(Buffer& destination, std::size_t destination_offset, Buffer& source,
                              std::size_t source_offset, std::size_t bytes) {
  check_open();
  if (bytes > destination.size() || destination_offset > destination.size() - bytes || bytes > source.size() ||
      source_offset > source.size() - bytes) {
    fail(ErrorKind::device, "metal: cannot copy {} bytes from byte {} of '{}' ({} bytes) to byte {} of '{}' ({}).",
         bytes, source_offset, source.label(), source.size(), destination_offset, destination.label(),
         destination.size());
  }
  if (bytes == 0) return;
  if (&destination == &source && destination_offset < source_offset + bytes &&
      source_offset < destination_offset + bytes) {
    fail(ErrorKind::device, "metal: copying {} bytes of '{}' from byte {} to byte {} would overlap.", bytes,
         source.label(), source_offset, destination_offset);
  }
  if ((destination_offset | source_offset | bytes) % blit_alignment == 0) {
    blit_copy(destination, destination_offset, source, source_offset, bytes);
  } else {
    kernel_copy(destination, destination_offset, source, source_offset, bytes);
  }
  pipeline_ = nullptr;
}

void MetalCommandBuffer::fill(Buffer& destination, std::size_t offset, std::size_t bytes, std::uint8_t value) {
  check_open();
  if (bytes > destination.size() || offset > destination.size() - bytes) {
    fail(ErrorKind::device, "metal: {} bytes from byte {} of '{}', which has {}, cannot be filled.", bytes, offset,
         destination.label(), destination.size());
  }
  const std::size_t head = std::min(bytes, (blit_alignment - offset % blit_alignment) % blit_alignment);
  const std::size_t tail = (bytes - head) % blit_alignment;
  const std::size_t middle = bytes - head - tail;
  if (middle > 0) blit_fill(destination, offset + head, middle, value);
  const std::size_t repeated = std::size_t{value} * MetalDevice::repeats;
  if (head > 0) kernel_copy(destination, offset, device_.byte_values(), repeated, head);
  if (tail > 0) kernel_copy(destination, offset + head + middle, device_.byte_values(), repeated, tail);
  pipeline_ = nullptr;
}

void MetalCommandBuffer::blit_for(std::span<const MemoryAccess> accesses) {
  blit();
  // Blit encoders have no barriers.
  if (hazards_.conflicts(accesses)) begin(Kind::blit);
  hazards_.record(accesses);
}

void MetalCommandBuffer::blit_copy(Buffer& destination, std::size_t destination_offset, Buffer& source,
                                   std::size_t source_offset, std::size_t bytes) {
  const std::array accesses = {MemoryAccess{&source, source_offset, source_offset + bytes, false},
                               MemoryAccess{&destination, destination_offset, destination_offset + bytes, true}};
  blit_for(accesses);
  recording_.copy(metal_buffer(destination), destination_offset, metal_buffer(source), source_offset, bytes);
  completion_->kernels.add("copy");
}

void MetalCommandBuffer::blit_fill(Buffer& destination, std::size_t offset, std::size_t bytes, std::uint8_t value) {
  const std::array accesses = {MemoryAccess{&destination, offset, offset + bytes, true}};
  blit_for(accesses);
  recording_.fill(metal_buffer(destination), offset, bytes, value);
  completion_->kernels.add("fill");
}

void MetalCommandBuffer::kernel_copy(Buffer& destination, std::size_t destination_offset, Buffer& source,
                                     std::size_t source_offset, std::size_t bytes) {
  const bool aligned = (destination_offset | source_offset) % copy_bytes_a_thread == 0;
  const SpanArgs args = {.count = bytes, .aligned = aligned ? 1u : 0u, .reserved = 0};
  const std::size_t per_group = copy_threads * copy_bytes_a_thread;
  const std::size_t groups = (bytes + per_group - 1) / per_group;
  if (groups > UINT32_MAX) fail(ErrorKind::device, "metal: {} bytes are too many for one copy.", bytes);
  set_pipeline(device_.pipeline("copy_bytes"));
  set_buffer_range(0, destination, destination_offset, bytes, ArgumentAccess::write);
  set_buffer_range(1, source, source_offset, bytes, ArgumentAccess::read);
  set_bytes(2, std::as_bytes(std::span(&args, 1)));
  dispatch({static_cast<std::uint32_t>(groups)}, {copy_threads});
}

void MetalCommandBuffer::on_completed(std::function<void(const CommandTiming&, std::string_view)> handler) {
  check_open();
  completion_->handlers.push_back(std::move(handler));
}

void MetalCommandBuffer::commit() {
  const AutoreleasePool pool;
  check_open();
  commands_ = Retained<id<MTLCommandBuffer>>::retain([device_.queue() commandBuffer]);
  if (!commands_) fail(ErrorKind::device, "metal: {} gives no command buffer.", device_.info().name);
  recording_.encode(commands_.get(), device_.fence());
  recording_ = {};
  committed_ = true;
  const std::shared_ptr<Completion> completion = completion_;
  [commands_.get() addCompletedHandler:^(id<MTLCommandBuffer> commands) {
    completion->finish(commands);
  }];
  device_.committing(commands_.get());
  [commands_.get() commit];
}

void MetalCommandBuffer::wait() {
  const AutoreleasePool pool;
  if (!committed_) fail(ErrorKind::device, "metal: a command buffer was waited for, but not committed.");
  // Metal may return from this before it has called the handlers.
  [commands_.get() waitUntilCompleted];
  completion_->wait();
}

}  // namespace mslt::msl::metal

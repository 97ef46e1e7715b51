// Choosing a GPU, its memory, its pipelines.
#include "backend/msl/drivers/metal/metal_device.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "backend/msl/drivers/metal/gpu_cores.h"
#include "backend/msl/drivers/metal/metal_buffer.h"
#include "backend/msl/drivers/metal/metal_command_buffer.h"
#include "backend/msl/drivers/metal/text.h"
#include "backend/msl/gpu_choice.h"
#include "backend/no_room.h"
#include "base/fail.h"
#include "base/process_limits.h"

namespace mslt::msl::metal {
namespace {

using DeviceHandle = Retained<id<MTLDevice>>;

// The host and the GPU share one copy; MetalCommandBuffer orders its uses.
constexpr MTLResourceOptions buffer_options = MTLResourceStorageModeShared | MTLResourceHazardTrackingModeUntracked;

// Memory traffic before a command buffer is handed over: about 50 ms on the slowest supported GPU, far from the seconds
// after which macOS stops one.
constexpr std::uint64_t batch_bytes = std::uint64_t{1} << 30;

// The smallest buffer: a kernel's largest element.
constexpr std::size_t least_bytes = 16;

// simdgroup_matrix was introduced with this family: the M1.
bool can_run(id<MTLDevice> device) {
  return [device supportsFamily:MTLGPUFamilyApple7];
}

std::vector<DeviceHandle> listed_devices() {
  const auto list = Retained<NSArray*>::adopt(MTLCopyAllDevices());
  std::vector<DeviceHandle> devices;
  for (NSUInteger i = 0; i < [list.get() count]; ++i) {
    devices.push_back(DeviceHandle::retain([list.get() objectAtIndex:i]));
  }
  return devices;
}

std::vector<DeviceHandle> usable_devices() {
  std::vector<DeviceHandle> devices = listed_devices();
  std::erase_if(devices, [](const DeviceHandle& device) { return !can_run(device.get()); });
  return devices;
}

DeviceInfo describe_device(id<MTLDevice> device) {
  DeviceInfo info;
  info.backend = "metal";
  info.name = to_string([device name]);
  info.memory_bytes = [device recommendedMaxWorkingSetSize];
  info.compute_units = std::max(gpu_core_count(), 1);
  info.trains_16_bit = true;
  return info;
}

// The system's default GPU, or the first listed one if the default is nil: so in programs without CoreGraphics, and
// observed over SSH and in terminal multiplexers.
DeviceHandle default_device() {
  DeviceHandle device = DeviceHandle::adopt(MTLCreateSystemDefaultDevice());
  if (!device) {
    const std::vector<DeviceHandle> listed = listed_devices();
    const auto usable =
        std::find_if(listed.begin(), listed.end(), [](const DeviceHandle& one) { return can_run(one.get()); });
    if (!listed.empty()) device = usable == listed.end() ? listed.front() : *usable;
  }
  if (!device) fail(ErrorKind::device, "metal: this machine has no GPU that Metal can use.");
  if (!can_run(device.get())) {
    fail(ErrorKind::device, "metal: {} cannot run the kernels; they need Apple silicon, an M1 or newer.",
         to_string([device.get() name]));
  }
  return device;
}

DeviceHandle chosen_device(const std::string& which) {
  if (which.empty()) return default_device();
  const std::vector<DeviceHandle> devices = usable_devices();
  std::vector<std::string> names;
  for (const DeviceHandle& device : devices) names.push_back(to_string([device.get() name]));
  return devices[choose_gpu("metal", which, names)];
}

}  // namespace

std::vector<DeviceInfo> metal_devices() {
  const AutoreleasePool pool;
  std::vector<DeviceInfo> infos;
  for (const DeviceHandle& device : usable_devices()) infos.push_back(describe_device(device.get()));
  return infos;
}

MetalDevice::MetalDevice(const MetalOptions& options) {
  const AutoreleasePool pool;
  device_ = chosen_device(options.device);
  id<MTLDevice> device = device_.get();
  info_ = describe_device(device);
  const MTLSize threads = [device maxThreadsPerThreadgroup];
  limits_.max_threads_per_threadgroup = static_cast<std::uint32_t>(threads.width);
  limits_.threadgroup_memory_bytes = static_cast<std::uint32_t>([device maxThreadgroupMemoryLength]);
  limits_.max_buffer_bytes = [device maxBufferLength];
  limits_.batch_bytes = batch_bytes;
  queue_ = Retained<id<MTLCommandQueue>>::adopt([device newCommandQueue]);
  fence_ = Retained<id<MTLFence>>::adopt([device newFence]);
  if (!queue_ || !fence_) fail(ErrorKind::device, "metal: {} gives no command queue.", info_.name);
  library_ = load_library(device, options.source, options.compiled);
  byte_values_ = allocate(256 * repeats, "byte values", true);
  for (std::size_t value = 0; value < 256; ++value) {
    std::memset(byte_values_->host() + value * repeats, static_cast<int>(value), repeats);
  }
}

MetalDevice::~MetalDevice() {
  const AutoreleasePool pool;
  [last_committed_.get() waitUntilCompleted];
}

std::unique_ptr<Buffer> MetalDevice::allocate(std::size_t bytes, std::string_view label, bool /*host_visible*/) {
  const AutoreleasePool pool;
  const std::uint64_t used = [device_.get() currentAllocatedSize];
  const std::uint64_t free = info_.memory_bytes - std::min<std::uint64_t>(info_.memory_bytes, used);
  if (bytes > limits_.max_buffer_bytes) {
    fail_no_room(label, bytes,
                 fmt::format("a buffer of {} has at most {}, and {} are free", info_.name,
                             binary_size(limits_.max_buffer_bytes), binary_size(free)));
  }
  Retained<id<MTLBuffer>> buffer;
  if (bytes <= free) {
    // Metal makes no empty buffers, and a pointer argument needs room for one element. Metal zeroes new buffers.
    buffer = Retained<id<MTLBuffer>>::adopt([device_.get() newBufferWithLength:std::max(bytes, least_bytes)
                                                                       options:buffer_options]);
  }
  if (!buffer) {
    fail_no_room(label, bytes,
                 fmt::format("on {}, {} are used and {} are free", info_.name, binary_size(used), binary_size(free)));
  }
  const Retained<NSString*> name = to_nsstring(label);
  [buffer.get() setLabel:name.get()];
  return std::make_unique<MetalBuffer>(std::move(buffer), bytes, label);
}

std::unique_ptr<Buffer> MetalDevice::wrap(std::span<const std::byte> memory, std::string_view label,
                                          std::shared_ptr<const void> owner) {
  const AutoreleasePool pool;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  if (memory.empty() || reinterpret_cast<std::uintptr_t>(memory.data()) % page != 0) return nullptr;
  const std::size_t pages = (memory.size() + page - 1) / page * page;
  if (pages > limits_.max_buffer_bytes) return nullptr;
  // Only the block keeps the owner: Metal frees it with its own last reference to the buffer, after the commands that
  // use it. Kernels only read the memory: nothing writes through this pointer.
  const std::shared_ptr<const void> kept = std::move(owner);
  auto buffer = Retained<id<MTLBuffer>>::adopt([device_.get()
      newBufferWithBytesNoCopy:const_cast<std::byte*>(memory.data())
                        length:pages
                       options:buffer_options
                   deallocator:^(void* /*pointer*/, NSUInteger /*length*/) {
                     static_cast<void>(kept);
                   }]);
  if (!buffer) return nullptr;
  const Retained<NSString*> name = to_nsstring(label);
  [buffer.get() setLabel:name.get()];
  return std::make_unique<MetalBuffer>(std::move(buffer), memory.size(), label);
}

const Pipeline& MetalDevice::pipeline(std::string_view name) {
  const auto known = pipelines_.find(name);
  if (known != pipelines_.end()) return *known->second;
  auto pipeline = std::make_unique<MetalPipeline>(device_.get(), library_.get(), name);
  return *pipelines_.emplace(std::string(name), std::move(pipeline)).first->second;
}

std::unique_ptr<CommandBuffer> MetalDevice::command_buffer() {
  return std::make_unique<MetalCommandBuffer>(*this);
}

void MetalDevice::committing(id<MTLCommandBuffer> commands) {
  last_committed_ = Retained<id<MTLCommandBuffer>>::retain(commands);
}

}  // namespace mslt::msl::metal

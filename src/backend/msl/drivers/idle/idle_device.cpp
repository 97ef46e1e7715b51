// Buffers without memory and commands without effect.
#include "backend/msl/drivers/idle/idle_device.h"

#include <functional>
#include <utility>
#include <vector>

namespace mslt::msl::idle {
namespace {

class IdleBuffer final : public Buffer {
 public:
  IdleBuffer(std::size_t bytes, std::string_view label) : Buffer(bytes, nullptr, label) {}
};

class VisibleBuffer final : public Buffer {
 public:
  VisibleBuffer(std::unique_ptr<std::byte[]> memory, std::size_t bytes, std::string_view label)
      : Buffer(bytes, memory.get(), label), memory_(std::move(memory)) {}

 private:
  std::unique_ptr<std::byte[]> memory_;
};

class IdlePipeline final : public Pipeline {
 public:
  explicit IdlePipeline(std::uint32_t max_threads) : max_threads_(max_threads) {}
  std::string_view name() const override { return "any kernel"; }
  std::uint32_t max_threads_per_threadgroup() const override { return max_threads_; }

 private:
  std::uint32_t max_threads_;
};

class IdleCommands final : public CommandBuffer {
 public:
  void set_pipeline(const Pipeline& /*pipeline*/) override {}
  void set_buffer(std::uint32_t /*index*/, Buffer& /*buffer*/, std::size_t /*offset*/) override {}
  void set_bytes(std::uint32_t /*index*/, std::span<const std::byte> /*bytes*/) override {}
  void set_threadgroup_memory(std::uint32_t /*index*/, std::uint32_t /*bytes*/) override {}
  void dispatch(GridSize /*groups*/, GridSize /*threads*/) override {}
  void copy(Buffer& /*destination*/, std::size_t /*destination_offset*/, Buffer& /*source*/,
            std::size_t /*source_offset*/, std::size_t /*bytes*/) override {}
  void fill(Buffer& /*destination*/, std::size_t /*offset*/, std::size_t /*bytes*/, std::uint8_t /*value*/) override {}
  void library_call(std::string_view /*name*/, std::span<const BufferAccess> /*accesses*/,
                    const LibraryContext& /*context*/, LibraryCall /*call*/) override {}
  void on_completed(std::function<void(const CommandTiming&, std::string_view)> handler) override {
    handlers_.push_back(std::move(handler));
  }
  void commit() override {}
  void wait() override {
    for (const auto& handler : std::exchange(handlers_, {})) handler({}, {});
  }

 private:
  std::vector<std::function<void(const CommandTiming&, std::string_view)>> handlers_;
};

}  // namespace

IdleDevice::IdleDevice(DeviceInfo info, DeviceLimits limits)
    : info_(std::move(info)),
      limits_(limits),
      pipeline_(std::make_unique<IdlePipeline>(limits.max_threads_per_threadgroup)) {}

IdleDevice::~IdleDevice() = default;

std::unique_ptr<Buffer> IdleDevice::allocate(std::size_t bytes, std::string_view label, bool host_visible) {
  if (!host_visible) return std::make_unique<IdleBuffer>(bytes, label);
  return std::make_unique<VisibleBuffer>(std::make_unique<std::byte[]>(bytes), bytes, label);
}

const Pipeline& IdleDevice::pipeline(std::string_view /*name*/) {
  return *pipeline_;
}

std::unique_ptr<CommandBuffer> IdleDevice::command_buffer() {
  return std::make_unique<IdleCommands>();
}

}  // namespace mslt::msl::idle

// A driver that records the GPU time of each command buffer of the driver below it.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backend/msl/driver.h"

namespace mslt::bench {

// The seconds of each command buffer, in commit order.
class Times {
 public:
  void add(double seconds) {
    const std::lock_guard lock(mutex_);
    seconds_.push_back(seconds);
  }
  // Those since the last call.
  std::vector<double> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(seconds_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<double> seconds_;
};

class TimedCommandBuffer final : public msl::CommandBuffer {
 public:
  TimedCommandBuffer(std::unique_ptr<msl::CommandBuffer> inner, Times& times) : inner_(std::move(inner)) {
    inner_->on_completed(
        [&times](const msl::CommandTiming& timing, std::string_view) { times.add(timing.gpu_end - timing.gpu_start); });
  }
  void set_pipeline(const msl::Pipeline& pipeline) override { inner_->set_pipeline(pipeline); }
  void set_buffer(std::uint32_t index, Buffer& buffer, std::size_t offset) override {
    inner_->set_buffer(index, buffer, offset);
  }
  void set_buffer_range(std::uint32_t index, Buffer& buffer, std::size_t offset, std::size_t bytes,
                        msl::ArgumentAccess access) override {
    inner_->set_buffer_range(index, buffer, offset, bytes, access);
  }
  void set_bytes(std::uint32_t index, std::span<const std::byte> bytes) override { inner_->set_bytes(index, bytes); }
  void set_threadgroup_memory(std::uint32_t index, std::uint32_t bytes) override {
    inner_->set_threadgroup_memory(index, bytes);
  }
  void dispatch(msl::GridSize groups, msl::GridSize threads) override { inner_->dispatch(groups, threads); }
  void copy(Buffer& destination, std::size_t destination_offset, Buffer& source, std::size_t source_offset,
            std::size_t bytes) override {
    inner_->copy(destination, destination_offset, source, source_offset, bytes);
  }
  void fill(Buffer& destination, std::size_t offset, std::size_t bytes, std::uint8_t value) override {
    inner_->fill(destination, offset, bytes, value);
  }
  void library_call(std::string_view name, std::span<const msl::BufferAccess> accesses,
                    const msl::LibraryContext& context, msl::LibraryCall call) override {
    inner_->library_call(name, accesses, context, std::move(call));
  }
  void on_completed(std::function<void(const msl::CommandTiming&, std::string_view)> handler) override {
    inner_->on_completed(std::move(handler));
  }
  void commit() override { inner_->commit(); }
  void wait() override { inner_->wait(); }

 private:
  std::unique_ptr<msl::CommandBuffer> inner_;
};

class TimedDevice final : public msl::Device {
 public:
  // `times` must outlive the device.
  TimedDevice(std::unique_ptr<msl::Device> inner, Times& times) : inner_(std::move(inner)), times_(times) {}
  const DeviceInfo& info() const override { return inner_->info(); }
  const msl::DeviceLimits& limits() const override { return inner_->limits(); }
  std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label, bool host_visible) override {
    return inner_->allocate(bytes, label, host_visible);
  }
  std::unique_ptr<Buffer> wrap(std::span<const std::byte> memory, std::string_view label,
                               std::shared_ptr<const void> owner) override {
    return inner_->wrap(memory, label, std::move(owner));
  }
  void* address(const Tensor& tensor) const override { return inner_->address(tensor); }
  const msl::Pipeline& pipeline(std::string_view name) override { return inner_->pipeline(name); }
  std::unique_ptr<msl::CommandBuffer> command_buffer() override {
    return std::make_unique<TimedCommandBuffer>(inner_->command_buffer(), times_);
  }

 private:
  std::unique_ptr<msl::Device> inner_;
  Times& times_;
};

}  // namespace mslt::bench

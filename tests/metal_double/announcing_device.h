// A driver in front of another one that tells the double how each binding is used.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "backend/msl/driver.h"
#include "tests/metal_double/metal_double.h"

namespace mslt::metal_double {

class AnnouncingCommandBuffer final : public msl::CommandBuffer {
 public:
  explicit AnnouncingCommandBuffer(std::unique_ptr<msl::CommandBuffer> inner) : inner_(std::move(inner)) {}

  void set_pipeline(const msl::Pipeline& pipeline) override {
    next_ = {.kernel = std::string(pipeline.name()), .uses = {}};
    inner_->set_pipeline(pipeline);
  }
  void set_buffer(std::uint32_t index, Buffer& buffer, std::size_t offset) override {
    forget(index);
    inner_->set_buffer(index, buffer, offset);
  }
  void set_buffer_range(std::uint32_t index, Buffer& buffer, std::size_t offset, std::size_t bytes,
                        msl::ArgumentAccess access) override {
    forget(index);
    next_.uses.push_back({index, buffer.host() + offset, bytes});
    inner_->set_buffer_range(index, buffer, offset, bytes, access);
  }
  void set_bytes(std::uint32_t index, std::span<const std::byte> bytes) override {
    forget(index);
    inner_->set_bytes(index, bytes);
  }
  void set_threadgroup_memory(std::uint32_t index, std::uint32_t bytes) override {
    inner_->set_threadgroup_memory(index, bytes);
  }
  void dispatch(msl::GridSize groups, msl::GridSize threads) override {
    inner_->dispatch(groups, threads);
    dispatches_.push_back(next_);
  }
  void copy(Buffer& destination, std::size_t destination_offset, Buffer& source, std::size_t source_offset,
            std::size_t bytes) override {
    inner_->copy(destination, destination_offset, source, source_offset, bytes);
  }
  void fill(Buffer& destination, std::size_t offset, std::size_t bytes, std::uint8_t value) override {
    inner_->fill(destination, offset, bytes, value);
  }
  void on_completed(std::function<void(const msl::CommandTiming&, std::string_view error)> handler) override {
    inner_->on_completed(std::move(handler));
  }
  // The driver encodes here.
  void commit() override {
    announce(std::move(dispatches_));
    inner_->commit();
    announce({});
  }
  void wait() override { inner_->wait(); }

 private:
  void forget(std::uint32_t index) {
    std::erase_if(next_.uses, [index](const Announcement::Use& use) { return use.index == index; });
  }

  std::unique_ptr<msl::CommandBuffer> inner_;
  Announcement next_;
  std::vector<Announcement> dispatches_;
};

class AnnouncingDevice final : public msl::Device {
 public:
  explicit AnnouncingDevice(std::unique_ptr<msl::Device> inner) : inner_(std::move(inner)) {}

  const DeviceInfo& info() const override { return inner_->info(); }
  const msl::DeviceLimits& limits() const override { return inner_->limits(); }
  std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label, bool host_visible) override {
    return inner_->allocate(bytes, label, host_visible);
  }
  std::unique_ptr<Buffer> wrap(std::span<const std::byte> memory, std::string_view label,
                               std::shared_ptr<const void> owner) override {
    return inner_->wrap(memory, label, std::move(owner));
  }
  const msl::Pipeline& pipeline(std::string_view name) override { return inner_->pipeline(name); }
  std::unique_ptr<msl::CommandBuffer> command_buffer() override {
    return std::make_unique<AnnouncingCommandBuffer>(inner_->command_buffer());
  }

 private:
  std::unique_ptr<msl::Device> inner_;
};

}  // namespace mslt::metal_double

// Buffers, pipelines and command buffers of the host driver.
#include "backend/msl/drivers/host/host_device.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "backend/cpu/host_info.h"
#include "backend/msl/drivers/host/group_runner.h"
#include "backend/msl/drivers/host/team.h"
#include "backend/no_room.h"
#include "base/clock.h"
#include "base/fail.h"
#include "base/joining_thread.h"
#include "base/parallel.h"
#include "base/process_limits.h"

namespace mslt::msl::host {
namespace {

constexpr std::align_val_t buffer_alignment{256};

class HostBuffer final : public Buffer {
 public:
  HostBuffer(std::size_t bytes, std::byte* data, std::string_view label) : Buffer(bytes, data, label) {}
  ~HostBuffer() override { ::operator delete(host(), buffer_alignment); }
};

class HostPipeline final : public Pipeline {
 public:
  HostPipeline(const HostKernel& kernel, std::uint32_t max_threads) : kernel_(kernel), max_threads_(max_threads) {}
  std::string_view name() const override { return kernel_.name; }
  std::uint32_t max_threads_per_threadgroup() const override { return max_threads_; }
  const HostKernel& kernel() const { return kernel_; }

 private:
  const HostKernel& kernel_;
  std::uint32_t max_threads_;
};

// A dispatch with the values of its set_bytes arguments.
struct RecordedDispatch {
  Dispatch dispatch;
  std::array<std::vector<std::byte>, max_buffers> bytes;
};

using Command = std::function<std::string(Team&)>;

}  // namespace

// Recorded work, shared by the command buffer and the queue that runs it.
struct Work {
  std::vector<Command> commands;
  std::vector<std::function<void(const CommandTiming&, std::string_view)>> handlers;
  std::mutex mutex;
  std::condition_variable finished;
  bool done = false;
  std::string error;

  void run(Team& team) {
    CommandTiming timing;
    timing.gpu_start = steady_seconds();
    std::string mistake;
    try {
      for (const Command& command : commands) {
        mistake = command(team);
        if (!mistake.empty()) break;
      }
    } catch (const std::exception& exception) {
      mistake = exception.what();
    }
    commands.clear();
    timing.gpu_end = steady_seconds();
    for (const auto& handler : handlers) handler(timing, mistake);
    const std::lock_guard lock(mutex);
    error = std::move(mistake);
    done = true;
    finished.notify_all();
  }
};

class CommandQueue {
 public:
  explicit CommandQueue(int threads) : team_(threads), thread_(start_thread([this] { serve(); })) {}
  CommandQueue(const CommandQueue&) = delete;
  CommandQueue& operator=(const CommandQueue&) = delete;
  ~CommandQueue() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    arrived_.notify_one();
    thread_.join();
  }

  void push(std::shared_ptr<Work> work) {
    {
      const std::lock_guard lock(mutex_);
      pending_.push_back(std::move(work));
    }
    arrived_.notify_one();
  }

  // For commands, which run on the queue's thread.
  void mark() {
    const double time = steady_seconds();
    const std::lock_guard lock(mutex_);
    marks_.push_back(time);
  }
  std::vector<double> take_marks() {
    const std::lock_guard lock(mutex_);
    return std::exchange(marks_, {});
  }

 private:
  void serve() {
    for (;;) {
      std::shared_ptr<Work> work;
      {
        std::unique_lock lock(mutex_);
        arrived_.wait(lock, [this] { return stop_ || !pending_.empty(); });
        if (pending_.empty()) return;
        work = std::move(pending_.front());
        pending_.pop_front();
      }
      work->run(team_);
    }
  }

  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<std::shared_ptr<Work>> pending_;
  std::vector<double> marks_;
  bool stop_ = false;
  Team team_;
  std::thread thread_;
};

namespace {

class HostCommandBuffer final : public CommandBuffer {
 public:
  HostCommandBuffer(CommandQueue& queue, const RunOrder& order)
      : queue_(queue), order_(order), work_(std::make_shared<Work>()) {}

  void set_pipeline(const Pipeline& pipeline) override {
    next_ = RecordedDispatch();
    next_.dispatch.order = order_;
    next_.dispatch.kernel = &static_cast<const HostPipeline&>(pipeline).kernel();
  }

  void set_buffer(std::uint32_t index, Buffer& buffer, std::size_t offset) override {
    next_.dispatch.bindings.buffers.at(index) = buffer.host() + offset;
    next_.bytes.at(index).clear();
  }

  void set_bytes(std::uint32_t index, std::span<const std::byte> bytes) override {
    next_.bytes.at(index).assign(bytes.begin(), bytes.end());
  }

  void set_threadgroup_memory(std::uint32_t index, std::uint32_t bytes) override {
    next_.dispatch.threadgroup_bytes.at(index) = bytes;
  }

  void dispatch(GridSize groups, GridSize threads) override {
    next_.dispatch.groups = {groups.x, groups.y, groups.z};
    next_.dispatch.threads = {threads.x, threads.y, threads.z};
    auto recorded = std::make_shared<RecordedDispatch>(next_);
    for (std::size_t i = 0; i < max_buffers; ++i) {
      if (!recorded->bytes[i].empty()) recorded->dispatch.bindings.buffers[i] = recorded->bytes[i].data();
    }
    work_->commands.emplace_back([recorded](Team& team) { return team.run(recorded->dispatch); });
  }

  void copy(Buffer& destination, std::size_t destination_offset, Buffer& source, std::size_t source_offset,
            std::size_t bytes) override {
    work_->commands.emplace_back(
        [to = destination.host() + destination_offset, from = source.host() + source_offset, bytes](Team&) {
          std::memmove(to, from, bytes);
          return std::string();
        });
  }

  void fill(Buffer& destination, std::size_t offset, std::size_t bytes, std::uint8_t value) override {
    work_->commands.emplace_back([to = destination.host() + offset, bytes, value](Team&) {
      std::memset(to, value, bytes);
      return std::string();
    });
  }

  void library_call(std::string_view /*name*/, std::span<const BufferAccess> /*accesses*/,
                    const LibraryContext& context, LibraryCall call) override {
    work_->commands.emplace_back([context, call = std::move(call)](Team&) {
      call.run(context);
      return std::string();
    });
  }

  void mark() override {
    work_->commands.emplace_back([&queue = queue_](Team&) {
      queue.mark();
      return std::string();
    });
  }

  void on_completed(std::function<void(const CommandTiming&, std::string_view)> handler) override {
    work_->handlers.push_back(std::move(handler));
  }

  void commit() override { queue_.push(work_); }

  void wait() override {
    std::unique_lock lock(work_->mutex);
    work_->finished.wait(lock, [this] { return work_->done; });
    if (!work_->error.empty()) fail(ErrorKind::device, "msl-host: {}", work_->error);
  }

 private:
  CommandQueue& queue_;
  RunOrder order_;
  std::shared_ptr<Work> work_;
  RecordedDispatch next_;
};

}  // namespace

HostDevice::HostDevice(const RunOrder& order) : HostDevice(host_kernels(), 0, order) {}

HostDevice::HostDevice(std::span<const HostKernel> kernels, int threads, const RunOrder& order)
    : kernels_(kernels), order_(order) {
  const int count = threads > 0 ? threads : parallel_threads();
  info_.backend = "msl-host";
  info_.name = host_processor_name();
  info_.memory_bytes = host_memory_bytes();
  info_.compute_units = count;
  info_.trains_16_bit = true;
  limits_.max_buffer_bytes = info_.memory_bytes;
  queue_ = std::make_unique<CommandQueue>(count);
}

HostDevice::~HostDevice() = default;

std::unique_ptr<Buffer> HostDevice::allocate(std::size_t bytes, std::string_view label, bool /*host_visible*/) {
  const std::uint64_t free = host_free_bytes();
  void* data = bytes > free ? nullptr : ::operator new(bytes, buffer_alignment, std::nothrow);
  if (data == nullptr) {
    fail_no_room(label, bytes, explain_memory(bytes, free));
  }
  std::memset(data, 0, bytes);
  return std::make_unique<HostBuffer>(bytes, static_cast<std::byte*>(data), label);
}

void* HostDevice::address(const Tensor& tensor) const {
  return tensor ? tensor.buffer().host() + tensor.offset() : nullptr;
}

const Pipeline& HostDevice::pipeline(std::string_view name) {
  const auto known = pipelines_.find(name);
  if (known != pipelines_.end()) return *known->second;
  const auto found =
      std::find_if(kernels_.begin(), kernels_.end(), [name](const HostKernel& kernel) { return kernel.name == name; });
  if (found == kernels_.end()) {
    fail(ErrorKind::device, "msl-host: there is no kernel '{}' among its {}.", name, kernels_.size());
  }
  auto pipeline = std::make_unique<HostPipeline>(*found, limits_.max_threads_per_threadgroup);
  return *pipelines_.emplace(std::string(name), std::move(pipeline)).first->second;
}

std::vector<double> HostDevice::take_marks() {
  return queue_->take_marks();
}

std::unique_ptr<CommandBuffer> HostDevice::command_buffer() {
  return std::make_unique<HostCommandBuffer>(*queue_, order_);
}

}  // namespace mslt::msl::host

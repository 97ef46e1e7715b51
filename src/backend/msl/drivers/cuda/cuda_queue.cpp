// Launching commands into the stream and seeing them done.
#include "backend/msl/drivers/cuda/cuda_queue.h"

#include <array>
#include <map>
#include <utility>

#include "backend/msl/drivers/cuda/cuda_status.h"
#include "backend/msl/drivers/cuda/small_copy.h"
#include "backend/msl/drivers/cuda/stream_graphs.h"
#include "base/joining_thread.h"

namespace mslt::msl::cuda {
namespace {

dim3 dimensions(GridSize size) {
  return {size.x, size.y, size.z};
}

cudaError_t run(const Launch& launch, Work& work, cudaStream_t stream) {
  std::array<void*, 2 * 31> pointers{};
  std::size_t count = 0;
  for (const CudaPipeline::Parameter& parameter : launch.pipeline->parameters()) {
    pointers.at(count++) = work.parameters.data() + launch.parameters + parameter.offset;
  }
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dimensions(launch.groups);
  config.blockDim = dimensions(launch.threads);
  config.dynamicSmemBytes = launch.dynamic_bytes;
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = launch.pipeline->waits_itself() ? 1 : 0;
  return cudaLaunchKernelExC(&config, launch.pipeline->function(), pointers.data());
}

cudaError_t run(const Copy& copy, Work& /*work*/, cudaStream_t stream) {
  if (is_small_copy(copy.to, copy.from, copy.bytes)) return launch_small_copy(copy.to, copy.from, copy.bytes, stream);
  return cudaMemcpyAsync(copy.to, copy.from, copy.bytes, cudaMemcpyDefault, stream);
}

cudaError_t run(const Fill& fill, Work& /*work*/, cudaStream_t stream) {
  return cudaMemsetAsync(fill.to, fill.value, fill.bytes, stream);
}

cudaError_t run(const Library& library, Work& /*work*/, cudaStream_t stream) {
  LibraryContext context = library.context;
  context.stream = stream;
  library.call.run(context);
  return cudaSuccess;
}

cudaError_t run(const Mark& mark, Work& /*work*/, cudaStream_t /*stream*/) {
  return mark.marks->launch();
}

std::string what(const Command& command) {
  if (const auto* launch = std::get_if<Launch>(&command)) {
    return fmt::format("launching '{}'", launch->pipeline->name());
  }
  if (std::holds_alternative<Mark>(command)) return "noting the time";
  return std::holds_alternative<Copy>(command) ? "copying" : "filling";
}

// In seconds.
double elapsed(cudaEvent_t from, cudaEvent_t to) {
  float milliseconds = 0.0f;
  check(cudaEventElapsedTime(&milliseconds, from, to), "reading the clock");
  return milliseconds * 1e-3;
}

}  // namespace

std::string Work::kernel_names() const {
  std::map<std::string_view, int> counts;
  for (const Command& command : commands) {
    if (const auto* launch = std::get_if<Launch>(&command)) ++counts[launch->pipeline->name()];
    if (const auto* library = std::get_if<Library>(&command)) ++counts[library->name];
  }
  std::string names;
  for (const auto& [name, count] : counts) {
    names += names.empty() ? "" : ", ";
    names += count == 1 ? std::string(name) : fmt::format("{} ({})", name, count);
  }
  return names.empty() ? "no kernels" : names;
}

Queue::Queue() {
  check(cudaGetDevice(&device_), "asking for the device");
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
  graphs_ = std::make_unique<GraphCache>(std::make_unique<StreamGraphs>(stream_));
  last_ = take_event();
  check(cudaEventRecord(last_, stream_), "reading the clock");
  thread_ = start_thread([this] { serve(); });
}

Queue::~Queue() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  arrived_.notify_one();
  thread_.join();
  for (const cudaEvent_t event : free_events_) cudaEventDestroy(event);
  cudaEventDestroy(last_);
  graphs_.reset();
  marks_.reset();
  cudaStreamDestroy(stream_);
}

cudaEvent_t Queue::take_event() {
  {
    const std::lock_guard lock(mutex_);
    if (!free_events_.empty()) {
      const cudaEvent_t event = free_events_.back();
      free_events_.pop_back();
      return event;
    }
  }
  cudaEvent_t event = nullptr;
  // The thread that waits for it sleeps.
  check(cudaEventCreateWithFlags(&event, cudaEventBlockingSync), "making an event");
  return event;
}

void Queue::launch_commands(Work& work) {
  for (const Command& command : work.commands) {
    const cudaError_t status = std::visit([&](const auto& each) { return run(each, work, stream_); }, command);
    if (status != cudaSuccess) check(status, what(command));
  }
}

void Queue::launch(Work& work) {
  work.start = take_event();
  work.end = take_event();
  check(cudaEventRecord(work.start, stream_), "beginning a command buffer");
  const CommandList list = {work.commands, work.parameters, work.allocations};
  if (!graphs_->launch(list, [&] { launch_commands(work); })) launch_commands(work);
  check(cudaEventRecord(work.end, stream_), "ending a command buffer");
}

const TimeMarks& Queue::marks() {
  if (!marks_) {
    check(cudaSetDevice(device_), "choosing the GPU");
    marks_ = std::make_unique<TimeMarks>(stream_);
  }
  return *marks_;
}

std::vector<double> Queue::take_marks() {
  if (!marks_) return {};
  check(cudaSetDevice(device_), "choosing the GPU");
  return marks_->take();
}

void Queue::release(const void* allocation) {
  cudaStreamSynchronize(stream_);
  graphs_->forget(allocation);
}

void Queue::commit(const std::shared_ptr<Work>& work) {
  try {
    check(cudaSetDevice(device_), "choosing the GPU");
    launch(*work);
  } catch (const Error& error) {
    work->error = error.what();
  }
  {
    const std::lock_guard lock(mutex_);
    pending_.push_back(work);
  }
  arrived_.notify_one();
}

void Queue::serve() {
  cudaSetDevice(device_);
  for (;;) {
    std::shared_ptr<Work> work;
    {
      std::unique_lock lock(mutex_);
      arrived_.wait(lock, [this] { return stop_ || !pending_.empty(); });
      if (pending_.empty()) return;
      work = std::move(pending_.front());
      pending_.pop_front();
    }
    finish(*work);
  }
}

void Queue::finish(Work& work) {
  CommandTiming timing;
  std::string error = work.error;
  try {
    if (error.empty()) {
      check(cudaEventSynchronize(work.end), "running kernels");
      timing.gpu_start = last_time_ + elapsed(last_, work.start);
      timing.gpu_end = timing.gpu_start + elapsed(work.start, work.end);
      // From end to end, since the time between two events is told with 24 bits.
      std::swap(last_, work.end);
      last_time_ = timing.gpu_end;
    } else {
      // Some of it may have been launched.
      cudaStreamSynchronize(stream_);
    }
  } catch (const Error& failure) {
    error = failure.what();
  }
  if (!error.empty()) error += fmt::format(" The command buffer held {}.", work.kernel_names());
  for (const auto& handler : work.handlers) handler(timing, error);
  {
    const std::lock_guard lock(mutex_);
    for (const cudaEvent_t event : {work.start, work.end}) {
      if (event != nullptr) free_events_.push_back(event);
    }
  }
  const std::lock_guard lock(work.mutex);
  work.commands.clear();
  work.error = std::move(error);
  work.done = true;
  work.finished.notify_all();
}

}  // namespace mslt::msl::cuda

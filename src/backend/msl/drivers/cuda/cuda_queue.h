// The stream of a CUDA device, what is recorded for it, and the thread that sees work done.
#pragma once

#include <cuda_runtime_api.h>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "backend/msl/driver.h"
#include "backend/msl/drivers/cuda/cuda_command.h"
#include "backend/msl/drivers/cuda/graph_cache.h"
#include "backend/msl/drivers/cuda/time_marks.h"

namespace mslt::msl::cuda {

// What a command buffer holds, shared with the thread that sees it done.
struct Work {
  std::vector<Command> commands;
  std::vector<std::byte> parameters;     // blocks as CudaPipeline lays them out
  std::vector<const void*> allocations;  // that the commands access
  std::vector<std::function<void(const CommandTiming&, std::string_view)>> handlers;
  cudaEvent_t start = nullptr;
  cudaEvent_t end = nullptr;
  std::mutex mutex;
  std::condition_variable finished;
  bool done = false;
  std::string error;

  // "norm_forward_bf16 (2), cast_f32_bf16"
  std::string kernel_names() const;
};

// One stream of the current device. Work is launched by commit() on the caller's thread, so that the GPU always has the
// next work before it ends the last; a thread of the queue waits for one after another and calls its handlers, which
// keeps them off the stream (a host function in the stream would hold up what comes behind it) and reports failures,
// after which CUDA calls no host functions.
class Queue {
 public:
  Queue();
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;
  // Finishes what was committed.
  ~Queue();

  cudaStream_t stream() const { return stream_; }
  // Launches the commands in order. What fails is told to the handlers and by Work::error.
  void commit(const std::shared_ptr<Work>& work);
  // Waits until nothing committed accesses the allocation, which can be freed then.
  void release(const void* allocation);
  // The stream's marks, and the times of those that ran since the last call.
  const TimeMarks& marks();
  std::vector<double> take_marks();
  // How many command buffers went as graphs.
  std::uint64_t graph_launches() const { return graphs_->launches(); }

 private:
  void serve();
  void finish(Work& work);
  void launch(Work& work);
  void launch_commands(Work& work);
  cudaEvent_t take_event();

  int device_ = 0;
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<GraphCache> graphs_;
  std::unique_ptr<TimeMarks> marks_;  // made by the first mark
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<std::shared_ptr<Work>> pending_;
  std::vector<cudaEvent_t> free_events_;
  bool stop_ = false;
  // The clock: `last_` was recorded at `last_time_`, in seconds from the queue's beginning.
  cudaEvent_t last_ = nullptr;
  double last_time_ = 0.0;
  std::thread thread_;
};

}  // namespace mslt::msl::cuda

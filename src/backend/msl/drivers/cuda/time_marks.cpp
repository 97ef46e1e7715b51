// The memory of marks.
#include "backend/msl/drivers/cuda/time_marks.h"

#include <algorithm>

#include "backend/msl/drivers/cuda/cuda_status.h"

namespace mslt::msl::cuda {

TimeMarks::TimeMarks(cudaStream_t stream) : stream_(stream) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, (1 + most) * sizeof(*memory_)), "allocating memory for times");
  memory_ = static_cast<std::uint64_t*>(memory);
  cudaMemsetAsync(memory_, 0, sizeof(*memory_), stream_);
}

TimeMarks::~TimeMarks() {
  cudaFree(memory_);
}

std::vector<double> TimeMarks::take() {
  check(cudaStreamSynchronize(stream_), "waiting for times");
  std::uint64_t count = 0;
  check(cudaMemcpy(&count, memory_, sizeof(count), cudaMemcpyDeviceToHost), "reading times");
  std::vector<std::uint64_t> nanoseconds(std::min(count, most));
  const std::size_t bytes = nanoseconds.size() * sizeof(nanoseconds.front());
  if (bytes > 0) check(cudaMemcpy(nanoseconds.data(), memory_ + 1, bytes, cudaMemcpyDeviceToHost), "reading times");
  check(cudaMemsetAsync(memory_, 0, sizeof(*memory_), stream_), "forgetting times");
  // From the first mark on: a double has not the digits for nanoseconds since the GPU's clock began.
  std::vector<double> seconds;
  seconds.reserve(nanoseconds.size());
  for (const std::uint64_t each : nanoseconds) {
    seconds.push_back(1e-9 * static_cast<double>(static_cast<std::int64_t>(each - nanoseconds.front())));
  }
  return seconds;
}

}  // namespace mslt::msl::cuda

// Marks in a stream, which note when it reached them.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

namespace mslt::msl::cuda {

// Notes the time behind the `count` times that `memory` begins with, up to `most`, and counts it. It is a kernel with
// the same arguments each time, so that graphs may hold it.
cudaError_t launch_mark(std::uint64_t* memory, std::uint64_t most, cudaStream_t stream);

// The marks of one stream of the current GPU. One thread at a time.
class TimeMarks {
 public:
  // Throws Error(device) where there is no memory for them. The stream must outlive it.
  explicit TimeMarks(cudaStream_t stream);
  TimeMarks(const TimeMarks&) = delete;
  TimeMarks& operator=(const TimeMarks&) = delete;
  // Nothing in the stream, or in a graph, may mark afterwards.
  ~TimeMarks();

  cudaError_t launch() const { return launch_mark(memory_, most, stream_); }
  // Waits for the stream. The times of its marks since the last call, in order and in seconds of the GPU's clock; the
  // first `most` of them.
  std::vector<double> take();

 private:
  static constexpr std::uint64_t most = 1 << 18;

  cudaStream_t stream_;
  std::uint64_t* memory_ = nullptr;
};

}  // namespace mslt::msl::cuda

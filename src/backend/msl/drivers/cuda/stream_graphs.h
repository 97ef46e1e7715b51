// Graphs of what is launched into a CUDA stream.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <memory>

#include "backend/msl/drivers/cuda/graph_cache.h"

namespace mslt::msl::cuda {

// For one stream of the device that is current, which must outlive it and its graphs.
class StreamGraphs final : public GraphMaker {
 public:
  explicit StreamGraphs(cudaStream_t stream) : stream_(stream) {}

  std::shared_ptr<void> record(const std::function<void()>& launch) override;
  bool launch(void* graph) override;

 private:
  cudaStream_t stream_;
};

}  // namespace mslt::msl::cuda

// Capturing a stream, and launching what was captured.
#include "backend/msl/drivers/cuda/stream_graphs.h"

#include "base/fail.h"

namespace mslt::msl::cuda {
namespace {

struct DestroyGraph {
  void operator()(CUgraph_st* graph) const { cudaGraphDestroy(graph); }
};

}  // namespace

std::shared_ptr<void> StreamGraphs::record(const std::function<void()>& launch) {
  // Other threads may allocate meanwhile.
  if (cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal) != cudaSuccess) {
    cudaGetLastError();
    return nullptr;
  }
  bool is_complete = true;
  try {
    launch();
  } catch (const Error&) {
    is_complete = false;  // launched one by one, it says so itself
  }
  cudaGraph_t recorded = nullptr;
  is_complete = cudaStreamEndCapture(stream_, &recorded) == cudaSuccess && is_complete;
  const std::unique_ptr<CUgraph_st, DestroyGraph> graph(recorded);
  cudaGraphExec_t made = nullptr;
  const bool is_made = is_complete && cudaGraphInstantiate(&made, recorded, 0) == cudaSuccess;
  cudaGetLastError();  // what failed here is not reported by the next call
  if (!is_made) return nullptr;
  return std::shared_ptr<void>(made, [stream = stream_](void* each) {
    cudaStreamSynchronize(stream);  // it may run still
    cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(each));
  });
}

bool StreamGraphs::launch(void* graph) {
  if (cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), stream_) == cudaSuccess) return true;
  cudaGetLastError();
  return false;
}

}  // namespace mslt::msl::cuda

// Command buffers that come again and again, as graphs: launched by one call instead of one for every command.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "backend/msl/drivers/cuda/cuda_command.h"

namespace mslt::msl::cuda {

// Knows command buffers by all that they do: kernels, sizes, arguments and addresses. One that comes for the third time
// becomes a graph. Used by one thread at a time, on the device that was current when it was made.
class GraphCache {
 public:
  // The graphs that were not launched for the longest time give way to new ones beyond `most`.
  explicit GraphCache(std::size_t most = 256) : most_(most) {}

  // Launches the commands into the stream as a graph; false where they have to be launched one by one. `launch` does
  // that: it is called to record them, and may throw.
  bool launch(std::span<const Command> commands, std::span<const std::byte> parameters, cudaStream_t stream,
              const std::function<void()>& launch);
  // Graphs launched so far.
  std::uint64_t launches() const { return launches_; }

 private:
  struct Destroy {
    void operator()(CUgraphExec_st* graph) const { cudaGraphExecDestroy(graph); }
  };
  struct Entry {
    std::string identity;
    int seen = 0;
    bool refused = false;
    std::uint64_t last = 0;
    std::unique_ptr<CUgraphExec_st, Destroy> graph;
  };

  Entry& find(std::string identity);
  // Records the commands; nothing runs. Leaves the entry without a graph where that fails.
  static void record(Entry& entry, cudaStream_t stream, const std::function<void()>& launch);

  std::size_t most_;
  std::unordered_map<std::uint64_t, Entry> entries_;
  std::uint64_t clock_ = 0;
  std::uint64_t launches_ = 0;
};

}  // namespace mslt::msl::cuda

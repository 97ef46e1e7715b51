// Command buffers that come again and again, as graphs: launched by one call instead of one for every command.
#pragma once

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

// Turns what is launched into graphs.
class GraphMaker {
 public:
  GraphMaker() = default;
  GraphMaker(const GraphMaker&) = delete;
  GraphMaker& operator=(const GraphMaker&) = delete;
  virtual ~GraphMaker() = default;
  // The graph of what `launch`, which may throw, puts into the stream; nothing runs. Null where that fails.
  virtual std::shared_ptr<void> record(const std::function<void()>& launch) = 0;
  // False where the graph cannot be launched; nothing of it runs then.
  virtual bool launch(void* graph) = 0;
};

// What a command buffer does.
struct CommandList {
  std::span<const Command> commands;
  std::span<const std::byte> parameters;
  // Where the allocations begin that the commands access, in any order and as often as they come.
  std::span<const void* const> allocations;
};

// Knows command buffers by all that they do: kernels, sizes, arguments and addresses. One that comes for the third time
// becomes a graph. Used by one thread at a time.
class GraphCache {
 public:
  // The graphs that were not launched for the longest time give way to new ones beyond `most`.
  explicit GraphCache(std::unique_ptr<GraphMaker> maker, std::size_t most = 256)
      : maker_(std::move(maker)), most_(most) {}

  // Launches the commands as a graph; false where they have to be launched one by one. `launch` does that: it is called
  // to record them, and may throw.
  bool launch(const CommandList& list, const std::function<void()>& launch);
  // Forgets every graph that accesses the allocation, which must come before that is freed: CUDA's copies and fills
  // remember the allocation itself, and another one may get its address.
  void forget(const void* allocation);
  // Graphs launched so far.
  std::uint64_t launches() const { return launches_; }

 private:
  struct Entry {
    std::string identity;
    std::vector<const void*> allocations;  // sorted
    int seen = 0;
    bool refused = false;
    std::uint64_t last = 0;
    std::shared_ptr<void> graph;
  };

  Entry& find(std::string identity, std::span<const void* const> allocations);

  std::unique_ptr<GraphMaker> maker_;
  std::size_t most_;
  std::unordered_map<std::uint64_t, Entry> entries_;
  std::uint64_t clock_ = 0;
  std::uint64_t launches_ = 0;
};

}  // namespace mslt::msl::cuda

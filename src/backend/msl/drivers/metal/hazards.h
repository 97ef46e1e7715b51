// Which dispatches must wait for earlier ones: those that access memory which earlier ones write, or write memory which
// earlier ones access.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace mslt::msl::metal {

// Bytes [begin, end) of an allocation, which any address may identify.
struct MemoryAccess {
  const void* memory = nullptr;
  std::size_t begin = 0;
  std::size_t end = 0;
  bool writes = false;
};

// The accesses of commands that may still be running at the same time.
class HazardTracker {
 public:
  // Whether a command with these accesses must wait for those recorded so far. The accesses of one command do not
  // conflict with each other.
  bool conflicts(std::span<const MemoryAccess> command) const;
  void record(std::span<const MemoryAccess> command);
  // Call after a barrier.
  void clear();

 private:
  std::vector<MemoryAccess> reads_;
  std::vector<MemoryAccess> writes_;
};

}  // namespace mslt::msl::metal

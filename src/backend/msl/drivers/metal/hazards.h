// Which dispatches must wait for earlier ones: those that touch memory which the others write, or write what they
// touch.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace mslt::msl::metal {

// Bytes [begin, end) of an allocation, given by any address that stands for it.
struct MemoryAccess {
  const void* memory = nullptr;
  std::size_t begin = 0;
  std::size_t end = 0;
  bool writes = false;
};

// The accesses of commands that may still be running side by side.
class HazardTracker {
 public:
  // Whether a command with these accesses has to wait until those recorded so far are done. The accesses of one command
  // do not disturb one another.
  bool conflicts(std::span<const MemoryAccess> command) const;
  void record(std::span<const MemoryAccess> command);
  // After a barrier.
  void clear();

 private:
  std::vector<MemoryAccess> reads_;
  std::vector<MemoryAccess> writes_;
};

}  // namespace mslt::msl::metal

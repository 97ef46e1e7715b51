// The memory planner: tensors that are never alive at once share memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mslt {

// A tensor's size and its lifetime in steps of a schedule, both ends included.
struct Lifetime {
  std::string name;
  std::size_t bytes = 0;
  std::int64_t first_use = 0;
  std::int64_t last_use = 0;
};

// Offsets in one buffer for tensors of known lifetimes. A value type.
class MemoryPlanner {
 public:
  // Places every tensor at a multiple of `alignment` so that no two tensors alive in the same step overlap. Each gets
  // the smallest gap that holds it (best fit), larger tensors first, or longer-lived ones first if that needs less in
  // total. Deterministic. Throws Error(input) on two equal names, a last use before the first, or sizes whose sum
  // overflows.
  MemoryPlanner(std::span<const Lifetime> tensors, std::size_t alignment);

  // Bytes of the buffer, a multiple of the alignment.
  std::size_t bytes() const { return bytes_; }
  // The most bytes alive in one step, each tensor rounded up to the alignment: a lower bound for every plan.
  std::size_t peak_bytes() const { return peak_bytes_; }
  // Throws Error(input) if there is none of that name.
  std::size_t offset(std::string_view name) const;

 private:
  std::map<std::string, std::size_t, std::less<>> offsets_;
  std::size_t bytes_ = 0;
  std::size_t peak_bytes_ = 0;
};

}  // namespace mslt

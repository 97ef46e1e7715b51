// Best-fit placement of tensors by lifetime.
#include "tensor/planner.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/checked.h"

namespace mslt {
namespace {

struct Placement {
  std::vector<std::size_t> offsets;
  std::size_t bytes = 0;
};

bool alive_together(const Lifetime& a, const Lifetime& b) {
  return a.first_use <= b.last_use && b.first_use <= a.last_use;
}

// Places tensors in `order`; sizes are already rounded up to the alignment.
Placement place(std::span<const Lifetime> tensors, std::span<const std::size_t> order) {
  Placement placement;
  placement.offsets.resize(tensors.size());
  std::vector<std::size_t> by_offset;  // placed tensors, by offset
  for (const std::size_t index : order) {
    const std::size_t size = tensors[index].bytes;
    constexpr auto none = static_cast<std::size_t>(-1);
    std::size_t best_offset = none;
    std::size_t best_gap = none;
    std::size_t free_from = 0;
    for (const std::size_t other : by_offset) {
      if (!alive_together(tensors[index], tensors[other])) continue;
      const std::size_t begin = placement.offsets[other];
      if (begin >= free_from + size && begin - free_from < best_gap) {
        best_gap = begin - free_from;
        best_offset = free_from;
      }
      free_from = std::max(free_from, begin + tensors[other].bytes);
    }
    placement.offsets[index] = best_offset == none ? free_from : best_offset;
    placement.bytes = std::max(placement.bytes, placement.offsets[index] + size);
    const auto position =
        std::upper_bound(by_offset.begin(), by_offset.end(), placement.offsets[index],
                         [&](std::size_t offset, std::size_t other) { return offset < placement.offsets[other]; });
    by_offset.insert(position, index);
  }
  return placement;
}

void check_disjoint(std::span<const Lifetime> tensors, const Placement& placement) {
  for (std::size_t a = 0; a < tensors.size(); ++a) {
    for (std::size_t b = a + 1; b < tensors.size(); ++b) {
      const bool apart = placement.offsets[a] + tensors[a].bytes <= placement.offsets[b] ||
                         placement.offsets[b] + tensors[b].bytes <= placement.offsets[a];
      if (!apart && alive_together(tensors[a], tensors[b])) {
        fail(ErrorKind::input, "The memory plan lets '{}' and '{}' overlap.", tensors[a].name, tensors[b].name);
      }
    }
  }
}

// Bytes alive in the fullest step. Lifetimes only begin at a first use, so checking those steps suffices.
std::size_t peak_of(std::span<const Lifetime> tensors) {
  std::size_t peak = 0;
  for (const Lifetime& at : tensors) {
    std::size_t alive = 0;
    for (const Lifetime& tensor : tensors) {
      if (tensor.first_use <= at.first_use && at.first_use <= tensor.last_use) alive += tensor.bytes;
    }
    peak = std::max(peak, alive);
  }
  return peak;
}

}  // namespace

MemoryPlanner::MemoryPlanner(std::span<const Lifetime> tensors, std::size_t alignment) {
  std::vector<Lifetime> rounded(tensors.begin(), tensors.end());
  std::uint64_t total = 0;
  for (Lifetime& tensor : rounded) {
    if (tensor.last_use < tensor.first_use) {
      fail(ErrorKind::input, "'{}' is used last at step {}, before its first use at {}.", tensor.name, tensor.last_use,
           tensor.first_use);
    }
    tensor.bytes = checked_add(tensor.bytes, alignment - 1, tensor.name) / alignment * alignment;
    total = checked_add(total, tensor.bytes, tensor.name);
    if (!offsets_.emplace(tensor.name, 0).second) {
      fail(ErrorKind::input, "Two planned tensors are named '{}'.", tensor.name);
    }
  }

  std::vector<std::size_t> order(rounded.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto length = [&](std::size_t i) {
    return rounded[i].last_use - rounded[i].first_use;
  };
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return rounded[a].bytes != rounded[b].bytes ? rounded[a].bytes > rounded[b].bytes : a < b;
  });
  Placement placement = place(rounded, order);
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    if (length(a) != length(b)) return length(a) > length(b);
    return rounded[a].bytes != rounded[b].bytes ? rounded[a].bytes > rounded[b].bytes : a < b;
  });
  Placement by_length = place(rounded, order);
  if (by_length.bytes < placement.bytes) placement = std::move(by_length);
  check_disjoint(rounded, placement);

  for (std::size_t i = 0; i < rounded.size(); ++i) offsets_[rounded[i].name] = placement.offsets[i];
  bytes_ = placement.bytes;
  peak_bytes_ = peak_of(rounded);
}

std::size_t MemoryPlanner::offset(std::string_view name) const {
  const auto found = offsets_.find(name);
  if (found == offsets_.end()) fail(ErrorKind::input, "The memory plan has no tensor '{}'.", name);
  return found->second;
}

}  // namespace mslt

// A priority queue of positions by small integer ranks, with constant time per operation.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace mslt {

// Positions 0 to n-1, each in at most one of the buckets 0 to ranks-1. A bucket is a doubly linked list through the
// positions. Three levels of 64-bit words record the non-empty buckets; each bit says whether a word of the level below
// is non-zero. Takes 12 bytes per position and 4 per rank. One thread at a time.
class RankQueue {
 public:
  // Prepares an empty queue for ranks below `ranks` and positions below `positions` (both below 2^32 - 1). O(1) if the
  // queue was as large before.
  void prepare(std::size_t ranks, std::size_t positions) {
    if (heads_.size() != ranks) {
      heads_.assign(ranks, none);
      std::size_t words = ranks;
      for (auto& level : levels_) {
        words = words / 64 + 1;
        level.assign(words, 0);
      }
    }
    if (places_.size() < positions) places_.resize(positions);
  }

  bool empty() const { return count_ == 0; }

  // `position` must not be in the queue.
  void insert(std::uint32_t position, std::uint32_t rank) {
    const std::uint32_t head = heads_[rank];
    places_[position] = {.rank = rank, .next = head, .previous = none};
    heads_[rank] = position;
    ++count_;
    if (head != none) {
      places_[head].previous = position;
      return;
    }
    std::size_t index = rank;
    for (auto& level : levels_) {
      level[index / 64] |= std::uint64_t{1} << (index % 64);
      index /= 64;
    }
  }

  // Does nothing if `position` is not in the queue.
  void erase(std::uint32_t position) {
    const auto [rank, next, previous] = places_[position];
    if (rank == none) return;
    places_[position].rank = none;
    --count_;
    if (next != none) places_[next].previous = previous;
    if (previous != none) {
      places_[previous].next = next;
      return;
    }
    heads_[rank] = next;
    if (next != none) return;
    std::size_t index = rank;
    for (auto& level : levels_) {
      level[index / 64] &= ~(std::uint64_t{1} << (index % 64));
      if (level[index / 64] != 0) return;
      index /= 64;
    }
  }

  // Some position with the lowest rank; the queue must not be empty.
  std::uint32_t lowest() const {
    const auto& top = levels_.back();
    std::size_t index = 0;
    while (top[index] == 0) ++index;
    index = index * 64 + static_cast<std::size_t>(std::countr_zero(top[index]));
    for (std::size_t level = levels_.size() - 1; level-- > 0;) {
      index = index * 64 + static_cast<std::size_t>(std::countr_zero(levels_[level][index]));
    }
    return heads_[index];
  }

 private:
  static constexpr std::uint32_t none = ~std::uint32_t{0};

  // Together, so an operation touches one cache line per position.
  struct Place {
    std::uint32_t rank = none;  // none: not in the queue
    std::uint32_t next = none;
    std::uint32_t previous = none;
  };

  std::vector<std::uint32_t> heads_;
  std::array<std::vector<std::uint64_t>, 3> levels_;
  std::vector<Place> places_;  // by position
  std::size_t count_ = 0;
};

}  // namespace mslt

// KvCache: the paged keys and values of many sequences.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "model/transformer.h"

namespace mslt {

// A pool of blocks of KvCacheView::block_size positions for all layers, and a block table a slot. A slot holds one
// sequence of at most max_positions. One thread at a time; the backend must outlive it.
class KvCache {
 public:
  // Room for `slots` sequences that together hold `positions` positions at most. dtype f32, bf16 or f16.
  KvCache(Backend& backend, const Config& config, DType dtype, int slots, std::int64_t positions);

  int slots() const { return static_cast<int>(lengths_.size()); }
  std::int64_t length(int slot) const { return lengths_[static_cast<std::size_t>(slot)]; }
  std::int64_t free_blocks() const { return static_cast<std::int64_t>(free_.size()); }
  std::size_t bytes() const;

  // Makes room for `count` more positions of `slot`. Throws Error(memory) where the pool is exhausted (nothing
  // changes), Error(usage) where the sequence would pass max_positions.
  void reserve(int slot, std::int64_t count);
  // Counts `count` positions as filled, after the pass that filled them.
  void advance(int slot, std::int64_t count);
  // Forgets everything from `length` on and gives whole blocks back; truncate(slot, 0) empties the slot.
  void truncate(int slot, std::int64_t length);

  // One layer's view whose rows are the given slots, in order; uploads the block table when it has changed.
  KvCacheView view(std::int64_t layer, std::span<const int> slots);

 private:
  Backend& backend_;
  std::int64_t max_positions_;
  std::int64_t blocks_per_slot_;
  std::vector<std::int64_t> lengths_;
  std::vector<std::vector<std::int32_t>> tables_;
  std::vector<std::int32_t> free_;
  Arena storage_;
  std::unique_ptr<Buffer> block_table_;
  std::vector<std::int32_t> uploaded_table_;
};

}  // namespace mslt

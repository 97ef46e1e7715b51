// KvCache: the paged keys and values of many sequences.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "model/transformer.h"

namespace mslt {

// Steps of decoding that may be on their way to the device at a time without waiting for each other's uploads.
inline constexpr std::size_t decode_steps_under_way = 2;

// A pool of blocks of KvCacheView::block_size positions for all layers, and a block table a slot. A slot holds one
// sequence of at most max_positions. One thread at a time; the backend must outlive it.
class KvCache {
 public:
  // Room for `slots` sequences that hold `positions` positions together, however they divide into blocks. dtype f32,
  // bf16 or f16. Throws Error(usage) for other dtypes and for counts below 1.
  KvCache(Backend& backend, const Config& config, DType dtype, int slots, std::int64_t positions);

  int slots() const { return static_cast<int>(lengths_.size()); }
  std::int64_t length(int slot) const { return lengths_[checked_slot(slot)]; }
  std::int64_t free_blocks() const { return static_cast<std::int64_t>(free_.size()); }
  // Whether it was made for the layers, key/value heads and positions of this configuration.
  bool fits(const Config& config) const;
  // What it allocated.
  std::size_t bytes() const { return storage_.buffer().size() + block_table_->size(); }

  // All of these throw Error(usage) for a slot or a count that does not exist.

  // Makes room for `count` more positions of `slot`. Throws Error(memory) if the pool is exhausted (nothing
  // changes), Error(usage) if the sequence would pass max_positions.
  void reserve(int slot, std::int64_t count);
  // Counts `count` positions as filled, after the pass that filled them.
  void advance(int slot, std::int64_t count);
  // Forgets everything from `length` on and gives whole blocks back; truncate(slot, 0) empties the slot.
  void truncate(int slot, std::int64_t length);

  // One layer's view whose rows are the given slots, in order. Uploads the block table if it or the slots have changed.
  // A view is valid until the cache changes or other slots are asked for.
  KvCacheView view(std::int64_t layer, std::span<const int> slots);

 private:
  std::size_t checked_slot(int slot) const;

  std::int64_t max_positions_;
  std::int64_t blocks_per_slot_;
  std::vector<std::int64_t> lengths_;
  std::vector<std::vector<std::int32_t>> tables_;
  std::vector<std::int32_t> free_;
  Arena storage_;
  std::unique_ptr<Buffer> block_table_;
  std::unique_ptr<UploadSlot> block_tables_;  // to block_table_
  std::vector<int> uploaded_slots_;           // whose tables block_table_ holds; none where a table has changed since
};

}  // namespace mslt

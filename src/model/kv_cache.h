// KvCache: the paged keys and values of many sequences.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "backend/backend.h"
#include "model/transformer.h"

namespace mslt {

// Steps of decoding that may be on their way to the device at a time without waiting for each other's uploads.
inline constexpr std::size_t decode_steps_under_way = 2;

// A pool of blocks of KvCacheView::block_size positions for all layers, and a block table a slot. A slot holds one
// sequence of at most max_positions. One thread at a time; the backend must outlive it.
//
// Sequences that begin alike can share blocks, without copies: remember() says which tokens a slot's whole blocks hold,
// share() gives an empty slot those that hold the beginning of its own. A remembered block is kept when the last slot
// has given it back, until its place is needed; of these, the one that was given back first goes first.
class KvCache {
 public:
  // Room for `slots` sequences that hold `positions` positions together, however they divide into blocks. dtype f32,
  // bf16 or f16. Throws Error(usage) for other dtypes and for counts below 1.
  KvCache(Backend& backend, const Config& config, DType dtype, int slots, std::int64_t positions);

  int slots() const { return static_cast<int>(lengths_.size()); }
  std::int64_t length(int slot) const { return lengths_[checked_slot(slot)]; }
  // Blocks that reserve() can take, and those among them that are kept for share().
  std::int64_t free_blocks() const { return static_cast<std::int64_t>(free_.size() + kept_.size()); }
  std::int64_t kept_blocks() const { return static_cast<std::int64_t>(kept_.size()); }
  std::int64_t blocks() const { return static_cast<std::int64_t>(states_.size()); }
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
  // Forgets everything from `length` on and gives whole blocks back; truncate(slot, 0) empties the slot. Throws
  // Error(usage) where that would cut a block that another slot has, too.
  void truncate(int slot, std::int64_t length);

  // Says that the positions of `slot` hold these tokens, from the first on, so that others can share its whole blocks.
  // Those that are known already cost little. Throws Error(usage) for fewer tokens than the slot has positions.
  void remember(int slot, std::span<const std::int32_t> tokens);
  // Gives an empty slot the remembered blocks of the longest beginning of `tokens`; returns their positions, a multiple
  // of the block size, of which the slot then is that long.
  std::int64_t share(int slot, std::span<const std::int32_t> tokens);
  // Remembers nothing any more, such as after a pass that may have left blocks half written.
  void forget();

  // One layer's view whose rows are the given slots, in order. Uploads the block table if it or the slots have changed.
  // A view is valid until the cache changes or other slots are asked for.
  KvCacheView view(std::int64_t layer, std::span<const int> slots);

 private:
  // The tokens of a block and all before it: `before` names those, 0 at the beginning of a text.
  struct Beginning {
    std::uint64_t before = 0;
    std::array<std::int32_t, KvCacheView::block_size> tokens = {};
    bool operator==(const Beginning&) const = default;
  };
  struct BeginningHash {
    std::size_t operator()(const Beginning& beginning) const;
  };
  struct BlockState {
    int owners = 0;
    std::uint64_t name = 0;  // of the tokens up to its end, where they are remembered; never given twice
    Beginning beginning = {};
    std::list<std::int32_t>::iterator kept = {};  // its place there, with a name and without an owner
  };

  std::size_t checked_slot(int slot) const;
  BlockState& state(std::int32_t block) { return states_[static_cast<std::size_t>(block)]; }
  static Beginning beginning(std::uint64_t before, std::span<const std::int32_t> tokens, std::size_t block);
  void take_block(std::vector<std::int32_t>& table);
  void give_back(std::int32_t block);
  void forget_block(std::int32_t block);

  std::int64_t max_positions_;
  std::int64_t blocks_per_slot_;
  std::vector<std::int64_t> lengths_;
  std::vector<std::vector<std::int32_t>> tables_;
  std::vector<std::int32_t> free_;
  std::list<std::int32_t> kept_;  // by the time when they were given back
  std::vector<BlockState> states_;
  std::unordered_map<Beginning, std::int32_t, BeginningHash> remembered_;
  // Of each slot: how many of its blocks were remembered, and the name of the tokens up to there.
  struct Remembered {
    std::size_t blocks = 0;
    std::uint64_t name = 0;
  };
  std::vector<Remembered> progress_;
  std::uint64_t last_name_ = 0;
  Arena storage_;
  std::unique_ptr<Buffer> block_table_;
  std::unique_ptr<UploadSlot> block_tables_;  // to block_table_
  std::vector<int> uploaded_slots_;           // whose tables block_table_ holds; none where a table has changed since
};

}  // namespace mslt

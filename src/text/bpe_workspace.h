// What one call of an encoder works with: caches of pre-tokens, symbols being merged, ids being collected.
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

#include "text/bpe_encode.h"
#include "text/pretoken_cache.h"
#include "text/rank_queue.h"

namespace mslt {

// Slots of half a cache line, of one and of two. Pieces of more tokens than their slot holds are in the next larger
// one.
using ShortPieces = PretokenCache<1, 3, std::size_t{1} << 16>;
using MiddlePieces = PretokenCache<2, 7, std::size_t{1} << 15>;
using LongPieces = PretokenCache<3, 19, std::size_t{1} << 13>;

struct BpeEncoder::Workspace {
  ShortPieces short_pieces;
  MiddlePieces middle_pieces;
  LongPieces long_pieces;
  CharacterTokens::Symbols characters;
  std::vector<TokenId> symbols;
  RankQueue queue;
};

// Ids are collected here first, which saves a capacity check per token.
class BpeEncoder::IdBlock {
 public:
  explicit IdBlock(std::vector<TokenId>& ids) : ids_(ids) {}

  void append_slot(const auto& slot) {
    if (filled_ + slot.ids.size() > block_.size()) flush();
    // Always copies all of them: a copy of fixed size needs no loop.
    std::memcpy(block_.data() + filled_, slot.ids.data(), sizeof(slot.ids));
    filled_ += slot.count;
  }
  // Room for `count` ids, which are written there before add(). Does not move earlier ids of the same piece, if that
  // was begun with enough room.
  TokenId* room(std::size_t count) {
    if (filled_ + count > block_.size()) flush();
    return block_.data() + filled_;
  }
  void add(std::size_t count) { filled_ += count; }
  void append(TokenId id) {
    *room(1) = id;
    add(1);
  }
  // The ids from `start` on, a value of room() since which nothing was flushed.
  std::span<const TokenId> since(const TokenId* start) const { return {start, block_.data() + filled_}; }
  // For ids that are appended without the block.
  std::vector<TokenId>& flushed() {
    flush();
    return ids_;
  }
  void flush() {
    ids_.insert(ids_.end(), block_.begin(), block_.begin() + filled_);
    filled_ = 0;
  }

 private:
  std::vector<TokenId>& ids_;
  std::array<TokenId, 1024> block_;
  std::size_t filled_ = 0;
};

}  // namespace mslt

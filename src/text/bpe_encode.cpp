// Encoding with a cache of recent pre-tokens before the merges.
#include "text/bpe_encode.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/fail.h"
#include "text/pretoken_cache.h"
#include "text/rank_queue.h"

namespace mslt {
namespace {

// From this length on, the rank queue is faster than scanning for the lowest rank.
constexpr std::size_t long_piece = BpeEncoder::max_few;

// Whether a piece ends with a character of U+3000 to U+9FFF. Such text has no spaces: its pieces are runs of words,
// which rarely repeat, and no rule joins most of their characters with their neighbours, so merging is faster than the
// cache.
inline bool is_run_of_words(std::string_view piece) {
  constexpr std::size_t least_bytes = 6;
  // The first test is one that English text passes quickly.
  return static_cast<signed char>(piece.back()) < 0 && piece.size() >= least_bytes &&
         static_cast<unsigned char>(piece[piece.size() - 3]) - 0xE3u < 0xEA - 0xE3;
}
// More symbols are not kept for the next call.
constexpr std::size_t max_kept_positions = std::size_t{1} << 18;

// Slots of half a cache line, of one and of two. Pieces of more tokens than their slot holds are in the next larger
// one.
using ShortPieces = PretokenCache<1, 3, std::size_t{1} << 16>;
using MiddlePieces = PretokenCache<2, 7, std::size_t{1} << 15>;
using LongPieces = PretokenCache<3, 19, std::size_t{1} << 13>;

std::uint64_t hash_bytes(std::string_view bytes) {
  std::uint64_t hash = bytes.size() * 0x9E3779B97F4A7C15u;
  const char* at = bytes.data();
  std::size_t left = bytes.size();
  while (left > 0) {
    std::uint64_t word = 0;
    const std::size_t count = std::min<std::size_t>(left, 8);
    std::memcpy(&word, at, count);
    const __uint128_t product = static_cast<__uint128_t>(hash ^ word ^ 0xA0761D6478BD642Fu) * 0xE7037ED1A0B428DBu;
    hash = static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
    at += count;
    left -= count;
  }
  return hash;
}

// Whether every rule's rank is above those of all rules that make its two sides, and no rank repeats.
bool check_ranks_rise(std::span<const MergeRule> rules) {
  TokenId largest = 0;
  for (const MergeRule& rule : rules) largest = std::max({largest, rule.left, rule.right, rule.result});
  std::vector<std::int64_t> last_rank(std::size_t{largest} + 1, -1);
  for (const MergeRule& rule : rules) {
    last_rank[rule.result] = std::max(last_rank[rule.result], std::int64_t{rule.rank});
  }
  std::int64_t previous = -1;
  for (const MergeRule& rule : rules) {
    const std::int64_t rank = rule.rank;
    if (rank <= previous || last_rank[rule.left] >= rank || last_rank[rule.right] >= rank) return false;
    previous = rank;
  }
  return true;
}

}  // namespace

TokenIndex::TokenIndex(std::span<const std::string> tokens, std::span<const TokenId> ids)
    : tokens_(tokens), slots_(std::bit_ceil(std::max<std::size_t>(16, 2 * ids.size())), no_token) {
  for (const TokenId id : ids) {
    std::size_t index = hash_bytes(tokens_[id]) & (slots_.size() - 1);
    while (slots_[index] != no_token && tokens_[slots_[index]] != tokens_[id])
      index = (index + 1) & (slots_.size() - 1);
    if (slots_[index] == no_token) slots_[index] = id;
  }
}

TokenId TokenIndex::find(std::string_view bytes) const {
  std::size_t index = hash_bytes(bytes) & (slots_.size() - 1);
  while (slots_[index] != no_token && tokens_[slots_[index]] != bytes) index = (index + 1) & (slots_.size() - 1);
  return slots_[index];
}

struct BpeEncoder::Workspace {
  ShortPieces short_pieces;
  MiddlePieces middle_pieces;
  LongPieces long_pieces;
  std::vector<TokenId> symbols;
  RankQueue queue;
};

// Borrows a workspace from the pool for one call, or makes one if all are in use.
class BpeEncoder::BorrowedWorkspace {
 public:
  explicit BorrowedWorkspace(const BpeEncoder& encoder) : encoder_(encoder) {
    for (auto& place : encoder_.pool_) {
      workspace_.reset(place.exchange(nullptr, std::memory_order_acquire));
      if (workspace_) return;
    }
    workspace_ = std::make_unique<Workspace>();
  }
  BorrowedWorkspace(const BorrowedWorkspace&) = delete;
  BorrowedWorkspace& operator=(const BorrowedWorkspace&) = delete;
  ~BorrowedWorkspace() {
    for (auto& place : encoder_.pool_) {
      Workspace* expected = nullptr;
      if (place.compare_exchange_strong(expected, workspace_.get(), std::memory_order_release,
                                        std::memory_order_relaxed)) {
        [[maybe_unused]] const Workspace* const given_back = workspace_.release();
        return;
      }
    }
  }
  Workspace& operator*() const { return *workspace_; }

 private:
  const BpeEncoder& encoder_;
  std::unique_ptr<Workspace> workspace_;
};

BpeEncoder::BpeEncoder(const ByteTokens& bytes, std::span<const MergeRule> rules, std::span<const std::string> tokens,
                       std::span<const TokenId> whole, std::optional<CharacterVocabulary> characters)
    : BpeEncoder(ranked_by_result(rules), bytes, tokens, whole, std::move(characters)) {}

BpeEncoder::BpeEncoder(const std::vector<MergeRule>& rules, const ByteTokens& bytes,
                       std::span<const std::string> tokens, std::span<const TokenId> whole,
                       std::optional<CharacterVocabulary> characters)
    : bytes_(bytes),
      has_all_bytes_(std::ranges::find(bytes.byte_tokens, ByteTokens::none) == bytes.byte_tokens.end()),
      table_(rules),
      whole_(tokens, whole),
      has_whole_(!whole.empty()),
      character_tokens_(characters ? std::nullopt : std::optional(CharacterTokens(bytes, rules, table_, tokens))),
      vocabulary_(std::move(characters)),
      parts_words_(vocabulary_ && !has_whole_ && vocabulary_->parts_words(rules, tokens)),
      ranks_rise_(check_ranks_rise(rules)),
      rank_count_(0) {
  for (const MergeRule& rule : rules) rank_count_ = std::max(rank_count_, rule.rank + 1);
}

BpeEncoder::~BpeEncoder() {
  for (auto& place : pool_) delete place.load(std::memory_order_acquire);
}

std::vector<TokenId> BpeEncoder::symbols_of(std::string_view piece) const {
  std::vector<TokenId> symbols;
  if (vocabulary_) {
    vocabulary_->append_symbols(piece, symbols);
  } else {
    character_tokens_->append_symbols(piece, symbols, table_);
  }
  return symbols;
}

std::size_t BpeEncoder::parts_of(std::string_view piece) const {
  if (!character_tokens_) return 1;
  std::size_t parts = 0;
  CharacterTokens::Block block;
  for (std::size_t end = 0; end < piece.size();) {
    end = character_tokens_->next_block(piece, end, block, table_);
    parts += static_cast<std::size_t>(std::popcount(block.starts));
  }
  return parts;
}

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

// Pieces whose slots of the cache are being loaded.
struct BpeEncoder::Batch {
  std::array<std::string_view, std::tuple_size_v<PretokenEnds>> pieces;
  std::array<ShortPieces::Place, std::tuple_size_v<PretokenEnds>> places;
  std::array<MiddlePieces::Place, std::tuple_size_v<PretokenEnds>> middle_places;
  std::array<LongPieces::Place, std::tuple_size_v<PretokenEnds>> long_places;
  std::size_t count = 0;
  std::uint64_t runs = 0;  // bit i: piece i is one that is not looked up
  static_assert(std::tuple_size_v<PretokenEnds> <= 64);

  // `readable` bytes of memory from the piece's start may be read. `merges_runs`: runs of words are merged uncached.
  void add(std::string_view piece, std::size_t readable, bool merges_runs, Workspace& workspace) {
    pieces[count] = piece;
    if (merges_runs && is_run_of_words(piece)) [[unlikely]] {
      runs |= std::uint64_t{1} << count;
    } else if (piece.size() <= ShortPieces::max_bytes) {
      places[count] = workspace.short_pieces.place(piece, readable);
    } else if (piece.size() <= MiddlePieces::max_bytes) {
      middle_places[count] = workspace.middle_pieces.place(piece, readable);
    } else if (piece.size() <= LongPieces::max_bytes) {
      long_places[count] = workspace.long_pieces.place(piece, readable);
    }
    ++count;
  }
};

void BpeEncoder::encode(std::string_view text, NextPretokens next, std::vector<TokenId>& ids) const {
  // Tokens of English have about four bytes; growing step by step would copy the first ids several times.
  if (const std::size_t expected = text.size() / 4; ids.capacity() - ids.size() < expected) {
    ids.reserve(std::max(2 * ids.capacity(), ids.size() + expected));
  }
  const BorrowedWorkspace borrowed(*this);
  const bool merges_runs = character_tokens_ && has_all_bytes_;
  PretokenEnds ends;
  std::size_t begin = 0;
  encode_batches(ids, *borrowed, [&](Batch& batch) {
    if (begin == text.size()) return;
    for (const std::size_t end : std::span(ends).first(next(text, begin, ends))) {
      const std::string_view piece = text.substr(begin, end - begin);
      batch.add(piece, text.size() - begin, merges_runs, *borrowed);
      begin = end;
    }
  });
}

void BpeEncoder::encode(std::span<const std::string_view> pretokens, std::vector<TokenId>& ids) const {
  const BorrowedWorkspace borrowed(*this);
  const bool merges_runs = character_tokens_ && has_all_bytes_;
  encode_batches(ids, *borrowed, [&](Batch& batch) {
    for (; batch.count < 16 && !pretokens.empty(); pretokens = pretokens.subspan(1)) {
      batch.add(pretokens.front(), pretokens.front().size(), merges_runs, *borrowed);
    }
  });
}

// The slots of one batch load while the batch before it is encoded.
template <class Fill>
void BpeEncoder::encode_batches(std::vector<TokenId>& ids, Workspace& workspace, const Fill& fill) const {
  IdBlock block(ids);
  std::array<Batch, 2> batches;
  fill(batches[0]);
  for (std::size_t current = 0; batches[current].count > 0; current = 1 - current) {
    Batch& next = batches[1 - current];
    next.count = 0;
    next.runs = 0;
    fill(next);
    encode_batch(batches[current], workspace, block);
  }
  block.flush();
}

void BpeEncoder::encode_batch(const Batch& batch, Workspace& workspace, IdBlock& block) const {
  for (std::size_t i = 0; i < batch.count; ++i) {
    const bool is_run = ((batch.runs >> i) & 1) != 0;
    if (batch.pieces[i].size() <= ShortPieces::max_bytes && !is_run) {
      if (const auto* slot = workspace.short_pieces.find(batch.places[i])) [[likely]] {
        block.append_slot(*slot);
        continue;
      }
    }
    encode_other(batch, i, is_run, workspace, block);
  }
}

// What is not among the short pieces of the cache. Apart, so that the loop above keeps its values in registers.
[[gnu::noinline]] void BpeEncoder::encode_other(const Batch& batch, std::size_t i, bool is_run, Workspace& workspace,
                                                IdBlock& block) const {
  const std::string_view piece = batch.pieces[i];
  if (is_run || piece.size() > LongPieces::max_bytes) {
    encode_uncached(piece, workspace, block);
    return;
  }
  const bool is_short = piece.size() <= ShortPieces::max_bytes;
  const bool is_middle = piece.size() <= MiddlePieces::max_bytes;
  MiddlePieces::Place middle_place{};
  if (is_middle) {
    middle_place = is_short ? workspace.middle_pieces.place(piece, piece.size()) : batch.middle_places[i];
    if (const auto* slot = workspace.middle_pieces.find(middle_place)) {
      block.append_slot(*slot);
      return;
    }
  }
  const LongPieces::Place place = is_middle ? workspace.long_pieces.place(piece, piece.size()) : batch.long_places[i];
  if (const auto* slot = workspace.long_pieces.find(place)) {
    block.append_slot(*slot);
    return;
  }
  // The ids stay in the block until they are cached.
  const TokenId* const first = block.room(LongPieces::max_bytes + CharacterTokens::Block::size);
  encode_uncached(piece, workspace, block);
  const std::span<const TokenId> ids = block.since(first);
  if (is_short && ids.size() <= ShortPieces::max_ids) {
    workspace.short_pieces.insert(batch.places[i], ids);
  } else if (is_middle && ids.size() <= MiddlePieces::max_ids) {
    workspace.middle_pieces.insert(middle_place, ids);
  } else if (ids.size() <= LongPieces::max_ids) {
    workspace.long_pieces.insert(place, ids);
  }
}

void BpeEncoder::encode_uncached(std::string_view piece, Workspace& workspace, IdBlock& block) const {
  if (has_whole_ && piece.size() > 1) {
    if (const TokenId id = whole_.find(piece); id != TokenIndex::no_token) {
      block.append(id);
      return;
    }
  }
  if (vocabulary_) {
    workspace.symbols.clear();
    vocabulary_->append_symbols(piece, workspace.symbols);
    merge_symbols(workspace, block);
  } else if (has_all_bytes_) {
    merge(piece, workspace, block);
  } else {
    merge_known(piece, workspace, block);
  }
}

// Drops bytes without a token; they leave no gap unless `unknown` replaces them.
void BpeEncoder::merge_known(std::string_view piece, Workspace& workspace, IdBlock& block) const {
  std::string known;
  bool after_unknown = false;
  const auto flush = [&] {
    if (!known.empty()) merge(known, workspace, block);
    known.clear();
  };
  for (const char character : piece) {
    if (!lacks_token(static_cast<unsigned char>(character))) {
      known.push_back(character);
      after_unknown = false;
    } else if (bytes_.unknown) {
      flush();
      if (!after_unknown || !bytes_.fuse_unknown) block.append(*bytes_.unknown);
      after_unknown = true;
    }
  }
  flush();
}

void BpeEncoder::merge(std::string_view piece, Workspace& workspace, IdBlock& block) const {
  CharacterTokens::Block symbols;
  workspace.symbols.clear();
  for (std::size_t end = 0; end < piece.size();) {
    end = character_tokens_->next_block(piece, end, symbols, table_);
    merge_parts(symbols, end == piece.size(), workspace, block);
  }
}

// Each part that no rule joins with the rest is merged by itself. The workspace's symbols are those of a part that
// started in an earlier block, or goes on in a later one.
void BpeEncoder::merge_parts(const CharacterTokens::Block& symbols, bool is_last, Workspace& workspace,
                             IdBlock& block) const {
  std::vector<TokenId>& open = workspace.symbols;
  std::uint64_t starts = symbols.starts;
  std::size_t at = std::min(static_cast<std::size_t>(std::countr_zero(starts)), symbols.count);
  if (at > 0) {
    open.insert(open.end(), symbols.symbols.begin(), symbols.symbols.begin() + at);
    if (starts == 0 && !is_last) return;
    merge_symbols(workspace, block);
    if (starts == 0) return;
  } else if (!open.empty()) {
    merge_symbols(workspace, block);
  }
  TokenId* const first = block.room(symbols.count + 1);
  TokenId* ids = first;
  do {
    starts &= starts - 1;
    const std::size_t next = starts != 0 ? static_cast<std::size_t>(std::countr_zero(starts)) : symbols.count;
    const auto part = std::span(symbols.symbols).subspan(at, next - at);
    at = next;
    if (starts == 0 && !is_last) {
      open.assign(part.begin(), part.end());
    } else if (part.size() == 1) {
      *ids++ = part.front();
    } else if (part.size() == 2) {
      const MergeTable::Merge rule = table_.find(part.front(), part.back());
      const bool merges = rule.rank != MergeTable::no_rank;
      ids[1] = part.back();
      ids[0] = merges ? rule.result : part.front();
      ids += merges ? 1 : 2;
    } else {
      ids += merge_few(part, ids);
    }
  } while (starts != 0);
  block.add(static_cast<std::size_t>(ids - first));
}

void BpeEncoder::merge_symbols(Workspace& workspace, IdBlock& block) const {
  std::vector<TokenId>& symbols = workspace.symbols;
  if (symbols.empty()) return;
  if (symbols.size() < long_piece) {
    block.add(merge_few(symbols, block.room(symbols.size())));
  } else if (ranks_rise_) {
    merge_by_buckets(symbols, workspace.queue, block.flushed());
  } else {
    merge_by_heap(symbols, block.flushed());
  }
  symbols.clear();
  if (symbols.capacity() > max_kept_positions) symbols = {};
}

}  // namespace mslt

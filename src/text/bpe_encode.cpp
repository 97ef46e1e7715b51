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
constexpr std::size_t long_piece = 96;
// A queue with more positions is not kept for the next call.
constexpr std::size_t max_kept_positions = std::size_t{1} << 18;

// Slots of half a cache line and of two; the latter also for short pieces of more tokens.
using ShortPieces = PretokenCache<1, 3, std::size_t{1} << 16>;
using LongPieces = PretokenCache<3, 19, std::size_t{1} << 14>;

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
  LongPieces long_pieces;
  std::vector<TokenId> ids;
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
    : bytes_(bytes),
      has_all_bytes_(std::ranges::find(bytes.byte_tokens, ByteTokens::none) == bytes.byte_tokens.end()),
      table_(rules),
      whole_(tokens, whole),
      has_whole_(!whole.empty()),
      character_tokens_(characters ? std::nullopt : std::optional(CharacterTokens(bytes, rules, table_, tokens))),
      vocabulary_(std::move(characters)),
      parts_words_(vocabulary_ && !has_whole_ && vocabulary_->parts_words(rules, tokens)),
      ranks_rise_(check_ranks_rise(rules)),
      ranks_tie_(std::ranges::adjacent_find(rules,
                                            [](const MergeRule& a, const MergeRule& b) {
                                              return a.rank == b.rank && a.result != b.result;
                                            }) != rules.end()),
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
    character_tokens_->append_symbols(piece, symbols);
  }
  return symbols;
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
  void append(std::span<const TokenId> ids) {
    flush();
    ids_.insert(ids_.end(), ids.begin(), ids.end());
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
  std::array<LongPieces::Place, std::tuple_size_v<PretokenEnds>> long_places;
  std::size_t count = 0;

  // `readable` bytes of memory from the piece's start may be read.
  void add(std::string_view piece, std::size_t readable, Workspace& workspace) {
    pieces[count] = piece;
    if (piece.size() <= ShortPieces::max_bytes) {
      places[count] = workspace.short_pieces.place(piece, readable);
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
  PretokenEnds ends;
  std::size_t begin = 0;
  encode_batches(ids, *borrowed, [&](Batch& batch) {
    if (begin == text.size()) return;
    for (const std::size_t end : std::span(ends).first(next(text, begin, ends))) {
      batch.add(text.substr(begin, end - begin), text.size() - begin, *borrowed);
      begin = end;
    }
  });
}

void BpeEncoder::encode(std::span<const std::string_view> pretokens, std::vector<TokenId>& ids) const {
  const BorrowedWorkspace borrowed(*this);
  encode_batches(ids, *borrowed, [&](Batch& batch) {
    for (; batch.count < 16 && !pretokens.empty(); pretokens = pretokens.subspan(1)) {
      batch.add(pretokens.front(), pretokens.front().size(), *borrowed);
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
    fill(next);
    encode_batch(batches[current], workspace, block);
  }
  block.flush();
}

void BpeEncoder::encode_batch(const Batch& batch, Workspace& workspace, IdBlock& block) const {
  for (std::size_t i = 0; i < batch.count; ++i) {
    const std::string_view piece = batch.pieces[i];
    const bool is_short = piece.size() <= ShortPieces::max_bytes;
    if (is_short) {
      if (const auto* slot = workspace.short_pieces.find(batch.places[i])) [[likely]] {
        block.append_slot(*slot);
        continue;
      }
    }
    std::optional<LongPieces::Place> place;
    if (piece.size() <= LongPieces::max_bytes) {
      place = is_short ? workspace.long_pieces.place(piece, piece.size()) : batch.long_places[i];
      if (const auto* slot = workspace.long_pieces.find(*place)) {
        block.append_slot(*slot);
        continue;
      }
    }
    workspace.ids.clear();
    encode_uncached(piece, workspace, workspace.ids);
    if (is_short && workspace.ids.size() <= ShortPieces::max_ids) {
      workspace.short_pieces.insert(batch.places[i], workspace.ids);
    } else if (place && workspace.ids.size() <= LongPieces::max_ids) {
      workspace.long_pieces.insert(*place, workspace.ids);
    }
    block.append(workspace.ids);
  }
}

void BpeEncoder::encode_uncached(std::string_view piece, Workspace& workspace, std::vector<TokenId>& ids) const {
  if (has_whole_ && piece.size() > 1) {
    if (const TokenId id = whole_.find(piece); id != TokenIndex::no_token) {
      ids.push_back(id);
      return;
    }
  }
  if (vocabulary_) {
    workspace.symbols.clear();
    vocabulary_->append_symbols(piece, workspace.symbols);
    merge_symbols(workspace, ids);
  } else if (has_all_bytes_) {
    merge(piece, workspace, ids);
  } else {
    merge_known(piece, workspace, ids);
  }
}

// Drops bytes without a token; they leave no gap unless `unknown` replaces them.
void BpeEncoder::merge_known(std::string_view piece, Workspace& workspace, std::vector<TokenId>& ids) const {
  std::string known;
  bool after_unknown = false;
  const auto flush = [&] {
    if (!known.empty()) merge(known, workspace, ids);
    known.clear();
  };
  for (const char character : piece) {
    if (!lacks_token(static_cast<unsigned char>(character))) {
      known.push_back(character);
      after_unknown = false;
    } else if (bytes_.unknown) {
      flush();
      if (!after_unknown || !bytes_.fuse_unknown) ids.push_back(*bytes_.unknown);
      after_unknown = true;
    }
  }
  flush();
}

void BpeEncoder::merge(std::string_view piece, Workspace& workspace, std::vector<TokenId>& ids) const {
  workspace.symbols.clear();
  character_tokens_->append_symbols(piece, workspace.symbols);
  merge_symbols(workspace, ids);
}

void BpeEncoder::merge_symbols(Workspace& workspace, std::vector<TokenId>& ids) const {
  std::vector<TokenId>& symbols = workspace.symbols;
  if (symbols.size() < 2) {
    ids.insert(ids.end(), symbols.begin(), symbols.end());
  } else if (ranks_tie_) {
    merge_by_heap(symbols, ids);
  } else if (symbols.size() < long_piece) {
    merge_by_scanning(symbols, ids);
  } else if (ranks_rise_) {
    merge_by_buckets(symbols, workspace, ids);
  } else {
    merge_by_heap(symbols, ids);
  }
  if (symbols.capacity() > max_kept_positions) symbols = {};
}

void BpeEncoder::merge_by_scanning(std::span<const TokenId> given, std::vector<TokenId>& ids) const {
  // symbols[i] may merge with its right neighbour: the rule's rank is the upper half of rules[i], its result the lower.
  std::array<TokenId, long_piece> few_symbols;
  std::array<std::uint64_t, long_piece> few_rules;
  std::vector<TokenId> more_symbols;
  std::vector<std::uint64_t> more_rules;
  TokenId* symbols = few_symbols.data();
  std::uint64_t* rules = few_rules.data();
  std::size_t count = given.size();
  if (count > long_piece) {
    more_symbols.resize(count);
    more_rules.resize(count);
    symbols = more_symbols.data();
    rules = more_rules.data();
  }
  constexpr std::uint64_t none = std::uint64_t{MergeTable::no_rank} << 32;
  const auto rule_of = [&](TokenId left, TokenId right) {
    const MergeTable::Entry& rule = table_.find(left, right);
    return (std::uint64_t{rule.rank} << 32) | rule.result;
  };
  std::ranges::copy(given, symbols);
  for (std::size_t i = 0; i + 1 < count; ++i) rules[i] = rule_of(symbols[i], symbols[i + 1]);
  while (count > 1) {
    // Only rules of one result share a rank, so the lowest value is that of the leftmost rule of the lowest rank.
    std::size_t best = 0;
    std::uint64_t lowest = rules[0];
    for (std::size_t i = 1; i + 1 < count; ++i) {
      best = rules[i] < lowest ? i : best;
      lowest = std::min(lowest, rules[i]);
    }
    if (lowest >= none) break;
    const auto result = static_cast<TokenId>(lowest);
    symbols[best] = result;
    --count;
    std::copy(symbols + best + 2, symbols + count + 1, symbols + best + 1);
    std::copy(rules + best + 1, rules + count, rules + best);
    if (best + 1 < count) rules[best] = rule_of(result, symbols[best + 1]);
    if (best > 0) rules[best - 1] = rule_of(symbols[best - 1], result);
  }
  ids.insert(ids.end(), symbols, symbols + count);
}

namespace {

constexpr std::uint32_t no_position = ~std::uint32_t{0};

// The symbols of a long piece as a doubly linked list by position; a merged symbol is at its first one's.
struct SymbolList {
  struct Node {
    TokenId symbol = 0;
    std::uint32_t next = no_position;
    std::uint32_t previous = no_position;
  };

  explicit SymbolList(std::span<const TokenId> symbols) {
    if (symbols.size() >= no_position) {
      fail(ErrorKind::input, "A pre-token of {} symbols is too long to encode: at most {} are possible.",
           symbols.size(), no_position - 1);
    }
    nodes.reserve(symbols.size());
    const auto size = static_cast<std::uint32_t>(symbols.size());
    for (std::uint32_t i = 0; i < size; ++i) {
      nodes.push_back(
          {.symbol = symbols[i], .next = i + 1 < size ? i + 1 : no_position, .previous = i > 0 ? i - 1 : no_position});
    }
  }

  Node& operator[](std::uint32_t position) { return nodes[position]; }
  const Node& operator[](std::uint32_t position) const { return nodes[position]; }

  // Replaces the symbols at `position` and after it by `result`; returns the removed position.
  std::uint32_t merge(std::uint32_t position, TokenId result) {
    const std::uint32_t gone = nodes[position].next;
    const std::uint32_t after = nodes[gone].next;
    nodes[position].symbol = result;
    nodes[position].next = after;
    if (after != no_position) nodes[after].previous = position;
    return gone;
  }

  void append_to(std::vector<TokenId>& ids) const {
    for (std::uint32_t i = 0; i != no_position; i = nodes[i].next) ids.push_back(nodes[i].symbol);
  }

  std::vector<Node> nodes;
};

}  // namespace

void BpeEncoder::merge_by_buckets(std::span<const TokenId> symbols, std::vector<TokenId>& ids) const {
  Workspace workspace;
  merge_by_buckets(symbols, workspace, ids);
}

void BpeEncoder::merge_by_buckets(std::span<const TokenId> symbols, Workspace& workspace,
                                  std::vector<TokenId>& ids) const {
  SymbolList list(symbols);
  RankQueue& queue = workspace.queue;
  queue.prepare(rank_count_, symbols.size());
  const auto update = [&](std::uint32_t position) {
    queue.erase(position);
    const std::uint32_t right = list[position].next;
    if (right == no_position) return;
    const std::uint32_t rank = table_.find(list[position].symbol, list[right].symbol).rank;
    if (rank != MergeTable::no_rank) queue.insert(position, rank);
  };
  for (std::uint32_t i = 0; i + 1 < symbols.size(); ++i) update(i);

  while (!queue.empty()) {
    std::uint32_t position = queue.lowest();
    const TokenId left = list[position].symbol;
    const TokenId right = list[list[position].next].symbol;
    const TokenId result = table_.find(left, right).result;
    // Positions of one rank come in any order, which matters only in a run of equal symbols: such a run is merged
    // whole, from its left end.
    if (left == right) {
      while (list[position].previous != no_position && list[list[position].previous].symbol == left) {
        position = list[position].previous;
      }
    }
    while (true) {
      queue.erase(list.merge(position, result));
      if (list[position].previous != no_position) update(list[position].previous);
      const std::uint32_t after = list[position].next;
      const bool again = left == right && after != no_position && list[after].symbol == left &&
                         list[after].next != no_position && list[list[after].next].symbol == left;
      if (!again) break;
      queue.erase(position);
      position = after;
    }
    update(position);
  }
  if (symbols.size() > max_kept_positions) queue = RankQueue();
  list.append_to(ids);
}

void BpeEncoder::merge_by_heap(std::span<const TokenId> symbols, std::vector<TokenId>& ids) const {
  SymbolList list(symbols);
  // Ordered by rank, then position: the leftmost of the lowest. Outdated entries are skipped when they surface.
  struct Candidate {
    std::uint32_t rank;
    std::uint32_t position;
    std::uint32_t length;  // of both symbols in positions: shows whether they are still the same two
  };
  const auto later = [](const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  const auto end_of = [&](std::uint32_t position) {
    return list[position].next == no_position ? static_cast<std::uint32_t>(symbols.size()) : list[position].next;
  };
  std::vector<bool> gone(symbols.size(), false);
  std::vector<Candidate> heap;
  const auto push = [&](std::uint32_t position) {
    const std::uint32_t right = list[position].next;
    if (right == no_position) return;
    const std::uint32_t rank = table_.find(list[position].symbol, list[right].symbol).rank;
    if (rank == MergeTable::no_rank) return;
    heap.push_back({.rank = rank, .position = position, .length = end_of(right) - position});
    std::push_heap(heap.begin(), heap.end(), later);
  };
  for (std::uint32_t i = 0; i + 1 < symbols.size(); ++i) push(i);

  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const Candidate candidate = heap.back();
    heap.pop_back();
    const std::uint32_t position = candidate.position;
    if (gone[position] || list[position].next == no_position) continue;
    const std::uint32_t right = list[position].next;
    if (end_of(right) - position != candidate.length) continue;
    const MergeTable::Entry& rule = table_.find(list[position].symbol, list[right].symbol);
    if (rule.rank != candidate.rank) continue;
    gone[list.merge(position, rule.result)] = true;
    if (list[position].previous != no_position) push(list[position].previous);
    push(position);
  }
  list.append_to(ids);
}

}  // namespace mslt

// Encoding with a cache of recent pre-tokens before the merges.
#include "text/bpe_encode.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/fail.h"
#include "text/rank_queue.h"

namespace mslt {
namespace {

// Pre-tokens up to this many bytes are cached; the sixteenth byte of a key is the length.
constexpr std::size_t max_cached_bytes = 15;
constexpr std::size_t max_cached_ids = 7;
constexpr std::size_t cache_slots = std::size_t{1} << 13;
// From this length on, the rank queue is faster than scanning for the lowest rank.
constexpr std::size_t long_piece = 96;
// A queue with more positions is not kept for the next call.
constexpr std::size_t max_kept_positions = std::size_t{1} << 18;

struct Key {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  bool operator==(const Key&) const = default;
};

struct Slot {
  Key key;
  std::uint32_t count = 0;
  std::array<TokenId, max_cached_ids> ids{};
};

// `size` is 1 to 15. Reads 16 bytes if the text has them, so no branch depends on the length.
Key key_of(const char* bytes, std::size_t size, std::size_t available) {
  std::array<std::uint64_t, 2> words{};
  if (available >= sizeof(words)) {
    std::memcpy(words.data(), bytes, sizeof(words));
    const __uint128_t mask = (__uint128_t{1} << (8 * size)) - 1;
    words[0] &= static_cast<std::uint64_t>(mask);
    words[1] &= static_cast<std::uint64_t>(mask >> 64);
  } else {
    std::memcpy(words.data(), bytes, size);
  }
  return {.low = words[0], .high = words[1] | (static_cast<std::uint64_t>(size) << 56)};
}

std::size_t slot_of(const Key& key) {
  const __uint128_t product =
      static_cast<__uint128_t>(key.low ^ 0x9E3779B97F4A7C15u) * (key.high ^ 0xD6E8FEB86659FD93u);
  const auto mixed = static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  return (mixed ^ (mixed >> 29)) % cache_slots;
}

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

MergeTable::MergeTable(std::span<const MergeRule> rules) {
  const std::size_t size = std::bit_ceil(std::max<std::size_t>(16, 2 * rules.size()));
  entries_.resize(size);
  mask_ = size - 1;
  shift_ = 64 - std::countr_zero(size);
  for (const MergeRule& rule : rules) {
    auto& entry = const_cast<Entry&>(find(rule.left, rule.right));
    if (entry.pair != no_pair) continue;
    entry = {.pair = (std::uint64_t{rule.left} << 32) | rule.right, .rank = rule.rank, .result = rule.result};
  }
}

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
  std::vector<Slot> slots = std::vector<Slot>(cache_slots);
  std::vector<TokenId> ids;
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
                       std::span<const TokenId> whole)
    : bytes_(bytes),
      has_all_bytes_(std::ranges::find(bytes.byte_tokens, ByteTokens::none) == bytes.byte_tokens.end()),
      table_(rules),
      whole_(tokens, whole),
      has_whole_(!whole.empty()),
      ranks_rise_(check_ranks_rise(rules)),
      rank_count_(0) {
  for (const MergeRule& rule : rules) rank_count_ = std::max(rank_count_, rule.rank + 1);
}

BpeEncoder::~BpeEncoder() {
  for (auto& place : pool_) delete place.load(std::memory_order_acquire);
}

void BpeEncoder::encode(std::string_view text, NextPretoken next, std::vector<TokenId>& ids) const {
  std::size_t begin = 0;
  const auto next_piece = [&] {
    if (begin == text.size()) return std::pair(std::string_view(), std::size_t{0});
    const std::size_t end = next(text, begin);
    const std::pair piece(text.substr(begin, end - begin), text.size() - begin);
    begin = end;
    return piece;
  };
  encode_all(next_piece, ids);
}

void BpeEncoder::encode(std::span<const std::string_view> pretokens, std::vector<TokenId>& ids) const {
  std::size_t index = 0;
  const auto next_piece = [&] {
    const std::string_view piece = index == pretokens.size() ? std::string_view() : pretokens[index++];
    return std::pair(piece, piece.size());
  };
  encode_all(next_piece, ids);
}

template <class NextPiece>
void BpeEncoder::encode_all(NextPiece&& next_piece, std::vector<TokenId>& ids) const {
  const BorrowedWorkspace borrowed(*this);
  Workspace& workspace = *borrowed;
  // Ids are collected here first, which saves a capacity check per token.
  std::array<TokenId, 1024> block;
  std::size_t filled = 0;
  while (true) {
    const auto [piece, available] = next_piece();
    const std::size_t size = piece.size();
    if (size == 0) break;
    if (filled + max_cached_ids > block.size()) {
      ids.insert(ids.end(), block.begin(), block.begin() + filled);
      filled = 0;
    }
    if (size <= max_cached_bytes) {
      const Key key = key_of(piece.data(), size, available);
      Slot& slot = workspace.slots[slot_of(key)];
      if (slot.key == key) [[likely]] {
        // Always copies all of them: a copy of fixed size needs no loop.
        std::memcpy(block.data() + filled, slot.ids.data(), sizeof(slot.ids));
        filled += slot.count;
        continue;
      }
      workspace.ids.clear();
      encode_uncached(piece, workspace, workspace.ids);
      if (workspace.ids.size() <= max_cached_ids) {
        slot.key = key;
        slot.count = static_cast<std::uint32_t>(workspace.ids.size());
        std::copy(workspace.ids.begin(), workspace.ids.end(), slot.ids.begin());
        std::copy(workspace.ids.begin(), workspace.ids.end(), block.begin() + filled);
        filled += workspace.ids.size();
        continue;
      }
      ids.insert(ids.end(), block.begin(), block.begin() + filled);
      ids.insert(ids.end(), workspace.ids.begin(), workspace.ids.end());
    } else {
      ids.insert(ids.end(), block.begin(), block.begin() + filled);
      encode_uncached(piece, workspace, ids);
    }
    filled = 0;
  }
  ids.insert(ids.end(), block.begin(), block.begin() + filled);
}

void BpeEncoder::encode_uncached(std::string_view piece, Workspace& workspace, std::vector<TokenId>& ids) const {
  if (has_whole_ && piece.size() > 1) {
    if (const TokenId id = whole_.find(piece); id != TokenIndex::no_token) {
      ids.push_back(id);
      return;
    }
  }
  if (has_all_bytes_) {
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
  if (piece.size() == 1) {
    ids.push_back(bytes_.byte_tokens[static_cast<unsigned char>(piece.front())]);
  } else if (piece.size() < long_piece) {
    merge_by_scanning(piece, ids);
  } else if (ranks_rise_) {
    merge_by_buckets(piece, workspace, ids);
  } else {
    merge_by_heap(piece, ids);
  }
}

void BpeEncoder::merge_by_scanning(std::string_view piece, std::vector<TokenId>& ids) const {
  // symbols[i] may merge with its right neighbour into results[i] at ranks[i].
  std::array<std::uint32_t, 3 * long_piece> small;
  std::vector<std::uint32_t> large;
  std::uint32_t* symbols = small.data();
  std::size_t count = piece.size();
  if (count > long_piece) {
    large.resize(3 * count);
    symbols = large.data();
  }
  std::uint32_t* ranks = symbols + count;
  std::uint32_t* results = ranks + count;
  const auto look_up = [&](std::size_t i) {
    const MergeTable::Entry& rule = table_.find(symbols[i], symbols[i + 1]);
    ranks[i] = rule.rank;
    results[i] = rule.result;
  };
  for (std::size_t i = 0; i < count; ++i) symbols[i] = bytes_.byte_tokens[static_cast<unsigned char>(piece[i])];
  for (std::size_t i = 0; i + 1 < count; ++i) look_up(i);
  while (count > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < count; ++i) {
      if (ranks[i] < ranks[best]) best = i;
    }
    if (ranks[best] == MergeTable::no_rank) break;
    symbols[best] = results[best];
    --count;
    for (std::size_t i = best + 1; i < count; ++i) {
      symbols[i] = symbols[i + 1];
      ranks[i - 1] = ranks[i];
      results[i - 1] = results[i];
    }
    if (best + 1 < count) look_up(best);
    if (best > 0) look_up(best - 1);
  }
  ids.insert(ids.end(), symbols, symbols + count);
}

namespace {

constexpr std::uint32_t no_position = ~std::uint32_t{0};

// The symbols of a long piece as a doubly linked list over byte positions; a merged symbol is at its first byte.
struct SymbolList {
  struct Node {
    TokenId symbol = 0;
    std::uint32_t next = no_position;
    std::uint32_t previous = no_position;
  };

  SymbolList(std::string_view piece, const std::array<TokenId, 256>& byte_tokens) {
    if (piece.size() >= no_position) {
      fail(ErrorKind::input, "A pre-token of {} bytes is too long to encode: at most {} are possible.", piece.size(),
           no_position - 1);
    }
    nodes.reserve(piece.size());
    const auto size = static_cast<std::uint32_t>(piece.size());
    for (std::uint32_t i = 0; i < size; ++i) {
      nodes.push_back({.symbol = byte_tokens[static_cast<unsigned char>(piece[i])],
                       .next = i + 1 < size ? i + 1 : no_position,
                       .previous = i > 0 ? i - 1 : no_position});
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

void BpeEncoder::merge_by_buckets(std::string_view piece, std::vector<TokenId>& ids) const {
  Workspace workspace;
  merge_by_buckets(piece, workspace, ids);
}

void BpeEncoder::merge_by_buckets(std::string_view piece, Workspace& workspace, std::vector<TokenId>& ids) const {
  SymbolList list(piece, bytes_.byte_tokens);
  RankQueue& queue = workspace.queue;
  queue.prepare(rank_count_, piece.size());
  const auto update = [&](std::uint32_t position) {
    queue.erase(position);
    const std::uint32_t right = list[position].next;
    if (right == no_position) return;
    const std::uint32_t rank = table_.find(list[position].symbol, list[right].symbol).rank;
    if (rank != MergeTable::no_rank) queue.insert(position, rank);
  };
  for (std::uint32_t i = 0; i + 1 < piece.size(); ++i) update(i);

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
  if (piece.size() > max_kept_positions) queue = RankQueue();
  list.append_to(ids);
}

void BpeEncoder::merge_by_heap(std::string_view piece, std::vector<TokenId>& ids) const {
  SymbolList list(piece, bytes_.byte_tokens);
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
    return list[position].next == no_position ? static_cast<std::uint32_t>(piece.size()) : list[position].next;
  };
  std::vector<bool> gone(piece.size(), false);
  std::vector<Candidate> heap;
  const auto push = [&](std::uint32_t position) {
    const std::uint32_t right = list[position].next;
    if (right == no_position) return;
    const std::uint32_t rank = table_.find(list[position].symbol, list[right].symbol).rank;
    if (rank == MergeTable::no_rank) return;
    heap.push_back({.rank = rank, .position = position, .length = end_of(right) - position});
    std::push_heap(heap.begin(), heap.end(), later);
  };
  for (std::uint32_t i = 0; i + 1 < piece.size(); ++i) push(i);

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

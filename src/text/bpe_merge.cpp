// Merging the symbols of a piece: three algorithms with the same result.
#include <algorithm>
#include <array>
#include <bit>

#include "base/fail.h"
#include "text/bpe_encode.h"
#include "text/rank_queue.h"

namespace mslt {
namespace {

// A queue with more positions is not kept for the next call.
constexpr std::size_t max_queued_positions = std::size_t{1} << 18;

}  // namespace

std::size_t BpeEncoder::merge_three(std::span<const TokenId> symbols, TokenId* ids) const {
  const MergeTable::Merge left = table_.find(symbols[0], symbols[1]);
  const MergeTable::Merge right = table_.find(symbols[1], symbols[2]);
  const bool left_first = left.rank <= right.rank;
  const MergeTable::Merge first = left_first ? left : right;
  if (first.rank == MergeTable::no_rank) {
    std::ranges::copy(symbols, ids);
    return 3;
  }
  ids[0] = left_first ? first.result : symbols[0];
  ids[1] = left_first ? symbols[2] : first.result;
  const MergeTable::Merge second = table_.find_rare(ids[0], ids[1]);
  if (second.rank == MergeTable::no_rank) return 2;
  ids[0] = second.result;
  return 1;
}

std::size_t BpeEncoder::merge_few(std::span<const TokenId> given, TokenId* ids) const {
  if (given.size() == 3) return merge_three(given, ids);
  constexpr std::uint64_t none = std::uint64_t{MergeTable::no_rank} << 32;
  // The keys hold the rank of a position with the next one above the position, so the lowest is that of the leftmost
  // pair of the lowest rank.
  std::array<std::uint64_t, max_few> keys;
  std::array<TokenId, max_few> results;
  std::array<TokenId, max_few> symbols;
  const std::size_t count = given.size();
  const auto set_rule = [&](std::size_t position, const MergeTable::Merge rule) {
    keys[position] = (std::uint64_t{rule.rank} << 32) | position;
    results[position] = rule.result;
  };
  for (std::size_t i = 0; i + 1 < count; ++i) {
    symbols[i] = given[i];
    set_rule(i, table_.find(given[i], given[i + 1]));
  }
  symbols[count - 1] = given[count - 1];
  std::uint64_t alive = ~std::uint64_t{0} >> (64 - count);  // bit i: position i was not merged into one before it
  while (true) {
    std::uint64_t lowest = none;
    for (std::size_t i = 0; i + 1 < count; ++i) lowest = std::min(lowest, keys[i]);
    if (lowest >= none) break;
    const auto position = static_cast<std::uint32_t>(lowest);
    const TokenId result = results[position];
    symbols[position] = result;
    const std::uint64_t before = alive & ((std::uint64_t{1} << position) - 1);
    std::uint64_t after = alive & (~std::uint64_t{1} << position);
    const auto gone = static_cast<std::size_t>(std::countr_zero(after));
    alive ^= std::uint64_t{1} << gone;
    after &= after - 1;
    keys[gone] = none;
    keys[position] = none;
    if (after != 0)
      set_rule(position, table_.find_rare(result, symbols[static_cast<std::size_t>(std::countr_zero(after))]));
    if (before != 0) {
      const auto previous = static_cast<std::size_t>(std::bit_width(before)) - 1;
      set_rule(previous, table_.find_rare(symbols[previous], result));
    }
  }
  std::size_t left = 0;
  for (; alive != 0; alive &= alive - 1) ids[left++] = symbols[static_cast<std::size_t>(std::countr_zero(alive))];
  return left;
}

void BpeEncoder::merge_by_scanning(std::span<const TokenId> symbols, std::vector<TokenId>& ids) const {
  std::array<TokenId, max_few> merged;
  const std::size_t count = merge_few(symbols, merged.data());
  ids.insert(ids.end(), merged.begin(), merged.begin() + count);
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
  RankQueue queue;
  merge_by_buckets(symbols, queue, ids);
}

void BpeEncoder::merge_by_buckets(std::span<const TokenId> symbols, RankQueue& queue, std::vector<TokenId>& ids) const {
  SymbolList list(symbols);
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
  if (symbols.size() > max_queued_positions) queue = RankQueue();
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
    const MergeTable::Merge rule = table_.find(list[position].symbol, list[right].symbol);
    if (rule.rank != candidate.rank) continue;
    gone[list.merge(position, rule.result)] = true;
    if (list[position].previous != no_position) push(list[position].previous);
    push(position);
  }
  list.append_to(ids);
}

}  // namespace mslt

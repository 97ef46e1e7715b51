// Learning merges from counted pre-tokens.
#include "text/bpe_train.h"

#include <algorithm>
#include <bit>

#include "base/checked.h"
#include "base/fail.h"

namespace mslt {
namespace {

constexpr std::uint32_t none = ~std::uint32_t{0};

// The positions of the neighbours (left, right): that of the left one, oldest first; some may be outdated.
struct Pair {
  TokenId left = 0;
  TokenId right = 0;
  std::int64_t count = 0;
  std::vector<std::uint32_t> positions;
};

// Pairs by their two ids.
class PairIndex {
 public:
  PairIndex() : places_(std::size_t{1} << 16, none) {}

  std::uint32_t find_or_insert(TokenId left, TokenId right, std::vector<Pair>& pairs) {
    std::size_t index = home_of(left, right);
    while (places_[index] != none) {
      const Pair& pair = pairs[places_[index]];
      if (pair.left == left && pair.right == right) return places_[index];
      index = (index + 1) & (places_.size() - 1);
    }
    const auto id = static_cast<std::uint32_t>(pairs.size());
    places_[index] = id;
    Pair& pair = pairs.emplace_back();
    pair.left = left;
    pair.right = right;
    if (2 * pairs.size() > places_.size()) rebuild(pairs);
    return id;
  }

 private:
  std::size_t home_of(TokenId left, TokenId right) const {
    const std::uint64_t key = (std::uint64_t{left} << 32) | right;
    return (key * 0x9E3779B97F4A7C15u) >> (64 - std::countr_zero(places_.size()));
  }

  void rebuild(const std::vector<Pair>& pairs) {
    places_.assign(2 * places_.size(), none);
    for (std::uint32_t id = 0; id < pairs.size(); ++id) {
      std::size_t index = home_of(pairs[id].left, pairs[id].right);
      while (places_[index] != none) index = (index + 1) & (places_.size() - 1);
      places_[index] = id;
    }
  }

  std::vector<std::uint32_t> places_;
};

// All distinct pre-tokens concatenated, each a doubly linked list of symbols; a merged symbol is at the position of its
// left part.
struct Symbols {
  explicit Symbols(const PretokenCounts& counts, const std::array<TokenId, 256>& byte_tokens) {
    std::uint64_t total = 0;
    for (const auto& entry : counts.entries()) total += entry.size;
    if (total >= none) {
      fail(ErrorKind::input, "The distinct pre-tokens have {} bytes in all; training is limited to {}.", total,
           none - 1);
    }
    symbol.reserve(total);
    next.reserve(total);
    previous.reserve(total);
    word.reserve(total);
    std::uint32_t word_index = 0;
    for (const auto& entry : counts.entries()) {
      for (std::size_t i = 0; i < entry.size; ++i) {
        const auto position = static_cast<std::uint32_t>(symbol.size());
        symbol.push_back(byte_tokens[static_cast<unsigned char>(counts.bytes_of(entry)[i])]);
        previous.push_back(i > 0 ? position - 1 : none);
        next.push_back(i + 1 < entry.size ? position + 1 : none);
        word.push_back(word_index);
      }
      ++word_index;
    }
  }

  std::vector<TokenId> symbol;
  std::vector<std::uint32_t> next;
  std::vector<std::uint32_t> previous;
  std::vector<std::uint32_t> word;  // index into the counts' entries
};

// An entry of the heap: a pair's count when it was pushed. Counts of a pair only fall afterwards, so an entry with a
// correct count is the most frequent pair.
struct Candidate {
  std::int64_t count;
  TokenId left;
  TokenId right;
  std::uint32_t pair;
};

bool less_urgent(const Candidate& a, const Candidate& b) {
  if (a.count != b.count) return a.count < b.count;
  if (a.left != b.left) return a.left > b.left;
  return a.right > b.right;
}

class Merger {
 public:
  Merger(const PretokenCounts& counts, const MergeOptions& options)
      : counts_(counts), options_(options), symbols_(counts, options.byte_tokens) {
    // Ids below first_id that are not bytes never occur, so their bytes do not matter.
    bytes_.resize(options.first_id);
    for (unsigned byte = 0; byte < 256; ++byte) {
      bytes_[options.byte_tokens[byte]] = std::string(1, static_cast<char>(byte));
    }
    std::uint64_t weight_of_all = 0;
    for (const auto& entry : counts.entries()) {
      weight_of_all = checked_add(weight_of_all, checked_multiply(entry.count, entry.size, "The text's length"),
                                  "The text's length");
    }
    if (weight_of_all > static_cast<std::uint64_t>(INT64_MAX)) {
      fail(ErrorKind::input, "The text is too long to count its pairs in 63 bits.");
    }
    for (std::uint32_t position = 0; position < symbols_.symbol.size(); ++position) {
      if (symbols_.next[position] != none) add_pair(position);
    }
    push_touched();
  }

  std::vector<MergeRule> run() {
    std::vector<MergeRule> rules;
    while (rules.size() < options_.merges && !heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end(), less_urgent);
      Candidate candidate = heap_.back();
      heap_.pop_back();
      const std::int64_t count = pairs_[candidate.pair].count;
      if (count != candidate.count) {
        candidate.count = count;
        push(candidate);
        continue;
      }
      std::string bytes = bytes_[candidate.left] + bytes_[candidate.right];
      if (options_.allowed && !options_.allowed(bytes)) continue;
      const auto result = static_cast<TokenId>(options_.first_id + rules.size());
      rules.push_back({.left = candidate.left,
                       .right = candidate.right,
                       .result = result,
                       .rank = static_cast<std::uint32_t>(rules.size())});
      bytes_.push_back(std::move(bytes));
      merge(candidate.pair, result);
      if (options_.progress && rules.size() % 256 == 0 &&
          !options_.progress("merging", rules.size(), options_.merges)) {
        fail(ErrorKind::interrupted, "Training the tokenizer was stopped after {} merges.", rules.size());
      }
    }
    return rules;
  }

 private:
  std::int64_t weight_at(std::uint32_t position) const {
    return static_cast<std::int64_t>(counts_.entries()[symbols_.word[position]].count);
  }

  // Counts the pair that starts at `position` and remembers to push it.
  void add_pair(std::uint32_t position) {
    const std::uint32_t id =
        index_.find_or_insert(symbols_.symbol[position], symbols_.symbol[symbols_.next[position]], pairs_);
    Pair& pair = pairs_[id];
    if (pair.positions.empty()) touched_.push_back(id);
    pair.count += weight_at(position);
    pair.positions.push_back(position);
  }

  void remove_pair(TokenId left, TokenId right, std::int64_t weight) {
    pairs_[index_.find_or_insert(left, right, pairs_)].count -= weight;
  }

  void push(const Candidate& candidate) {
    if (candidate.count < 1 || static_cast<std::uint64_t>(candidate.count) < options_.min_frequency) return;
    heap_.push_back(candidate);
    std::push_heap(heap_.begin(), heap_.end(), less_urgent);
  }

  void push_touched() {
    for (const std::uint32_t id : touched_) {
      const Pair& pair = pairs_[id];
      push({.count = pair.count, .left = pair.left, .right = pair.right, .pair = id});
    }
    touched_.clear();
  }

  // Replaces every occurrence of the pair, left to right in each word. New pairs all contain `result`, so none was in
  // the heap before.
  void merge(std::uint32_t id, TokenId result) {
    const TokenId left = pairs_[id].left;
    const TokenId right = pairs_[id].right;
    const std::vector<std::uint32_t> positions = std::move(pairs_[id].positions);
    for (const std::uint32_t position : positions) {
      const std::uint32_t gone = symbols_.next[position];
      if (symbols_.symbol[position] != left || gone == none || symbols_.symbol[gone] != right) continue;
      const std::int64_t weight = weight_at(position);
      const std::uint32_t before = symbols_.previous[position];
      const std::uint32_t after = symbols_.next[gone];
      if (before != none) remove_pair(symbols_.symbol[before], left, weight);
      if (after != none) remove_pair(right, symbols_.symbol[after], weight);
      symbols_.symbol[position] = result;
      symbols_.symbol[gone] = none;
      symbols_.next[position] = after;
      if (after != none) symbols_.previous[after] = position;
      if (before != none) add_pair(before);
      if (after != none) add_pair(position);
    }
    push_touched();
  }

  const PretokenCounts& counts_;
  const MergeOptions& options_;
  Symbols symbols_;
  std::vector<Pair> pairs_;
  PairIndex index_;
  std::vector<Candidate> heap_;
  std::vector<std::uint32_t> touched_;
  std::vector<std::string> bytes_;  // by id
};

}  // namespace

std::vector<MergeRule> learn_merges(const PretokenCounts& counts, const MergeOptions& options) {
  return Merger(counts, options).run();
}

}  // namespace mslt

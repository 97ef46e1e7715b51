// Encoding with a cache of recent pre-tokens before the merges.
#include "text/bpe_encode.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/fail.h"
#include "text/bpe_workspace.h"

namespace mslt {
namespace {

// Whether a piece ends with a character of U+3000 to U+9FFF. Such text has no spaces: its pieces are runs of words,
// which rarely repeat, and no rule joins most of their characters with their neighbours, so merging is faster than the
// cache.
inline bool is_run_of_words(std::string_view piece) {
  constexpr std::size_t least_bytes = 6;
  // The first test is one that English text passes quickly.
  return static_cast<signed char>(piece.back()) < 0 && piece.size() >= least_bytes &&
         static_cast<unsigned char>(piece[piece.size() - 3]) - 0xE3u < 0xEA - 0xE3;
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
    character_tokens_->append_symbols(piece, symbols);
  }
  return symbols;
}

std::size_t BpeEncoder::parts_of(std::string_view piece) const {
  if (!character_tokens_) return 1;
  std::size_t parts = 0;
  CharacterTokens::Symbols symbols;
  for (CharacterTokens::Place place; place.byte < piece.size();) {
    symbols.count = 0;
    character_tokens_->append(piece, place, symbols);
    parts += static_cast<std::size_t>(
        std::ranges::count(std::span(symbols.links).first(symbols.count), CharacterLinks::none));
  }
  return parts;
}

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
  if (batch.runs != 0) [[unlikely]] {
    encode_runs(batch, workspace, block);
    return;
  }
  for (std::size_t i = 0; i < batch.count; ++i) {
    if (batch.pieces[i].size() <= ShortPieces::max_bytes) {
      if (const auto* slot = workspace.short_pieces.find(batch.places[i])) [[likely]] {
        block.append_slot(*slot);
        continue;
      }
    }
    encode_other(batch, i, workspace, block);
  }
}

// A batch with runs of words: their symbols, and the ids of the short pieces between them, are merged together.
[[gnu::noinline]] void BpeEncoder::encode_runs(const Batch& batch, Workspace& workspace, IdBlock& block) const {
  CharacterTokens::Symbols& symbols = workspace.characters;
  symbols.count = 0;
  const auto flush = [&] {
    merge_linked(0, symbols.count, workspace, block);
    symbols.count = 0;
  };
  for (std::size_t i = 0; i < batch.count; ++i) {
    const std::string_view piece = batch.pieces[i];
    if (symbols.count + std::max(piece.size(), ShortPieces::max_ids) > CharacterTokens::Symbols::size) flush();
    const bool is_run = ((batch.runs >> i) & 1) != 0;
    if (is_run && piece.size() <= CharacterTokens::Symbols::size) {
      const TokenId whole = has_whole_ ? whole_.find(piece) : TokenIndex::no_token;
      CharacterTokens::Place place;
      if (whole == TokenIndex::no_token) {
        character_tokens_->append(piece, place, symbols);
      } else {
        symbols.append(std::array{whole}, 1);
      }
      continue;
    }
    if (!is_run && piece.size() <= ShortPieces::max_bytes) {
      if (const auto* slot = workspace.short_pieces.find(batch.places[i])) [[likely]] {
        symbols.append(slot->ids, slot->count);
        continue;
      }
    }
    flush();
    if (is_run) {
      encode_uncached(piece, workspace, block);
    } else {
      encode_other(batch, i, workspace, block);
    }
    symbols.count = 0;
  }
  flush();
}

// What is not among the short pieces of the cache. Apart, so that the loop above keeps its values in registers.
[[gnu::noinline]] void BpeEncoder::encode_other(const Batch& batch, std::size_t i, Workspace& workspace,
                                                IdBlock& block) const {
  const std::string_view piece = batch.pieces[i];
  if (piece.size() > LongPieces::max_bytes) {
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
  const TokenId* const first = block.room(LongPieces::max_bytes + CharacterTokens::Symbols::spare);
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

}  // namespace mslt

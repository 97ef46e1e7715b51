// BPE encoding: from pre-tokens to ids by merging the pair of lowest rank first.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mslt/tokenizer.h"
#include "text/character_tokens.h"
#include "text/character_vocabulary.h"
#include "text/merge_table.h"
#include "text/split.h"

namespace mslt {

// Tokens by their bytes. Keeps views: the strings must outlive it and not move.
class TokenIndex {
 public:
  // `ids` lists the tokens to index; of two with the same bytes, the first stays.
  TokenIndex(std::span<const std::string> tokens, std::span<const TokenId> ids);
  // The id of the token with exactly these bytes, or no_token.
  TokenId find(std::string_view bytes) const;
  static constexpr TokenId no_token = ~TokenId{0};

 private:
  std::span<const std::string> tokens_;
  std::vector<TokenId> slots_;
};

class RankQueue;

// Immutable except for a lock-free pool of caches; encode may be called from several threads.
class BpeEncoder {
 public:
  // `whole`: tokens that a pre-token with the same bytes becomes without merging; `tokens` must outlive the encoder.
  // With `characters`, merging starts from their symbols instead of those of bytes. `rules` are by rising rank.
  BpeEncoder(const ByteTokens& bytes, std::span<const MergeRule> rules, std::span<const std::string> tokens,
             std::span<const TokenId> whole, std::optional<CharacterVocabulary> characters = std::nullopt);
  BpeEncoder(const BpeEncoder&) = delete;
  BpeEncoder& operator=(const BpeEncoder&) = delete;
  ~BpeEncoder();

  // Appends the ids of each pre-token of `text`. O(text) for any lengths of pre-tokens, if no token is made from one
  // with a higher rank (always true after training); O(n log n) in the longest pre-token otherwise.
  void encode(std::string_view text, NextPretokens next, std::vector<TokenId>& ids) const;
  // The same for pre-tokens, each of at least one byte.
  void encode(std::span<const std::string_view> pretokens, std::vector<TokenId>& ids) const;

  // The symbols of a pre-token that merging starts from. Each byte of `piece` must have a token.
  std::vector<TokenId> symbols_of(std::string_view piece) const;
  // How many parts of it are merged apart from each other.
  std::size_t parts_of(std::string_view piece) const;
  // The ids of a pre-token, only by merging: three algorithms with the same result. encode chooses by length; the tests
  // compare them.
  void merge_by_scanning(std::span<const TokenId> symbols, std::vector<TokenId>& ids) const;  // O(n²); 1 to max_few
  void merge_by_buckets(std::span<const TokenId> symbols, std::vector<TokenId>& ids) const;  // O(n); needs ranks_rise()
  void merge_by_heap(std::span<const TokenId> symbols, std::vector<TokenId>& ids) const;     // O(n log n)
  static constexpr std::size_t max_few = 64;
  // Whether each token's rank is above those of its parts, and no two pairs share a rank.
  bool ranks_rise() const { return ranks_rise_; }
  // See CharacterVocabulary::parts_words.
  bool parts_words() const { return parts_words_; }

 private:
  // `rules` have the ranks of ranked_by_result.
  BpeEncoder(const std::vector<MergeRule>& rules, const ByteTokens& bytes, std::span<const std::string> tokens,
             std::span<const TokenId> whole, std::optional<CharacterVocabulary> characters);

  struct Workspace;
  class BorrowedWorkspace;
  class IdBlock;
  struct Batch;

  // Calls fill(batch), which adds the next pieces, until it adds none.
  template <class Fill>
  void encode_batches(std::vector<TokenId>& ids, Workspace& workspace, const Fill& fill) const;
  void encode_batch(const Batch& batch, Workspace& workspace, IdBlock& block) const;
  bool lacks_token(unsigned char byte) const { return bytes_.byte_tokens[byte] == ByteTokens::none; }
  void encode_runs(const Batch& batch, Workspace& workspace, IdBlock& block) const;
  void encode_other(const Batch& batch, std::size_t i, Workspace& workspace, IdBlock& block) const;
  void encode_uncached(std::string_view piece, Workspace& workspace, IdBlock& block) const;
  void merge(std::string_view piece, Workspace& workspace, IdBlock& block) const;
  void merge_linked(std::size_t begin, std::size_t end, Workspace& workspace, IdBlock& block) const;
  void merge_known(std::string_view piece, Workspace& workspace, IdBlock& block) const;
  void merge_symbols(Workspace& workspace, IdBlock& block) const;
  // Merges 1 to max_few symbols into as many ids or fewer; returns how many.
  std::size_t merge_few(std::span<const TokenId> symbols, TokenId* ids) const;
  std::size_t merge_three(std::span<const TokenId> symbols, TokenId* ids) const;
  void merge_by_buckets(std::span<const TokenId> symbols, RankQueue& queue, std::vector<TokenId>& ids) const;

  ByteTokens bytes_;
  bool has_all_bytes_;
  MergeTable table_;
  TokenIndex whole_;
  bool has_whole_;
  std::optional<CharacterTokens> character_tokens_;  // without a vocabulary of characters
  std::optional<CharacterVocabulary> vocabulary_;
  bool parts_words_;
  bool ranks_rise_;
  std::uint32_t rank_count_;  // one above the highest
  mutable std::array<std::atomic<Workspace*>, 16> pool_{};
};

}  // namespace mslt

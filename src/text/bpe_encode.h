// Byte-level BPE encoding: from pre-tokens to ids by merging the pair of lowest rank first.
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
#include "text/split.h"

namespace mslt {

// Neighbours `left`, `right` become `result`; lower ranks first, among equal ranks the leftmost. Ranks may repeat (in a
// .tiktoken file, several pairs can make one token).
struct MergeRule {
  TokenId left = 0;
  TokenId right = 0;
  TokenId result = 0;
  std::uint32_t rank = 0;
  bool operator==(const MergeRule&) const = default;
};

// Merge rules by pair, in an open-addressing table.
class MergeTable {
 public:
  struct Entry {
    std::uint64_t pair = no_pair;
    std::uint32_t rank = no_rank;
    TokenId result = 0;
  };
  static constexpr std::uint64_t no_pair = ~std::uint64_t{0};
  static constexpr std::uint32_t no_rank = ~std::uint32_t{0};

  explicit MergeTable(std::span<const MergeRule> rules);

  // The rule of this pair; its rank is no_rank if there is none. If a pair repeats, the first inserted rule applies.
  const Entry& find(TokenId left, TokenId right) const {
    const std::uint64_t pair = (std::uint64_t{left} << 32) | right;
    std::size_t index = (pair * 0x9E3779B97F4A7C15u) >> shift_;
    while (entries_[index].pair != pair && entries_[index].pair != no_pair) index = (index + 1) & mask_;
    return entries_[index];
  }

 private:
  std::vector<Entry> entries_;
  std::size_t mask_ = 0;
  int shift_ = 0;
};

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

// The tokens of single bytes.
struct ByteTokens {
  static constexpr TokenId none = ~TokenId{0};

  std::array<TokenId, 256> byte_tokens{};         // `none` if a byte has no token
  std::optional<TokenId> unknown = std::nullopt;  // replaces those bytes; without it they are dropped
  bool fuse_unknown = false;                      // one `unknown` for several in a row
};

// Immutable except for a lock-free pool of caches; encode may be called from several threads.
class BpeEncoder {
 public:
  // `whole`: tokens that a pre-token with the same bytes becomes without merging; `tokens` must outlive the encoder.
  BpeEncoder(const ByteTokens& bytes, std::span<const MergeRule> rules, std::span<const std::string> tokens,
             std::span<const TokenId> whole);
  BpeEncoder(const BpeEncoder&) = delete;
  BpeEncoder& operator=(const BpeEncoder&) = delete;
  ~BpeEncoder();

  // Appends the ids of each pre-token of `text`. O(text) for any lengths of pre-tokens, if no token is made from one
  // with a higher rank (always true after training); O(n log n) in the longest pre-token otherwise.
  void encode(std::string_view text, NextPretoken next, std::vector<TokenId>& ids) const;
  // The same for pre-tokens, each of at least one byte.
  void encode(std::span<const std::string_view> pretokens, std::vector<TokenId>& ids) const;

  // The ids of one pre-token of any length, only by merging: three algorithms with the same result. encode chooses by
  // length; the tests compare them. Each byte of `piece` must have a token.
  void merge_by_scanning(std::string_view piece, std::vector<TokenId>& ids) const;  // O(n²), fast when short
  void merge_by_buckets(std::string_view piece, std::vector<TokenId>& ids) const;   // O(n); needs ranks_rise()
  void merge_by_heap(std::string_view piece, std::vector<TokenId>& ids) const;      // O(n log n)
  // Whether each token's rank is above those of its parts, and no two pairs share a rank.
  bool ranks_rise() const { return ranks_rise_; }

 private:
  struct Workspace;
  class BorrowedWorkspace;

  // Calls next_piece() -> (bytes, number of bytes readable from there) until it returns an empty piece.
  template <class NextPiece>
  void encode_all(NextPiece&& next_piece, std::vector<TokenId>& ids) const;
  bool lacks_token(unsigned char byte) const { return bytes_.byte_tokens[byte] == ByteTokens::none; }
  void merge(std::string_view piece, Workspace& workspace, std::vector<TokenId>& ids) const;
  void merge_known(std::string_view piece, Workspace& workspace, std::vector<TokenId>& ids) const;
  void encode_uncached(std::string_view piece, Workspace& workspace, std::vector<TokenId>& ids) const;
  void merge_by_buckets(std::string_view piece, Workspace& workspace, std::vector<TokenId>& ids) const;

  ByteTokens bytes_;
  bool has_all_bytes_;
  MergeTable table_;
  TokenIndex whole_;
  bool has_whole_;
  bool ranks_rise_;
  std::uint32_t rank_count_;  // one above the highest
  mutable std::array<std::atomic<Workspace*>, 16> pool_{};
};

}  // namespace mslt

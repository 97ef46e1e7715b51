// Byte-level BPE training: counting pre-tokens, then repeatedly merging the most frequent pair.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/bpe_encode.h"
#include "text/split.h"

namespace mslt {

using TrainProgress = std::function<bool(std::string_view stage, std::uint64_t done, std::uint64_t total)>;

// Distinct pre-tokens and how often each occurs. One thread at a time.
class PretokenCounts {
 public:
  struct Entry {
    std::size_t offset = 0;  // into bytes()
    std::size_t size = 0;
    std::uint64_t count = 0;
  };

  PretokenCounts();
  // Throws Error(input) if a count would overflow 64 bits.
  void add(std::string_view pretoken, std::uint64_t count);
  void merge(const PretokenCounts& other);

  // In order of first occurrence.
  std::span<const Entry> entries() const { return entries_; }
  std::string_view bytes_of(const Entry& entry) const {
    return std::string_view(bytes_).substr(entry.offset, entry.size);
  }

 private:
  struct Place {
    std::uint32_t tag = 0;    // upper half of the hash
    std::uint32_t entry = 0;  // 1 + index; 0: free
  };

  void grow();

  std::string bytes_;
  std::vector<Entry> entries_;
  std::vector<std::uint64_t> hashes_;
  std::vector<Place> places_;
};

// How pre-tokens are counted.
struct CountOptions {
  SplitPattern pattern = SplitPattern::gpt2;
  int threads = 1;
  std::size_t block_bytes = std::size_t{1} << 20;  // bytes read at a time; grows if a block has no safe cut
  // See TokenizerTrainOptions.
  bool strict = false;
  std::function<void(std::string_view message)> on_skip = nullptr;
  TrainProgress progress = nullptr;  // stage "counting", bytes
};

// Counts the pre-tokens of files. Each file is cut at safe_cut into blocks, which threads take in turn. Memory: one
// block per thread, plus the distinct pre-tokens (with SplitPattern::none, which allows no cut, whole files). Throws
// Error(io), Error(input) if no file is text, Error(interrupted).
PretokenCounts count_pretokens(std::span<const std::filesystem::path> files, const CountOptions& options);
PretokenCounts count_pretokens(std::string_view text, const CountOptions& options);

struct MergeOptions {
  std::size_t merges = 0;           // requested
  std::uint64_t min_frequency = 2;  // of a pair
  TokenId first_id = 0;             // of the first merge's token; bytes and other tokens are below it
  std::array<TokenId, 256> byte_tokens{};
  // Whether a token with these bytes may be made; called once for each pair about to be merged.
  std::function<bool(std::string_view bytes)> allowed = nullptr;
  TrainProgress progress = nullptr;  // stage "merging", merges
};

// The merges in order; fewer than requested if no remaining pair is frequent enough. result = first_id + rank.
std::vector<MergeRule> learn_merges(const PretokenCounts& counts, const MergeOptions& options);

}  // namespace mslt

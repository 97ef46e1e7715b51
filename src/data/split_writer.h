// Writing encoded documents as the shards of a training and a validation split.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "data/data_folder.h"
#include "data/shard.h"

namespace mslt {

struct SplitOptions {
  double val_fraction = 0.1;  // in [0, 1)
  std::uint64_t seed = 0;
  std::uint64_t shard_tokens = 100'000'000;  // a shard is full with so many; at least 1
  std::uint32_t eos_id = 0;
  std::vector<TokenId> prefix = {};  // stands before each document and counts as no text
  bool examples = false;             // documents are examples: their lengths are written, and none is split
};

// Throws Error(usage) if an option is out of range.
void check_split_options(const SplitOptions& options);

// Takes the tokens of documents one after another and writes train_000000.bin, train_000001.bin, ... and
// val_000000.bin, ... into a folder; for examples also train_examples.bin and val_examples.bin, shards of their
// lengths. The split depends only on the documents and the options:
//
//   20 or more documents, or any number of examples: document i (from 0) is set aside if u(i) < val_fraction, where
//   u(i) is a uniform number in [0, 1) from Philox under the seed. So that neither split is empty, of the first 20
//   documents the one with the smallest u is always set aside, and the one with the largest never. Fewer documents: the
//   last round(val_fraction · tokens) tokens of all of them are set aside, at least 1 and at most all but 1 (none if
//   val_fraction is 0).
//
// One thread at a time.
class SplitWriter {
 public:
  static constexpr std::uint64_t many_documents = 20;

  // `token_bytes[id]` is how many bytes of text the token stands for; its size is that of the vocabulary. Throws
  // Error(usage) on an option that is out of range.
  SplitWriter(const std::filesystem::path& folder, std::vector<std::uint32_t> token_bytes, const SplitOptions& options);
  SplitWriter(const SplitWriter&) = delete;
  SplitWriter& operator=(const SplitWriter&) = delete;
  ~SplitWriter();

  // Appends to the current document, which begins with the prefix. Throws Error(input) on an id outside the vocabulary,
  // Error(io) if the disk is full.
  void append(std::span<const TokenId> ids);
  // Appends the [EOS] that ends the current document; the next append starts another one.
  void end_document();

  // Completes the shards; returns (train, val). Throws Error(input) if there are no tokens at all.
  std::pair<SplitInfo, SplitInfo> finish();

 private:
  class ShardSet;
  void write(std::span<const TokenId> ids);
  ShardSet& shards_of(std::uint64_t document);  // once there are many
  void begin_document();
  void spread_first_documents();
  void split_by_tokens();

  std::filesystem::path folder_;
  std::vector<std::uint32_t> token_bytes_;
  SplitOptions options_;
  std::unique_ptr<ShardSet> train_;
  std::unique_ptr<ShardSet> val_;
  // Until there are many documents, all are gathered in one shard, since their number decides how they are split.
  std::unique_ptr<ShardWriter> gathered_;
  std::vector<std::uint64_t> gathered_ends_;
  std::uint64_t documents_ = 0;
  bool in_document_ = false;
};

}  // namespace mslt

// Data folders: token shards of two splits, the tokenizer they were made with, and data.json, which describes them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/shard.h"
#include "mslt/tokenizer.h"

namespace mslt {

struct SplitInfo {
  std::vector<std::string> shards;  // file names in the folder, in order
  std::uint64_t tokens = 0;         // with the [EOS] after each document
  std::uint64_t documents = 0;      // how many [EOS] there are among them
  // Bytes that the tokens other than [EOS] and the prefix decode to: what bits per byte are counted by.
  std::uint64_t text_bytes = 0;
  // A file in the folder with the number of tokens of each document, where documents are examples; else empty.
  std::string examples;

  // The names of all its files.
  std::vector<std::string> files() const;
};

// The content of data.json.
struct DataInfo {
  SplitInfo train;
  SplitInfo val;  // without shards where no text was set aside
  std::uint32_t vocab_size = 0;
  std::uint32_t eos_id = 0;
  std::vector<std::uint32_t> document_prefix;  // ids that stand before each document; often none
  std::string tokenizer_hash;                  // text_hash of the folder's tokenizer.json
  std::vector<std::string> cleaning;
  double val_fraction = 0.0;
  std::uint64_t seed = 0;

  // Whether documents are examples, each of which is read by itself.
  bool holds_examples() const { return !train.examples.empty(); }
};

// FNV-1a of 64 bits, as 16 hexadecimal digits: tells files apart that differ by accident, not by design.
std::string text_hash(std::string_view text);

std::string data_info_to_json(const DataInfo& info);
// Throws Error(input) naming `source` and the member that is missing or wrong.
DataInfo data_info_from_json(std::string_view text, std::string_view source);

// Reads `folder`/data.json. Throws Error(input) saying how to make one where there is none.
DataInfo read_data_info(const std::filesystem::path& folder);

// Reads `folder`/tokenizer.json and makes sure that it is the one that the data was prepared with: its text_hash, or
// that of the same tokenizer as mslt writes it, is info.tokenizer_hash. Throws Error(input) naming both files where it
// is another one, also of the same size, and what Tokenizer::load throws.
Tokenizer load_data_tokenizer(const std::filesystem::path& folder, const DataInfo& info);

// Throws Error(input) naming both folders unless the tokenizer of the model in `model_folder` encodes like that of the
// data in `data_folder`: a model of other tokens would read nonsense.
void require_same_tokenizer(const Tokenizer& model, const std::filesystem::path& model_folder, const Tokenizer& data,
                            const std::filesystem::path& data_folder);

// The tokens of one split as if its shards were one. Safe to read from several threads.
//
// In a split of examples, each document is an example: the prefix (without one, the token that ends documents), the
// text, and the token that ends documents. So the first token of its text is predicted, too.
class TokenStream {
 public:
  // Opens the shards of split "train" or "val". Throws Error(usage) for another name; Error(input) if the split is
  // empty, its shards or examples hold another number of tokens than data.json says, or an example is empty; and what
  // ShardReader throws.
  TokenStream(const std::filesystem::path& folder, std::string_view split);
  // The shards at `paths`, joined; ids are checked against `vocab_size`.
  TokenStream(std::span<const std::filesystem::path> paths, std::uint32_t vocab_size);

  std::uint64_t size() const { return starts_.back(); }

  // Reads every token if there are at most `most`, else some hundred blocks spread over each shard, which takes little
  // time. Throws Error(input) as copy does.
  void check_ids(std::uint64_t most = std::uint64_t{1} << 25) const;

  // Tokens [first, first + ids.size()). Throws Error(usage) past size(), Error(input) on an id outside the vocabulary.
  void copy(std::uint64_t first, std::span<std::int32_t> ids) const;

  // 0 if the split has no examples.
  std::uint64_t examples() const { return example_starts_.empty() ? 0 : example_starts_.size() - 1; }
  // The tokens of an example below examples().
  std::uint64_t example_size(std::uint64_t example) const;
  std::uint64_t longest_example() const;
  // How many examples have more than `tokens` tokens.
  std::uint64_t examples_above(std::uint64_t tokens) const;
  // Targets of all examples, each cut after `tokens` tokens.
  std::uint64_t example_targets(std::uint64_t tokens) const;
  // Copies the example's first tokens, as many as fit, and returns how many. Throws as copy does.
  std::size_t copy_example(std::uint64_t example, std::span<std::int32_t> ids) const;

 private:
  void open(const std::filesystem::path& path);
  void open_examples(const std::filesystem::path& path);

  std::vector<ShardReader> shards_;
  std::vector<std::uint64_t> starts_ = {0};  // of each shard, and the end of the last
  std::uint32_t vocab_size_ = 0;
  std::vector<std::uint64_t> example_starts_;  // and the end of the last; empty if there are no examples
  std::optional<std::int32_t> lead_;           // stands before each example, and in no shard
};

}  // namespace mslt

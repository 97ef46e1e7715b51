// Writing and checking data.json, and reading a split's shards as one stream.
#include "data/data_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/checked.h"
#include "base/fail.h"
#include "base/json.h"
#include "base/paths.h"
#include "base/suggest.h"
#include "text/tokenizer_json.h"

namespace mslt {
namespace {

using Json = nlohmann::json;

constexpr std::string_view format_name = "mslt-data";
constexpr std::uint64_t format_version = 1;
constexpr std::uint64_t examples_version = 2;  // of folders of examples, which version 1 would read as one text

[[noreturn]] void fail_member(std::string_view source, std::string_view member, std::string_view needed) {
  fail(ErrorKind::input, "{}: the member '{}' is missing or is no {}.", source, member, needed);
}

const Json& member(const Json& object, std::string_view name, std::string_view source) {
  if (!object.is_object() || !object.contains(name)) fail_member(source, name, "member of an object");
  return object.at(std::string(name));
}

std::uint64_t unsigned_member(const Json& object, std::string_view name, std::string_view source,
                              std::uint64_t most = ~std::uint64_t{0}) {
  const Json& value = member(object, name, source);
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > most) {
    fail_member(source, name, fmt::format("whole number from 0 to {}", most));
  }
  return value.get<std::uint64_t>();
}

std::string string_member(const Json& object, std::string_view name, std::string_view source) {
  const Json& value = member(object, name, source);
  if (!value.is_string()) fail_member(source, name, "string");
  return value.get<std::string>();
}

std::vector<std::string> strings_member(const Json& object, std::string_view name, std::string_view source) {
  const Json& value = member(object, name, source);
  if (!value.is_array() || !std::ranges::all_of(value, [](const Json& item) { return item.is_string(); })) {
    fail_member(source, name, "list of strings");
  }
  return value.get<std::vector<std::string>>();
}

Json split_to_json(const SplitInfo& split) {
  Json json = {{"shards", split.shards},
               {"tokens", split.tokens},
               {"documents", split.documents},
               {"text_bytes", split.text_bytes}};
  if (!split.examples.empty()) json["examples"] = split.examples;
  return json;
}

// A name must not lead out of the folder.
void require_file_name(const std::string& name, std::string_view source) {
  if (!name.empty() && name != "." && name != ".." && name.find_first_of(std::string_view("/\\\0", 3)) == name.npos) {
    return;
  }
  fail(ErrorKind::input, "{}: '{}' is no name of a file in this folder.", source, name);
}

SplitInfo split_from_json(const Json& splits, std::string_view name, std::string_view source) {
  const Json& object = member(splits, name, source);
  SplitInfo split;
  split.shards = strings_member(object, "shards", source);
  for (const std::string& shard : split.shards) require_file_name(shard, source);
  if (object.contains("examples")) {
    split.examples = string_member(object, "examples", source);
    require_file_name(split.examples, source);
  }
  split.tokens = unsigned_member(object, "tokens", source);
  split.documents = unsigned_member(object, "documents", source);
  split.text_bytes = unsigned_member(object, "text_bytes", source);
  return split;
}

}  // namespace

std::vector<std::string> SplitInfo::files() const {
  std::vector<std::string> names = shards;
  if (!examples.empty()) names.push_back(examples);
  return names;
}

std::string text_hash(std::string_view text) {
  std::uint64_t hash = 0xCBF29CE484222325u;
  for (const char character : text) {
    hash = (hash ^ static_cast<unsigned char>(character)) * 0x100000001B3u;
  }
  return fmt::format("{:016x}", hash);
}

std::string data_info_to_json(const DataInfo& info) {
  Json json = {{"format", format_name},
               {"version", info.holds_examples() ? examples_version : format_version},
               {"vocab_size", info.vocab_size},
               {"eos_id", info.eos_id},
               {"tokenizer_hash", info.tokenizer_hash},
               {"cleaning", info.cleaning},
               {"val_fraction", info.val_fraction},
               {"seed", info.seed},
               {"splits", {{"train", split_to_json(info.train)}, {"val", split_to_json(info.val)}}}};
  if (!info.document_prefix.empty()) json["document_prefix"] = info.document_prefix;
  return json.dump(2) + "\n";
}

DataInfo data_info_from_json(std::string_view text, std::string_view source) {
  const Json json = parse_json(text, source);
  if (string_member(json, "format", source) != format_name) {
    fail(ErrorKind::input, "{} does not describe a data folder: its format is not '{}'.", source, format_name);
  }
  if (const std::uint64_t version = unsigned_member(json, "version", source);
      version < format_version || version > examples_version) {
    fail(ErrorKind::input, "{} has version {}; only versions {} and {} are known.", source, version, format_version,
         examples_version);
  }
  constexpr std::uint64_t most_ids = std::uint64_t{1} << 31;
  DataInfo info;
  info.vocab_size = static_cast<std::uint32_t>(unsigned_member(json, "vocab_size", source, most_ids));
  info.eos_id = static_cast<std::uint32_t>(unsigned_member(json, "eos_id", source, most_ids));
  if (info.eos_id >= info.vocab_size) fail_member(source, "eos_id", fmt::format("id below {}", info.vocab_size));
  if (json.contains("document_prefix")) {
    const Json& prefix = json.at("document_prefix");
    const auto is_id = [&](const Json& id) {
      return id.is_number_unsigned() && id.get<std::uint64_t>() < info.vocab_size;
    };
    if (!prefix.is_array() || !std::ranges::all_of(prefix, is_id)) {
      fail_member(source, "document_prefix", fmt::format("list of ids below {}", info.vocab_size));
    }
    info.document_prefix = prefix.get<std::vector<std::uint32_t>>();
  }
  info.tokenizer_hash = string_member(json, "tokenizer_hash", source);
  info.cleaning = strings_member(json, "cleaning", source);
  const Json& fraction = member(json, "val_fraction", source);
  if (!fraction.is_number()) fail_member(source, "val_fraction", "number");
  info.val_fraction = fraction.get<double>();
  info.seed = unsigned_member(json, "seed", source);
  const Json& splits = member(json, "splits", source);
  info.train = split_from_json(splits, "train", source);
  info.val = split_from_json(splits, "val", source);
  return info;
}

DataInfo read_data_info(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "data.json";
  if (!path_exists(path)) {
    fail(ErrorKind::input,
         "{} is no data folder: it has no data.json. Make one with: "
         "mslt data prepare --tokenizer TOKENIZER.json --input TEXT.txt --output {}",
         folder.string(), folder.string());
  }
  // Names of some hundred thousand shards, and little enough that the parsed form stays small.
  constexpr std::uint64_t max_bytes = std::uint64_t{1} << 22;
  return data_info_from_json(read_file(path, max_bytes), path.string());
}

Tokenizer load_data_tokenizer(const std::filesystem::path& folder, const DataInfo& info) {
  const std::filesystem::path path = folder / "tokenizer.json";
  const std::string text = read_file(path, max_tokenizer_file_bytes);
  Tokenizer tokenizer = Tokenizer::from_json(text, path.string());
  const bool same = text_hash(text) == info.tokenizer_hash || text_hash(tokenizer.to_json()) == info.tokenizer_hash;
  if (!same || tokenizer.vocab_size() != info.vocab_size) {
    fail(
        ErrorKind::input,
        "{} is not the tokenizer that the data was prepared with: {} names one of {} tokens with the hash {}, this one "
        "has {} and {}. Put the right one back, or prepare the data anew.",
        path.string(), (folder / "data.json").string(), info.vocab_size, info.tokenizer_hash, tokenizer.vocab_size(),
        text_hash(text));
  }
  return tokenizer;
}

void require_same_tokenizer(const Tokenizer& model, const std::filesystem::path& model_folder, const Tokenizer& data,
                            const std::filesystem::path& data_folder) {
  if (model.encodes_like(data)) return;
  fail(ErrorKind::input,
       "The data in {} was prepared with another tokenizer than the model in {} has: the same ids mean other tokens. "
       "Prepare it with the model's: mslt data prepare --tokenizer {} ...",
       data_folder.string(), model_folder.string(), model_folder.string());
}

TokenStream::TokenStream(const std::filesystem::path& folder, std::string_view split) {
  constexpr std::array<std::string_view, 2> splits = {"train", "val"};
  if (std::ranges::find(splits, split) == splits.end()) {
    fail(ErrorKind::usage, "'{}' is no split; valid are train and val.{}", split, near_name_hint(split, splits));
  }
  const DataInfo info = read_data_info(folder);
  const SplitInfo& chosen = split == "train" ? info.train : info.val;
  if (chosen.shards.empty()) {
    fail(ErrorKind::input, "{} has no {} data{}.", folder.string(), split,
         split == "val" ? "; prepare it with a --val-fraction above 0" : "");
  }
  vocab_size_ = info.vocab_size;
  for (const std::string& shard : chosen.shards) open(folder / shard);
  if (size() != chosen.tokens) {
    fail(ErrorKind::input, "{}: the {} shards hold {} tokens, but data.json says {}. Prepare the data again.",
         folder.string(), split, size(), chosen.tokens);
  }
  if (chosen.examples.empty()) return;
  open_examples(folder / chosen.examples);
  if (info.document_prefix.empty()) lead_ = static_cast<std::int32_t>(info.eos_id);
}

TokenStream::TokenStream(std::span<const std::filesystem::path> paths, std::uint32_t vocab_size)
    : vocab_size_(vocab_size) {
  for (const auto& path : paths) open(path);
}

void TokenStream::open(const std::filesystem::path& path) {
  shards_.emplace_back(path);
  starts_.push_back(checked_add(starts_.back(), shards_.back().size(), path.string()));
}

void TokenStream::open_examples(const std::filesystem::path& path) {
  const ShardReader lengths(path);
  std::vector<std::int32_t> some(std::size_t{1} << 16);
  example_starts_.reserve(static_cast<std::size_t>(lengths.size()) + 1);
  example_starts_.push_back(0);
  for (std::uint64_t first = 0; first < lengths.size(); first += some.size()) {
    some.resize(static_cast<std::size_t>(std::min<std::uint64_t>(some.size(), lengths.size() - first)));
    lengths.copy(first, some);
    for (const std::int32_t length : some) {
      // The token that ends it, and one at least before that.
      if (length < 2) fail(ErrorKind::input, "{}: example {} has {} tokens.", path.string(), examples(), length);
      example_starts_.push_back(example_starts_.back() + static_cast<std::uint64_t>(length));
    }
  }
  if (example_starts_.back() == size()) return;
  fail(ErrorKind::input, "{}: the {} examples have {} tokens, but the shards hold {}. Prepare the data again.",
       path.string(), examples(), example_starts_.back(), size());
}

std::uint64_t TokenStream::example_size(std::uint64_t example) const {
  return example_starts_[example + 1] - example_starts_[example] + (lead_ ? 1 : 0);
}

std::uint64_t TokenStream::longest_example() const {
  std::uint64_t longest = 0;
  for (std::uint64_t i = 0; i < examples(); ++i) longest = std::max(longest, example_size(i));
  return longest;
}

std::uint64_t TokenStream::examples_above(std::uint64_t tokens) const {
  std::uint64_t count = 0;
  for (std::uint64_t i = 0; i < examples(); ++i) count += example_size(i) > tokens ? 1 : 0;
  return count;
}

std::uint64_t TokenStream::example_targets(std::uint64_t tokens) const {
  std::uint64_t targets = 0;
  for (std::uint64_t i = 0; i < examples(); ++i) targets += std::min(example_size(i), tokens) - 1;
  return targets;
}

std::size_t TokenStream::copy_example(std::uint64_t example, std::span<std::int32_t> ids) const {
  const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(ids.size(), example_size(example)));
  ids = ids.first(count);
  if (lead_ && !ids.empty()) {
    ids.front() = *lead_;
    ids = ids.subspan(1);
  }
  copy(example_starts_[example], ids);
  return count;
}

void TokenStream::check_ids(std::uint64_t most) const {
  constexpr std::uint64_t block = std::uint64_t{1} << 12;
  constexpr std::uint64_t spread = 256;  // blocks of all shards
  std::vector<std::int32_t> ids(block);
  for (std::size_t shard = 0; shard < shards_.size(); ++shard) {
    const std::uint64_t tokens = shards_[shard].size();
    const std::uint64_t blocks = (tokens + block - 1) / block;
    // Two at least, the first and the last; all where they are few enough.
    const std::uint64_t share = size() <= most ? blocks : spread / shards_.size();
    const std::uint64_t visits = std::min(blocks, std::max<std::uint64_t>(share, 2));
    for (std::uint64_t visit = 0; visit < visits; ++visit) {
      const std::uint64_t index = visits < 2 ? 0 : visit * (blocks - 1) / (visits - 1);
      const auto count = static_cast<std::size_t>(std::min(block, tokens - index * block));
      shards_[shard].copy(index * block, std::span(ids).first(count), vocab_size_);
    }
  }
}

void TokenStream::copy(std::uint64_t first, std::span<std::int32_t> ids) const {
  if (first > size() || ids.size() > size() - first) {
    fail(ErrorKind::usage, "Tokens {} to {} were asked of {}.", first, first + ids.size(), size());
  }
  while (!ids.empty()) {
    const auto after = std::ranges::upper_bound(starts_, first);
    const auto shard = static_cast<std::size_t>(after - starts_.begin()) - 1;
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(ids.size(), *after - first));
    shards_[shard].copy(first - starts_[shard], ids.first(count), vocab_size_);
    ids = ids.subspan(count);
    first += count;
  }
}

}  // namespace mslt

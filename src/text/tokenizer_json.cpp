// Reading and writing tokenizer.json.
#include "text/tokenizer_json.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/fail.h"
#include "base/json.h"
#include "text/byte_characters.h"

namespace mslt {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// Ids may lie this far above the count of entries: vocabularies have holes before their special tokens.
constexpr std::uint64_t max_holes = std::uint64_t{1} << 16;

struct PatternText {
  SplitPattern pattern;
  std::string_view regex;
};

// The expressions as published tokenizer.json files have them; of several for one pattern the first is written.
constexpr std::array<PatternText, 8> pattern_texts = {{
    {SplitPattern::gpt2, R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"},
    {SplitPattern::gpt2, R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"},
    {SplitPattern::llama3,
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|)"
     R"(\s+(?!\S)|\s+)"},
    {SplitPattern::llama3,
     R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {SplitPattern::qwen2,
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|)"
     R"(\s+(?!\S)|\s+)"},
    {SplitPattern::o200k,
     R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
     R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
     R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
}};

// A JSON value and where it stands, for errors.
class Member {
 public:
  Member(const json& value, std::string path, std::string_view source)
      : value_(value), path_(std::move(path)), source_(source) {}

  const json& value() const { return value_; }

  [[noreturn]] void reject(std::string_view what) const {
    fail(ErrorKind::input, "{}: {} {}.", source_, path_.empty() ? "the top level" : path_, what);
  }

  bool has(const char* name) const { return value_.is_object() && value_.contains(name); }
  // Missing and null are alike in these files.
  bool is_set(const char* name) const { return has(name) && !value_.at(name).is_null(); }

  Member at(const char* name) const {
    if (!value_.is_object()) reject("is not an object");
    if (!value_.contains(name)) reject(fmt::format("has no member \"{}\"", name));
    return {value_.at(name), path_.empty() ? name : path_ + "." + name, source_};
  }
  Member at(std::size_t index) const { return {value_.at(index), fmt::format("{}[{}]", path_, index), source_}; }

  std::size_t array_size() const {
    if (!value_.is_array()) reject("is not an array");
    return value_.size();
  }
  const std::string& string() const {
    if (!value_.is_string()) reject("is not a string");
    return value_.get_ref<const std::string&>();
  }
  bool boolean(const char* name, bool otherwise) const {
    if (!is_set(name)) return otherwise;
    const Member member = at(name);
    if (!member.value_.is_boolean()) member.reject("is neither true nor false");
    return member.value_.get<bool>();
  }
  std::uint64_t id() const {
    if (!value_.is_number_unsigned()) reject("is not an id (a whole number from 0 on)");
    return value_.get<std::uint64_t>();
  }
  // The member "type", which all parts of the pipeline have.
  const std::string& type() const { return at("type").string(); }

 private:
  const json& value_;
  std::string path_;
  std::string_view source_;
};

void read_normalizer(const Member& normalizer, TokenizerParts& parts) {
  const std::string& type = normalizer.type();
  if (type == "Sequence") {
    const Member steps = normalizer.at("normalizers");
    for (std::size_t i = 0; i < steps.array_size(); ++i) read_normalizer(steps.at(i), parts);
  } else if (type == "NFC") {
    parts.normalize_nfc = true;
  } else {
    normalizer.reject(fmt::format("is of type \"{}\"; supported are NFC and none", type));
  }
}

SplitPattern pattern_of_split(const Member& split) {
  const Member pattern = split.at("pattern");
  if (!pattern.has("Regex")) pattern.reject("is not a \"Regex\", the one kind of pattern that is supported");
  const std::string& regex = pattern.at("Regex").string();
  const std::string& behavior = split.at("behavior").string();
  const bool invert = split.boolean("invert", false);
  // The supported expressions match all of a text, so that keeping only the matches comes to the same.
  if (!(behavior == "Isolated" && !invert) && !(behavior == "Removed" && invert)) {
    split.reject(
        fmt::format("has behavior \"{}\" and invert {}; supported are Isolated with invert false, and Removed with "
                    "invert true",
                    behavior, invert));
  }
  for (const PatternText& known : pattern_texts) {
    if (known.regex == regex) return known.pattern;
  }
  pattern.reject(fmt::format("has the expression {}, which is none of those of gpt2, llama3, qwen2 and o200k", regex));
}

void read_byte_level(const Member& byte_level, bool after_split, TokenizerParts& parts) {
  const bool use_regex = byte_level.boolean("use_regex", true);
  const bool add_prefix_space = byte_level.boolean("add_prefix_space", true);
  if (after_split && use_regex) byte_level.reject("has use_regex true after a Split; only false is supported there");
  if (after_split && add_prefix_space) {
    byte_level.reject("has add_prefix_space true after a Split; only false is supported there");
  }
  if (use_regex) parts.pattern = SplitPattern::gpt2;
  parts.add_prefix_space = add_prefix_space;
}

void read_pre_tokenizer(const Member& pre_tokenizer, TokenizerParts& parts) {
  const std::string& type = pre_tokenizer.type();
  if (type == "ByteLevel") {
    read_byte_level(pre_tokenizer, false, parts);
    return;
  }
  if (type != "Sequence") {
    pre_tokenizer.reject(
        fmt::format("is of type \"{}\"; supported are ByteLevel and a Sequence of Split and ByteLevel", type));
  }
  const Member steps = pre_tokenizer.at("pretokenizers");
  const std::size_t count = steps.array_size();
  const bool has_split = count == 2 && steps.at(std::size_t{0}).type() == "Split";
  if (count == 0 || count > 2 || (count == 2 && !has_split) || steps.at(count - 1).type() != "ByteLevel") {
    steps.reject("is not a Split followed by a ByteLevel, the one sequence that is supported");
  }
  if (has_split) parts.pattern = pattern_of_split(steps.at(std::size_t{0}));
  read_byte_level(steps.at(count - 1), has_split, parts);
}

void check_decoder(const Member& decoder) {
  const std::string& type = decoder.type();
  if (type == "ByteLevel") return;
  if (type == "Sequence") {
    const Member steps = decoder.at("decoders");
    if (steps.array_size() == 1) {
      check_decoder(steps.at(std::size_t{0}));
      return;
    }
  }
  decoder.reject(fmt::format("is of type \"{}\"; supported is ByteLevel", type));
}

void check_model(const Member& model) {
  if (model.has("type") && model.type() != "BPE") {
    model.reject(fmt::format("is of type \"{}\"; supported is BPE", model.type()));
  }
  if (model.is_set("dropout") && model.at("dropout").value() != 0.0) {
    model.at("dropout").reject("is set; encoding with dropout is not supported");
  }
  if (model.boolean("byte_fallback", false)) {
    model.at("byte_fallback").reject("is true; only byte-level BPE is supported, which needs no fallback");
  }
  for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (model.is_set(name) && !model.at(name).string().empty()) model.at(name).reject("is set, which is not supported");
  }
}

void place_token(TokenizerParts& parts, std::uint64_t id, std::string bytes, const Member& entry, std::string_view name,
                 std::uint64_t limit) {
  if (id >= limit) {
    entry.reject(
        fmt::format("gives \"{}\" the id {}, which is out of range for so few tokens (limit {})", name, id, limit));
  }
  if (id >= parts.tokens.size()) parts.tokens.resize(id + 1);
  if (!parts.tokens[id].empty()) entry.reject(fmt::format("gives the id {} to \"{}\" and to another token", id, name));
  parts.tokens[id] = std::move(bytes);
}

void read_added_tokens(const Member& list, std::uint64_t limit, TokenizerParts& parts) {
  for (std::size_t i = 0; i < list.array_size(); ++i) {
    const Member entry = list.at(i);
    AddedToken token;
    token.text = entry.at("content").string();
    if (token.text.empty()) entry.reject("has an empty content");
    for (const char* name : {"single_word", "lstrip", "rstrip"}) {
      if (entry.boolean(name, false)) {
        entry.reject(fmt::format("(\"{}\") has {} true, which is not supported", token.text, name));
      }
    }
    token.special = entry.boolean("special", false);
    token.normalized = entry.boolean("normalized", !token.special);
    const std::uint64_t id = entry.at("id").id();
    place_token(parts, id, token.text, entry, token.text, limit);
    token.id = static_cast<TokenId>(id);
    parts.added.push_back(std::move(token));
  }
  std::sort(parts.added.begin(), parts.added.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
}

// Ordinary tokens; those that are added tokens as well must have the same id there.
void read_vocabulary(const Member& vocabulary, std::uint64_t limit, TokenizerParts& parts) {
  if (!vocabulary.value().is_object()) vocabulary.reject("is not an object of tokens and ids");
  std::uint64_t ordinary_end = 0;
  for (const auto& [name, value] : vocabulary.value().items()) {
    if (!value.is_number_unsigned()) {
      vocabulary.reject(fmt::format("gives \"{}\" no id (a whole number from 0 on)", name));
    }
    const auto id = value.get<std::uint64_t>();
    const bool added =
        id < parts.tokens.size() && !parts.tokens[id].empty() && parts.tokens[id] == name &&
        std::any_of(parts.added.begin(), parts.added.end(), [&](const auto& token) { return token.id == id; });
    if (added) continue;
    auto bytes = from_byte_characters(name);
    if (!bytes || bytes->empty()) {
      vocabulary.reject(
          fmt::format("has the entry \"{}\" (id {}), which is no byte-level token: each of its characters "
                      "must stand for a byte",
                      name, id));
    }
    place_token(parts, id, std::move(*bytes), vocabulary, name, limit);
    ordinary_end = std::max(ordinary_end, id + 1);
  }
  for (std::uint64_t id = 0; id < ordinary_end; ++id) {
    if (parts.tokens[id].empty()) vocabulary.reject(fmt::format("has no token with the id {}", id));
  }
}

// Both sides of one merge as byte characters: ["a", "b"], or "a b" in older files.
std::pair<std::string, std::string> merge_sides(const Member& merge) {
  if (merge.value().is_array()) {
    if (merge.value().size() != 2) merge.reject("is not a pair");
    return {merge.at(std::size_t{0}).string(), merge.at(std::size_t{1}).string()};
  }
  const std::string& text = merge.string();
  const std::size_t space = text.find(' ');
  if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
    merge.reject(fmt::format("(\"{}\") is not two tokens with a space between", text));
  }
  return {text.substr(0, space), text.substr(space + 1)};
}

void read_merges(const Member& merges, TokenizerParts& parts) {
  std::vector<bool> added(parts.tokens.size(), false);
  for (const AddedToken& token : parts.added) added[token.id] = true;
  std::vector<TokenId> ordinary;
  for (TokenId id = 0; id < parts.tokens.size(); ++id) {
    if (!parts.tokens[id].empty() && !added[id]) ordinary.push_back(id);
  }
  const TokenIndex index(parts.tokens, ordinary);
  const std::size_t count = merges.array_size();
  for (std::size_t i = 0; i < count; ++i) {
    const Member merge = merges.at(i);
    const auto [left, right] = merge_sides(merge);
    const auto find = [&](const std::string& name) {
      const auto bytes = from_byte_characters(name);
      const TokenId id = bytes && !bytes->empty() ? index.find(*bytes) : TokenIndex::no_token;
      if (id == TokenIndex::no_token) merge.reject(fmt::format("names \"{}\", which is not in model.vocab", name));
      return id;
    };
    parts.merges.push_back({.left = find(left),
                            .right = find(right),
                            .result = find(left + right),
                            .rank = static_cast<std::uint32_t>(i)});
  }
  std::vector<std::pair<std::uint64_t, std::uint32_t>> pairs;
  for (const MergeRule& rule : parts.merges)
    pairs.emplace_back((std::uint64_t{rule.left} << 32) | rule.right, rule.rank);
  std::sort(pairs.begin(), pairs.end());
  for (std::size_t i = 1; i < pairs.size(); ++i) {
    if (pairs[i].first == pairs[i - 1].first) {
      merges.at(pairs[i].second).reject(fmt::format("repeats the merge {}", pairs[i - 1].second));
    }
  }
}

// Whether a TemplateProcessing (alone or in a Sequence) starts a single text with a token of its own.
bool starts_with_token(const json& processor) {
  if (!processor.is_object()) return false;
  if (const auto steps = processor.find("processors"); steps != processor.end() && steps->is_array()) {
    return std::any_of(steps->begin(), steps->end(), [](const json& step) { return starts_with_token(step); });
  }
  const auto single = processor.find("single");
  return single != processor.end() && single->is_array() && !single->empty() && single->front().is_object() &&
         single->front().contains("SpecialToken");
}

ordered_json byte_level(bool add_prefix_space, bool use_regex) {
  return {
      {"type", "ByteLevel"}, {"add_prefix_space", add_prefix_space}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

ordered_json pre_tokenizer_json(const TokenizerParts& parts) {
  if (parts.pattern == SplitPattern::gpt2) return byte_level(parts.add_prefix_space, true);
  if (parts.pattern == SplitPattern::none) return byte_level(parts.add_prefix_space, false);
  const auto known = std::find_if(pattern_texts.begin(), pattern_texts.end(),
                                  [&](const PatternText& text) { return text.pattern == parts.pattern; });
  const ordered_json split = {
      {"type", "Split"}, {"pattern", {{"Regex", known->regex}}}, {"behavior", "Isolated"}, {"invert", false}};
  return {{"type", "Sequence"}, {"pretokenizers", ordered_json::array({split, byte_level(false, false)})}};
}

ordered_json model_json(const TokenizerParts& parts) {
  std::vector<const std::string*> names_of_added(parts.tokens.size(), nullptr);
  for (const AddedToken& token : parts.added) names_of_added[token.id] = &token.text;
  // Special tokens stand in the vocabulary too: the tokenizers package takes their ids from there.
  ordered_json::object_t vocabulary;
  ordered_json::array_t merges;
  std::vector<std::string> names(parts.tokens.size());
  for (TokenId id = 0; id < parts.tokens.size(); ++id) {
    names[id] = names_of_added[id] != nullptr ? *names_of_added[id] : to_byte_characters(parts.tokens[id]);
  }
  for (TokenId id = 0; id < names.size(); ++id) {
    // Not operator[], which would look through all that stand there already.
    if (!names[id].empty()) vocabulary.Container::emplace_back(names[id], id);
  }
  for (const MergeRule& rule : parts.merges) {
    merges.push_back(ordered_json::array({names[rule.left], names[rule.right]}));
  }
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", parts.whole_tokens_first},
          {"vocab", std::move(vocabulary)},
          {"merges", std::move(merges)}};
}

}  // namespace

TokenizerParts parts_from_json(std::string_view text, std::string_view source) {
  const json document = parse_json(text, source);
  const Member top(document, "", source);
  const Member model = top.at("model");
  check_model(model);
  TokenizerParts parts;
  parts.whole_tokens_first = model.boolean("ignore_merges", false);
  if (top.is_set("normalizer")) read_normalizer(top.at("normalizer"), parts);
  read_pre_tokenizer(top.at("pre_tokenizer"), parts);
  if (top.is_set("decoder")) check_decoder(top.at("decoder"));
  if (top.is_set("post_processor")) {
    const Member processor = top.at("post_processor");
    parts.post_processor = processor.value().dump();
    parts.adds_bos = starts_with_token(processor.value());
  }
  const Member vocabulary = model.at("vocab");
  const std::size_t added_count = top.is_set("added_tokens") ? top.at("added_tokens").array_size() : 0;
  const std::uint64_t limit =
      std::min<std::uint64_t>(vocabulary.value().size() + added_count + max_holes, max_vocab_size);
  if (added_count > 0) read_added_tokens(top.at("added_tokens"), limit, parts);
  read_vocabulary(vocabulary, limit, parts);
  read_merges(model.at("merges"), parts);
  return parts;
}

std::string json_from_parts(const TokenizerParts& parts) {
  ordered_json added = ordered_json::array();
  for (const AddedToken& token : parts.added) {
    added.push_back({{"id", token.id},
                     {"content", token.text},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", token.normalized},
                     {"special", token.special}});
  }
  const ordered_json normalizer = parts.normalize_nfc ? ordered_json{{"type", "NFC"}} : ordered_json(nullptr);
  // Members in alphabetical order, as a kept post-processor's are: files then do not change when they are written
  // again.
  const ordered_json processor = parts.post_processor.empty() ? ordered_json{{"add_prefix_space", false},
                                                                             {"trim_offsets", false},
                                                                             {"type", "ByteLevel"},
                                                                             {"use_regex", true}}
                                                              : ordered_json::parse(parts.post_processor);
  const ordered_json document = {{"version", "1.0"},
                                 {"truncation", nullptr},
                                 {"padding", nullptr},
                                 {"added_tokens", std::move(added)},
                                 {"normalizer", normalizer},
                                 {"pre_tokenizer", pre_tokenizer_json(parts)},
                                 {"post_processor", processor},
                                 {"decoder", byte_level(true, true)},
                                 {"model", model_json(parts)}};
  return document.dump(1, ' ') + "\n";
}

std::string tokenizer_config_json(const Tokenizer& tokenizer, std::uint64_t model_max_length) {
  ordered_json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                         {"model_max_length", model_max_length},
                         {"clean_up_tokenization_spaces", false}};
  const auto set = [&](const char* name, std::optional<TokenId> id) {
    if (id) config[name] = tokenizer.token_bytes(*id);
  };
  set("bos_token", tokenizer.bos_id());
  set("eos_token", tokenizer.eos_id());
  set("pad_token", tokenizer.pad_id());
  return config.dump(2) + "\n";
}

}  // namespace mslt

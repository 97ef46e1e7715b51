// Reading tokenizer.json: its outline as JSON, its long lists straight into a tokenizer's parts.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/fail.h"
#include "text/byte_characters.h"
#include "text/json_walker.h"
#include "text/pattern_texts.h"
#include "text/tokenizer_json.h"

namespace mslt {
namespace {

using nlohmann::json;

// Ids may lie this far above the count of entries: vocabularies have holes before their special tokens.
constexpr std::uint64_t max_holes = std::uint64_t{1} << 16;

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

AddedToken added_token(const Member& entry) {
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
  if (id >= max_vocab_size) {
    entry.reject(
        fmt::format("gives \"{}\" the id {}, which is out of range (limit {})", token.text, id, max_vocab_size));
  }
  token.id = static_cast<TokenId>(id);
  return token;
}

// The first walk: everything but the vocabulary and the merges, which are counted.
class OutlineWalker : public JsonWalker {
 public:
  OutlineWalker(std::string_view source, TokenizerParts& parts)
      : JsonWalker(source), parts_(parts), outline_(source), entry_(source) {}

  // Lists are empty ones of their type.
  json take_outline() { return outline_.take(); }
  std::uint64_t vocabulary_count() const { return vocabulary_count_; }
  std::size_t merge_count() const { return merge_count_; }

 private:
  void on_open(JsonRegion region, int level, bool object) override {
    if (region == JsonRegion::outline) {
      outline_.open(object);
    } else if (level == 0) {
      outline_.add(object ? json::object() : json::array());
      is_list_ = !object;
    } else if (region == JsonRegion::merges && level == 1) {
      ++merge_count_;
    } else if (region == JsonRegion::added_tokens && is_list_) {
      entry_.open(object);
    }
  }

  void on_close(JsonRegion region, int level) override {
    if (region == JsonRegion::outline) {
      outline_.close();
    } else if (region == JsonRegion::added_tokens && level > 0 && is_list_) {
      entry_.close();
      if (level == 1) take_entry(entry_.take());
    }
  }

  void on_key(JsonRegion region, int level, std::string& name) override {
    if (region == JsonRegion::outline) outline_.key(name);
    if (region == JsonRegion::vocabulary && level == 1) ++vocabulary_count_;
    if (region == JsonRegion::added_tokens && is_list_) entry_.key(name);
  }

  void on_value(JsonRegion region, int level, json value) override {
    if (region == JsonRegion::outline || level == 0) {
      outline_.add(std::move(value));
    } else if (region == JsonRegion::merges && level == 1) {
      ++merge_count_;
    } else if (region == JsonRegion::added_tokens && is_list_) {
      if (level == 1) {
        take_entry(value);
      } else {
        entry_.add(std::move(value));
      }
    }
  }

  void take_entry(const json& value) {
    parts_.added.push_back(added_token({value, fmt::format("added_tokens[{}]", parts_.added.size()), source()}));
  }

  TokenizerParts& parts_;
  JsonBuilder outline_;
  JsonBuilder entry_;
  bool is_list_ = false;
  std::uint64_t vocabulary_count_ = 0;
  std::size_t merge_count_ = 0;
};

// The second walk: the vocabulary and, where they stand behind it, the merges. Where they stand before it, walking once
// more reads them.
class EntryWalker : public JsonWalker {
 public:
  // parts.added is read, and sorted by id. `limit`: ids lie below it.
  EntryWalker(std::string_view source, TokenizerParts& parts, std::uint64_t limit)
      : JsonWalker(source), parts_(parts), limit_(limit), merge_(source) {
    for (const AddedToken& token : parts.added) {
      place(token.id, token.text, "added_tokens", token.text);
      if (token.id >= added_.size()) added_.resize(std::size_t{token.id} + 1, false);
      added_[token.id] = true;
    }
  }

  bool needs_another_walk() const { return index_ && !merges_read_; }

  // Pairs that occur twice would be a contradiction.
  void check_merges() const {
    std::vector<std::pair<std::uint64_t, std::uint32_t>> pairs;
    pairs.reserve(parts_.merges.size());
    for (const MergeRule& rule : parts_.merges) {
      pairs.emplace_back((std::uint64_t{rule.left} << 32) | rule.right, rule.rank);
    }
    std::sort(pairs.begin(), pairs.end());
    for (std::size_t i = 1; i < pairs.size(); ++i) {
      if (pairs[i].first != pairs[i - 1].first) continue;
      reject(merge_path(pairs[i].second), fmt::format("repeats the merge {}", pairs[i - 1].second));
    }
  }

 private:
  [[noreturn]] void reject(std::string_view path, std::string_view what) const {
    fail(ErrorKind::input, "{}: {} {}.", source(), path, what);
  }
  static std::string merge_path(std::size_t rank) { return fmt::format("model.merges[{}]", rank); }

  void on_open(JsonRegion region, int level, bool object) override {
    if (region == JsonRegion::vocabulary && level == 1) reject_value();
    if (region == JsonRegion::merges && level > 0 && reads_merges()) merge_.open(object);
  }

  void on_close(JsonRegion region, int level) override {
    if (region == JsonRegion::vocabulary && level == 0 && !index_) finish_vocabulary();
    if (region != JsonRegion::merges || !reads_merges()) return;
    if (level == 0) merges_read_ = true;
    if (level > 0) merge_.close();
    if (level == 1) take_merge(merge_.take());
  }

  void on_key(JsonRegion region, int level, std::string& name) override {
    if (region == JsonRegion::vocabulary && level == 1) name_ = std::move(name);
    if (region == JsonRegion::merges && reads_merges()) merge_.key(name);
  }

  void on_value(JsonRegion region, int level, json value) override {
    if (region == JsonRegion::vocabulary && level == 1 && !index_) {
      if (!value.is_number_unsigned()) reject_value();
      take_token(value.get<std::uint64_t>());
    } else if (region == JsonRegion::merges && level > 0 && reads_merges()) {
      if (level == 1) {
        take_merge(value);
      } else {
        merge_.add(std::move(value));
      }
    }
  }

  bool reads_merges() const { return index_ && !merges_read_; }
  [[noreturn]] void reject_value() const {
    reject("model.vocab", fmt::format("gives \"{}\" no id (a whole number from 0 on)", name_));
  }

  void place(std::uint64_t id, std::string bytes, std::string_view path, std::string_view name) {
    if (id >= limit_) {
      reject(path, fmt::format("gives \"{}\" the id {}, which is out of range for so few tokens (limit {})", name, id,
                               limit_));
    }
    if (id >= parts_.tokens.size()) parts_.tokens.resize(id + 1);
    if (!parts_.tokens[id].empty()) {
      reject(path, fmt::format("gives the id {} to \"{}\" and to another token", id, name));
    }
    parts_.tokens[id] = std::move(bytes);
  }

  bool is_added(std::uint64_t id) const { return id < added_.size() && added_[id]; }

  // Ordinary tokens; those that are added tokens as well must have the same id there.
  void take_token(std::uint64_t id) {
    if (is_added(id) && parts_.tokens[id] == name_) return;
    auto bytes = from_byte_characters(name_);
    if (!bytes || bytes->empty()) {
      reject("model.vocab",
             fmt::format("has the entry \"{}\" (id {}), which is no byte-level token: each of its characters must "
                         "stand for a byte",
                         name_, id));
    }
    place(id, std::move(*bytes), "model.vocab", name_);
    ordinary_end_ = std::max(ordinary_end_, id + 1);
  }

  void finish_vocabulary() {
    for (std::uint64_t id = 0; id < ordinary_end_; ++id) {
      if (parts_.tokens[id].empty()) reject("model.vocab", fmt::format("has no token with the id {}", id));
    }
    std::vector<TokenId> ordinary;
    ordinary.reserve(parts_.tokens.size());
    for (TokenId id = 0; id < parts_.tokens.size(); ++id) {
      if (!parts_.tokens[id].empty() && !is_added(id)) ordinary.push_back(id);
    }
    index_.emplace(parts_.tokens, ordinary);
    for (const TokenId id : ordinary) {
      const TokenId first = index_->find(parts_.tokens[id]);
      if (first == id) continue;
      reject("model.vocab",
             fmt::format("gives \"{}\" the ids {} and {}", to_byte_characters(parts_.tokens[id]), first, id));
    }
  }

  // Both sides of one merge as byte characters: ["a", "b"], or "a b" in older files.
  static std::pair<std::string, std::string> sides(const Member& merge) {
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

  void take_merge(const json& value) {
    const std::size_t rank = parts_.merges.size();
    const auto [left, right] = sides({value, merge_path(rank), source()});
    const auto find = [&](const std::string& name) {
      const auto bytes = from_byte_characters(name);
      const TokenId id = bytes && !bytes->empty() ? index_->find(*bytes) : TokenIndex::no_token;
      if (id == TokenIndex::no_token) {
        reject(merge_path(rank), fmt::format("names \"{}\", which is not in model.vocab", name));
      }
      return id;
    };
    parts_.merges.push_back({.left = find(left),
                             .right = find(right),
                             .result = find(left + right),
                             .rank = static_cast<std::uint32_t>(rank)});
  }

  TokenizerParts& parts_;
  std::uint64_t limit_;
  std::vector<bool> added_;          // by id
  std::string name_;                 // of the token whose id comes next
  std::uint64_t ordinary_end_ = 0;   // one past the largest id of the vocabulary
  std::optional<TokenIndex> index_;  // of the finished vocabulary
  JsonBuilder merge_;
  bool merges_read_ = false;
};

}  // namespace

TokenizerParts parts_from_json(std::string_view text, std::string_view source) {
  TokenizerParts parts;
  OutlineWalker outline_walker(source, parts);
  outline_walker.walk(text);
  const json outline = outline_walker.take_outline();
  const Member top(outline, "", source);
  const Member model = top.at("model");
  check_model(model);
  parts.whole_tokens_first = model.boolean("ignore_merges", false);
  if (top.is_set("normalizer")) read_normalizer(top.at("normalizer"), parts);
  read_pre_tokenizer(top.at("pre_tokenizer"), parts);
  if (top.is_set("decoder")) check_decoder(top.at("decoder"));
  if (top.is_set("post_processor")) {
    const Member processor = top.at("post_processor");
    parts.post_processor = processor.value().dump();
    parts.adds_bos = starts_with_token(processor.value());
  }
  if (top.is_set("added_tokens")) top.at("added_tokens").array_size();
  if (!model.at("vocab").value().is_object()) model.at("vocab").reject("is not an object of tokens and ids");
  model.at("merges").array_size();

  const std::uint64_t count = outline_walker.vocabulary_count() + parts.added.size();
  parts.tokens.reserve(std::min<std::uint64_t>(count, max_vocab_size));
  parts.merges.reserve(outline_walker.merge_count());
  std::sort(parts.added.begin(), parts.added.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  EntryWalker entries(source, parts, std::min<std::uint64_t>(count + max_holes, max_vocab_size));
  entries.walk(text);
  if (entries.needs_another_walk()) entries.walk(text);
  entries.check_merges();
  return parts;
}

}  // namespace mslt

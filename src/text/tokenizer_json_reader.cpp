// Reading tokenizer.json: its outline as JSON, its long lists directly into a tokenizer's parts.
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/fail.h"
#include "text/byte_characters.h"
#include "text/json_member.h"
#include "text/json_walker.h"
#include "text/pipeline_json.h"
#include "text/tokenizer_json.h"

namespace mslt {
namespace {

using nlohmann::json;

// Ids may be this far above the number of entries: vocabularies have gaps before their special tokens.
constexpr std::uint64_t max_holes = std::uint64_t{1} << 16;

struct OtherModel {
  std::string_view type;
  std::string_view needs;
};
constexpr std::array<OtherModel, 3> other_models = {{
    {"Unigram", ", which takes a search for the likeliest tokens of a text"},
    {"WordPiece", ", which takes a search for the longest tokens of a word"},
    {"WordLevel", ", which takes a token for each word"},
}};

void check_model(const JsonMember& model) {
  if (model.has("type") && model.type() != "BPE") {
    const auto* const other = std::ranges::find(other_models, model.type(), &OtherModel::type);
    model.reject(fmt::format("is of type \"{}\"{}; supported is BPE, of bytes or of characters", model.type(),
                             other == other_models.end() ? "" : other->needs));
  }
  if (model.is_set("dropout") && model.at("dropout").value() != 0.0) {
    model.at("dropout").reject("is set; encoding with dropout is not supported");
  }
  for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (model.is_set(name) && !model.at(name).string().empty()) model.at(name).reject("is set, which is not supported");
  }
}

AddedToken added_token(const JsonMember& entry) {
  AddedToken token;
  token.text = entry.at("content").string();
  if (token.text.empty()) entry.reject("has an empty content");
  token.single_word = entry.boolean("single_word", false);
  token.lstrip = entry.boolean("lstrip", false);
  token.rstrip = entry.boolean("rstrip", false);
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

// The first walk: everything except the vocabulary and the merges, which are counted.
class OutlineWalker : public JsonWalker {
 public:
  OutlineWalker(std::string_view source, TokenizerParts& parts)
      : JsonWalker(source), parts_(parts), outline_(source), entry_(source) {}

  // Its lists are empty.
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

// The second walk: the vocabulary and, if they follow it, the merges. If they precede it, a third walk reads them.
class EntryWalker : public JsonWalker {
 public:
  // parts.added is read, and sorted by id. `limit`: ids are below it. `unknown` names the token that becomes
  // parts.unknown.
  EntryWalker(std::string_view source, TokenizerParts& parts, std::uint64_t limit,
              const std::optional<std::string>& unknown)
      : JsonWalker(source), parts_(parts), limit_(limit), unknown_(unknown), merge_(source) {
    for (const AddedToken& token : parts.added) {
      place(token.id, token.text, "added_tokens", token.text);
      if (token.id >= added_.size()) added_.resize(std::size_t{token.id} + 1, false);
      added_[token.id] = true;
    }
  }

  bool needs_another_walk() const { return index_ && !merges_read_; }

  // Duplicate pairs would be contradictory.
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
    if (region == JsonRegion::merges && reads_merges()) {
      merge_.key(name);
    } else if (region == JsonRegion::vocabulary && level == 1) {
      name_ = std::move(name);
    }
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

  // The bytes of a token spelled like this, or of characters the spelling; nothing if it is no token's.
  std::optional<std::string> bytes_of(const std::string& name) const {
    return parts_.byte_level ? from_byte_characters(name) : std::optional(name);
  }

  // Ordinary tokens; those that are also added tokens must have the same id there.
  void take_token(std::uint64_t id) {
    if (unknown_ == name_ && id < limit_) parts_.unknown = static_cast<TokenId>(id);
    if (is_added(id) && parts_.tokens[id] == name_) {
      if (!parts_.byte_level) std::ranges::lower_bound(parts_.added, id, {}, &AddedToken::id)->ordinary = true;
      return;
    }
    auto bytes = bytes_of(name_);
    if (!bytes || bytes->empty()) {
      reject("model.vocab",
             fmt::format("has the entry \"{}\" (id {}), which is no {}", name_, id,
                         parts_.byte_level ? "byte-level token: each of its characters must stand for a byte"
                                           : "token: it is empty"));
    }
    place(id, std::move(*bytes), "model.vocab", name_);
  }

  void finish_vocabulary() {
    std::vector<TokenId> ordinary;
    ordinary.reserve(parts_.tokens.size());
    for (TokenId id = 0; id < parts_.tokens.size(); ++id) {
      if (!parts_.tokens[id].empty() && !is_added(id)) ordinary.push_back(id);
    }
    index_.emplace(parts_.tokens, mergeable_tokens(parts_, ordinary));
    for (const TokenId id : ordinary) {
      const TokenId first = index_->find(parts_.tokens[id]);
      if (first == id) continue;
      reject("model.vocab", fmt::format("gives \"{}\" the ids {} and {}", spelling_of(parts_, id), first, id));
    }
    for (const AddedToken& token : parts_.added) {
      const TokenId id = parts_.byte_level ? TokenIndex::no_token : index_->find(token.text);
      if (id == TokenIndex::no_token || id == token.id) continue;
      reject("model.vocab", fmt::format("gives \"{}\" the id {}, but added_tokens {}", token.text, id, token.id));
    }
  }

  // Both sides of one merge as byte characters: ["a", "b"], or "a b" in older files.
  static std::pair<std::string, std::string> sides(const JsonMember& merge) {
    if (merge.value().is_array()) {
      if (merge.value().size() != 2) merge.reject("is not a pair");
      return {merge.at(std::size_t{0}).string(), merge.at(std::size_t{1}).string()};
    }
    const std::string& text = merge.string();
    const auto both = merge_sides(text);
    if (!both) merge.reject(fmt::format("(\"{}\") is not two tokens with a space between", text));
    return {std::string(both->first), std::string(both->second)};
  }

  void take_merge(const json& value) {
    const std::size_t rank = parts_.merges.size();
    const auto [left, right] = sides({value, merge_path(rank), source()});
    const auto find = [&](const std::string& name) {
      const auto bytes = bytes_of(name);
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
  std::optional<std::string> unknown_;
  std::vector<bool> added_;          // by id
  std::string name_;                 // of the token whose id comes next
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
  const JsonMember top(outline, "", source);
  const JsonMember model = top.at("model");
  check_model(model);
  parts.whole_tokens_first = model.boolean("ignore_merges", false);
  read_pipeline(top, parts);
  parts.byte_fallback = model.boolean("byte_fallback", false);
  if (parts.byte_level && parts.byte_fallback) {
    model.at("byte_fallback").reject("is true, but the pre_tokenizer ends with ByteLevel, which leaves nothing to it");
  }
  parts.fuse_unknown = model.boolean("fuse_unk", false);
  if (top.is_set("added_tokens")) top.at("added_tokens").array_size();
  if (!model.at("vocab").value().is_object()) model.at("vocab").reject("is not an object of tokens and ids");
  model.at("merges").array_size();

  std::optional<std::string> unknown;
  if (model.is_set("unk_token")) unknown = model.at("unk_token").string();

  const std::uint64_t count = outline_walker.vocabulary_count() + parts.added.size();
  parts.tokens.reserve(std::min<std::uint64_t>(count, max_vocab_size));
  parts.merges.reserve(outline_walker.merge_count());
  std::sort(parts.added.begin(), parts.added.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  EntryWalker entries(source, parts, std::min<std::uint64_t>(count + max_holes, max_vocab_size), unknown);
  entries.walk(text);
  if (entries.needs_another_walk()) entries.walk(text);
  entries.check_merges();
  if (unknown && !parts.unknown) {
    model.at("unk_token").reject(fmt::format("is \"{}\", which is not in model.vocab", *unknown));
  }
  read_text_prefix(top, parts);
  return parts;
}

}  // namespace mslt

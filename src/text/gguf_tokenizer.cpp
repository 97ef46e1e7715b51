// Tokens, types, merges and the split of a GGUF file's tokenizer.
#include "text/gguf_tokenizer.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "base/fail.h"
#include "base/printable.h"
#include "text/byte_characters.h"
#include "text/pattern_texts.h"
#include "text/pipeline_json.h"
#include "text/tokenizer_json.h"
#include "text/utf8.h"

namespace mslt {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::string_view model_key = "tokenizer.ggml.model";
constexpr std::string_view no_vocabulary = "no_vocab";
constexpr std::string_view pre_key = "tokenizer.ggml.pre";
constexpr std::string_view tokens_key = "tokenizer.ggml.tokens";
constexpr std::string_view types_key = "tokenizer.ggml.token_type";
constexpr std::string_view merges_key = "tokenizer.ggml.merges";
constexpr std::string_view scores_key = "tokenizer.ggml.scores";
constexpr std::string_view bos_key = "tokenizer.ggml.bos_token_id";

enum class Type : std::int64_t { normal = 1, unknown, control, user_defined, unused, byte };

// How text is split.
enum class Splitting : std::uint8_t { gpt2, digits_gpt2, llama3, qwen2, o200k, tekken, llama_cpp };

struct Pre {
  std::string_view name;
  Splitting splitting;
  bool whole_tokens_first = false;
  bool begins_texts = false;  // with the BOS token, where the file does not say
};
constexpr std::array<Pre, 19> pres = {{
    {"gpt-2", Splitting::gpt2},
    {"phi-2", Splitting::gpt2},
    {"smollm", Splitting::digits_gpt2},
    {"starcoder", Splitting::digits_gpt2},
    {"refact", Splitting::digits_gpt2},
    {"command-r", Splitting::digits_gpt2},
    {"codeshell", Splitting::digits_gpt2},
    {"llama-bpe", Splitting::llama3, true, true},
    {"llama3", Splitting::llama3, true, true},
    {"llama-v3", Splitting::llama3, true, true},
    {"falcon3", Splitting::llama3, true, true},
    {"dbrx", Splitting::llama3},
    {"smaug-bpe", Splitting::llama3},
    {"qwen2", Splitting::qwen2},
    {"deepseek-r1-qwen", Splitting::qwen2},
    {"gpt-4o", Splitting::o200k},
    {"llama4", Splitting::o200k},
    {"tekken", Splitting::tekken, true, true},
    {"default", Splitting::llama_cpp},
}};

// Mistral's expression: o200k's without contractions, and with single digits.
constexpr std::string_view tekken_regex =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// The normalizer and pre_tokenizer of a tokenizer.json with the same splitting.
json pipeline(Splitting splitting) {
  switch (splitting) {
    case Splitting::gpt2:
      return {{"pre_tokenizer", byte_level_json(false, true)}};
    case Splitting::digits_gpt2:
      return {{"pre_tokenizer", sequence_json(ordered_json::array({{{"type", "Digits"}, {"individual_digits", true}},
                                                                   byte_level_json(false, true)}))}};
    case Splitting::llama3:
      return {{"pre_tokenizer", pattern_json(SplitPattern::llama3)}};
    case Splitting::qwen2:
      return {{"normalizer", {{"type", "NFC"}}}, {"pre_tokenizer", pattern_json(SplitPattern::qwen2)}};
    case Splitting::o200k:
      return {{"pre_tokenizer", pattern_json(SplitPattern::o200k)}};
    case Splitting::tekken:
      return {{"pre_tokenizer",
               sequence_json(ordered_json::array({split_json(tekken_regex), byte_level_json(false, false)}))}};
    case Splitting::llama_cpp:
      break;
  }
  return {{"pre_tokenizer",
           sequence_json(ordered_json::array({split_json(R"([\p{P}\$\+<=>\^~\|]+)"),
                                              split_json(pattern_texts.front().regex), split_json(R"(\p{N}+)"),
                                              split_json("[0-9][0-9][0-9]"), byte_level_json(false, false)}))}};
}

// The same for tokens made of characters, of which texts may begin with a space.
json piece_pipeline(bool adds_space) {
  const auto replace = [](std::string_view from, std::string_view to) -> json {
    return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
  };
  json normalizers = json::array({replace(" ", space_mark)});
  json decoders = json::array({replace(space_mark, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}});
  if (adds_space) {
    normalizers.insert(normalizers.begin(), json{{"type", "Prepend"}, {"prepend", space_mark}});
    decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1U}, {"stop", 0U}});
  }
  return {{"normalizer", {{"type", "Sequence"}, {"normalizers", normalizers}}},
          {"decoder", {{"type", "Sequence"}, {"decoders", decoders}}}};
}

const Pre& pre_of(const Gguf& file) {
  const std::string_view name = file.text(pre_key, "default");
  const auto* const known = std::ranges::find(pres, name, &Pre::name);
  if (known == pres.end()) {
    std::vector<std::string_view> names;
    for (const Pre& pre : pres) names.push_back(pre.name);
    file.reject(pre_key, fmt::format("supported are {}", fmt::join(names, ", ")));
  }
  return *known;
}

// What each of these parts' rules for splitting tells from the others.
constexpr std::string_view probe =
    "Hello World's IT'S we'LL don't camelCASEWords Ab1cd 1234567 \u0661\u0662\u0663\u0664 \u2167\u00BD x1\u00B2y  two  "
    " "
    "three\t\ttabs \n\n  \n indented\r\n\r\nend. foo->bar != $5+3 <=> ^~| [[a]](b){c}\"d\" ...!!!\n\n///x /path/to\n "
    "e\u0301 \u00E9 \u4E2D\u6587\uFF0C\u3002 \u1E9E\u01C5 \U0001F469\u200D\U0001F469 \u0915\u093F\u0924\u093E "
    "'s 'S 're\u017F' \u00A0\u3000x _under_score -- 12,345.67 trailing   ";

// The probe, split.
std::vector<std::string> pieces_of(const TokenizerParts& parts) {
  const std::string text = parts.normalizer.apply(probe);
  Pieces pieces;
  parts.pre_tokenizer.split(text, false, pieces);
  return {pieces.views.begin(), pieces.views.end()};
}

const Pre* pre_of(const TokenizerParts& parts) {
  const auto pieces = pieces_of(parts);
  const auto* const found = std::ranges::find_if(pres, [&](const Pre& pre) {
    if (pre.whole_tokens_first != parts.whole_tokens_first) return false;
    TokenizerParts known;
    const json steps = pipeline(pre.splitting);
    read_pipeline(JsonMember(steps, "", "a pre-tokenizer"), known);
    return pieces_of(known) == pieces;
  });
  return found == pres.end() ? nullptr : found;
}

// All ways to cut a token of characters in two are tried.
constexpr std::size_t longest_piece = 512;

// SentencePiece joins any two neighbours that make a token, that of the highest score first, then the leftmost: rules
// whose ranks are the places of the scores. Real vocabularies have two rules a token; tokens that begin and end with
// each other could have hundreds. `source` names the file in the error.
std::vector<MergeRule> merges_of_scores(const std::vector<std::string>& tokens, std::vector<TokenId> pieces,
                                        const std::vector<double>& scores, const TokenIndex& index,
                                        std::string_view source) {
  const std::size_t most = (std::size_t{1} << 16) + 16 * pieces.size();
  std::ranges::stable_sort(pieces, std::ranges::greater(), [&](TokenId id) { return scores[id]; });
  std::vector<MergeRule> merges;
  std::uint32_t rank = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const TokenId id = pieces[i];
    const std::string_view text = tokens[id];
    if (i > 0 && scores[id] != scores[pieces[i - 1]]) ++rank;
    for (std::size_t cut = decode_utf8(text, 0).length; cut < text.size(); cut += decode_utf8(text, cut).length) {
      const TokenId left = index.find(text.substr(0, cut));
      const TokenId right = left == TokenIndex::no_token ? left : index.find(text.substr(cut));
      if (right == TokenIndex::no_token) continue;
      merges.push_back({.left = left, .right = right, .result = id, .rank = rank});
    }
    if (merges.size() > most) {
      fail(ErrorKind::input, "{}: its {} tokens can be joined from others in more than {} ways, which is too many.",
           source, pieces.size(), most);
    }
  }
  return merges;
}

class GgufTokenizer {
 public:
  GgufTokenizer(const Gguf& file, bool byte_level) : file_(file), texts_(file.texts(tokens_key)) {
    parts_.byte_level = byte_level;
    if (texts_.empty() || texts_.size() > max_vocab_size) {
      file.reject(tokens_key, fmt::format("valid are 1 to {} tokens", max_vocab_size));
    }
  }

  TokenizerParts take() {
    bool begins_texts = true;
    if (parts_.byte_level) {
      const Pre& pre = pre_of(file_);
      read_steps(pipeline(pre.splitting));
      parts_.whole_tokens_first = pre.whole_tokens_first;
      begins_texts = pre.begins_texts;
      read_tokens();
      read_merges();
    } else {
      read_steps(piece_pipeline(file_.boolean("tokenizer.ggml.add_space_prefix", true)));
      parts_.byte_fallback = true;
      parts_.fuse_unknown = true;
      read_tokens();
      make_merges();
    }
    if (file_.boolean("tokenizer.ggml.add_bos_token", begins_texts)) set_prefix();
    return std::move(parts_);
  }

 private:
  void read_steps(const json& steps) { read_pipeline(JsonMember(steps, "", file_.source()), parts_); }

  [[noreturn]] void reject_token(std::size_t id, std::string_view how) const {
    fail(ErrorKind::input, "{}: the token \"{}\" (id {}) of '{}' {}.", file_.source(), printable(texts_[id]), id,
         tokens_key, how);
  }

  std::vector<std::int64_t> types() const {
    if (!file_.has(types_key)) return std::vector<std::int64_t>(texts_.size(), static_cast<std::int64_t>(Type::normal));
    auto types = file_.integers(types_key);
    if (types.size() != texts_.size()) file_.reject(types_key, fmt::format("there are {} tokens", texts_.size()));
    return types;
  }

  void read_tokens() {
    const auto kinds = types();
    std::vector<TokenId> ordinary;
    for (std::size_t i = 0; i < texts_.size(); ++i) {
      const auto id = static_cast<TokenId>(i);
      const auto kind = static_cast<Type>(kinds[i]);
      parts_.tokens.emplace_back();
      // Tokens without text are never found.
      if (kind == Type::unused || texts_[i].empty()) continue;
      if (kind == Type::control || kind == Type::user_defined || kind == Type::unknown) {
        parts_.tokens.back() = texts_[i];
        parts_.added.push_back({.text = std::string(texts_[i]),
                                .id = id,
                                .special = kind != Type::user_defined,
                                .ordinary = !parts_.byte_level});
        if (kind == Type::unknown && !parts_.byte_level) parts_.unknown = id;
        if (kind == Type::user_defined && !parts_.byte_level) ordinary.push_back(id);
        continue;
      }
      const bool is_byte = kind == Type::byte && !parts_.byte_level;
      if (kind != Type::normal && !is_byte) {
        reject_token(i, fmt::format("is of type {}; valid are 1 to {}", kinds[i], parts_.byte_level ? 5 : 6));
      }
      if (is_byte && !byte_of_token(texts_[i])) reject_token(i, "is no byte; valid are <0x00> to <0xFF>");
      auto bytes = parts_.byte_level ? from_byte_characters(texts_[i]) : std::optional(std::string(texts_[i]));
      if (!bytes) reject_token(i, "is no byte-level token: each of its characters must stand for a byte");
      parts_.tokens.back() = std::move(*bytes);
      ordinary.push_back(id);
    }
    for (const AddedToken& token : parts_.added) {
      if (!is_utf8(token.text)) reject_token(token.id, "is not valid UTF-8");
    }
    if (!parts_.byte_level) {
      for (const TokenId id : ordinary) {
        if (!is_utf8(texts_[id])) reject_token(id, "is not valid UTF-8");
      }
      index_.emplace(parts_.tokens, ordinary);
      pieces_ = ordinary;
    } else {
      index_.emplace(parts_.tokens, mergeable_tokens(parts_, ordinary));
    }
    for (const TokenId id : ordinary) {
      if (const TokenId first = index_->find(parts_.tokens[id]); first != id) {
        reject_token(id, fmt::format("is the token {}, too", first));
      }
    }
  }

  void read_merges() {
    const auto merges = file_.texts(merges_key);
    std::set<std::pair<TokenId, TokenId>> pairs;
    for (std::size_t rank = 0; rank < merges.size(); ++rank) {
      const auto reject = [&](std::string_view how) {
        fail(ErrorKind::input, "{}: the merge \"{}\" (number {} of '{}') {}.", file_.source(), printable(merges[rank]),
             rank, merges_key, how);
      };
      const auto sides = merge_sides(merges[rank]);
      if (!sides) reject("is not two tokens with a space between");
      const auto left = from_byte_characters(sides->first);
      const auto right = from_byte_characters(sides->second);
      const auto find = [&](const std::optional<std::string>& bytes) {
        const TokenId id = bytes && !bytes->empty() ? index_->find(*bytes) : TokenIndex::no_token;
        if (id == TokenIndex::no_token) reject("joins or makes what is no token");
        return id;
      };
      const MergeRule rule{.left = find(left),
                           .right = find(right),
                           .result = find(left.value_or("") + right.value_or("")),
                           .rank = static_cast<std::uint32_t>(rank)};
      if (!pairs.emplace(rule.left, rule.right).second) reject("occurs twice");
      parts_.merges.push_back(rule);
    }
  }

  void make_merges() {
    const std::vector<double> scores = file_.numbers(scores_key);
    if (scores.size() != texts_.size()) file_.reject(scores_key, fmt::format("there are {} tokens", texts_.size()));
    for (const TokenId id : pieces_) {
      if (texts_[id].size() > longest_piece) reject_token(id, fmt::format("is longer than {} bytes", longest_piece));
    }
    parts_.merges = merges_of_scores(parts_.tokens, std::move(pieces_), scores, *index_, file_.source());
  }

  void set_prefix() {
    constexpr std::uint64_t usual_bos = 1;
    auto id = file_.unsigned_number(bos_key);
    if (!id && !parts_.byte_level) id = usual_bos;
    if (!id)
      fail(ErrorKind::input, "{}: texts begin with the BOS token, but the key '{}' is missing.", file_.source(),
           bos_key);
    if (*id >= parts_.tokens.size() || parts_.tokens[*id].empty()) file_.reject(bos_key, "no token has this id");
    parts_.text_prefix = {static_cast<TokenId>(*id)};
    parts_.post_processor = template_processor_json(parts_).dump();
  }

  const Gguf& file_;
  std::vector<std::string_view> texts_;
  std::optional<TokenIndex> index_;  // of the tokens that merges may name
  std::vector<TokenId> pieces_;      // those tokens, if made of characters
  TokenizerParts parts_;
};

// What is particular to tokens of bytes.
void write_bytes(GgufWriter& file, const TokenizerParts& parts) {
  const Pre* const pre = pre_of(parts);
  if (pre == nullptr) {
    fail(ErrorKind::input,
         "The tokenizer splits text in a way that has no name in GGUF files, so the model cannot be written as one.");
  }
  std::vector<std::string> merges;
  for (const MergeRule& rule : parts.merges) {
    merges.push_back(to_byte_characters(parts.tokens[rule.left]) + " " + to_byte_characters(parts.tokens[rule.right]));
  }
  file.set_text(model_key, "gpt2");
  file.set_text(pre_key, pre->name);
  file.set_texts(merges_key, merges);
}

bool is_byte(const TokenizerParts& parts, std::string_view text) {
  return !parts.byte_level && parts.byte_fallback && byte_of_token(text);
}

// Whether texts begin with a space, where both read texts as SentencePiece does.
std::optional<bool> adds_space(const TokenizerParts& parts) {
  for (const bool adds : {true, false}) {
    TokenizerParts known;
    known.byte_level = false;
    const json steps = piece_pipeline(adds);
    read_pipeline(JsonMember(steps, "", "a pre-tokenizer"), known);
    const auto joined = [](const TokenizerParts& of, std::string_view text) {
      std::string all;
      const std::string normal = of.normalizer.apply(text);
      Pieces pieces;
      of.pre_tokenizer.split(normal, false, pieces);
      for (const std::string_view piece : pieces.views) all += piece;
      return all;
    };
    const auto alike = [&](std::string_view text) {
      return joined(known, text) == joined(parts, text);
    };
    if (alike(probe) && alike(" a") && alike("a b") && alike("\n")) return adds;
  }
  return std::nullopt;
}

// What is particular to tokens of characters: scores that order the merges as their ranks do.
void write_pieces(GgufWriter& file, const TokenizerParts& parts, std::size_t rows) {
  const auto fail_for = [](std::string_view what) {
    fail(ErrorKind::input, "The model cannot be written as a GGUF file: its tokenizer's {}.", what);
  };
  const std::optional<bool> adds = adds_space(parts);
  if (!adds) fail_for("normalizer or pre_tokenizer is not SentencePiece's");
  std::vector<double> scores(rows, 0.0);
  std::vector<TokenId> pieces;
  for (std::size_t id = 0; id < parts.tokens.size(); ++id) {
    const bool is_control =
        std::ranges::any_of(parts.added, [&](const AddedToken& token) { return token.id == id && token.special; });
    if (!parts.tokens[id].empty() && parts.tokens[id].size() <= longest_piece && !is_control) {
      pieces.push_back(static_cast<TokenId>(id));
    }
  }
  // The first rule that makes a token says when it is made.
  for (const MergeRule& rule : parts.merges) {
    if (scores[rule.result] == 0.0) scores[rule.result] = -1.0 - static_cast<double>(rule.rank);
  }
  const TokenIndex index(parts.tokens, pieces);
  const auto sorted = [](std::vector<MergeRule> merges) {
    std::vector<std::array<TokenId, 3>> rules;
    for (const MergeRule& rule : merges) rules.push_back({rule.result, rule.left, rule.right});
    std::ranges::sort(rules);
    return rules;
  };
  if (sorted(merges_of_scores(parts.tokens, std::move(pieces), scores, index, "The tokenizer")) !=
      sorted(parts.merges)) {
    fail_for("merges are not all pairs of tokens that make a token, which is what llama.cpp tries");
  }
  for (std::size_t i = 1; i < parts.merges.size(); ++i) {
    if (scores[parts.merges[i].result] > scores[parts.merges[i - 1].result]) {
      fail_for("merges into one token do not follow each other, so that no score can stand for them");
    }
  }
  file.set_text(model_key, "llama");
  file.set_text(pre_key, "default");
  file.set_boolean("tokenizer.ggml.add_space_prefix", *adds);
  file.set_reals(scores_key, std::vector<float>(scores.begin(), scores.end()));
}

}  // namespace

bool has_tokenizer(const Gguf& file) {
  return file.has(model_key) && file.text(model_key) != no_vocabulary;
}

TokenizerParts parts_from_gguf(const Gguf& file) {
  const std::string_view model = file.text(model_key);
  if (model != "gpt2" && model != "llama") {
    file.reject(model_key, "supported are gpt2, byte-level BPE, and llama, SentencePiece's BPE");
  }
  return GgufTokenizer(file, model == "gpt2").take();
}

TokenizerParts parts_from_gguf_file(const std::filesystem::path& path) {
  const GgufFile file(path);
  TokenizerParts parts = parts_from_gguf(file.contents());
  file.require_intact();
  return parts;
}

bool has_tied_merges(const TokenizerParts& parts) {
  const std::vector<MergeRule>& merges = parts.merges;
  const auto tie = std::ranges::adjacent_find(
      merges, [](const MergeRule& a, const MergeRule& b) { return a.rank == b.rank && a.result != b.result; });
  return tie != merges.end();
}

std::vector<std::string> write_gguf_tokenizer(GgufWriter& file, const Tokenizer& tokenizer, std::int64_t vocab_size) {
  std::vector<std::string> notes;
  const TokenizerParts parts = parts_from_json(tokenizer.to_json(), "The tokenizer");
  const auto rows = static_cast<std::size_t>(vocab_size);
  if (parts.tokens.size() > rows) {
    fail(ErrorKind::input,
         "The tokenizer has the id {}, but the model's vocabulary ends at {}; a GGUF file needs a row for each token.",
         parts.tokens.size() - 1, vocab_size - 1);
  }
  std::vector<std::string> texts(rows);
  std::vector<std::int32_t> types(rows, static_cast<std::int32_t>(Type::normal));
  for (std::size_t id = 0; id < rows; ++id) {
    if (id < parts.tokens.size() && !parts.tokens[id].empty()) {
      texts[id] = spelling_of(parts, static_cast<TokenId>(id));
      if (is_byte(parts, texts[id])) types[id] = static_cast<std::int32_t>(Type::byte);
    } else {
      texts[id] = fmt::format("[PAD{}]", id);
      types[id] = static_cast<std::int32_t>(Type::unused);
    }
  }
  std::vector<std::string> choosy;
  for (const AddedToken& token : parts.added) {
    if (token.lstrip || token.rstrip || token.single_word) choosy.push_back(printable(token.text));
    texts[token.id] = token.text;
    types[token.id] = static_cast<std::int32_t>(token.special ? Type::control : Type::user_defined);
  }
  if (parts.byte_level) {
    write_bytes(file, parts);
  } else {
    if (parts.unknown) types[*parts.unknown] = static_cast<std::int32_t>(Type::unknown);
    write_pieces(file, parts, rows);
  }
  if (parts.unknown) file.set("tokenizer.ggml.unknown_token_id", *parts.unknown);
  file.set_texts(tokens_key, texts);
  file.set_integers(types_key, types);
  if (!choosy.empty()) {
    notes.push_back(
        fmt::format("A GGUF file cannot say that added tokens take the white space beside them, or stand for words by "
                    "themselves alone, as {} of this tokenizer do, {} among them.",
                    choosy.size(), choosy.front()));
  }
  return notes;
}

}  // namespace mslt

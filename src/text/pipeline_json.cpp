// Reading and writing the steps of text before and after the model.
#include "text/pipeline_json.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "text/character_vocabulary.h"
#include "text/pattern_texts.h"
#include "text/utf8.h"

namespace mslt {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// Sequences may be nested; no real file goes deep.
constexpr int max_sequence_depth = 16;

// The result of make(), with the expression's path in its errors.
template <class Make>
auto expression_at(const JsonMember& place, const Make& make) {
  try {
    return make();
  } catch (const Error& error) {
    place.reject(fmt::format("cannot be used: {}", error.what()));
  }
}

// A pattern as {"String": ...} or {"Regex": ...}.
struct PatternMember {
  JsonMember place;
  std::string text;
  bool is_expression;
};

PatternMember read_pattern(const JsonMember& owner) {
  const JsonMember pattern = owner.at("pattern");
  if (pattern.has("Regex")) return {pattern.at("Regex"), pattern.at("Regex").string(), true};
  if (pattern.has("String")) {
    if (pattern.at("String").string().empty()) pattern.at("String").reject("is empty");
    return {pattern.at("String"), pattern.at("String").string(), false};
  }
  pattern.reject("is neither a \"String\" nor a \"Regex\"");
}

NormalizerStep read_replace(const JsonMember& owner) {
  const PatternMember pattern = read_pattern(owner);
  NormalizerStep step{
      .kind = NormalizerStep::Kind::replace, .content = owner.at("content").string(), .expression = nullptr};
  if (pattern.is_expression) {
    step.expression = expression_at(pattern.place, [&] { return std::make_shared<const Expression>(pattern.text); });
  } else {
    step.literal = pattern.text;
  }
  return step;
}

void read_normalizer(const JsonMember& normalizer, int depth, std::vector<NormalizerStep>& steps) {
  const std::string& type = normalizer.type();
  if (depth > max_sequence_depth) normalizer.reject("has too many nested sequences");
  if (type == "Sequence") {
    const JsonMember list = normalizer.at("normalizers");
    for (std::size_t i = 0; i < list.array_size(); ++i) read_normalizer(list.at(i), depth + 1, steps);
  } else if (type == "NFC") {
    steps.push_back({.form = NormalizationForm::nfc, .content = {}, .expression = nullptr});
  } else if (type == "NFD") {
    steps.push_back({.form = NormalizationForm::nfd, .content = {}, .expression = nullptr});
  } else if (type == "NFKC") {
    steps.push_back({.form = NormalizationForm::nfkc, .content = {}, .expression = nullptr});
  } else if (type == "NFKD") {
    steps.push_back({.form = NormalizationForm::nfkd, .content = {}, .expression = nullptr});
  } else if (type == "Lowercase") {
    steps.push_back({.kind = NormalizerStep::Kind::lowercase, .content = {}, .expression = nullptr});
  } else if (type == "Prepend") {
    steps.push_back(
        {.kind = NormalizerStep::Kind::prepend, .content = normalizer.at("prepend").string(), .expression = nullptr});
  } else if (type == "Replace") {
    steps.push_back(read_replace(normalizer));
  } else if (type == "Strip") {
    steps.push_back({.kind = NormalizerStep::Kind::strip,
                     .content = {},
                     .expression = nullptr,
                     .strips_left = normalizer.boolean("strip_left", true),
                     .strips_right = normalizer.boolean("strip_right", true)});
  } else {
    normalizer.reject(
        fmt::format("is of type \"{}\"; supported are NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace, Strip and a "
                    "Sequence of them",
                    type));
  }
}

SplitBehaviour read_behaviour(const JsonMember& owner, const char* otherwise) {
  constexpr std::array<std::pair<std::string_view, SplitBehaviour>, 5> names = {{
      {"Removed", SplitBehaviour::removed},
      {"Isolated", SplitBehaviour::isolated},
      {"MergedWithPrevious", SplitBehaviour::merged_with_previous},
      {"MergedWithNext", SplitBehaviour::merged_with_next},
      {"Contiguous", SplitBehaviour::contiguous},
  }};
  const std::string given =
      owner.is_set("behavior") || otherwise == nullptr ? owner.at("behavior").string() : otherwise;
  for (const auto& [name, behaviour] : names) {
    if (name == given) return behaviour;
  }
  owner.at("behavior")
      .reject(fmt::format(
          "is \"{}\"; supported are Removed, Isolated, MergedWithPrevious, MergedWithNext and Contiguous", given));
}

PreTokenizerStep read_split(const JsonMember& split) {
  const PatternMember pattern = read_pattern(split);
  const SplitBehaviour behaviour = read_behaviour(split, nullptr);
  const bool invert = split.boolean("invert", false);
  if (!pattern.is_expression) return split_by_text(pattern.text, behaviour, invert);
  // The known expressions match all of a text, so keeping only the matches is equivalent.
  const bool keeps_all = invert ? behaviour == SplitBehaviour::removed : behaviour == SplitBehaviour::isolated;
  for (const PatternText& known : pattern_texts) {
    if (keeps_all && known.regex == pattern.text) return split_by_pattern(known.pattern);
  }
  return expression_at(pattern.place, [&] { return split_by_expression(pattern.text, behaviour, invert); });
}

// The character of a Metaspace, and whether it adds one to the start of texts, pieces, or none.
std::string read_sign(const JsonMember& metaspace) {
  if (!metaspace.is_set("replacement")) return std::string(space_mark);
  const std::string& sign = metaspace.at("replacement").string();
  if (sign.empty() || decode_utf8(sign, 0).length != sign.size()) {
    metaspace.at("replacement").reject("is not one character");
  }
  return sign;
}

PreTokenizerStep::Prefix read_prefix(const JsonMember& metaspace) {
  using Prefix = PreTokenizerStep::Prefix;
  if (!metaspace.is_set("prepend_scheme")) {
    return metaspace.boolean("add_prefix_space", true) ? Prefix::piece : Prefix::never;
  }
  const JsonMember scheme = metaspace.at("prepend_scheme");
  if (scheme.string() == "always") return Prefix::piece;
  if (scheme.string() == "first") return Prefix::text;
  if (scheme.string() != "never") {
    scheme.reject(fmt::format("is \"{}\"; supported are always, first and never", scheme.string()));
  }
  return Prefix::never;
}

// Appends the steps; true if the last one is a ByteLevel, after which text is bytes.
bool read_pre_tokenizer(const JsonMember& given, int depth, std::vector<PreTokenizerStep>& steps) {
  const std::string& type = given.type();
  if (depth > max_sequence_depth) given.reject("has too many nested sequences");
  if (type == "Sequence") {
    const JsonMember list = given.at("pretokenizers");
    bool is_bytes = false;
    for (std::size_t i = 0; i < list.array_size(); ++i) {
      if (is_bytes) list.at(i).reject("follows a ByteLevel, which must be the last");
      is_bytes = read_pre_tokenizer(list.at(i), depth + 1, steps);
    }
    return is_bytes;
  }
  if (type == "ByteLevel") {
    if (given.boolean("add_prefix_space", true)) steps.push_back(prefix_space_step());
    if (given.boolean("use_regex", true)) steps.push_back(split_by_pattern(SplitPattern::gpt2));
    return true;
  }
  if (type == "Split") {
    steps.push_back(read_split(given));
  } else if (type == "Digits") {
    steps.push_back(digits_step(given.boolean("individual_digits", false)));
  } else if (type == "Punctuation") {
    steps.push_back(punctuation_step(read_behaviour(given, "Isolated")));
  } else if (type == "WhitespaceSplit") {
    steps.push_back(white_space_split_step());
  } else if (type == "Whitespace") {
    steps.push_back(words_step());
  } else if (type == "Metaspace") {
    steps.push_back(metaspace_step(read_sign(given), read_prefix(given), given.boolean("split", true)));
  } else if (type == "CharDelimiterSplit") {
    steps.push_back(split_by_text(given.at("delimiter").string(), SplitBehaviour::removed, false));
  } else {
    given.reject(
        fmt::format("is of type \"{}\"; supported are ByteLevel, Metaspace, Split, Digits, Punctuation, "
                    "Whitespace, WhitespaceSplit, CharDelimiterSplit and a Sequence of them",
                    type));
  }
  return false;
}

// Whether a decoder joins the bytes of tokens; the other allowed decoders of a sequence change nothing.
bool check_decoder(const JsonMember& decoder, int depth) {
  const std::string& type = decoder.type();
  if (depth > max_sequence_depth) decoder.reject("has too many nested sequences");
  if (type == "ByteLevel") return true;
  if (type == "Fuse") return false;
  if (type == "Sequence") {
    const JsonMember steps = decoder.at("decoders");
    bool is_bytes = false;
    for (std::size_t i = 0; i < steps.array_size(); ++i) is_bytes = check_decoder(steps.at(i), depth + 1) || is_bytes;
    return is_bytes;
  }
  decoder.reject(fmt::format("is of type \"{}\"; supported are ByteLevel, Fuse and a Sequence of them", type));
}

// The decoders of tokens made of characters, in the order that DecoderSteps has.
class DecoderReader {
 public:
  DecoderSteps take(const JsonMember& decoder) {
    read(decoder, 0);
    steps_.replacements = Normalizer(std::move(replacements_));
    return std::move(steps_);
  }

 private:
  enum class Stage : std::uint8_t { metaspace, replace, byte_fallback, fuse, strip };

  void enter(Stage stage, const JsonMember& decoder) {
    const bool repeats = stage == stage_ && stage == Stage::strip;
    if (stage < stage_ || repeats || (stage == Stage::strip && !fuses_)) {
      decoder.reject(
          fmt::format("is a {} out of place; supported are Metaspace, Replace, ByteFallback, Fuse, and after "
                      "a Fuse one Strip, in this order",
                      decoder.type()));
    }
    stage_ = stage;
  }

  void read(const JsonMember& decoder, int depth) {
    const std::string& type = decoder.type();
    if (depth > max_sequence_depth) decoder.reject("has too many nested sequences");
    if (type == "Sequence") {
      const JsonMember list = decoder.at("decoders");
      for (std::size_t i = 0; i < list.array_size(); ++i) read(list.at(i), depth + 1);
    } else if (type == "Metaspace") {
      enter(Stage::metaspace, decoder);
      steps_.space_sign = read_sign(decoder);
      steps_.first_loses_spaces = read_prefix(decoder) != PreTokenizerStep::Prefix::never;
      stage_ = Stage::replace;
    } else if (type == "Replace") {
      enter(Stage::replace, decoder);
      replacements_.push_back(read_replace(decoder));
    } else if (type == "ByteFallback") {
      enter(Stage::byte_fallback, decoder);
      steps_.byte_fallback = true;
    } else if (type == "Fuse") {
      enter(Stage::fuse, decoder);
      fuses_ = true;
    } else if (type == "Strip") {
      enter(Stage::strip, decoder);
      steps_.stripped = decoder.at("content").string();
      steps_.most_stripped = decoder.at("start").id();
      if (steps_.stripped.empty() || decode_utf8(steps_.stripped, 0).length != steps_.stripped.size()) {
        decoder.at("content").reject("is not one character");
      }
      if (decoder.is_set("stop") && decoder.at("stop").id() != 0) {
        decoder.at("stop").reject("is not 0; text can only be stripped at its start, as its end is not known before");
      }
    } else {
      decoder.reject(
          fmt::format("is of type \"{}\"; supported are Metaspace, Replace, ByteFallback, Fuse, Strip and a "
                      "Sequence of them for tokens made of characters, and ByteLevel after a pre_tokenizer "
                      "that ends with ByteLevel",
                      type));
    }
  }

  DecoderSteps steps_;
  std::vector<NormalizerStep> replacements_;
  Stage stage_ = Stage::metaspace;
  bool fuses_ = false;
};

TokenId prefix_id(const JsonMember& member, const TokenizerParts& parts) {
  const std::uint64_t id = member.id();
  if (id >= parts.tokens.size() || parts.tokens[id].empty())
    member.reject(fmt::format("is {}, which is not a token's id", id));
  return static_cast<TokenId>(id);
}

// The ids of a template's token: those given by the template, else that of the token with this text.
void append_template_token(const JsonMember& processor, const JsonMember& token, const TokenizerParts& parts,
                           std::vector<TokenId>& ids) {
  const std::string& name = token.at("id").string();
  if (processor.is_set("special_tokens")) {
    const JsonMember known = processor.at("special_tokens");
    if (known.is_set(name.c_str())) {
      const JsonMember given = known.at(name.c_str()).at("ids");
      for (std::size_t i = 0; i < given.array_size(); ++i) ids.push_back(prefix_id(given.at(i), parts));
      return;
    }
  }
  const auto found = std::find(parts.tokens.begin(), parts.tokens.end(), name);
  if (name.empty() || found == parts.tokens.end())
    token.at("id").reject(fmt::format("is \"{}\", which is not a token", name));
  ids.push_back(static_cast<TokenId>(found - parts.tokens.begin()));
}

// The ids that a processor puts before a single text.
std::vector<TokenId> text_prefix(const JsonMember& processor, const TokenizerParts& parts, int depth) {
  std::vector<TokenId> ids;
  if (!processor.is_set("type")) return ids;
  const std::string& type = processor.type();
  if (depth > max_sequence_depth) processor.reject("has too many nested sequences");
  if (type == "Sequence" && processor.is_set("processors")) {
    const JsonMember steps = processor.at("processors");
    // After a processor that adds tokens, a further one sees them and the text as a pair.
    for (std::size_t i = 0; i < steps.array_size() && ids.empty(); ++i) {
      ids = text_prefix(steps.at(i), parts, depth + 1);
    }
  } else if (type == "TemplateProcessing" && processor.is_set("single")) {
    const JsonMember single = processor.at("single");
    for (std::size_t i = 0; i < single.array_size() && single.at(i).is_set("SpecialToken"); ++i) {
      append_template_token(processor, single.at(i).at("SpecialToken"), parts, ids);
    }
  } else if ((type == "RobertaProcessing" || type == "BertProcessing") && processor.is_set("cls")) {
    const JsonMember first = processor.at("cls");
    if (first.array_size() != 2) first.reject("is not a token and its id");
    ids.push_back(prefix_id(first.at(std::size_t{1}), parts));
  }
  return ids;
}

}  // namespace

void read_pipeline(const JsonMember& top, TokenizerParts& parts) {
  if (top.is_set("normalizer")) {
    const JsonMember normalizer = top.at("normalizer");
    std::vector<NormalizerStep> steps;
    read_normalizer(normalizer, 0, steps);
    parts.normalizer = Normalizer(std::move(steps));
    if (!parts.normalizer.empty() && !parts.normalizer.is_nfc()) parts.normalizer_json = normalizer.value().dump();
  }
  std::vector<PreTokenizerStep> steps;
  const bool has_steps = top.is_set("pre_tokenizer");
  parts.byte_level = has_steps && read_pre_tokenizer(top.at("pre_tokenizer"), 0, steps);
  parts.pre_tokenizer = PreTokenizer(std::move(steps));
  const bool is_simple = parts.byte_level && parts.pre_tokenizer.single_pattern();
  if (has_steps && !is_simple) parts.pre_tokenizer_json = top.at("pre_tokenizer").value().dump();
  if (!parts.byte_level) {
    if (!top.is_set("decoder")) {
      top.reject(
          "has neither a pre_tokenizer that ends with ByteLevel nor a \"decoder\", which is needed to make text "
          "of tokens made of characters");
    }
    parts.decoder = DecoderReader().take(top.at("decoder"));
    parts.decoder_json = top.at("decoder").value().dump();
  } else if (top.is_set("decoder") && !check_decoder(top.at("decoder"), 0)) {
    top.at("decoder").reject("has no ByteLevel, which is needed to make text of byte-level tokens");
  }
  if (top.is_set("post_processor")) parts.post_processor = top.at("post_processor").value().dump();
}

void read_text_prefix(const JsonMember& top, TokenizerParts& parts) {
  if (top.is_set("post_processor")) parts.text_prefix = text_prefix(top.at("post_processor"), parts, 0);
}

ordered_json byte_level_json(bool add_prefix_space, bool use_regex) {
  return {
      {"type", "ByteLevel"}, {"add_prefix_space", add_prefix_space}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

ordered_json split_json(std::string_view regex) {
  return {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
}

ordered_json sequence_json(const ordered_json& steps) {
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

ordered_json pattern_json(SplitPattern pattern) {
  const auto* const known = std::ranges::find(pattern_texts, pattern, &PatternText::pattern);
  return sequence_json(ordered_json::array({split_json(known->regex), byte_level_json(false, false)}));
}

ordered_json normalizer_json(const TokenizerParts& parts) {
  if (!parts.normalizer_json.empty()) return ordered_json::parse(parts.normalizer_json);
  return parts.normalizer.empty() ? ordered_json(nullptr) : ordered_json{{"type", "NFC"}};
}

ordered_json pre_tokenizer_json(const TokenizerParts& parts) {
  if (!parts.pre_tokenizer_json.empty()) return ordered_json::parse(parts.pre_tokenizer_json);
  if (!parts.byte_level) return nullptr;
  const bool space = parts.pre_tokenizer.starts_with_space();
  const SplitPattern pattern = parts.pre_tokenizer.single_pattern().value_or(SplitPattern::none);
  if (pattern == SplitPattern::gpt2) return byte_level_json(space, true);
  if (pattern == SplitPattern::none) return byte_level_json(space, false);
  return pattern_json(pattern);
}

ordered_json post_processor_json(const TokenizerParts& parts) {
  if (!parts.post_processor.empty()) return ordered_json::parse(parts.post_processor);
  // Members are in alphabetical order, like those of a kept post-processor, so rewriting a file does not change it.
  return {{"add_prefix_space", false}, {"trim_offsets", false}, {"type", "ByteLevel"}, {"use_regex", true}};
}

json template_processor_json(const TokenizerParts& parts) {
  json special = json::object();
  const auto name_of = [&](TokenId id) {
    const auto found =
        std::find_if(parts.added.begin(), parts.added.end(), [&](const AddedToken& token) { return token.id == id; });
    return found == parts.added.end() ? spelling_of(parts, id) : found->text;
  };
  const auto append_text = [&](json& items, const char* text, int type) {
    for (const TokenId id : parts.text_prefix) {
      const std::string name = name_of(id);
      special[name] = {{"id", name}, {"ids", json::array({id})}, {"tokens", json::array({name})}};
      items.push_back({{"SpecialToken", {{"id", name}, {"type_id", type}}}});
    }
    items.push_back({{"Sequence", {{"id", text}, {"type_id", type}}}});
  };
  json single = json::array();
  append_text(single, "A", 0);
  json pair = json::array();
  append_text(pair, "A", 0);
  append_text(pair, "B", 1);
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
}

ordered_json decoder_json(const TokenizerParts& parts) {
  if (!parts.decoder_json.empty()) return ordered_json::parse(parts.decoder_json);
  return byte_level_json(true, true);
}

}  // namespace mslt

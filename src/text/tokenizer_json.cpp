// Writing tokenizer.json and tokenizer_config.json.
#include "text/tokenizer_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "text/byte_characters.h"
#include "text/pattern_texts.h"

namespace mslt {
namespace {

using nlohmann::ordered_json;

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

// All but its two lists, which are empty.
ordered_json model_json(const TokenizerParts& parts) {
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", parts.whole_tokens_first},
          {"vocab", ordered_json::object()},
          {"merges", ordered_json::array()}};
}

// Puts the items of a list, one a line, in place of the last empty list of this name in `text`, as dump would have
// printed them. An ordered_json of a large vocabulary would take many times its text.
template <class Append>
void fill_list(std::string& text, std::string_view name, char open, char close, std::size_t count, Append append) {
  if (count == 0) return;
  const std::string empty = fmt::format("\"{}\": {}{}", name, open, close);
  const std::size_t at = text.rfind(empty) + empty.size() - 1;
  const std::string rest = text.substr(at);
  text.resize(at);
  for (std::size_t i = 0; i < count; ++i) {
    text += i == 0 ? "\n" : ",\n";
    append(i);
  }
  text += "\n  " + rest;
}

void fill_lists(std::string& text, const TokenizerParts& parts) {
  // As JSON, with quotes. Special tokens stand in the vocabulary too: the tokenizers package takes their ids from
  // there.
  std::vector<const std::string*> names_of_added(parts.tokens.size(), nullptr);
  for (const AddedToken& token : parts.added) names_of_added[token.id] = &token.text;
  const auto name = [&](TokenId id) {
    const std::string* added = names_of_added[id];
    return ordered_json(added != nullptr ? *added : to_byte_characters(parts.tokens[id])).dump();
  };
  std::vector<TokenId> used;
  for (TokenId id = 0; id < parts.tokens.size(); ++id) {
    if (!parts.tokens[id].empty()) used.push_back(id);
  }
  fill_list(text, "vocab", '{', '}', used.size(),
            [&](std::size_t i) { text += fmt::format("   {}: {}", name(used[i]), used[i]); });
  fill_list(text, "merges", '[', ']', parts.merges.size(), [&](std::size_t i) {
    text += fmt::format("   [\n    {},\n    {}\n   ]", name(parts.merges[i].left), name(parts.merges[i].right));
  });
}

}  // namespace

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
  std::string text = document.dump(1, ' ') + "\n";
  fill_lists(text, parts);
  return text;
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

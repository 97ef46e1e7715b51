// Writing tokenizer.json and tokenizer_config.json.
#include "text/tokenizer_json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "text/byte_characters.h"
#include "text/pipeline_json.h"

namespace mslt {
namespace {

using nlohmann::ordered_json;

// The spellings of tokens in the file, by id.
auto names_of_tokens(const TokenizerParts& parts) {
  std::vector<const std::string*> added(parts.tokens.size(), nullptr);
  for (const AddedToken& token : parts.added) added[token.id] = &token.text;
  return [&parts, added = std::move(added)](TokenId id) {
    return added[id] != nullptr ? *added[id] : spelling_of(parts, id);
  };
}

// All of it except its two lists, which are empty.
ordered_json model_json(const TokenizerParts& parts) {
  const ordered_json unknown =
      parts.unknown ? ordered_json(names_of_tokens(parts)(*parts.unknown)) : ordered_json(nullptr);
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", unknown},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", parts.fuse_unknown},
          {"byte_fallback", parts.byte_fallback},
          {"ignore_merges", parts.whole_tokens_first},
          {"vocab", ordered_json::object()},
          {"merges", ordered_json::array()}};
}

// Puts the items of a list, one per line, in place of the last empty list of this name in `text`, as dump would have
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
  // As JSON, with quotes. The vocabulary includes special tokens: the tokenizers package takes their ids from there. In
  // a vocabulary of characters, that would let plain text make tokens it could not make before.
  const auto plain_name = names_of_tokens(parts);
  const auto name = [&](TokenId id) {
    return ordered_json(plain_name(id)).dump();
  };
  std::vector<bool> apart(parts.tokens.size(), false);
  for (const AddedToken& token : parts.added) apart[token.id] = !parts.byte_level && !token.ordinary;
  std::vector<TokenId> used;
  for (TokenId id = 0; id < parts.tokens.size(); ++id) {
    if (!parts.tokens[id].empty() && !apart[id]) used.push_back(id);
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
                     {"single_word", token.single_word},
                     {"lstrip", token.lstrip},
                     {"rstrip", token.rstrip},
                     {"normalized", token.normalized},
                     {"special", token.special}});
  }
  const ordered_json document = {{"version", "1.0"},
                                 {"truncation", nullptr},
                                 {"padding", nullptr},
                                 {"added_tokens", std::move(added)},
                                 {"normalizer", normalizer_json(parts)},
                                 {"pre_tokenizer", pre_tokenizer_json(parts)},
                                 {"post_processor", post_processor_json(parts)},
                                 {"decoder", decoder_json(parts)},
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

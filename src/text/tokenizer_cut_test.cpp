// Tests of cutting long texts: the parts, encoded separately, must give the ids of the whole.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "mslt/tokenizer.h"
#include "text/test_tokenizers.h"

namespace mslt {
namespace {

using nlohmann::json;
using Ids = std::vector<TokenId>;

json trained_file() {
  std::string text;
  for (int i = 0; i < 40; ++i) text += "the lord said, 12345 \u00E9t\u00E9 e\u0301 of <think> and</think>\n";
  return json::parse(Tokenizer::train_on_text(text, {.vocab_size = 285}).to_json());
}

json with_added(json file, const std::vector<json>& tokens) {
  int id = 285;
  for (json token : tokens) {
    token["id"] = id++;
    file["added_tokens"].push_back(token);
  }
  return file;
}

// Encodes in parts while the known text grows by `step` bytes. Returns the number of parts.
int encode_in_parts(const Tokenizer& tokenizer, std::string_view text, std::size_t step, SpecialTokens special,
                    Ids& ids) {
  int parts = 1;
  std::string held;
  bool continues = false;
  for (std::size_t at = 0; at < text.size(); at += step) {
    held += text.substr(at, step);
    const auto cut = tokenizer.find_cut(held, special, continues);
    if (!cut) continue;
    EXPECT_GT(cut->position, 0u);
    EXPECT_LE(cut->position, held.size());
    tokenizer.encode_append(std::string_view(held).substr(0, cut->position), ids, special, continues);
    held.erase(0, cut->position);
    continues = cut->continues;
    ++parts;
  }
  if (!held.empty()) tokenizer.encode_append(held, ids, special, continues);
  return parts;
}

TEST(TokenizerCut, AddedTokensAreNotCutApart) {
  const Tokenizer tokenizer = read_tokenizer(
      with_added(trained_file(), {{{"content", "<think>"}}, {{"content", "</think>"}}, {{"content", "a\nb"}}}));
  std::string text;
  for (int i = 0; i < 500; ++i) text += "<think>lord</think>";
  Ids ids;
  EXPECT_GT(encode_in_parts(tokenizer, text, 64, SpecialTokens::as_text, ids), 100);
  EXPECT_EQ(ids, tokenizer.encode(text));
  EXPECT_EQ(std::count(ids.begin(), ids.end(), TokenId{285}), 500);
  // One containing a line feed, where text is cut otherwise.
  text.clear();
  for (int i = 0; i < 500; ++i) text += "lorda\nblord";
  ids.clear();
  EXPECT_GT(encode_in_parts(tokenizer, text, 7, SpecialTokens::as_text, ids), 100);
  EXPECT_EQ(ids, tokenizer.encode(text));
  EXPECT_EQ(std::count(ids.begin(), ids.end(), TokenId{287}), 500);
}

TEST(TokenizerCut, ThePrefixSpaceComesOnceAText) {
  json file = trained_file();
  file["pre_tokenizer"]["add_prefix_space"] = true;
  const Tokenizer tokenizer = read_tokenizer(file);
  std::string text;
  for (int i = 0; i < 300; ++i) text += "the\nlord\n";
  Ids ids;
  EXPECT_GT(encode_in_parts(tokenizer, text, 100, SpecialTokens::as_text, ids), 10);
  EXPECT_EQ(tokenizer.decode(ids), " " + text);
  EXPECT_EQ(ids, tokenizer.encode(text));
}

// Texts of difficult pieces, with every kind of tokenizer, cut at random places.
TEST(TokenizerCut, PartsGiveTheIdsOfTheWhole) {
  const std::vector<json> added = {
      {{"content", "<think>"}},
      {{"content", "</think>"}, {"normalized", false}},
      {{"content", "a\nb"}, {"normalized", false}},
      {{"content", "<l>"}, {"lstrip", true}},
      {{"content", "<r>"}, {"rstrip", true}, {"normalized", false}},
      {{"content", "word"}, {"single_word", true}},
      {{"content", "\u00E9."}, {"normalized", true}},
      {{"content", "<|s|>"}, {"special", true}},
      {{"content", "s|>x"}, {"normalized", false}},
  };
  const json plain = trained_file();
  const json byte_level = plain["pre_tokenizer"];
  const auto sequence = [&](std::vector<json> steps) {
    steps.push_back(byte_level);
    return json{{"type", "Sequence"}, {"pretokenizers", steps}};
  };
  std::vector<json> files = {plain, with_added(plain, added)};
  files.push_back(files[1]);
  files.back()["pre_tokenizer"]["add_prefix_space"] = true;
  files.push_back(files[1]);
  files.back()["pre_tokenizer"]["use_regex"] = false;
  files.push_back(files[1]);
  files.back()["pre_tokenizer"] = sequence({json{{"type", "Digits"}, {"individual_digits", true}}});
  files.push_back(files[1]);
  files.back()["pre_tokenizer"] = sequence({json{{"type", "Punctuation"}}, json{{"type", "WhitespaceSplit"}}});
  const std::size_t plain_normalizer = files.size();
  for (const char* form : {"NFC", "NFKC", "NFD", "NFKD", "Lowercase"}) {
    files.push_back(files[form[0] == 'L' ? 4 : 1]);
    files.back()["normalizer"] = {{"type", form}};
  }
  files.push_back(plain);
  files.back()["normalizer"] = {{"type", "NFC"}};
  files.push_back(files[1]);
  files.back()["normalizer"] = {{"type", "Prepend"}, {"prepend", "x"}};
  EXPECT_GT(files.size(), plain_normalizer);

  const std::vector<std::string> pieces = {
      "the",     "lord",     " ",      "  ",      "\n",      " said",  ",",       "12",    "'s",
      "<think>", "</think>", "</th",   "a\nb",    "a\n",     "<l>",    " <l>",    "<r>",   "<r> ",
      "word",    " word ",   "\u00E9", "e\u0301", "\u00E9.", "e",      "\u0301.", "<|s|>", "<|s|",
      ">x",      "s|>x",     "\uFB01", "\u1100",  "\u1161",  "\u0130", "!",       "\xE4",  "\u3000"};
  std::mt19937 random(11);
  std::vector<int> parts(files.size(), 0);
  std::vector<Tokenizer> tokenizers;
  for (const json& file : files) tokenizers.push_back(read_tokenizer(file));
  for (int round = 0; round < 150; ++round) {
    std::string text;
    const int count = static_cast<int>(random() % 60);
    for (int i = 0; i < count; ++i) text += pieces[random() % pieces.size()];
    const std::size_t step = random() % 30 + 1;
    for (std::size_t i = 0; i < tokenizers.size(); ++i) {
      for (const SpecialTokens special : {SpecialTokens::as_text, SpecialTokens::parse}) {
        Ids ids;
        parts[i] += encode_in_parts(tokenizers[i], text, step, special, ids) - 1;
        ASSERT_EQ(ids, tokenizers[i].encode(text, special)) << "file " << i << ", step " << step << ": " << text;
      }
    }
  }
  for (std::size_t i = 0; i < parts.size(); ++i) EXPECT_GT(parts[i], 50) << "file " << i;
}

}  // namespace
}  // namespace mslt

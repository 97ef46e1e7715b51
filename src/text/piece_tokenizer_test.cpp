// Tests of tokenizers whose tokens are made of characters, as SentencePiece's are. The tokenizers package gave all ids
// and texts that are expected here.
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "base/test_errors.h"
#include "mslt/tokenizer.h"
#include "text/test_tokenizers.h"

namespace mslt {
namespace {

using nlohmann::json;
using Ids = std::vector<TokenId>;

const std::string mark = "\u2581";

json added_token(TokenId id, const std::string& text, bool special, bool rstrip) {
  return {{"id", id},         {"content", text},    {"single_word", false}, {"lstrip", false},
          {"rstrip", rstrip}, {"special", special}, {"normalized", false}};
}

json metaspace(const char* scheme, bool splits) {
  return {{"type", "Metaspace"}, {"replacement", mark}, {"prepend_scheme", scheme}, {"split", splits}};
}

constexpr TokenId first_byte = 3;

// A small file in the form of Llama 2's.
json llama_file() {
  std::vector<std::string> names = {"<unk>", "<s>", "</s>"};
  for (int byte = 0; byte < 256; ++byte) {
    constexpr const char* digits = "0123456789ABCDEF";
    names.push_back(std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">");
  }
  for (const std::string& name :
       {mark, std::string("a"), std::string("b"), std::string("\u00E9"), std::string("n"), mark + mark, mark + "a",
        std::string("ab"), mark + "ab", std::string("ba"), mark + mark + mark + mark}) {
    names.push_back(name);
  }
  json vocabulary = json::object();
  for (TokenId id = 0; id < names.size(); ++id) vocabulary[names[id]] = id;
  json merges = json::array();
  for (const auto& [left, right] : std::vector<std::pair<std::string, std::string>>{{mark, mark},
                                                                                    {mark, "a"},
                                                                                    {"a", "b"},
                                                                                    {mark + "a", "b"},
                                                                                    {mark, "ab"},
                                                                                    {"b", "a"},
                                                                                    {mark + mark, mark + mark}}) {
    merges.push_back(json::array({left, right}));
  }
  const json added = json::array({added_token(0, "<unk>", true, false), added_token(1, "<s>", true, false),
                                  added_token(2, "</s>", true, false),
                                  added_token(static_cast<TokenId>(names.size()), "<r>", false, true)});
  const json normalizers = {{{"type", "Prepend"}, {"prepend", mark}},
                            {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", mark}}};
  const json decoders = {{{"type", "Replace"}, {"pattern", {{"String", mark}}}, {"content", " "}},
                         {{"type", "ByteFallback"}},
                         {{"type", "Fuse"}},
                         {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}};
  return {{"version", "1.0"},
          {"added_tokens", added},
          {"normalizer", {{"type", "Sequence"}, {"normalizers", normalizers}}},
          {"pre_tokenizer", nullptr},
          {"post_processor", nullptr},
          {"decoder", {{"type", "Sequence"}, {"decoders", decoders}}},
          {"model",
           {{"type", "BPE"},
            {"unk_token", "<unk>"},
            {"fuse_unk", true},
            {"byte_fallback", true},
            {"vocab", vocabulary},
            {"merges", merges}}}};
}

json without_normalizer(const json& pre_tokenizer) {
  json file = llama_file();
  file["normalizer"] = nullptr;
  file["pre_tokenizer"] = pre_tokenizer;
  return file;
}

Ids byte_ids(std::string_view bytes) {
  Ids ids;
  for (const char byte : bytes) ids.push_back(first_byte + static_cast<unsigned char>(byte));
  return ids;
}

std::string streamed(const Tokenizer& tokenizer, const Ids& ids, bool continues = false) {
  StreamDecoder decoder(tokenizer, false, continues);
  std::string text;
  for (const TokenId id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

TEST(PieceTokenizer, EncodesWithPrependedMarkAndBytes) {
  const Tokenizer tokenizer = read_tokenizer(llama_file());
  EXPECT_EQ(tokenizer.encode("ab ab"), (Ids{267, 267}));
  EXPECT_EQ(tokenizer.encode("  abab"), (Ids{264, 267, 266}));
  EXPECT_EQ(tokenizer.encode("    a"), (Ids{269, 265}));
  EXPECT_EQ(tokenizer.encode(""), Ids());
  EXPECT_EQ(tokenizer.encode("\u00E9x\U0001F99C n"), (Ids{259, 262, 123, 243, 162, 169, 159, 259, 263}));
  EXPECT_EQ(tokenizer.encode("a<r>  b</s>a"), (Ids{265, 270, 259, 261, 63, 50, 118, 65, 260}));
  EXPECT_EQ(tokenizer.encode("a<r>  b</s>a", SpecialTokens::parse), (Ids{265, 270, 259, 261, 2, 265}));
  EXPECT_EQ(tokenizer.encode("a\xFF"
                             "b"),
            (Ids{265, first_byte + 0xFF, 261}));
}

TEST(PieceTokenizer, EncodesWithMetaspace) {
  for (const bool splits : {false, true}) {
    const auto ids = [&](const char* scheme, const char* text) {
      return read_tokenizer(without_normalizer(metaspace(scheme, splits))).encode(text, SpecialTokens::parse);
    };
    EXPECT_EQ(ids("first", "ab a"), (Ids{267, 265}));
    EXPECT_EQ(ids("first", "a<r>  b</s>a"), (Ids{265, 270, 261, 2, 260}));
    EXPECT_EQ(ids("always", "a<r>  b</s>a"), (Ids{265, 270, 259, 261, 2, 265}));
    EXPECT_EQ(ids("never", "ab a"), (Ids{266, 265}));
  }
  json old = {{"type", "Metaspace"}, {"add_prefix_space", false}};
  EXPECT_EQ(read_tokenizer(without_normalizer(old)).encode("ab a"), (Ids{266, 265}));
  old["add_prefix_space"] = true;
  EXPECT_EQ(read_tokenizer(without_normalizer(old)).encode("ab a"), (Ids{267, 265}));
}

TEST(PieceTokenizer, CharactersWithoutATokenAreUnknownOrDropped) {
  json file = llama_file();
  json& model = file["model"];
  model["byte_fallback"] = false;
  EXPECT_EQ(read_tokenizer(file).encode("axyb"), (Ids{265, 0, 261}));
  model["fuse_unk"] = false;
  EXPECT_EQ(read_tokenizer(file).encode("axyb"), (Ids{265, 0, 0, 261}));
  model["unk_token"] = nullptr;
  EXPECT_EQ(read_tokenizer(file).encode("axyb xa"), (Ids{267, 265}));
}

TEST(PieceTokenizer, DecodesAsAWholeAndStreamed) {
  const Tokenizer tokenizer = read_tokenizer(llama_file());
  const std::string unknown = "\uFFFD";
  Ids parrot = byte_ids("\U0001F99C");
  parrot.push_back(260);
  const std::vector<std::pair<Ids, std::string>> cases = {
      {{265}, "a"},
      {{265, 259}, "a "},
      {{265, 265}, "a a"},
      {{1, 265, 260}, "<s> aa"},
      {parrot,
       "\U0001F99C"
       "a"},
      {{260, first_byte + 0xF0, first_byte + 0x9F, 260}, "a" + unknown + unknown + "a"},
      // One invalid byte makes the run of bytes invalid.
      {{first_byte + 0xC3, first_byte + 0xA9, first_byte + 0xFF, 2}, unknown + unknown + unknown + "</s>"},
      {{first_byte + 0xC3}, unknown},
  };
  for (const auto& [ids, text] : cases) {
    EXPECT_EQ(tokenizer.decode(ids), text);
    EXPECT_EQ(streamed(tokenizer, ids), text);
  }
  EXPECT_EQ(streamed(tokenizer, {265, 265}, true), " a a");
  EXPECT_EQ(tokenizer.token_bytes(265), " a");
  EXPECT_EQ(tokenizer.token_bytes(first_byte + 0x41), "A");
  json file = llama_file();
  file["decoder"] = metaspace("always", true);
  EXPECT_EQ(read_tokenizer(file).decode(Ids{264, 265}), " a");
  EXPECT_EQ(read_tokenizer(file).decode(Ids{265, 265}), "a a");
  EXPECT_EQ(streamed(read_tokenizer(file), {264, first_byte + 0x41}), "<0x41>");
}

TEST(PieceTokenizer, WhatIsWrittenReadsBackTheSame) {
  json file = llama_file();
  // Merges cannot make it, and it is in added_tokens alone: text never becomes it.
  file["added_tokens"].push_back(added_token(271, "\u2603", true, false));
  for (const json& pre_tokenizer : {json(nullptr), metaspace("first", false)}) {
    file["pre_tokenizer"] = pre_tokenizer;
    const Tokenizer tokenizer = read_tokenizer(file);
    const std::string written = tokenizer.to_json();
    const Tokenizer again = Tokenizer::from_json(written, "again");
    EXPECT_TRUE(again.to_json() == written);
    EXPECT_TRUE(again.encodes_like(tokenizer));
    EXPECT_EQ(again.encode("\u2603"), tokenizer.encode("\u2603"));
    const json read_back = json::parse(written);
    EXPECT_EQ(read_back["decoder"], file["decoder"]);
    EXPECT_EQ(read_back["normalizer"], file["normalizer"]);
    EXPECT_EQ(read_back["pre_tokenizer"], file["pre_tokenizer"]);
    EXPECT_EQ(read_back["model"]["vocab"], file["model"]["vocab"]);
  }
  json other = file;
  other["decoder"]["decoders"].erase(3);
  EXPECT_FALSE(read_tokenizer(other).encodes_like(read_tokenizer(file)));
}

TEST(PieceTokenizer, APostProcessorGivesThePrefix) {
  json file = llama_file();
  file["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}}};
  const Tokenizer tokenizer = read_tokenizer(file);
  const auto prefix = tokenizer.text_prefix();
  EXPECT_EQ(Ids(prefix.begin(), prefix.end()), Ids{1});
}

// Texts encoded in parts as they become known, for every form.
TEST(PieceTokenizer, CutsGiveTheSameIds) {
  const json split = {{"type", "Split"}, {"pattern", {{"String", " "}}}, {"behavior", "MergedWithPrevious"}};
  std::vector<json> files = {llama_file(), without_normalizer(metaspace("first", false)),
                             without_normalizer(metaspace("always", true)), llama_file()};
  files.back()["pre_tokenizer"] = split;
  std::mt19937 random(5);
  const std::vector<std::string> parts = {"ab",   " ",   "  ",   mark, "a",         "\u00E9",
                                          "</s>", "<r>", "<r> ", "x",  "\U0001F99C"};
  for (const json& file : files) {
    const Tokenizer tokenizer = read_tokenizer(file);
    std::size_t cuts = 0;
    for (int i = 0; i < 100; ++i) {
      std::string text;
      for (int j = 0; j < 12; ++j) text += parts[random() % parts.size()];
      for (const SpecialTokens special : {SpecialTokens::as_text, SpecialTokens::parse}) {
        for (std::size_t known = 1; known <= text.size(); ++known) {
          const auto cut = tokenizer.find_cut(std::string_view(text).substr(0, known), special);
          if (!cut) continue;
          ++cuts;
          Ids ids = tokenizer.encode(text.substr(0, cut->position), special);
          tokenizer.encode_append(text.substr(cut->position), ids, special, cut->continues);
          ASSERT_EQ(ids, tokenizer.encode(text, special)) << text << " cut at " << cut->position;
        }
      }
    }
    EXPECT_GT(cuts, 1000u);
  }
}

// A token that spans words, so text is merged as a whole.
TEST(PieceTokenizer, TokensMaySpanWords) {
  json file = llama_file();
  file["added_tokens"].erase(3);
  file["model"]["vocab"]["b" + mark] = 270;
  file["model"]["merges"].insert(file["model"]["merges"].begin(), json::array({"b", mark}));
  const Tokenizer tokenizer = read_tokenizer(file);
  EXPECT_EQ(tokenizer.encode("b a"), (Ids{259, 270, 260}));
  EXPECT_FALSE(tokenizer.find_cut("ab ab ab ab").has_value());
  EXPECT_TRUE(read_tokenizer(llama_file()).find_cut("ab ab ab ab").has_value());
}

// Merging must not take time that grows with the square of the text.
TEST(PieceTokenizer, EncodesLongTextsWithoutSpaces) {
  const Tokenizer tokenizer = read_tokenizer(llama_file());
  std::string text;
  for (int i = 0; i < 50'000; ++i) text += "ab";
  const Ids ids = tokenizer.encode(text);
  EXPECT_EQ(ids.size(), 50'000u);
  EXPECT_EQ(tokenizer.decode(ids), text);
  EXPECT_EQ(tokenizer.encode(std::string(100'000, ' ')).size(), 25'001u);
}

TEST(PieceTokenizer, RefusesWhatItCannotDo) {
  const auto error_after = [](const std::function<void(json&)>& change) {
    json file = llama_file();
    change(file);
    return test::error_of(ErrorKind::input, [&] { read_tokenizer(file); });
  };
  const auto expect = [&](std::string_view text, const std::function<void(json&)>& change) {
    const std::string error = error_after(change);
    EXPECT_NE(error.find(text), std::string::npos) << error;
  };
  expect("\"Unigram\", which takes a search", [](json& file) { file["model"]["type"] = "Unigram"; });
  expect("\"WordPiece\", which takes a search", [](json& file) { file["model"]["type"] = "WordPiece"; });
  expect("\"WordLevel\", which takes a token", [](json& file) { file["model"]["type"] = "WordLevel"; });
  expect("nor a \"decoder\"", [](json& file) { file["decoder"] = nullptr; });
  expect("decoder is of type \"CTC\"", [](json& file) { file["decoder"] = {{"type", "CTC"}}; });
  expect("decoder.decoders[3].stop is not 0", [](json& file) { file["decoder"]["decoders"][3]["stop"] = 1; });
  expect("decoder.decoders[0] is a Strip out of place",
         [](json& file) { file["decoder"]["decoders"][0] = file["decoder"]["decoders"][3]; });
  expect("decoder.decoders[2] is a Replace out of place",
         [](json& file) { file["decoder"]["decoders"][2] = file["decoder"]["decoders"][0]; });
  expect("pre_tokenizer.prepend_scheme is \"last\"",
         [](json& file) { file["pre_tokenizer"] = metaspace("last", true); });
  expect("pre_tokenizer.replacement is not one character",
         [](json& file) { file["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "ab"}}; });
  expect("\"<s>\" the id 300, but added_tokens 1", [](json& file) { file["model"]["vocab"]["<s>"] = 300; });
  expect("model.byte_fallback is true", [](json& file) {
    file["pre_tokenizer"] = {{"type", "ByteLevel"}};
    file["decoder"] = {{"type", "ByteLevel"}};
  });
}

}  // namespace
}  // namespace mslt

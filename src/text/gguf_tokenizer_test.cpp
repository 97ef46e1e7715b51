// Tests of the tokenizers inside of GGUF files, against the same ones in tokenizer.json.
#include "text/gguf_tokenizer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/test_errors.h"
#include "base/test_gguf.h"
#include "mslt/error.h"
#include "mslt/tokenizer.h"
#include "text/byte_characters.h"
#include "text/piece_decoder.h"

namespace mslt {
namespace {

using nlohmann::json;

constexpr std::string_view hard_text =
    "Съешь ещё этих мягких французских булок 2024 года,\n\n  да выпей чаю!\t\t我能吞下玻璃. 1234567 I'LL it's naïve "
    "e\u0301 \U0001F469\u200D\U0001F469\u200D\U0001F467 \U0001F1E9\U0001F1EA  for (int i=0;i<10;++i) { x[i] += 0x1F; }"
    "   \r\n\r\n <|end|> \u00bd \u00b2 \u2167 $100.00 ~~ ^|=";

// The vocabulary of a small trained tokenizer as JSON, to which the tests add what splits text.
json trained_document() {
  std::string text;
  for (int i = 0; i < 20; ++i) text += hard_text;
  const Tokenizer tokenizer =
      Tokenizer::train_on_text(text, {.vocab_size = 400, .special = {"<|begin|>", "<|end|>"}, .min_frequency = 2});
  return json::parse(tokenizer.to_json());
}

class GgufTokenizerTest : public testing::Test {
 protected:
  GgufTokenizerTest() : document_(trained_document()) {
    tokens_.resize(document_["model"]["vocab"].size());
    for (const auto& [name, id] : document_["model"]["vocab"].items()) tokens_[id] = name;
    types_.assign(tokens_.size(), 1);
    types_[0] = types_[1] = 3;
    for (const auto& pair : document_["model"]["merges"]) {
      merges_.push_back(pair[0].get<std::string>() + " " + pair[1].get<std::string>());
    }
  }

  TestGguf file(std::string_view pre = "gpt-2") const {
    TestGguf gguf;
    gguf.text("tokenizer.ggml.model", "gpt2");
    if (!pre.empty()) gguf.text("tokenizer.ggml.pre", pre);
    gguf.texts("tokenizer.ggml.tokens", tokens_).integers("tokenizer.ggml.token_type", types_);
    gguf.texts("tokenizer.ggml.merges", merges_).number("tokenizer.ggml.bos_token_id", 0);
    return gguf;
  }

  // Tests run side by side, so each has a file of its own.
  static std::string test_name() { return testing::UnitTest::GetInstance()->current_test_info()->name(); }

  static Tokenizer load(const TestGguf& gguf) {
    const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / (test_name() + ".gguf");
    std::ofstream(path, std::ios::binary) << gguf.bytes();
    return Tokenizer::load(path);
  }

  static void expect_refused(const TestGguf& gguf, std::string_view reason) {
    try {
      load(gguf);
      ADD_FAILURE() << "accepted, instead of: " << reason;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::input);
      EXPECT_NE(std::string_view(error.what()).find(test_name() + ".gguf"), std::string_view::npos) << error.what();
      EXPECT_NE(std::string_view(error.what()).find(reason), std::string_view::npos) << error.what();
    }
  }

  json document_;
  std::vector<std::string> tokens_;
  std::vector<std::int32_t> types_;
  std::vector<std::string> merges_;
};

TEST_F(GgufTokenizerTest, SplitsTextAsTheTokenizerJsonOfTheSameModels) {
  const json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
  json gpt2 = bytes;
  gpt2["use_regex"] = true;
  const auto split = [&](const char* regex) -> json {
    const json step = {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
    return {{"type", "Sequence"}, {"pretokenizers", json::array({step, bytes})}};
  };
  const json digits = {{"type", "Sequence"},
                       {"pretokenizers", json::array({{{"type", "Digits"}, {"individual_digits", true}}, gpt2})}};
  // As the models' own files have them.
  const json llama3 = split(
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
  const json qwen2 = split(
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
  const json tekken = split(
      R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
  const json nfc = {{"type", "NFC"}};
  struct Case {
    const char* pre;
    json pre_tokenizer;
    json normalizer;
    bool ignores_merges;
  };
  for (const Case& known : {Case{"gpt-2", gpt2, nullptr, false}, Case{"smollm", digits, nullptr, false},
                            Case{"starcoder", digits, nullptr, false}, Case{"llama-bpe", llama3, nullptr, true},
                            Case{"dbrx", llama3, nullptr, false}, Case{"qwen2", qwen2, nfc, false},
                            Case{"tekken", tekken, nullptr, true}}) {
    json document = document_;
    document["pre_tokenizer"] = known.pre_tokenizer;
    document["normalizer"] = known.normalizer;
    document["model"]["ignore_merges"] = known.ignores_merges;
    const Tokenizer expected = Tokenizer::from_json(document.dump(), "tokenizer.json");
    const Tokenizer found = load(file(known.pre).boolean("tokenizer.ggml.add_bos_token", false));
    for (const SpecialTokens special : {SpecialTokens::as_text, SpecialTokens::parse}) {
      EXPECT_EQ(found.encode(hard_text, special), expected.encode(hard_text, special)) << known.pre;
    }
    EXPECT_TRUE(found.encodes_like(expected)) << known.pre;
    EXPECT_TRUE(found.text_prefix().empty()) << known.pre;
    // Written out, it stays the same.
    EXPECT_TRUE(Tokenizer::from_json(found.to_json(), "again").encodes_like(found)) << known.pre;
  }
}

TEST_F(GgufTokenizerTest, SplitsAsLlamaCppByDefault) {
  const Tokenizer tokenizer = load(file(""));
  EXPECT_TRUE(tokenizer.encodes_like(load(file("default"))));
  // Punctuation is apart, also from the space before it; digits go in threes.
  const auto pieces = [&](std::string_view text) {
    std::vector<std::string> result;
    for (const TokenId id : tokenizer.encode(text)) result.emplace_back(tokenizer.token_bytes(id));
    return result;
  };
  EXPECT_EQ(pieces(" !"), (std::vector<std::string>{" ", "!"}));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(hard_text)), hard_text);
}

TEST_F(GgufTokenizerTest, BeginsTextsWhereTheFileOrTheKindSaysSo) {
  const auto prefix = [](const TestGguf& gguf) {
    const Tokenizer tokenizer = load(gguf);
    return std::vector<TokenId>(tokenizer.text_prefix().begin(), tokenizer.text_prefix().end());
  };
  EXPECT_EQ(prefix(file("gpt-2")), std::vector<TokenId>{});
  EXPECT_EQ(prefix(file("llama-bpe")), std::vector<TokenId>{0});
  EXPECT_EQ(prefix(file("llama-bpe").boolean("tokenizer.ggml.add_bos_token", false)), std::vector<TokenId>{});
  EXPECT_EQ(prefix(file("gpt-2").boolean("tokenizer.ggml.add_bos_token", true)), std::vector<TokenId>{0});
}

TEST_F(GgufTokenizerTest, TakesTheKindsOfTokens) {
  tokens_.insert(tokens_.end(), {"<tool>", "[PAD401]"});
  types_.insert(types_.end(), {4, 5});
  const auto user = static_cast<TokenId>(tokens_.size() - 2);
  const Tokenizer tokenizer = load(file());
  EXPECT_EQ(tokenizer.encode("<tool>"), std::vector<TokenId>{user});
  EXPECT_FALSE(tokenizer.is_special(user));
  EXPECT_TRUE(tokenizer.is_special(1));
  EXPECT_EQ(tokenizer.encode("<|end|>", SpecialTokens::parse), std::vector<TokenId>{1});
  EXPECT_GT(tokenizer.encode("<|end|>").size(), 1U);
  EXPECT_FALSE(tokenizer.has_token(user + 1));
}

TEST_F(GgufTokenizerTest, RefusesWhatItCannotReproduceByName) {
  TestGguf words;
  words.text("tokenizer.ggml.model", "bert");
  expect_refused(words, "the key 'tokenizer.ggml.model' is \"bert\"");
  expect_refused(file("qwen3"), "the key 'tokenizer.ggml.pre' is \"qwen3\"; supported are gpt-2");
  TestGguf none;
  none.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", "gpt-2");
  expect_refused(none, "the key 'tokenizer.ggml.tokens' is missing");
  const auto changed = [&](auto change, std::string_view reason) {
    const auto [tokens, types, merges] = std::tuple(tokens_, types_, merges_);
    change();
    expect_refused(file(), reason);
    std::tie(tokens_, types_, merges_) = std::tuple(tokens, types, merges);
  };
  changed([&] { types_.pop_back(); }, "the key 'tokenizer.ggml.token_type' is an array of 399 values");
  changed([&] { types_[5] = 6; }, "is of type 6; valid are 1 to 5");
  changed([&] { tokens_[7] = "две"; }, "(id 7) of 'tokenizer.ggml.tokens' is no byte-level token");
  changed([&] { tokens_[7] = "<\xFF>", types_[7] = 3; }, "(id 7) of 'tokenizer.ggml.tokens' is not valid UTF-8");
  changed([&] { tokens_[9] = tokens_[8]; }, "(id 9) of 'tokenizer.ggml.tokens' is the token 8, too");
  changed([&] { tokens_[1] = tokens_[0]; }, "is listed twice");
  changed([&] { merges_[3] = "ab"; }, "(number 3 of 'tokenizer.ggml.merges') is not two tokens");
  changed([&] { merges_[3] = "a zzzz"; }, "(number 3 of 'tokenizer.ggml.merges') joins or makes what is no token");
  changed([&] { merges_[4] = merges_[2]; }, "(number 4 of 'tokenizer.ggml.merges') occurs twice");
  changed(
      [&] {
        tokens_ = {};
        types_ = {};
      },
      "the key 'tokenizer.ggml.tokens' is an array of 0 values");
  TestGguf bos = file().boolean("tokenizer.ggml.add_bos_token", true);
  EXPECT_EQ(load(bos).text_prefix().size(), 1U);
}

TEST_F(GgufTokenizerTest, TokensWithoutTextAreUnused) {
  const TokenId last = static_cast<TokenId>(tokens_.size());
  tokens_.emplace_back();
  types_.push_back(1);
  const Tokenizer tokenizer = load(file("gpt-2"));
  EXPECT_EQ(tokenizer.vocab_size(), tokens_.size());
  EXPECT_FALSE(tokenizer.has_token(last));
}

// What is written for the tokenizer of a file is that file's tokenizer again, whatever splits its text.
TEST_F(GgufTokenizerTest, WritesWhatItReads) {
  types_[5] = 4;
  types_[7] = 5;
  for (const std::string pre : {"gpt-2", "smollm", "llama-bpe", "dbrx", "qwen2", "gpt-4o", "tekken", "default"}) {
    const Tokenizer tokenizer = load(file(pre));
    const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / (test_name() + "_2.gguf");
    GgufWriter writer;
    write_gguf_tokenizer(writer, tokenizer, static_cast<std::int64_t>(tokens_.size()) + 3);
    writer.set_boolean("tokenizer.ggml.add_bos_token", false);
    AtomicFile written(path);
    writer.write_head(written);
    written.commit();
    EXPECT_EQ(GgufFile(path).contents().text("tokenizer.ggml.pre"), pre);
    const Tokenizer again = Tokenizer::load(path);
    EXPECT_EQ(again.vocab_size(), tokens_.size() + 3);
    EXPECT_FALSE(again.has_token(7));
    EXPECT_FALSE(again.has_token(static_cast<TokenId>(tokens_.size())));
    const std::string text(hard_text);
    EXPECT_EQ(again.encode(text, SpecialTokens::parse), tokenizer.encode(text, SpecialTokens::parse)) << pre;
  }
  GgufWriter writer;
  const Tokenizer whole = Tokenizer::train_on_text(hard_text, {.vocab_size = 260, .pattern = SplitPattern::none});
  EXPECT_THROW(write_gguf_tokenizer(writer, whole, 1000), Error);
  EXPECT_THROW(write_gguf_tokenizer(writer, load(file()), 100), Error);
}

// A vocabulary of characters with scores, as SentencePiece's BPE has.
class GgufPiecesTest : public GgufTokenizerTest {
 protected:
  static constexpr TokenId first_byte = 3;
  // From 259 on.
  GgufPiecesTest() {
    tokens_ = {"<unk>", "<s>", "</s>"};
    types_ = {2, 3, 3};
    for (unsigned byte = 0; byte < 256; ++byte) {
      tokens_.push_back(token_of_byte(static_cast<unsigned char>(byte)));
      types_.push_back(6);
    }
    scores_.assign(tokens_.size(), 0.0f);
    const std::vector<std::pair<std::string, float>> pieces = {
        {"\u2581a", -1}, {"ab", -2}, {"\u2581\u2581", -3}, {"\u2581ab", -4}, {"aa", -5}, {"ba", -5}, {"\u2581", -6},
        {"a", -7},       {"b", -8},  {"\u00E9", -9}};
    for (const auto& [piece, score] : pieces) {
      tokens_.push_back(piece);
      types_.push_back(1);
      scores_.push_back(score);
    }
    tokens_.emplace_back("<tool>");
    types_.push_back(4);
    scores_.push_back(0);
  }

  TestGguf file() const {
    TestGguf gguf;
    gguf.text("tokenizer.ggml.model", "llama").texts("tokenizer.ggml.tokens", tokens_);
    return gguf.integers("tokenizer.ggml.token_type", types_).reals("tokenizer.ggml.scores", scores_);
  }

  std::vector<float> scores_;
};

TEST_F(GgufPiecesTest, JoinsTheNeighboursOfTheHighestScore) {
  using Ids = std::vector<TokenId>;
  const Tokenizer tokenizer = load(file());
  EXPECT_EQ(tokenizer.encode("ab"), Ids{262});
  EXPECT_EQ(tokenizer.encode(" ab"), (Ids{265, 262}));
  EXPECT_EQ(tokenizer.encode("  b"), (Ids{261, 265, 267}));
  // "aa" and "ba" have one score: the leftmost is joined first.
  EXPECT_EQ(tokenizer.encode("baa"), (Ids{265, 264, 266}));
  EXPECT_EQ(tokenizer.encode("\u00E9x<tool>a"), (Ids{265, 268, first_byte + 'x', 269, 259}));
  EXPECT_EQ(tokenizer.text_prefix().size(), 1U);
  EXPECT_EQ(tokenizer.text_prefix().front(), 1U);
  EXPECT_EQ(tokenizer.decode(Ids{262, 259}), "ab a");
  EXPECT_TRUE(Tokenizer::from_json(tokenizer.to_json(), "again").encode("ab  baab") == tokenizer.encode("ab  baab"));
  const Tokenizer plain =
      load(file().boolean("tokenizer.ggml.add_space_prefix", false).boolean("tokenizer.ggml.add_bos_token", false));
  EXPECT_EQ(plain.encode("ab ab"), (Ids{260, 262}));
  EXPECT_EQ(plain.decode(Ids{262}), " ab");
  EXPECT_TRUE(plain.text_prefix().empty());
}

TEST_F(GgufPiecesTest, WritesScoresOfWhatItReads) {
  for (const bool adds_space : {true, false}) {
    const Tokenizer tokenizer = load(file().boolean("tokenizer.ggml.add_space_prefix", adds_space));
    const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / (test_name() + "_2.gguf");
    GgufWriter writer;
    write_gguf_tokenizer(writer, tokenizer, static_cast<std::int64_t>(tokens_.size()) + 3);
    AtomicFile written(path);
    writer.write_head(written);
    written.commit();
    const GgufFile again(path);
    EXPECT_EQ(again.contents().boolean("tokenizer.ggml.add_space_prefix", !adds_space), adds_space);
    EXPECT_EQ(again.contents().integers("tokenizer.ggml.token_type")[0], 2);
    for (const char* const text : {"ab  baab\u00E9 <tool>x", "  aa<s>\n", ""}) {
      EXPECT_EQ(Tokenizer::load(path).encode(text, SpecialTokens::parse), tokenizer.encode(text, SpecialTokens::parse));
    }
  }
}

TEST_F(GgufPiecesTest, DoesNotWriteMergesThatScoresCannotOrder) {
  const std::string json = load(file()).to_json();
  const auto changed = [&](auto change, std::string_view reason) {
    auto document = nlohmann::ordered_json::parse(json);
    change(document["model"]["merges"]);
    const Tokenizer tokenizer = Tokenizer::from_json(document.dump(), "changed");
    GgufWriter writer;
    const std::string message = test::error_of(
        ErrorKind::input, [&] { write_gguf_tokenizer(writer, tokenizer, static_cast<std::int64_t>(tokens_.size())); });
    EXPECT_NE(message.find(reason), std::string::npos) << message;
  };
  changed([](auto& merges) { merges.erase(merges.begin()); }, "not all pairs");
  // The two ways to make "▁ab" no longer follow each other.
  changed([](auto& merges) { std::swap(merges[2], merges[3]); }, "no score can stand for them");
}

TEST_F(GgufPiecesTest, KnowsTiesAndUnknownTokens) {
  const auto parts = [&] {
    load(file());
    return parts_from_gguf_file(std::filesystem::path(testing::TempDir()) / (test_name() + ".gguf"));
  };
  EXPECT_TRUE(has_tied_merges(parts()));  // "aa" and "ba"
  scores_[263] = -4.5f;
  EXPECT_FALSE(has_tied_merges(parts()));
  GgufWriter writer;
  write_gguf_tokenizer(writer, load(file()), static_cast<std::int64_t>(tokens_.size()));
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / (test_name() + "_2.gguf");
  AtomicFile written(path);
  writer.write_head(written);
  written.commit();
  EXPECT_EQ(GgufFile(path).contents().unsigned_number("tokenizer.ggml.unknown_token_id"), 0U);
}

TEST_F(GgufPiecesTest, SaysWhichTokensAFileCannotDescribe) {
  auto document = nlohmann::json::parse(load(file()).to_json());
  GgufWriter writer;
  const auto rows = static_cast<std::int64_t>(tokens_.size());
  const auto notes = [&] {
    return write_gguf_tokenizer(writer, Tokenizer::from_json(document.dump(), "changed"), rows);
  };
  EXPECT_TRUE(notes().empty());
  for (auto& token : document["added_tokens"]) token["rstrip"] = token["content"] == "<tool>";
  const auto said = notes();
  ASSERT_EQ(said.size(), 1U);
  EXPECT_NE(said.front().find("as 1 of this tokenizer do, <tool> among them"), std::string::npos) << said.front();
}

TEST_F(GgufPiecesTest, RefusesPiecesThatAreJoinedInTooManyWays) {
  for (std::size_t length = 3; length <= 512; ++length) {
    tokens_.emplace_back(length, 'c');
    types_.push_back(1);
    scores_.push_back(-static_cast<float>(length));
  }
  expect_refused(file(), "in more than");
}

TEST_F(GgufPiecesTest, RefusesWhatIsNoVocabulary) {
  const auto changed = [&](auto change, std::string_view reason) {
    const auto [tokens, types, scores] = std::tuple(tokens_, types_, scores_);
    change();
    expect_refused(file(), reason);
    std::tie(tokens_, types_, scores_) = std::tuple(tokens, types, scores);
  };
  changed([&] { scores_.pop_back(); }, "the key 'tokenizer.ggml.scores' is an array of 269 values");
  changed([&] { scores_[3] = std::numeric_limits<float>::quiet_NaN(); }, "valid is an array of finite numbers");
  changed([&] { tokens_[5] = "<0x5>"; }, "(id 5) of 'tokenizer.ggml.tokens' is no byte");
  changed([&] { types_[5] = 7; }, "is of type 7; valid are 1 to 6");
  changed([&] { tokens_[260] = "\xFF"; }, "is not valid UTF-8");
  changed([&] { tokens_[260] = tokens_[261]; }, "(id 261) of 'tokenizer.ggml.tokens' is the token 260, too");
  changed([&] { tokens_[260].assign(513, 'a'); }, "(id 260) of 'tokenizer.ggml.tokens' is longer than 512 bytes");
}

}  // namespace
}  // namespace mslt

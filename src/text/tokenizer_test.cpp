// Tests of Tokenizer's encoding and decoding: special and added tokens, any bytes, long pre-tokens, errors.
#include "mslt/tokenizer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/philox.h"
#include "mslt/error.h"

namespace mslt {
namespace {

using Ids = std::vector<TokenId>;

constexpr std::array all_patterns = {SplitPattern::none, SplitPattern::gpt2, SplitPattern::llama3, SplitPattern::qwen2,
                                     SplitPattern::o200k};

Tokenizer trained_with(SplitPattern pattern = SplitPattern::gpt2,
                       std::vector<std::string> special = {"[PAD]", "[BOS]", "[EOS]"}) {
  std::string text;
  for (int i = 0; i < 40; ++i) text += "the quick brown fox, aaaaaaaaaaaaaaaa \u00E9\u4E2D\U0001F600 [EOS]\n";
  return Tokenizer::train_on_text(text, {.vocab_size = 290, .pattern = pattern, .special = std::move(special)});
}

TEST(Tokenizer, PlainTextNeverGivesSpecialTokens) {
  for (const SplitPattern pattern : all_patterns) {
    const Tokenizer tokenizer = trained_with(pattern);
    const std::string text = "the [EOS] fox[BOS][EOS]";
    for (const TokenId id : tokenizer.encode(text)) EXPECT_FALSE(tokenizer.is_special(id));
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
}

TEST(Tokenizer, ParsesSpecialTokensWhereAsked) {
  const Tokenizer tokenizer = trained_with();
  Ids expected = {tokenizer.bos_id().value()};
  tokenizer.encode_append("the fox", expected);
  expected.push_back(tokenizer.eos_id().value());
  expected.push_back(tokenizer.eos_id().value());
  EXPECT_EQ(tokenizer.encode("[BOS]the fox[EOS][EOS]", SpecialTokens::parse), expected);
  EXPECT_EQ(tokenizer.decode(expected), "[BOS]the fox[EOS][EOS]");
  EXPECT_EQ(tokenizer.decode(expected, true), "the fox");
}

TEST(Tokenizer, TheLeftmostThenLongestSpecialTokenWins) {
  const Tokenizer tokenizer = trained_with(SplitPattern::gpt2, {"<a>", "<a><b>", "<b><c>", "a><b><c>"});
  EXPECT_EQ(tokenizer.encode("<a><b><c>", SpecialTokens::parse).front(), 1u);
  EXPECT_EQ(tokenizer.encode("<b><c>", SpecialTokens::parse), Ids{2});
  EXPECT_EQ(tokenizer.encode("<<a>", SpecialTokens::parse).back(), 0u);
  EXPECT_EQ(tokenizer.encode("xa><b><c>", SpecialTokens::parse).back(), 3u);
}

TEST(Tokenizer, AddedTokensThatAreNotSpecialAreAlwaysFound) {
  auto file = nlohmann::json::parse(trained_with().to_json());
  file["added_tokens"].push_back({{"id", 290}, {"content", "<tool>"}, {"special", false}});
  const Tokenizer tokenizer = Tokenizer::from_json(file.dump(), "file");
  EXPECT_FALSE(tokenizer.is_special(290));
  EXPECT_EQ(tokenizer.encode("<tool>"), Ids{290});
  EXPECT_EQ(tokenizer.encode("<tool>", SpecialTokens::parse), Ids{290});
  EXPECT_EQ(tokenizer.special_tokens().size(), 3u);
}

TEST(Tokenizer, AnyBytesRoundTrip) {
  PhiloxStream random(11, 0, 0);
  for (const SplitPattern pattern : all_patterns) {
    const Tokenizer tokenizer = trained_with(pattern);
    for (int round = 0; round < 300; ++round) {
      std::string text;
      const std::size_t size = random.below(60);
      for (std::size_t i = 0; i < size; ++i) text.push_back(static_cast<char>(random.below(256)));
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
    }
    for (const std::string& text :
         {std::string(), std::string(3, '\0'), std::string("\xFF\xFE"), std::string("a\xE2\x82")}) {
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
    }
  }
}

TEST(Tokenizer, OneVeryLongPretoken) {
  for (const SplitPattern pattern : all_patterns) {
    const Tokenizer tokenizer = trained_with(pattern);
    const std::string text(100000, 'a');
    const Ids ids = tokenizer.encode(text);
    EXPECT_EQ(tokenizer.decode(ids), text);
    // "aaaaaaaaaaaaaaaa" is frequent in the training text, so at least aaaa is a token.
    EXPECT_LE(ids.size(), text.size() / 4);
  }
}

TEST(Tokenizer, AppendingKeepsWhatIsThere) {
  const Tokenizer tokenizer = trained_with();
  Ids ids = {7};
  tokenizer.encode_append("the fox", ids);
  Ids expected = {7};
  for (const TokenId id : tokenizer.encode("the fox")) expected.push_back(id);
  EXPECT_EQ(ids, expected);
}

TEST(Tokenizer, IdsWithoutATokenComeToNothingAndAreCounted) {
  const Tokenizer tokenizer = trained_with();
  const Ids ids = {3, 290, 4, 1u << 31};
  std::size_t without_token = 0;
  EXPECT_EQ(tokenizer.decode(ids, false, &without_token), tokenizer.decode(Ids{3, 4}));
  EXPECT_EQ(without_token, 2u);
  EXPECT_TRUE(tokenizer.has_token(289));
  EXPECT_FALSE(tokenizer.has_token(290));
  EXPECT_FALSE(tokenizer.is_special(290));
}

TEST(Tokenizer, ViewsOutliveTheTokenizerTheyCameFrom) {
  std::optional<Tokenizer> first = trained_with();
  const Tokenizer copy = *first;
  const std::string_view bytes = first->token_bytes(289);
  first.reset();
  EXPECT_EQ(bytes, copy.token_bytes(289));
}

TEST(Tokenizer, PatternNamesAreTheirOwnInverse) {
  for (const SplitPattern pattern : all_patterns) EXPECT_EQ(split_pattern_from_name(name_of(pattern)), pattern);
  try {
    static_cast<void>(split_pattern_from_name("gpt5"));
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    EXPECT_NE(std::string(error.what()).find("o200k"), std::string::npos);
  }
}

}  // namespace
}  // namespace mslt

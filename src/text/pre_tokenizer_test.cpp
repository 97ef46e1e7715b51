// Tests of the steps of pre-tokenizers; expected values come from the tokenizers package.
#include "text/pre_tokenizer.h"

#include <gtest/gtest.h>

#include <random>

namespace mslt {
namespace {

using Strings = std::vector<std::string>;

Strings split(const PreTokenizer& pre_tokenizer, std::string_view text, bool continues = false) {
  Pieces pieces;
  pre_tokenizer.split(text, continues, pieces);
  return {pieces.views.begin(), pieces.views.end()};
}

Strings split(PreTokenizerStep step, std::string_view text) {
  return split(PreTokenizer({std::move(step)}), text);
}

PreTokenizer deepseek() {
  return PreTokenizer(
      {split_by_expression(R"([\r\n])", SplitBehaviour::isolated, false),
       split_by_expression(R"(\s?\p{L}+)", SplitBehaviour::isolated, false),
       split_by_expression(R"(\s?\p{P}+)", SplitBehaviour::isolated, false),
       split_by_expression("[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+", SplitBehaviour::isolated, false),
       digits_step(true)});
}

TEST(PreTokenizer, MatchesAndWhatIsBetweenBecomePieces) {
  const auto by = [](const char* pattern, const char* text, SplitBehaviour behaviour, bool invert) {
    return split(split_by_expression(pattern, behaviour, invert), text);
  };
  EXPECT_EQ(by("a|b", "xbaabca", SplitBehaviour::removed, false), (Strings{"x", "c"}));
  EXPECT_EQ(by("a", "baabca", SplitBehaviour::removed, true), (Strings{"a", "a", "a"}));
  EXPECT_EQ(by("a", "baabca", SplitBehaviour::isolated, false), (Strings{"b", "a", "a", "bc", "a"}));
  EXPECT_EQ(by("a|b", "xbaabca", SplitBehaviour::merged_with_previous, false), (Strings{"xb", "a", "a", "b", "ca"}));
  EXPECT_EQ(by("a", "baabca", SplitBehaviour::merged_with_previous, true), (Strings{"b", "a", "abc", "a"}));
  EXPECT_EQ(by("a|b", "xbaabca", SplitBehaviour::merged_with_next, false), (Strings{"x", "b", "a", "a", "bc", "a"}));
  EXPECT_EQ(by("a", "baabca", SplitBehaviour::merged_with_next, true), (Strings{"ba", "a", "bca"}));
  EXPECT_EQ(by("a|b", "xbaabca", SplitBehaviour::contiguous, false), (Strings{"x", "baab", "c", "a"}));
  EXPECT_EQ(by("a", "baabca", SplitBehaviour::contiguous, true), (Strings{"b", "aa", "bc", "a"}));
}

TEST(PreTokenizer, NamedStepsCutAsThoseOfTokenizers) {
  EXPECT_EQ(split(digits_step(false), "a12\u00BDb\u0663"), (Strings{"a", "12\u00BD", "b", "\u0663"}));
  EXPECT_EQ(split(digits_step(true), "a12\u00BDb\u0663"), (Strings{"a", "1", "2", "\u00BD", "b", "\u0663"}));
  EXPECT_EQ(split(punctuation_step(SplitBehaviour::contiguous), "a!!b"), (Strings{"a", "!!", "b"}));
  EXPECT_EQ(split(punctuation_step(SplitBehaviour::merged_with_previous), "a!!b"), (Strings{"a!", "!", "b"}));
  EXPECT_EQ(split(white_space_split_step(), "  a b\u3000c\n"), (Strings{"a", "b", "c"}));
  EXPECT_EQ(split(split_by_text("-", SplitBehaviour::removed, false), "a--b-c"), (Strings{"a", "b", "c"}));
  EXPECT_EQ(split(split_by_text("a.", SplitBehaviour::isolated, false), "a.b aab"), (Strings{"a.", "b aab"}));
  EXPECT_EQ(
      split(PreTokenizer({punctuation_step(SplitBehaviour::isolated), words_step()}), "a$b \u00ABc\u00BB x_y d\u200De"),
      (Strings{"a", "$", "b", "\u00AB", "c", "\u00BB", "x", "_", "y", "d\u200De"}));
}

TEST(PreTokenizer, StepsFollowOneAnother) {
  EXPECT_EQ(split(deepseek(), "H\u00E9 ab,, \u4E2D\u6587x\uAC0012\n y  z"),
            (Strings{"H\u00E9", " ab", ",,", " ", "\u4E2D\u6587", "x", "\uAC00", "1", "2", "\n", " y", " ", " z"}));
  EXPECT_EQ(split(PreTokenizer({digits_step(true), split_by_pattern(SplitPattern::gpt2)}), "ab 12c's"),
            (Strings{"ab", " ", "1", "2", "c", "'s"}));
}

TEST(PreTokenizer, ASpaceComesOnceATextOrOnceAPiece) {
  const PreTokenizer first({prefix_space_step(), split_by_pattern(SplitPattern::gpt2)});
  EXPECT_EQ(split(first, "ab cd"), (Strings{" ab", " cd"}));
  EXPECT_EQ(split(first, "ab cd", true), (Strings{"ab", " cd"}));
  const PreTokenizer later({digits_step(true), prefix_space_step()});
  EXPECT_EQ(split(later, "a1b"), (Strings{" a", " 1", " b"}));
}

// Wherever safe_cut cuts a partially known text, both sides must be split like the whole.
TEST(PreTokenizer, CutsMakeNoDifference) {
  const std::string nanochat =
      R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)";
  const auto isolated = SplitBehaviour::isolated;
  const std::vector<PreTokenizer> all = {
      deepseek(),
      PreTokenizer({split_by_expression(nanochat, isolated, false)}),
      PreTokenizer({digits_step(true), split_by_pattern(SplitPattern::gpt2)}),
      PreTokenizer({prefix_space_step(), punctuation_step(isolated), split_by_pattern(SplitPattern::gpt2)}),
      PreTokenizer({split_by_expression(R"(\s+$)", isolated, false), white_space_split_step()}),
      PreTokenizer({split_by_expression(R"(\p{N}{1,3}(?=(?:\p{N}{3})*(?:\P{N}|$)))", isolated, false)}),
      PreTokenizer({split_by_expression(R"(\s\p{L}+)", SplitBehaviour::merged_with_previous, false)}),
      PreTokenizer({split_by_expression(R"(\s)", SplitBehaviour::merged_with_next, false)}),
      PreTokenizer({split_by_expression(R"([\s\p{P}])", SplitBehaviour::contiguous, true), digits_step(false)}),
  };
  const std::vector<std::string> parts = {"a",      "the", " ",  "  ",       "\n", "\r\n",   "1",
                                          "23",     "'s",  "'",  ".",        ",,", "\u4E2D", "e\u0301",
                                          "\u00E9", "\t",  " x", "\xE4\xB8", "!\n"};
  std::mt19937 random(7);
  std::vector<int> found(all.size(), 0);
  for (int round = 0; round < 400; ++round) {
    std::string text;
    const int count = static_cast<int>(random() % 40);
    for (int i = 0; i < count; ++i) text += parts[random() % parts.size()];
    for (std::size_t i = 0; i < all.size(); ++i) {
      const std::size_t known = text.empty() ? 0 : random() % text.size() + 1;
      const std::size_t cut = all[i].safe_cut(std::string_view(text).substr(0, known), known, false);
      ASSERT_LE(cut, known);
      if (cut == 0) continue;
      ++found[i];
      Strings joined = split(all[i], std::string_view(text).substr(0, cut));
      for (const std::string& piece : split(all[i], std::string_view(text).substr(cut), true)) joined.push_back(piece);
      ASSERT_EQ(joined, split(all[i], text)) << "pre-tokenizer " << i << ", known " << known << ", cut " << cut;
    }
  }
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT_GT(found[i], 20) << "pre-tokenizer " << i;
}

}  // namespace
}  // namespace mslt

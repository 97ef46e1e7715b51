// The pre-tokenizers against golden data, their rules one by one, and adversarial text.
#include "text/split.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/expression.h"
#include "text/pattern_texts.h"

namespace mslt {
namespace {

using Pieces = std::vector<std::string>;

constexpr std::pair<const char*, SplitPattern> patterns[] = {{"gpt2", SplitPattern::gpt2},
                                                             {"llama3", SplitPattern::llama3},
                                                             {"qwen2", SplitPattern::qwen2},
                                                             {"o200k", SplitPattern::o200k}};

Pieces split(SplitPattern pattern, std::string_view text) {
  Pieces pieces;
  for_each_pretoken(text, next_pretokens(pattern), [&](std::size_t begin, std::size_t end) {
    EXPECT_LT(begin, end);
    EXPECT_LE(end, text.size());
    pieces.emplace_back(text.substr(begin, end - begin));
  });
  return pieces;
}

nlohmann::json golden() {
  std::ifstream file(MSLT_TEST_DATA "/golden/split.json");
  return nlohmann::json::parse(file);
}

TEST(Split, AgreesWithGoldenTexts) {
  const nlohmann::json entries = golden();
  ASSERT_GE(entries.size(), 300U);
  for (const auto& entry : entries) {
    const auto text = entry.at("text").get<std::string>();
    for (const auto& [name, pattern] : patterns) {
      std::vector<std::size_t> lengths;
      for (const std::string& piece : split(pattern, text)) {
        lengths.push_back(piece.size());
      }
      EXPECT_EQ(lengths, entry.at(name).get<std::vector<std::size_t>>()) << name << ' ' << entry.at("text");
    }
  }
}

// Long texts of all kinds of neighbours: words of several scripts, contractions, runs of white space.
TEST(Split, AgreesWithTheExpressionsOnLongTexts) {
  constexpr std::string_view parts[] = {"a",      "Be",     "word",
                                        "1",      "23",     " ",
                                        "  ",     "\n",     "\t",
                                        "'",      "'s",     "'ll",
                                        "'re",    "'LL",    "l",
                                        "e",      "!",      "/",
                                        "\u00E9", "\u0416", "\u0436\u0438\u0432\u043E\u0442",
                                        "\u0482", "\u0487", "\u4E2D\u6587",
                                        "\u4DFF", "\u9FFF", "\u00A0",
                                        "\u3000", "\u00BD", "\U0001F600",
                                        "\u042F", "\u0430", "\u045F",
                                        "\u0460", "\u0461", "\u0432\u043E\u0442\u0427"};
  std::minstd_rand random(1);
  const auto below = [&](std::size_t limit) {
    return static_cast<std::size_t>(random() / 7) % limit;
  };
  for (const auto& [pattern, regex] : pattern_texts) {
    const Expression expression(regex);
    for (int repeat = 0; repeat < 200; ++repeat) {
      std::string text;
      // Many texts have few kinds of parts, so that long runs occur too.
      const std::size_t kinds = 1 + below(std::size(parts));
      const std::size_t first = below(std::size(parts));
      while (text.size() < 400) text += parts[(first + below(kinds)) % std::size(parts)];
      Pieces expected;
      ExpressionMatcher matcher(expression);
      matcher.start(text, std::string_view::npos);
      while (const auto match = matcher.next())
        expected.emplace_back(text.substr(match->begin, match->end - match->begin));
      ASSERT_EQ(split(pattern, text), expected) << regex << " on " << text;
    }
  }
}

TEST(Split, NoneIsOnePiece) {
  EXPECT_EQ(split(SplitPattern::none, "a b\n c"), Pieces{"a b\n c"});
}

TEST(Split, Contractions) {
  EXPECT_EQ(split(SplitPattern::gpt2, "I'll I'LL"), (Pieces{"I", "'ll", " I", "'", "LL"}));
  EXPECT_EQ(split(SplitPattern::llama3, "I'll I'LL"), (Pieces{"I", "'ll", " I", "'LL"}));
  EXPECT_EQ(split(SplitPattern::o200k, "I'll I'LL"), (Pieces{"I'll", " I'LL"}));
  EXPECT_EQ(split(SplitPattern::llama3, "a'\u017Fx"), (Pieces{"a", "'\u017F", "x"}));
  EXPECT_EQ(split(SplitPattern::gpt2, "a'\u017Fx"), (Pieces{"a", "'", "\u017Fx"}));
  EXPECT_EQ(split(SplitPattern::llama3, "a'l"), (Pieces{"a", "'l"}));
  EXPECT_EQ(split(SplitPattern::o200k, "a'"), (Pieces{"a", "'"}));
}

TEST(Split, Numbers) {
  EXPECT_EQ(split(SplitPattern::gpt2, "x 12345"), (Pieces{"x", " 12345"}));
  EXPECT_EQ(split(SplitPattern::llama3, "x 12345"), (Pieces{"x", " ", "123", "45"}));
  EXPECT_EQ(split(SplitPattern::qwen2, "x 123"), (Pieces{"x", " ", "1", "2", "3"}));
  EXPECT_EQ(split(SplitPattern::o200k, "1\u00B2\u00BD\u0663"), (Pieces{"1\u00B2\u00BD", "\u0663"}));
}

TEST(Split, WhiteSpace) {
  EXPECT_EQ(split(SplitPattern::gpt2, "a   b"), (Pieces{"a", "  ", " b"}));
  EXPECT_EQ(split(SplitPattern::gpt2, "a\n\nb"), (Pieces{"a", "\n", "\n", "b"}));
  EXPECT_EQ(split(SplitPattern::llama3, "a\n\nb"), (Pieces{"a", "\n\n", "b"}));
  EXPECT_EQ(split(SplitPattern::llama3, "a \n \n  b"), (Pieces{"a", " \n \n", " ", " b"}));
  EXPECT_EQ(split(SplitPattern::llama3, "a\n  "), (Pieces{"a", "\n", "  "}));
  EXPECT_EQ(split(SplitPattern::llama3, "\u3000\u3000\u00A0a"), (Pieces{"\u3000\u3000", "\u00A0a"}));
  EXPECT_EQ(split(SplitPattern::o200k, "!/\n/a"), (Pieces{"!/\n/", "a"}));
}

// If o200k's head and tail share characters, the expression backtracks.
TEST(Split, CasedWords) {
  EXPECT_EQ(split(SplitPattern::o200k, "fooBarBAZqux"), (Pieces{"foo", "Bar", "BAZqux"}));
  EXPECT_EQ(split(SplitPattern::o200k, "AB\u4E2DCD"), (Pieces{"AB\u4E2D", "CD"}));
  EXPECT_EQ(split(SplitPattern::o200k, "\u0301ABC"), (Pieces{"\u0301", "ABC"}));
  EXPECT_EQ(split(SplitPattern::o200k, "\u0301ABc"), (Pieces{"\u0301ABc"}));
  EXPECT_EQ(split(SplitPattern::o200k, "!ABC"), (Pieces{"!ABC"}));
  EXPECT_EQ(split(SplitPattern::o200k, "\u0436\u0438\u0432\u043E\u0442\u0416\u0418\u0432\u043E\u0442 "),
            (Pieces{"\u0436\u0438\u0432\u043E\u0442", "\u0416\u0418\u0432\u043E\u0442", " "}));
}

TEST(Split, InvalidBytesAreSymbols) {
  EXPECT_EQ(split(SplitPattern::qwen2, "1\xE4\xB8 2\xFF"), (Pieces{"1", "\xE4\xB8", " ", "2", "\xFF"}));
  EXPECT_EQ(split(SplitPattern::gpt2, "a\xFF\xFE z"), (Pieces{"a", "\xFF\xFE", " z"}));
  // One byte, not one maximal subpart, may precede a word.
  EXPECT_EQ(split(SplitPattern::llama3, "a\xE4\xB8z"), (Pieces{"a", "\xE4\xB8", "z"}));
  EXPECT_EQ(split(SplitPattern::llama3, "a\xFFz"), (Pieces{"a", "\xFFz"}));
}

// A quadratic splitter would need hours for these.
TEST(Split, LongRunsTakeLinearTime) {
  constexpr std::size_t size = 300'000;
  const auto repeat = [](std::string_view part) {
    std::string text;
    while (text.size() < size) {
      text += part;
    }
    return text;
  };
  for (const std::string_view part :
       {" ",       "\n", "\n ", "\u3000", "A", "a",  "Aa", "\u4E2D", "A\u4E2D", "\u0301",
        "\u0301A", "!",  "/",   "!\n",    "'", "'s", "1",  "\u00BD", "\xE4",    "\xF0\x9F"}) {
    const std::string text = repeat(part);
    for (const std::string& whole : {text, text + "B", "\n" + text + "\nb", "!" + text + "1"}) {
      for (const auto& [name, pattern] : patterns) {
        std::size_t last = 0;
        for_each_pretoken(whole, next_pretokens(pattern), [&](std::size_t begin, std::size_t end) {
          if (begin >= end) ADD_FAILURE() << name;
          last = end;
        });
        ASSERT_EQ(last, whole.size()) << name;
      }
    }
  }
}

TEST(SafeCut, FindsTheLastSafePlace) {
  EXPECT_EQ(safe_cut(""), 0U);
  EXPECT_EQ(safe_cut("word"), 0U);
  EXPECT_EQ(safe_cut("two words"), 3U);
  EXPECT_EQ(safe_cut("line\nline"), 5U);
  EXPECT_EQ(safe_cut("line\n"), 4U);
  EXPECT_EQ(safe_cut("a\n\nb"), 1U);  // gpt2 divides the line feeds only when it sees what follows
  EXPECT_EQ(safe_cut("a!\n"), 1U);    // the line feed belongs to the mark in some patterns only
  EXPECT_EQ(safe_cut("a'"), 0U);      // a contraction may follow
  EXPECT_EQ(safe_cut("    "), 0U);
  EXPECT_EQ(safe_cut("\u4E2D\u6587\u3002\n\u4E2D"), 10U);
  EXPECT_EQ(safe_cut("a\n\xE3\x80"), 1U);
  EXPECT_EQ(safe_cut("abc\xE3\x80"), 0U);  // may become white space, a letter or anything else
}

TEST(SafeCut, BothSidesSplitAsTheWhole) {
  std::size_t found = 0;
  for (const auto& entry : golden()) {
    const auto whole = entry.at("text").get<std::string>();
    for (std::size_t size = 0; size <= whole.size(); ++size) {
      const std::size_t cut = safe_cut(std::string_view(whole).substr(0, size));
      ASSERT_TRUE(cut < size || size == 0);
      found += cut > 0 ? 1 : 0;
      for (const auto& [name, pattern] : patterns) {
        Pieces parts = split(pattern, std::string_view(whole).substr(0, cut));
        for (std::string& piece : split(pattern, std::string_view(whole).substr(cut))) {
          parts.push_back(std::move(piece));
        }
        EXPECT_EQ(parts, split(pattern, whole)) << name << ' ' << entry.at("text") << " cut at " << cut;
      }
    }
  }
  EXPECT_GE(found, 500U);
}

}  // namespace
}  // namespace mslt

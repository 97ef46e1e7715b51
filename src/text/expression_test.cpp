// Tests of the expression engine; expected values are Oniguruma's, obtained through the tokenizers package.
#include "text/expression.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "mslt/error.h"

namespace mslt {
namespace {

using Strings = std::vector<std::string>;

// The text split into matches and the parts between.
Strings pieces(std::string_view pattern, std::string_view text) {
  const Expression expression(pattern);
  ExpressionMatcher matcher(expression);
  matcher.start(text);
  Strings result;
  std::size_t previous = 0;
  const auto add = [&](std::size_t begin, std::size_t end) {
    if (end > begin) result.emplace_back(text.substr(begin, end - begin));
  };
  while (const auto match = matcher.next()) {
    add(previous, match->begin);
    add(match->begin, match->end);
    previous = match->end;
  }
  add(previous, text.size());
  return result;
}

TEST(Expression, MatchesAsOnigurumaDoes) {
  struct Case {
    std::string_view pattern;
    std::string_view text;
    Strings expected;
  };
  const std::vector<Case> cases = {
      {R"(\p{N}{1,3}+)", "1234567 12", {"1234567", " ", "12"}},
      {R"(\p{N}{2}?)", "1234567", {"12", "34", "56", "7"}},
      {R"((?i:[sdmt]|ll))", "a \u017F S K ll LL", {"a ", "\u017F", " ", "S", " K ", "ll", " ", "LL"}},
      {R"((?i:k))", "k K \u212A", {"k", " ", "K", " ", "\u212A"}},
      {"a$", "a\na", {"a", "\n", "a"}},
      {"^a", "a\na", {"a", "\n", "a"}},
      {".", "a\n\r\u2028", {"a", "\n", "\r", "\u2028"}},
      {"[a-z&&[^b]]", "abc", {"a", "b", "c"}},
      {R"([^\s\p{L}&&[^b]])", "abc 1", {"a", "b", "c ", "1"}},
      {"[[:punct:]]", "!$+\u00AB", {"!", "$", "+", "\u00AB"}},
      {R"(\p{^L})", "a1", {"a", "1"}},
      {R"(\p{lu})", "aA", {"a", "A"}},
      {"(?<=a)b", "ab b", {"a", "b", " b"}},
      {R"(\bx)", "x ax", {"x", " ax"}},
      {R"(a\Z)", "a\na\n", {"a\n", "a", "\n"}},
      {"a*", "baac", {"b", "aa", "c"}},
      {"(?:a|b*)c", "bbc", {"bbc"}},
      {"(?>a|ab)c", "abc ac", {"abc ", "ac"}},
      {"a++a", "aaa", {"aaa"}},
      {"a*?b", "aab", {"aab"}},
      {"a{,2}", "aaa", {"aa", "a"}},
      {"a{x}", "a{x}", {"a{x}"}},
      {"[]a]", "]a", {"]", "a"}},
      {R"([\w-])", "a-", {"a", "-"}},
      {R"(\p{Han}+)", "\u6F22\u5B57a", {"\u6F22\u5B57", "a"}},
      {R"(\u0041|\x42|\x{43})", "ABC", {"A", "B", "C"}},
      {R"(\p{N}{1,3}(?=(?:\p{N}{3})*(?:\P{N}|$)))",
       "1234567 89 1000x",
       {"1", "234", "567", " ", "89", " ", "1", "000", "x"}},
      {R"((?=(\d{3})+(?!\d)))", "1234567 89 1000x", {"1", "234", "567 89 1", "000x"}},
      {R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)",
       "I'VE 12345 '\u017Fx  ok!!\r\n\n  end",
       {"I", "'VE", " ", "12", "34", "5", " '", "\u017Fx", " ", " ok", "!!\r\n\n", " ", " end"}},
  };
  for (const Case& one : cases) EXPECT_EQ(pieces(one.pattern, one.text), one.expected) << one.pattern;
}

TEST(Expression, BytesThatAreNoTextAreSymbols) {
  EXPECT_EQ(pieces(R"(\p{L}+)",
                   "ab\xFF"
                   "c\xE4\xB8"),
            (Strings{"ab", "\xFF", "c", "\xE4\xB8"}));
  EXPECT_EQ(pieces(R"([^\s\p{L}\p{N}])", "\xE4\xB8"), (Strings{"\xE4", "\xB8"}));
}

TEST(Expression, TakesLinearTimeWhereBacktrackingAloneWouldNot) {
  // Each of these takes quadratic or exponential time without remembering failures.
  const std::string spaces = std::string(200'000, ' ') + "x";
  EXPECT_EQ(pieces(R"(\s+$)", spaces).size(), 1u);
  EXPECT_EQ(pieces(R"(\s*[\r\n]+)", spaces).size(), 1u);
  EXPECT_EQ(pieces(R"(\s++y)", spaces).size(), 1u);
  EXPECT_EQ(pieces("(?:a|aa)+$", std::string(50'000, 'a') + "b").size(), 1u);
  EXPECT_EQ(pieces("(?:a*a*a*)b|c", std::string(50'000, 'a')).size(), 1u);
  EXPECT_EQ(pieces(R"(\p{N}{1,3}(?=(?:\p{N}{3})*(?:\P{N}|$)))", std::string(60'000, '1')).size(), 20'000u);
}

TEST(Expression, NamesWhatIsNotSupported) {
  const auto error_of = [](std::string_view pattern) -> std::string {
    try {
      const Expression expression(pattern);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::input);
      return error.what();
    }
    ADD_FAILURE() << pattern;
    return "";
  };
  for (const char* pattern : {"(",       ")",      "[",        "[a",      "a)",
                              "(?:a",    "*",      R"((a)\1)", R"(\X)",   R"(\p{Klingon})",
                              R"(\p)",   "(?s:.)", "(?<=ab)c", "[b-a]",   R"([a-\d])",
                              "(a?)*",   "a{2,1}", "a{1001}",  "(?i:ss)", "(?i:\u00E9)",
                              R"(\u12)", "a\xFF",  "(?#"}) {
    EXPECT_FALSE(error_of(pattern).empty()) << pattern;
  }
  EXPECT_NE(error_of(R"(x\p{Klingon})").find("Klingon"), std::string::npos);
  EXPECT_NE(error_of(std::string(200, '(')).find("64"), std::string::npos);
  EXPECT_NE(error_of("(?:(?:a{1000}){1000}){1000}").find("too large"), std::string::npos);
}

TEST(Expression, KnowsWhatMayStandInAMatch) {
  const Expression words(R"( ?\p{L}+|\s*[\r\n]+)");
  EXPECT_TRUE(words.may_join(' ', 'a'));
  EXPECT_TRUE(words.may_join('a', 'b'));
  EXPECT_FALSE(words.may_join('a', ' '));
  EXPECT_FALSE(words.may_join('\n', 'a'));
  EXPECT_TRUE(words.may_join(' ', '\n'));
  EXPECT_FALSE(words.looks_back());
  EXPECT_TRUE(Expression(R"(\bx)").looks_back());
}

TEST(Expression, SaysFromWhereTheTextMattered) {
  const Expression expression(R"(\s+(?!\S)|\S+)");
  ExpressionMatcher matcher(expression);
  matcher.start("ab cd  ", 7);
  const auto first = matcher.next();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->end, 2u);
  EXPECT_FALSE(matcher.reached());
  while (matcher.next()) {
  }
  EXPECT_EQ(matcher.reached(), 5u);
}

}  // namespace
}  // namespace mslt

// Tokens and their positions.
#include "mslc/lexer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace mslt::mslc {
namespace {

std::vector<Token> tokens_of(std::string_view text) {
  Diagnostics diagnostics;
  std::vector<Token> tokens = lex(text, "t.metal", diagnostics);
  EXPECT_EQ(diagnostics.text(), "");
  return tokens;
}

TEST(Lexer, GivesPlacesOfTokens) {
  const std::vector<Token> tokens = tokens_of("a /* b\n c */ += d;\n  // e\n\tf");
  ASSERT_EQ(tokens.size(), 5U);
  EXPECT_EQ(tokens[1].text, "+=");
  EXPECT_EQ(tokens[1].at.line, 2U);
  EXPECT_EQ(tokens[1].at.column, 7U);
  EXPECT_EQ(tokens[4].text, "f");
  EXPECT_EQ(tokens[4].at.line, 4U);
  EXPECT_EQ(tokens[4].at.column, 2U);
  EXPECT_TRUE(tokens[4].space_before);
  EXPECT_FALSE(tokens[3].space_before);
}

TEST(Lexer, TellsIntegersFromFloatingNumbers) {
  const std::vector<Token> tokens = tokens_of("1 0x1F 1u 1'000 1.0f .5h 1e-3f 0x1p-2f 1.");
  const std::vector<TokenKind> expected = {TokenKind::integer,  TokenKind::integer,  TokenKind::integer,
                                           TokenKind::integer,  TokenKind::floating, TokenKind::floating,
                                           TokenKind::floating, TokenKind::floating, TokenKind::floating};
  ASSERT_EQ(tokens.size(), expected.size());
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    EXPECT_EQ(tokens[i].kind, expected[i]) << tokens[i].text;
  }
}

TEST(Lexer, KeepsClosingAnglesApart) {
  const std::vector<Token> tokens = tokens_of("a<b<c>>d << e >= f");
  ASSERT_EQ(tokens.size(), 12U);
  EXPECT_EQ(tokens[5].text, ">");
  EXPECT_EQ(tokens[6].text, ">");
  EXPECT_EQ(tokens[8].text, "<<");
  EXPECT_EQ(tokens[10].text, ">=");
}

TEST(Lexer, TakesDirectivesWhole) {
  const std::vector<Token> tokens = tokens_of("#define A \\\n  b\nc #");
  ASSERT_EQ(tokens.size(), 3U);
  EXPECT_EQ(tokens[0].kind, TokenKind::directive);
  EXPECT_EQ(tokens[0].text, "#define A \\\n  b");
  EXPECT_EQ(tokens[1].at.line, 3U);
  EXPECT_EQ(tokens[2].kind, TokenKind::punctuation);
}

TEST(Lexer, KeepsEscapedQuotesInsideStrings) {
  const std::vector<Token> tokens = tokens_of(R"("a\"b" 'c')");
  ASSERT_EQ(tokens.size(), 2U);
  EXPECT_EQ(tokens[0].text, R"("a\"b")");
  EXPECT_EQ(tokens[1].kind, TokenKind::character);
}

TEST(Lexer, SurvivesTruncatedText) {
  const std::string text = "kernel void k(device float* x [[buffer(0)]]) { /* a */ x[0] = 1.5e-3f; } // \"b\" 'c' \\";
  for (std::size_t size = 0; size <= text.size(); ++size) {
    Diagnostics diagnostics;
    for (const Token& token : lex(std::string_view(text).substr(0, size), "t.metal", diagnostics)) {
      EXPECT_LE(token.text.data() + token.text.size(), text.data() + size);
    }
  }
}

}  // namespace
}  // namespace mslt::mslc

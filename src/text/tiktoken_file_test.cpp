// Tests of reading .tiktoken files and of turning ranks into merges.
#include "text/tiktoken_file.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "mslt/error.h"

namespace mslt {
namespace {

std::string base64(std::string_view bytes) {
  constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t bits = 0;
    for (std::size_t j = 0; j < 3; ++j) {
      bits = (bits << 8) | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    }
    for (int j = 3; j >= 0; --j) text.push_back(alphabet[(bits >> (6 * j)) & 63]);
    for (std::size_t j = bytes.size() - i; j < 3; ++j) text[text.size() - 3 + j] = '=';
  }
  return text;
}

std::string file_of(const std::vector<std::string>& tokens) {
  std::string text;
  for (std::size_t i = 0; i < tokens.size(); ++i) text += fmt::format("{} {}\n", base64(tokens[i]), i);
  return text;
}

// The bytes from 255 down to 0, so that ids differ from bytes, followed by `more`.
std::vector<std::string> with_bytes(const std::vector<std::string>& more) {
  std::vector<std::string> tokens;
  for (int byte = 255; byte >= 0; --byte) tokens.emplace_back(1, static_cast<char>(byte));
  tokens.insert(tokens.end(), more.begin(), more.end());
  return tokens;
}

std::string error_of(std::string_view text) {
  try {
    make_tables(parts_from_tiktoken(text, SplitPattern::llama3, "ranks.tiktoken"), "ranks.tiktoken");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    EXPECT_NE(std::string_view(error.what()).find("ranks.tiktoken"), std::string_view::npos);
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

std::filesystem::path write_temporary(std::string_view text) {
  const std::filesystem::path path =
      std::filesystem::path(testing::TempDir()) /
      (std::string("mslt_test_") + testing::UnitTest::GetInstance()->current_test_info()->name() + ".tiktoken");
  write_file(path, text);
  return path;
}

TEST(TiktokenFile, EncodesByRank) {
  const auto path = write_temporary(file_of(with_bytes({"he", "ll", "llo", "hello", " wor"})));
  const Tokenizer tokenizer = Tokenizer::load(path, SplitPattern::gpt2);
  EXPECT_EQ(tokenizer.vocab_size(), 261u);
  EXPECT_EQ(tokenizer.encode("hello"), std::vector<TokenId>{259});
  EXPECT_EQ(tokenizer.encode("hell"), (std::vector<TokenId>{256, 257}));
  // " wor" cannot be made from any pair, but is a pre-token as a whole.
  EXPECT_EQ(tokenizer.encode(" wor"), std::vector<TokenId>{260});
  EXPECT_EQ(tokenizer.encode(" work").size(), 5u);
  EXPECT_TRUE(tokenizer.special_tokens().empty());
  EXPECT_EQ(Tokenizer::from_json(tokenizer.to_json(), "again").encode("hello wor work"),
            tokenizer.encode("hello wor work"));
}

TEST(TiktokenFile, LineEndsAndEmptyLinesDoNotMatter) {
  std::string text = file_of(with_bytes({"ab"}));
  text.pop_back();
  std::string other;
  for (const char character : text) other += character == '\n' ? std::string("\r\n\n") : std::string(1, character);
  EXPECT_EQ(parts_from_tiktoken(other, SplitPattern::none, "x").tokens,
            parts_from_tiktoken(text, SplitPattern::none, "x").tokens);
}

TEST(TiktokenFile, OneRuleForEachReachableToken) {
  const auto rules = merges_from_ranks(with_bytes({"aa", "aaa", "aaaa"}));
  ASSERT_EQ(rules.size(), 3u);
  const auto is = [](const MergeRule& rule, TokenId left, TokenId right, TokenId result) {
    return rule.left == left && rule.right == right && rule.result == result && rule.rank == result;
  };
  EXPECT_TRUE(is(rules[0], 255 - 'a', 255 - 'a', 256));
  EXPECT_TRUE(is(rules[1], 256, 255 - 'a', 257));
  EXPECT_TRUE(is(rules[2], 256, 256, 258));
}

TEST(TiktokenFile, EveryPairWhereATokenIsUnreachable) {
  // "abcd" has the lowest rank, so it is reachable only through tokens of higher ranks: as abc+d or ab+cd.
  const auto rules = merges_from_ranks(with_bytes({"abcd", "ab", "cd", "abc"}));
  EXPECT_EQ(std::count_if(rules.begin(), rules.end(), [](const auto& rule) { return rule.result == 256; }), 2);
}

TEST(TiktokenFile, KnownFamiliesGetTheirSpecialTokens) {
  std::vector<std::string> more;
  for (int i = 0; more.size() < 100000; ++i) more.push_back(fmt::format("x{}", i));
  const auto parts = parts_from_tiktoken(file_of(with_bytes(more)), SplitPattern::llama3, "x");
  EXPECT_EQ(parts.tokens.size(), 100277u);
  ASSERT_EQ(parts.added.size(), 5u);
  EXPECT_EQ(parts.added[0].text, "<|endoftext|>");
  EXPECT_EQ(parts.added[0].id, 100257u);
  EXPECT_TRUE(parts.tokens[100256].empty());
}

TEST(TiktokenFile, RanksMayBeLeftOut) {
  std::string text = file_of(with_bytes({"he", "ll"}));
  text += base64("hell") + " 300\n";
  const auto path = write_temporary(text);
  const std::vector<SpecialToken> special = {{"<|end|>", 299}, {"<|late|>", 310}};
  const Tokenizer tokenizer = Tokenizer::load(path, SplitPattern::gpt2, special);
  EXPECT_EQ(tokenizer.vocab_size(), 311u);
  EXPECT_EQ(tokenizer.encode("hell"), std::vector<TokenId>{300});
  EXPECT_EQ(tokenizer.encode("<|end|>", SpecialTokens::parse), std::vector<TokenId>{299});
  EXPECT_FALSE(tokenizer.has_token(280));
  std::size_t without_token = 0;
  EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{256, 280, 5000, 257}, false, &without_token), "hell");
  EXPECT_EQ(without_token, 2u);
  EXPECT_EQ(Tokenizer::from_json(tokenizer.to_json(), "again").to_json(), tokenizer.to_json());
  const auto error_with = [&](SpecialToken token) {
    try {
      static_cast<void>(Tokenizer::load(path, SplitPattern::gpt2, std::vector<SpecialToken>{std::move(token)}));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_NE(error_with({"<x>", 300}).find("300"), std::string::npos);
  EXPECT_NE(error_with({"<x>", 4000000000u}).find("4000000000"), std::string::npos);
}

TEST(TiktokenFile, P50kBaseIsKnownByItsCount) {
  std::vector<std::string> more;
  for (int i = 0; more.size() < 50000; ++i) more.push_back(fmt::format("x{}", i));
  std::string text = file_of(with_bytes(more));
  for (int i = 2; i < 26; ++i)
    text += base64(std::string(static_cast<std::size_t>(i), ' ')) + fmt::format(" {}\n", 50255 + i);
  const auto parts = parts_from_tiktoken(text, SplitPattern::gpt2, "x");
  EXPECT_EQ(parts.tokens.size(), 50281u);
  ASSERT_EQ(parts.added.size(), 1u);
  EXPECT_EQ(parts.added[0].id, 50256u);
  const std::vector<SpecialToken> own = {{"<|fim|>", 50256}};
  EXPECT_EQ(parts_from_tiktoken(text, SplitPattern::gpt2, "x", own).added[0].text, "<|fim|>");
}

TEST(TiktokenFile, NeedsItsPatternSaid) {
  const auto path = write_temporary(file_of(with_bytes({})));
  try {
    static_cast<void>(Tokenizer::load(path));
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    EXPECT_NE(std::string(error.what()).find("llama3"), std::string::npos);
  }
}

TEST(TiktokenFile, RejectsWhatIsNotRight) {
  const std::string good = file_of(with_bytes({}));
  EXPECT_NE(error_of(good + "YWI\n").find("line 257"), std::string::npos);
  EXPECT_NE(error_of(good + "YWI 256\n").find("line 257"), std::string::npos);
  EXPECT_NE(error_of(good + "Y=I= 256\n").find("line 257"), std::string::npos);
  EXPECT_NE(error_of(good + "YWI= \n").find("line 257"), std::string::npos);
  EXPECT_NE(error_of(good + "YWI= -1\n").find("line 257"), std::string::npos);
  EXPECT_NE(error_of(good + "YWI= 99999999999\n").find("line 257"), std::string::npos);
  EXPECT_NE(error_of(good + "YWI= 70000\n").find("70000 is out of range"), std::string::npos);
  EXPECT_NE(error_of(good + "YWI= 255\n").find("255 is given twice"), std::string::npos);
  EXPECT_NE(error_of(good + "YQ== 256\n").find("same token"), std::string::npos);
  EXPECT_NE(error_of(good + base64(std::string(1025, 'a')) + " 256\n").find("1025 bytes"), std::string::npos);
  EXPECT_NE(error_of("YWI= 0\n").find("0x00"), std::string::npos);
}

TEST(TiktokenFile, IsToldFromOtherFiles) {
  EXPECT_TRUE(looks_like_tiktoken("IQ== 0\n"));
  EXPECT_FALSE(looks_like_tiktoken("{\"version\": \"1.0\"}"));
  EXPECT_FALSE(looks_like_tiktoken(""));
  EXPECT_FALSE(
      looks_like_tiktoken("\x7F"
                          "ELF"));
}

}  // namespace
}  // namespace mslt

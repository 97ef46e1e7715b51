// Tests of special tokens on the command line.
#include "cli/special_tokens.h"

#include <gtest/gtest.h>

#include "mslt/error.h"

namespace mslt::cli {
namespace {

TEST(SpecialTokens, AreNamesAndIds) {
  const auto tokens = parse_special_tokens({"<|endoftext|>=50256", "a=b=7"});
  ASSERT_EQ(tokens.size(), 2u);
  EXPECT_EQ(tokens[0].text, "<|endoftext|>");
  EXPECT_EQ(tokens[0].id, 50256u);
  EXPECT_EQ(tokens[1].text, "a=b");
  EXPECT_EQ(tokens[1].id, 7u);
}

TEST(SpecialTokens, OtherTextsAreNamed) {
  for (const char* text : {"", "x", "=5", "x=", "x=5y", "x=-1", "x=99999999999"}) {
    try {
      parse_special_tokens({text});
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace mslt::cli

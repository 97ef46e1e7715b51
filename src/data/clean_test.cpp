// Tests of the cleaning steps, whole and cut into pieces everywhere.
#include "data/clean.h"

#include <gtest/gtest.h>

#include "data/test_files.h"
#include "text/lowercase_table.h"

namespace mslt {
namespace {

using test::clean;

TEST(Clean, WhitespaceFollowsItsDescription) {
  const std::vector<std::string> steps = {"whitespace"};
  EXPECT_EQ(clean("a\r\nb\rc\nd", steps), "a\nb\nc\nd");
  EXPECT_EQ(clean("a \t  b\tc", steps), "a b c");
  EXPECT_EQ(clean("a  \t\nb   ", steps), "a\nb");
  EXPECT_EQ(clean("  a\n\t b", steps), " a\n b");
  EXPECT_EQ(clean("a\n\n\n\nb\n \n\t\n  \nc", steps), "a\n\nb\n\nc");
  EXPECT_EQ(clean("\n\n\na\n\n\n", steps), "\na\n\n");
  EXPECT_EQ(clean("a\r\n\r\n\r\nb\r\r\rc", steps), "a\n\nb\n\nc");
  EXPECT_EQ(clean(std::string_view("a\0\x01\x1F\x7F"
                                   "b \x02 c\r\x03\nd",
                                   15),
                  steps),
            "ab c\nd");
  EXPECT_EQ(clean("a\u0080\u0085\u009Fb\u00A0c\u00BF", steps), "ab\u00A0c\u00BF");
  EXPECT_EQ(clean("a\xC2", steps), "a\xC2");
  EXPECT_EQ(clean("a \xC2z\xFF\x80", steps), "a \xC2z\xFF\x80");
  EXPECT_EQ(clean("\u3000a\u2028b", steps), "\u3000a\u2028b");
  EXPECT_EQ(clean("", steps), "");
  EXPECT_EQ(clean(" \t ", steps), "");
}

TEST(Clean, LowercaseIsTheSimpleMapping) {
  const std::vector<std::string> steps = {"lowercase"};
  EXPECT_EQ(clean("AZ az [@", steps), "az az [@");
  EXPECT_EQ(clean("ÀÞß×÷ŸĀāĹĺ", steps), "àþß×÷ÿāāĺĺ");
  EXPECT_EQ(clean("ΑΣΩ ЀЯ ԱՖ ႠᲐ Ꭰ", steps), "ασω ѐя աֆ ⴀა ꭰ");
  EXPECT_EQ(clean("\u0130\u01C4\u01C5\u01C6\u1E9E\u2126\u212A", steps), "i\u01C6\u01C6\u01C6\u00DF\u03C9k");
  EXPECT_EQ(clean("\U00010400\U00010427\U00010428\U0001E900\U00010D50", steps),
            "\U00010428\U0001044F\U00010428\U0001E922\U00010D70");
  EXPECT_EQ(clean("A\xFF\xC3(\xED\xA0\x80\xF0\x9F", steps), "a\xFF\xC3(\xED\xA0\x80\xF0\x9F");
}

TEST(Clean, LowercaseTableIsInOrderAndComplete) {
  std::size_t mappings = 0;
  char32_t end = 0;
  for (std::size_t i = 0; i < lowercase_range_count; ++i) {
    const LowercaseRange& range = lowercase_ranges[i];
    EXPECT_GE(range.first, end);
    EXPECT_EQ((range.last - range.first) % static_cast<char32_t>(range.step), 0U);
    mappings += (range.last - range.first) / static_cast<char32_t>(range.step) + 1;
    end = range.last + 1;
  }
  EXPECT_EQ(mappings, 1488U);  // what Unicode 17.0 has
}

TEST(Clean, NfcComposes) {
  EXPECT_EQ(clean("e\u0301 o\u0323\u0302 \u1100\u1161\u11A8 x", {"nfc"}), "\u00E9 \u1ED9 \uAC01 x");
}

TEST(Clean, StepsApplyInTheOrderGiven) {
  // U+212B, the sign for angstrom, has a lowercase form of its own only after NFC makes U+00C5 of it; both give U+00E5.
  EXPECT_EQ(clean("E\u0301  A", {"nfc", "lowercase", "whitespace"}), "\u00E9 a");
  // Lowercase makes an i of U+0130, which NFC then joins with the accent; the other way round they stay apart.
  EXPECT_EQ(clean("\u0130\u0301", {"lowercase", "nfc"}), "\u00ED");
  EXPECT_EQ(clean("\u0130\u0301", {"nfc", "lowercase"}), "i\u0301");
}

TEST(Clean, PiecesGiveWhatTheWholeGives) {
  const std::string text =
      "\xEF\xBB\xBF \t A\r\n\r\n\r\n\r\nE\u0301 \u0085\u0130\u0301  \xC2\xC2\u00A0 \U00010400\xF0\x9F\n\n \n\nzz  \r\r";
  const std::vector<std::vector<std::string>> recipes = {{"whitespace"},
                                                         {"lowercase"},
                                                         {"nfc"},
                                                         {"whitespace", "lowercase", "nfc"},
                                                         {"nfc", "lowercase", "whitespace"},
                                                         {}};
  for (const auto& steps : recipes) {
    const std::string whole = clean(text, steps);
    Cleaner cleaner(steps);  // used for one document after another
    for (std::size_t first = 0; first <= text.size(); ++first) {
      for (std::size_t second = first; second <= text.size(); ++second) {
        std::string output;
        cleaner.push(std::string_view(text).substr(0, first), output);
        cleaner.push(std::string_view(text).substr(first, second - first), output);
        cleaner.push(std::string_view(text).substr(second), output);
        cleaner.finish(output);
        ASSERT_EQ(output, whole) << first << " " << second;
      }
    }
  }
}

TEST(Clean, UnknownAndRepeatedNamesAreRefused) {
  const auto refusal = [](const std::vector<std::string>& steps) {
    return test::error_of(ErrorKind::usage, [&] { clean("", steps); });
  };
  const std::string unknown = refusal({"whitespace", "upper"});
  for (const char* name : {"'upper'", "whitespace", "lowercase", "nfc"}) {
    EXPECT_NE(unknown.find(name), std::string::npos) << unknown;
  }
  refusal({"nfc", ""});
  EXPECT_NE(refusal({"nfc", "nfc"}).find("twice"), std::string::npos);
}

}  // namespace
}  // namespace mslt

// Tests of escapes for untrusted text.
#include "base/printable.h"

#include <gtest/gtest.h>

namespace mslt {
namespace {

TEST(Printable, KeepsTextAndEscapesWhatDisturbsATerminal) {
  EXPECT_EQ(printable("plain, K\u00f6nig, \u738b, \U0001F642"), "plain, K\u00f6nig, \u738b, \U0001F642");
  EXPECT_EQ(printable("a\x1b[31mb\x07"), "a\\x1b[31mb\\x07");
  EXPECT_EQ(printable("a\nb\tc\r"), "a\\nb\\tc\\x0d");
  EXPECT_EQ(printable(std::string_view("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(printable("x\x7f"), "x\\x7f");
  EXPECT_EQ(printable("x\xc2\x9by"), "x\\xc2\\x9by");
  EXPECT_EQ(printable("x\u202ey"), "x\\u{202e}y");
  EXPECT_EQ(printable_lines("a\nb\x1b"), "a\nb\\x1b");
}

TEST(Printable, EscapesWhatIsNotUtf8) {
  EXPECT_EQ(printable("\xff\xfe"), "\\xff\\xfe");
  EXPECT_EQ(printable("\xc3"), "\\xc3");
  EXPECT_EQ(printable("\xe2\x82z"), "\\xe2\\x82z");
  EXPECT_EQ(printable("\xc0\xaf"), "\\xc0\\xaf");
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
}

TEST(Printable, Utf8TextChangesOnlyWhatIsNotUtf8) {
  EXPECT_EQ(utf8_text("a\tb K\u00f6nig"), "a\tb K\u00f6nig");
  EXPECT_EQ(utf8_text("run\xff"), "run\\xff");
}

}  // namespace
}  // namespace mslt

// Decoding, encoding and replacement of UTF-8.
#include "text/utf8.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace mslt {
namespace {

using namespace std::string_view_literals;

std::string replaced(std::string_view text) {
  std::string output;
  if (append_replacing_invalid(text, output) < text.size()) {
    append_utf8(output, replacement_character);
  }
  return output;
}

TEST(Utf8, EveryCodePointComesBackAsItWasEncoded) {
  for (char32_t code_point = 0; code_point <= 0x10FFFF; ++code_point) {
    if (code_point >= 0xD800 && code_point < 0xE000) {
      continue;
    }
    std::string text;
    append_utf8(text, code_point);
    const Utf8Result result = decode_utf8(text + "\x80", 0);
    ASSERT_EQ(result.status, Utf8Status::valid) << static_cast<std::uint32_t>(code_point);
    ASSERT_EQ(result.code_point, code_point);
    ASSERT_EQ(result.length, text.size());
    for (std::size_t length = 1; length < text.size(); ++length) {
      const Utf8Result part = decode_utf8(std::string_view(text).substr(0, length), 0);
      ASSERT_EQ(part.status, Utf8Status::incomplete) << static_cast<std::uint32_t>(code_point);
      ASSERT_EQ(part.length, length);
    }
  }
}

TEST(Utf8, EncodesTheStandardsExamples) {
  std::string text;
  for (const char32_t code_point : {0x4D, 0x430, 0x4E8C, 0x10302}) {
    append_utf8(text, code_point);
  }
  EXPECT_EQ(text, "\x4D\xD0\xB0\xE4\xBA\x8C\xF0\x90\x8C\x82");
}

struct IllFormed {
  std::string_view text;
  Utf8Status status;
  int length;
};

TEST(Utf8, IllFormedTextEndsAtTheMaximalSubpart) {
  const IllFormed cases[] = {
      {"\x80", Utf8Status::invalid, 1},
      {"\xBF\xBF", Utf8Status::invalid, 1},
      {"\xC0\x80", Utf8Status::invalid, 1},          // overlong
      {"\xC1\xBF", Utf8Status::invalid, 1},          // overlong
      {"\xC2", Utf8Status::incomplete, 1},           //
      {"\xC2\x41", Utf8Status::invalid, 1},          //
      {"\xE0\x9F\xBF", Utf8Status::invalid, 1},      // overlong
      {"\xE0\xA0", Utf8Status::incomplete, 2},       //
      {"\xE0\xA0\x41", Utf8Status::invalid, 2},      //
      {"\xED\xA0\x80", Utf8Status::invalid, 1},      // surrogate
      {"\xED\x9F", Utf8Status::incomplete, 2},       //
      {"\xF0\x8F\xBF\xBF", Utf8Status::invalid, 1},  // overlong
      {"\xF0\x90\x80", Utf8Status::incomplete, 3},   //
      {"\xF0\x9F\x98\x41", Utf8Status::invalid, 3},  //
      {"\xF4\x90\x80\x80", Utf8Status::invalid, 1},  // over U+10FFFF
      {"\xF4\x8F\xBF", Utf8Status::incomplete, 3},   //
      {"\xF5\x80\x80\x80", Utf8Status::invalid, 1},  //
      {"\xFF", Utf8Status::invalid, 1},              //
  };
  for (const IllFormed& entry : cases) {
    const Utf8Result result = decode_utf8(entry.text, 0);
    EXPECT_EQ(result.status, entry.status) << testing::PrintToString(entry.text);
    EXPECT_EQ(result.length, entry.length) << testing::PrintToString(entry.text);
    EXPECT_EQ(result.code_point, replacement_character);
  }
}

TEST(Utf8, DecodesAtAPosition) {
  const Utf8Result result = decode_utf8("a\xC3\xA9"sv, 1);
  EXPECT_EQ(result.code_point, 0xE9U);
  EXPECT_EQ(result.length, 2);
}

// The example of the Unicode standard, section 3.9, table 3-8.
TEST(Utf8, ReplacesEachMaximalSubpartOnce) {
  EXPECT_EQ(replaced("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"),
            "a\uFFFD\uFFFD\uFFFD"
            "b\uFFFD"
            "c\uFFFD\uFFFD"
            "d");
  EXPECT_EQ(replaced("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(replaced("x\xF0\x9F\x98"), "x\uFFFD");
}

TEST(Utf8, ReplacementStopsBeforeWhatMayBecomeACharacter) {
  std::string output;
  EXPECT_EQ(append_replacing_invalid("ab\xFF\xF0\x9F\x98", output), 3U);
  EXPECT_EQ(output, "ab\uFFFD");
  EXPECT_EQ(append_replacing_invalid("\xF0\x9F\x98\x80", output), 4U);
  EXPECT_EQ(output, "ab\uFFFD\U0001F600");
}

TEST(Utf8, AGenuineReplacementCharacterIsValid) {
  EXPECT_EQ(decode_utf8("\uFFFD", 0).status, Utf8Status::valid);
}

}  // namespace
}  // namespace mslt

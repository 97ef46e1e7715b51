// NFC against known cases and golden data.
#include "text/normalize.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace mslt {
namespace {

TEST(NormalizeNfc, AgreesWithGoldenSequences) {
  std::ifstream file(MSLT_TEST_DATA "/golden/normalize.json");
  ASSERT_TRUE(file);
  const nlohmann::json entries = nlohmann::json::parse(file);
  ASSERT_GE(entries.size(), 300U);
  for (const auto& entry : entries) {
    const auto text = entry.at("text").get<std::string>();
    const auto expected = entry.at("nfc").get<std::string>();
    EXPECT_EQ(normalize_nfc(text), expected) << entry;
    EXPECT_EQ(normalize_nfc(expected), expected) << entry;
  }
}

TEST(NormalizeNfc, LeavesNormalTextAlone) {
  for (const std::string text :
       {"", "plain ASCII\n", "d\u00E9j\u00E0 vu", "\u4E2D\u6587", "\uAC00\uAC01", "\U0001F600"}) {
    EXPECT_EQ(normalize_nfc(text), text);
  }
}

TEST(NormalizeNfc, Composes) {
  EXPECT_EQ(normalize_nfc("e\u0301"), "\u00E9");
  EXPECT_EQ(normalize_nfc("xe\u0301y"), "x\u00E9y");
  EXPECT_EQ(normalize_nfc("a\u0323\u0302"), "\u1EAD");
  EXPECT_EQ(normalize_nfc("a\u0302\u0323"), "\u1EAD");        // marks change places
  EXPECT_EQ(normalize_nfc("\u00E9\u0323"), "\u1EB9\u0301");   // and so do those of a composite
  EXPECT_EQ(normalize_nfc("a\u0300\u0301"), "\u00E0\u0301");  // the second is blocked
  EXPECT_EQ(normalize_nfc("\u03B1\u0345\u0301"), "\u1FB4");
}

TEST(NormalizeNfc, ReplacesSingletonsAndExclusions) {
  EXPECT_EQ(normalize_nfc("\u212B"), "\u00C5");
  EXPECT_EQ(normalize_nfc("\u2126"), "\u03A9");
  EXPECT_EQ(normalize_nfc("\u0958"), "\u0915\u093C");
  EXPECT_EQ(normalize_nfc("\uF900"), "\u8C48");
}

TEST(NormalizeNfc, Hangul) {
  EXPECT_EQ(normalize_nfc("\u1100\u1161"), "\uAC00");
  EXPECT_EQ(normalize_nfc("\u1100\u1161\u11A8"), "\uAC01");
  EXPECT_EQ(normalize_nfc("\uAC00\u11A8"), "\uAC01");
  EXPECT_EQ(normalize_nfc("\uAC01\u11A8"), "\uAC01\u11A8");
  EXPECT_EQ(normalize_nfc("\uAC00\u11A7"), "\uAC00\u11A7");  // one before the first trailing consonant
  EXPECT_EQ(normalize_nfc("\u1112\u1175\u11C2"), "\uD7A3");
  EXPECT_EQ(normalize_nfc("\u1100\u0301\u1161"), "\u1100\u0301\u1161");
}

// The first scripts, as of Unicode 16, whose composites join backwards although they look complete.
TEST(NormalizeNfc, CompositesThatJoinBackwards) {
  EXPECT_EQ(normalize_nfc("\U00016D63\U00016D68"), "\U00016D6A");
}

TEST(NormalizeNfc, InvalidBytesPassAndSeparate) {
  EXPECT_EQ(normalize_nfc("e\xFF\u0301"), "e\xFF\u0301");
  EXPECT_EQ(normalize_nfc("e\u0301\xF0\x9F"), "\u00E9\xF0\x9F");
  EXPECT_EQ(normalize_nfc("\xE0\xA0"
                          "e\u0301"),
            "\xE0\xA0\u00E9");
}

TEST(NormalizeNfc, ManyMarks) {
  std::string text = "a";
  std::string expected = "\u1EA1";
  for (int i = 0; i < 100'000; ++i) {
    text += "\u0301\u0323";
  }
  for (int i = 1; i < 100'000; ++i) {
    expected += "\u0323";
  }
  for (int i = 0; i < 100'000; ++i) {
    expected += "\u0301";
  }
  EXPECT_EQ(normalize_nfc(text), expected);
}

}  // namespace
}  // namespace mslt

// Tests of distinguishing text from other data.
#include "text/text_check.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "mslt/error.h"

namespace mslt {
namespace {

TEST(TextCheck, LooksForNulInAllOfAFile) {
  const auto path = std::filesystem::path(testing::TempDir()) /
                    (std::string("mslt_text_check_") + testing::UnitTest::GetInstance()->current_test_info()->name());
  const auto reason = [&](const std::string& text) {
    write_file(path, text);
    return why_not_text(path);
  };
  EXPECT_FALSE(reason("text \u00E9\u4E2D"));
  EXPECT_EQ(reason("").value_or("").find("is empty"), 0u);
  const std::string late = std::string(std::size_t{3} << 20, 'a') + std::string(1, '\0') + "b";
  EXPECT_NE(reason(late).value_or("").find("byte 3145728 is NUL"), std::string::npos);
  EXPECT_FALSE(reason("123456789\xE9"));
  EXPECT_NE(reason("12345678\xE9").value_or("").find("1 of its first 9 bytes"), std::string::npos);
  std::filesystem::remove(path);
  EXPECT_FALSE(why_not_text(testing::TempDir()));
}

TEST(TextCheck, PiecesMakeNoDifference) {
  TextCheck check;
  for (const char* piece : {"\xE4", "\xB8", "\xAD", "\xF0\x9F", "\x98\x80"}) EXPECT_FALSE(check.push(piece));
  EXPECT_FALSE(check.finish());
  EXPECT_EQ(check.seen(), 7u);
}

}  // namespace
}  // namespace mslt

// Tests of numbers with their units.
#include "cli/units.h"

#include <gtest/gtest.h>

namespace mslt::cli {
namespace {

TEST(Units, ReadLikePeopleWrite) {
  EXPECT_EQ(format_bytes(512), "512 B");
  EXPECT_EQ(format_bytes(65e6), "65.0 MB");
  EXPECT_EQ(format_count(1776), "1.78 k");
  EXPECT_EQ(format_count(124e6), "124 M");
  EXPECT_EQ(format_duration(0.012), "12 ms");
  EXPECT_EQ(format_duration(4.2), "4.2 s");
  EXPECT_EQ(format_duration(200), "3 min 20 s");
  EXPECT_EQ(format_duration(3720), "1 h 02 min");
}

}  // namespace
}  // namespace mslt::cli

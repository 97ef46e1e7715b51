// Tests of the times of commands: what marks and command buffers make of them.
#include "backend/msl/command_times.h"

#include <gtest/gtest.h>

#include "base/fail.h"

namespace mslt::msl {
namespace {

constexpr std::size_t none = KernelTime::no_operation;

// The device's clock is 1000 s behind; the second batch's end was seen the sooner.
std::vector<TimedBatch> two_batches() {
  return {{{{"first", {}, 0}, {"", {}, none}, {"second", {}, 0}}, {}, 1007.5},
          {{{"third", {.flops = 3.0, .bytes = 4.0}, 1}}, {}, 1010.25}};
}

TEST(CommandTimesTest, LieBetweenMarks) {
  const std::vector<double> marks = {1.0, 2.0, 4.0, 7.0, 9.0, 10.0};
  const std::vector<KernelTime> times = command_times(two_batches(), &marks);
  ASSERT_EQ(times.size(), 3u);
  EXPECT_EQ(times[0].kernel, "first");
  EXPECT_EQ(times[0].begin, 1001.25);
  EXPECT_EQ(times[0].seconds, 1.0);
  EXPECT_EQ(times[0].operation, 0u);
  // The transfer between them is nobody's.
  EXPECT_EQ(times[1].begin, 1004.25);
  EXPECT_EQ(times[1].seconds, 3.0);
  // So is the gap between the command buffers.
  EXPECT_EQ(times[2].begin, 1009.25);
  EXPECT_EQ(times[2].seconds, 1.0);
  EXPECT_EQ(times[2].operation, 1u);
  EXPECT_EQ(times[2].work.flops, 3.0);
}

TEST(CommandTimesTest, TellWhereMarksAreMissing) {
  const std::vector<double> marks = {1.0, 2.0, 4.0, 7.0, 9.0};
  try {
    command_times(two_batches(), &marks);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::device);
    EXPECT_NE(std::string(error.what()).find("times of 5 commands"), std::string::npos) << error.what();
  }
}

// Command buffers that seem to overlap follow each other.
TEST(CommandTimesTest, AreThoseOfCommandBuffersWithoutMarks) {
  const std::vector<TimedBatch> batches = {{{{"first", {}, 0}}, {.gpu_start = 1.0, .gpu_end = 3.0}, 3.5},
                                           {{{"", {}, none}}, {.gpu_start = 3.0, .gpu_end = 4.0}, 5.0},
                                           {{{"second", {}, 1}}, {.gpu_start = 3.5, .gpu_end = 6.0}, 7.0}};
  const std::vector<KernelTime> times = command_times(batches, nullptr);
  ASSERT_EQ(times.size(), 2u);
  EXPECT_EQ(times[0].begin, 1.5);
  EXPECT_EQ(times[0].seconds, 2.0);
  EXPECT_EQ(times[1].begin, 4.5);
  EXPECT_EQ(times[1].seconds, 2.0);
}

TEST(CommandTimesTest, AreNoneWhereNothingRan) {
  const std::vector<double> marks;
  EXPECT_TRUE(command_times({}, &marks).empty());
}

}  // namespace
}  // namespace mslt::msl

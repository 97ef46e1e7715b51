// Tests of the double's own decisions: which commands conflict.
#include "tests/metal_double/ordering.h"

#include <gtest/gtest.h>

namespace mslt::metal_double {
namespace {

const char buffer = 0;
const char fence = 0;

Command command(const char* name, bool writes, std::size_t begin = 0, std::size_t end = 16) {
  return {name, {Access{&buffer, begin, end, writes, false, "data"}}};
}

TEST(OrderingTest, SeesAMissingBarrier) {
  Ordering ordering;
  const std::uint64_t encoder = ordering.begin_encoder();
  ordering.add(encoder, command("first", true));
  ordering.add(encoder, command("second", false, 8, 24));
  const std::vector<std::string> problems = ordering.take_problems();
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0],
            "first writes 'data' [0, 16) while second reads 'data' [8, 24): there is no barrier between them.");
}

TEST(OrderingTest, AcceptsBarriersAndCommandsThatDoNotMeet) {
  Ordering ordering;
  const std::uint64_t encoder = ordering.begin_encoder();
  ordering.add(encoder, command("first", true));
  ordering.add(encoder, command("second", true, 16, 32));
  ordering.barrier(encoder);
  ordering.add(encoder, command("third", false));
  ordering.add(encoder, command("fourth", false));
  ordering.end_encoder(encoder);
  EXPECT_TRUE(ordering.take_problems().empty());
}

TEST(OrderingTest, SeesAMissingFence) {
  Ordering ordering;
  const std::uint64_t first = ordering.begin_encoder();
  ordering.add(first, command("first", true));
  ordering.end_encoder(first);
  const std::uint64_t second = ordering.begin_encoder();
  ordering.add(second, command("second", true));
  ordering.end_encoder(second);
  const std::vector<std::string> problems = ordering.take_problems();
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_NE(problems[0].find("no fence"), std::string::npos) << problems[0];
}

TEST(OrderingTest, FollowsAFenceFromEncoderToEncoder) {
  Ordering ordering;
  for (int i = 0; i < 5; ++i) {
    const std::uint64_t encoder = ordering.begin_encoder();
    ordering.wait(encoder, &fence);
    // Every other one does not use the buffer but passes the fence on.
    if (i % 2 == 0) ordering.add(encoder, command("command", true));
    ordering.update(encoder, &fence);
    ordering.end_encoder(encoder);
  }
  EXPECT_TRUE(ordering.take_problems().empty());
}

TEST(OrderingTest, AnUpdateWithoutAWaitForgetsEarlierEncoders) {
  Ordering ordering;
  const std::uint64_t first = ordering.begin_encoder();
  ordering.add(first, command("first", true));
  ordering.update(first, &fence);
  ordering.end_encoder(first);
  const std::uint64_t second = ordering.begin_encoder();
  ordering.update(second, &fence);
  ordering.end_encoder(second);
  const std::uint64_t third = ordering.begin_encoder();
  ordering.wait(third, &fence);
  ordering.add(third, command("third", false));
  ordering.end_encoder(third);
  EXPECT_EQ(ordering.take_problems().size(), 1u);
}

TEST(OrderingTest, WaitingOnTheHostOrdersEverythingBefore) {
  Ordering ordering;
  const std::uint64_t first = ordering.begin_encoder();
  ordering.add(first, command("first", true));
  ordering.end_encoder(first);
  ordering.done_through(first);
  const std::uint64_t second = ordering.begin_encoder();
  ordering.add(second, command("second", true));
  ordering.end_encoder(second);
  EXPECT_TRUE(ordering.take_problems().empty());
}

TEST(OrderingTest, SeesFencesUsedTheWrongWayRound) {
  Ordering ordering;
  const std::uint64_t encoder = ordering.begin_encoder();
  ordering.update(encoder, &fence);
  ordering.wait(encoder, &fence);
  EXPECT_EQ(ordering.take_problems().size(), 1u);
  ordering.add(encoder, command("late", false));
  EXPECT_EQ(ordering.take_problems().size(), 1u);
  ordering.wait(encoder, &buffer);
  EXPECT_EQ(ordering.take_problems().size(), 1u);
}

}  // namespace
}  // namespace mslt::metal_double

#include "tensor/planner.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/philox.h"
#include "mslt/error.h"

namespace mslt {
namespace {

TEST(MemoryPlanner, SharesMemoryBetweenTensorsThatNeverMeet) {
  const std::vector<Lifetime> tensors = {{"a", 100, 0, 1}, {"b", 100, 2, 3}, {"c", 50, 0, 3}};
  const MemoryPlanner plan(tensors, 1);
  EXPECT_EQ(plan.bytes(), 150u);
  EXPECT_EQ(plan.peak_bytes(), 150u);
  EXPECT_EQ(plan.offset("a"), plan.offset("b"));
}

TEST(MemoryPlanner, KeepsTensorsApartThatMeetInOneStep) {
  const std::vector<Lifetime> tensors = {{"a", 100, 0, 2}, {"b", 100, 2, 3}};
  const MemoryPlanner plan(tensors, 1);
  EXPECT_EQ(plan.bytes(), 200u);
  EXPECT_NE(plan.offset("a"), plan.offset("b"));
}

TEST(MemoryPlanner, TakesTheSmallestGapThatFits) {
  // After b and d have ended there are gaps of 40 and 20 bytes; e fits both and belongs in the smaller one.
  const std::vector<Lifetime> tensors = {{"a", 100, 0, 9}, {"b", 40, 0, 1}, {"c", 30, 0, 9},
                                         {"d", 20, 0, 1},  {"f", 10, 0, 9}, {"e", 20, 2, 3}};
  const MemoryPlanner plan(tensors, 1);
  EXPECT_EQ(plan.bytes(), plan.peak_bytes());
  EXPECT_EQ(plan.bytes(), 200u);
}

TEST(MemoryPlanner, AlignsOffsetsAndTheTotal) {
  const std::vector<Lifetime> tensors = {{"a", 1, 0, 1}, {"b", 257, 0, 1}, {"c", 0, 0, 1}};
  const MemoryPlanner plan(tensors, 256);
  EXPECT_EQ(plan.bytes(), 768u);
  for (const Lifetime& tensor : tensors) EXPECT_EQ(plan.offset(tensor.name) % 256, 0u);
}

// Random lifetimes: tensors alive together never overlap, nothing passes the end, and the plan is near the lower bound.
TEST(MemoryPlanner, NeverOverlapsLiveTensors) {
  PhiloxStream random(7, 0, 0);
  for (int round = 0; round < 50; ++round) {
    std::vector<Lifetime> tensors;
    const auto count = random.below(60) + 1;
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto first = static_cast<std::int64_t>(random.below(40));
      tensors.push_back(
          {fmt::format("t{}", i), random.below(5000), first, first + static_cast<std::int64_t>(random.below(10))});
    }
    const MemoryPlanner plan(tensors, 64);
    for (const Lifetime& a : tensors) {
      EXPECT_LE(plan.offset(a.name) + a.bytes, plan.bytes());
      for (const Lifetime& b : tensors) {
        if (a.name == b.name || a.last_use < b.first_use || b.last_use < a.first_use) continue;
        if (a.bytes == 0 || b.bytes == 0) continue;
        EXPECT_TRUE(plan.offset(a.name) + a.bytes <= plan.offset(b.name) ||
                    plan.offset(b.name) + b.bytes <= plan.offset(a.name))
            << a.name << " overlaps " << b.name;
      }
    }
    EXPECT_GE(plan.bytes(), plan.peak_bytes());
    EXPECT_LE(static_cast<double>(plan.bytes()), 1.4 * static_cast<double>(plan.peak_bytes()));
  }
}

TEST(MemoryPlanner, PlansNothing) {
  const MemoryPlanner plan({}, 256);
  EXPECT_EQ(plan.bytes(), 0u);
  EXPECT_THROW(plan.offset("a"), Error);
}

TEST(MemoryPlanner, RejectsWhatIsNoSchedule) {
  const std::vector<Lifetime> twice = {{"a", 1, 0, 1}, {"a", 1, 0, 1}};
  EXPECT_THROW(MemoryPlanner(twice, 64), Error);
  const std::vector<Lifetime> backwards = {{"a", 1, 2, 1}};
  EXPECT_THROW(MemoryPlanner(backwards, 64), Error);
  const std::vector<Lifetime> huge = {{"a", SIZE_MAX / 2, 0, 1}, {"b", SIZE_MAX / 2, 0, 1}, {"c", SIZE_MAX / 2, 0, 1}};
  EXPECT_THROW(MemoryPlanner(huge, 64), Error);
}

}  // namespace
}  // namespace mslt

// Tests of which commands must wait.
#include "backend/msl/drivers/metal/hazards.h"

#include <gtest/gtest.h>

#include <array>

namespace mslt::msl::metal {
namespace {

const char first = 0;
const char second = 0;

MemoryAccess reads(const char& memory, std::size_t begin, std::size_t end) {
  return {&memory, begin, end, false};
}

MemoryAccess writes(const char& memory, std::size_t begin, std::size_t end) {
  return {&memory, begin, end, true};
}

bool conflict(MemoryAccess earlier, MemoryAccess later) {
  HazardTracker tracker;
  tracker.record(std::array{earlier});
  return tracker.conflicts(std::array{later});
}

TEST(HazardTrackerTest, LetsReadersRunTogether) {
  EXPECT_FALSE(conflict(reads(first, 0, 64), reads(first, 0, 64)));
}

TEST(HazardTrackerTest, OrdersWritesWithEverythingTheyTouch) {
  EXPECT_TRUE(conflict(writes(first, 0, 64), reads(first, 60, 61)));
  EXPECT_TRUE(conflict(reads(first, 60, 61), writes(first, 0, 64)));
  EXPECT_TRUE(conflict(writes(first, 0, 64), writes(first, 63, 128)));
}

TEST(HazardTrackerTest, LeavesNeighboursAndOtherAllocationsAlone) {
  EXPECT_FALSE(conflict(writes(first, 0, 64), reads(first, 64, 128)));
  EXPECT_FALSE(conflict(writes(first, 64, 128), writes(first, 0, 64)));
  EXPECT_FALSE(conflict(writes(first, 0, 64), reads(second, 0, 64)));
}

TEST(HazardTrackerTest, IgnoresEmptyRanges) {
  EXPECT_FALSE(conflict(writes(first, 0, 64), reads(first, 16, 16)));
  EXPECT_FALSE(conflict(writes(first, 16, 16), reads(first, 0, 64)));
}

TEST(HazardTrackerTest, ComparesEveryAccessOfEveryCommandUntilABarrier) {
  HazardTracker tracker;
  tracker.record(std::array{reads(first, 0, 8), writes(second, 0, 8)});
  tracker.record(std::array{reads(first, 8, 16), writes(second, 8, 16)});
  EXPECT_FALSE(tracker.conflicts(std::array{reads(first, 0, 16), writes(second, 16, 24)}));
  EXPECT_TRUE(tracker.conflicts(std::array{reads(first, 0, 16), writes(first, 12, 13)}));
  EXPECT_TRUE(tracker.conflicts(std::array{reads(second, 12, 13)}));
  tracker.clear();
  EXPECT_FALSE(tracker.conflicts(std::array{writes(first, 0, 24), writes(second, 0, 24)}));
}

}  // namespace
}  // namespace mslt::msl::metal

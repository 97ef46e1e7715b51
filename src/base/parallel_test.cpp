// Tests of data-parallel loops.
#include "base/parallel.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "base/fail.h"
#include "base/joining_thread.h"

namespace mslt {
namespace {

TEST(ParallelFor, CoversEveryIndexOnceAndPassesErrorsOn) {
  std::vector<int> seen(1000);
  parallel_for(1000, large_cost, [&](std::int64_t i) { ++seen[static_cast<std::size_t>(i)]; });
  EXPECT_EQ(std::accumulate(seen.begin(), seen.end(), 0), 1000);
  EXPECT_THROW(parallel_for(8, large_cost,
                            [](std::int64_t i) {
                              if (i == 5) fail(ErrorKind::input, "five");
                            }),
               Error);
  EXPECT_GE(parallel_threads(), 1);
}

TEST(ParallelForSlots, CoversEveryIndexOnceAndNeverSharesASlot) {
  std::vector<int> seen(1000);
  std::vector<std::atomic<int>> busy(static_cast<std::size_t>(parallel_threads()));
  parallel_for_slots(1000, large_cost, [&](std::int64_t i, int slot) {
    ASSERT_GE(slot, 0);
    ASSERT_LT(slot, parallel_threads());
    EXPECT_EQ(busy[static_cast<std::size_t>(slot)]++, 0);
    ++seen[static_cast<std::size_t>(i)];
    --busy[static_cast<std::size_t>(slot)];
  });
  EXPECT_EQ(seen, std::vector<int>(1000, 1));
  EXPECT_THROW(parallel_for_slots(8, large_cost,
                                  [](std::int64_t i, int) {
                                    if (i == 5) fail(ErrorKind::input, "five");
                                  }),
               Error);
}

TEST(ParallelFor, ReportsTheLowestIterationsError) {
  std::atomic<int> failed = 0;
  // Where threads allow it, the first iteration is the last to fail.
  const auto body = [&](std::int64_t i) {
    for (int wait = 0; i == 0 && failed < 3 && wait < 1000; ++wait) std::this_thread::yield();
    ++failed;
    fail(ErrorKind::input, "iteration {}", i);
  };
  const auto message = [](const auto& run) -> std::string {
    try {
      run();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message([&] { parallel_for(4, large_cost, body); }), "iteration 0");
  failed = 0;
  EXPECT_EQ(message([&] { parallel_for_slots(4, large_cost, [&](std::int64_t i, int) { body(i); }); }), "iteration 0");
}

// More threads than cores, so that some are late for every loop.
class ParallelLoops : public testing::Test {
 protected:
  ParallelLoops() { set_parallel_threads(8); }
  ~ParallelLoops() override { set_parallel_threads(before_); }

 private:
  int before_ = parallel_threads();
};

TEST_F(ParallelLoops, RunOnTheCallingThreadWhereTheirWorkIsSmall) {
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<int> elsewhere = 0;
  parallel_for(1000, {.bytes = 4}, [&](std::int64_t) { elsewhere += std::this_thread::get_id() == caller ? 0 : 1; });
  EXPECT_EQ(elsewhere, 0);
  parallel_for(0, large_cost, [&](std::int64_t) { ++elsewhere; });
  EXPECT_EQ(elsewhere, 0);
}

TEST_F(ParallelLoops, UseOtherThreadsWhereTheirWorkIsLarge) {
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<bool> other = false;
  // The calling thread waits in its first iteration for another thread's.
  parallel_for(64, large_cost, [&](std::int64_t) {
    if (std::this_thread::get_id() != caller) other = true;
    for (int wait = 0; !other && wait < 1000; ++wait) std::this_thread::yield();
  });
  EXPECT_TRUE(other);
}

TEST_F(ParallelLoops, FollowEachOtherWithoutMixingTheirIterations) {
  for (std::int64_t loop = 0; loop < 3000; ++loop) {
    std::array<std::int64_t, 16> own{};
    const std::int64_t n = 1 + loop % 16;
    parallel_for(n, large_cost, [&own, loop](std::int64_t i) { own[static_cast<std::size_t>(i)] += loop; });
    for (std::int64_t i = 0; i < n; ++i) ASSERT_EQ(own[static_cast<std::size_t>(i)], loop);
  }
}

TEST_F(ParallelLoops, RunAloneInsideOfALoop) {
  std::array<std::atomic<int>, 64> seen{};
  std::atomic<int> elsewhere = 0;
  parallel_for(8, large_cost, [&](std::int64_t i) {
    const std::thread::id outer = std::this_thread::get_id();
    parallel_for_slots(8, large_cost, [&](std::int64_t j, int slot) {
      ++seen[static_cast<std::size_t>(i * 8 + j)];
      elsewhere += std::this_thread::get_id() == outer && slot == 0 ? 0 : 1;
    });
  });
  EXPECT_TRUE(std::ranges::all_of(seen, [](const std::atomic<int>& count) { return count == 1; }));
  EXPECT_EQ(elsewhere, 0);
}

TEST_F(ParallelLoops, OfSeveralThreadsRunAtOnce) {
  std::atomic<int> wrong = 0;
  {
    std::vector<JoiningThread> callers;
    for (int caller = 0; caller < 3; ++caller) {
      callers.emplace_back([&] {
        for (int loop = 0; loop < 200; ++loop) {
          std::array<int, 32> seen{};
          parallel_for(32, large_cost, [&](std::int64_t i) { ++seen[static_cast<std::size_t>(i)]; });
          wrong += std::accumulate(seen.begin(), seen.end(), 0) == 32 ? 0 : 1;
        }
      });
    }
  }
  EXPECT_EQ(wrong, 0);
}

// In a forked process none of the pool's threads exists.
TEST_F(ParallelLoops, EndAlthoughNoOtherThreadCanRun) {
  start_parallel_threads();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::array<int, 100> seen{};
    parallel_for(100, large_cost, [&](std::int64_t i) { ++seen[static_cast<std::size_t>(i)]; });
    ::_exit(std::ranges::all_of(seen, [](int count) { return count == 1; }) ? 42 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 42) << status;
}

}  // namespace
}  // namespace mslt

// Tests of what GraphCache takes for the same work, and of what it forgets: without a GPU.
#include "backend/msl/drivers/cuda/graph_cache.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "base/fail.h"

namespace mslt::msl::cuda {
namespace {

// Counts, and fails where told.
struct Calls {
  int recorded = 0;
  int launched = 0;
  int alive = 0;
  bool can_record = true;
  bool can_launch = true;
};

class CountingMaker final : public GraphMaker {
 public:
  explicit CountingMaker(Calls& calls) : calls_(calls) {}

  std::shared_ptr<void> record(const std::function<void()>& launch) override {
    if (!calls_.can_record) return nullptr;
    launch();
    ++calls_.recorded;
    ++calls_.alive;
    return {&calls_, [this](void*) {
              --calls_.alive;
            }};
  }
  bool launch(void* /*graph*/) override {
    calls_.launched += calls_.can_launch ? 1 : 0;
    return calls_.can_launch;
  }

 private:
  Calls& calls_;
};

constexpr std::array<ArgumentInfo, 2> arguments = {{{"x", ArgumentKind::buffer, ArgumentAccess::write, 0, "float", 4},
                                                    {"args", ArgumentKind::bytes, ArgumentAccess::read, 1, "Args", 4}}};

class GraphCacheTest : public testing::Test {
 protected:
  // As a command buffer of eight launches, a copy, a fill and a library's work.
  struct Work {
    std::vector<Command> commands;
    std::vector<std::byte> parameters;
    std::vector<const void*> allocations;
  };

  Work work() {
    Work work;
    for (int i = 0; i < 8; ++i) {
      work.commands.emplace_back(Launch{&pipeline_, {4, 2, 1}, {32, 1, 1}, 16, work.parameters.size()});
      work.parameters.resize(work.parameters.size() + pipeline_.parameter_bytes());
    }
    work.commands.emplace_back(Copy{&memory_[0], &memory_[16], 8});
    work.commands.emplace_back(Fill{&memory_[0], 8, 1});
    work.commands.emplace_back(
        Library{"cublas", {.workspace = &memory_[32], .workspace_bytes = 8}, {[](const LibraryContext&) {}, "it"}});
    work.allocations = {&memory_[32], &memory_[0], &memory_[16], &memory_[0]};
    return work;
  }

  bool launch(const Work& work) {
    return cache_.launch({work.commands, work.parameters, work.allocations}, [] {});
  }

  std::array<std::byte, 64> memory_{};
  CudaPipeline pipeline_{{"scale", nullptr}, {"scale", "scale.metal", 1, arguments}, 1024, true};
  Calls calls_;
  GraphCache cache_{std::make_unique<CountingMaker>(calls_), 4};
};

TEST_F(GraphCacheTest, RecordsTheThirdOfAKind) {
  EXPECT_FALSE(launch(work()));
  EXPECT_FALSE(launch(work()));
  EXPECT_EQ(calls_.recorded, 0);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(launch(work()));
  EXPECT_EQ(calls_.recorded, 1);
  EXPECT_EQ(calls_.launched, 3);
  EXPECT_EQ(cache_.launches(), 3u);
}

TEST_F(GraphCacheTest, TakesNothingElseForTheSame) {
  for (int i = 0; i < 3; ++i) launch(work());
  std::vector<Work> others;
  const auto other = [&](auto&& change) {
    others.push_back(work());
    change(others.back());
  };
  other([](Work& w) { std::get<Launch>(w.commands[3]).groups.y = 3; });
  other([](Work& w) { std::get<Launch>(w.commands[3]).threads.x = 64; });
  other([](Work& w) { std::get<Launch>(w.commands[3]).dynamic_bytes = 32; });
  other([](Work& w) { w.parameters[0] = std::byte{1}; });   // an address
  other([](Work& w) { w.parameters[16] = std::byte{1}; });  // a number
  other([&](Work& w) { std::get<Copy>(w.commands[8]).from = &memory_[24]; });
  other([](Work& w) { std::get<Copy>(w.commands[8]).bytes = 4; });
  other([](Work& w) { std::get<Fill>(w.commands[9]).value = 2; });
  other([&](Work& w) { std::get<Library>(w.commands[10]).context.workspace = &memory_[40]; });
  other([](Work& w) { std::get<Library>(w.commands[10]).call.identity = "other"; });
  other([](Work& w) { std::swap(w.commands[8], w.commands[9]); });
  other([](Work& w) { w.commands.pop_back(); });
  for (std::size_t i = 0; i < others.size(); ++i) {
    EXPECT_FALSE(launch(others[i])) << i;
    EXPECT_TRUE(launch(work())) << i;
  }
}

TEST_F(GraphCacheTest, LeavesWhatIsShortOrUnknown) {
  Work few = work();
  few.commands.resize(7);
  Work unknown = work();
  std::get<Library>(unknown.commands[10]).call.identity.clear();
  for (int i = 0; i < 4; ++i) {
    EXPECT_FALSE(launch(few));
    EXPECT_FALSE(launch(unknown));
  }
  EXPECT_EQ(calls_.recorded, 0);
}

// Another allocation may get the address.
TEST_F(GraphCacheTest, ForgetsGraphsOfMemoryThatIsFreed) {
  for (const void* freed : work().allocations) {
    for (int i = 0; i < 3; ++i) launch(work());
    EXPECT_EQ(calls_.alive, 1);
    cache_.forget(&memory_[1]);  // no allocation of it
    EXPECT_TRUE(launch(work()));
    cache_.forget(freed);
    EXPECT_EQ(calls_.alive, 0);
    EXPECT_FALSE(launch(work()));
    EXPECT_FALSE(launch(work()));
    EXPECT_TRUE(launch(work()));
    cache_.forget(freed);
  }
}

TEST_F(GraphCacheTest, LaunchesOneByOneWhereAGraphCannotBeHad) {
  calls_.can_record = false;
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(launch(work()));
  cache_.forget(&memory_[0]);
  calls_.can_record = true;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(launch(work()), i == 2);
  calls_.can_launch = false;
  EXPECT_FALSE(launch(work()));
  EXPECT_EQ(calls_.alive, 0);
  calls_.can_launch = true;
  EXPECT_FALSE(launch(work()));  // it is not tried again
  EXPECT_EQ(calls_.recorded, 1);
}

TEST_F(GraphCacheTest, KeepsThoseThatWereLaunchedLast) {
  for (int i = 0; i < 3; ++i) launch(work());
  for (std::uint32_t i = 1; i < 4; ++i) {
    Work other = work();
    std::get<Launch>(other.commands[0]).groups.x = 100 + i;
    launch(other);
  }
  EXPECT_TRUE(launch(work()));
  for (std::uint32_t i = 4; i < 8; ++i) {
    Work other = work();
    std::get<Launch>(other.commands[0]).groups.x = 100 + i;
    launch(other);
  }
  EXPECT_EQ(calls_.alive, 0);
  EXPECT_FALSE(launch(work()));
}

}  // namespace
}  // namespace mslt::msl::cuda

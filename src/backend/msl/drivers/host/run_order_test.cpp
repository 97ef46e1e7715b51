// Tests of orders: that they are permutations, and that another order reveals a race that one hides.
#include "backend/msl/drivers/host/run_order.h"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <vector>

#include "backend/msl/drivers/host/host_device.h"
#include "backend/msl/drivers/host/rendezvous.h"
#include "backend/msl/drivers/host/sanitizer_hooks.h"
#include "backend/msl/test_kernels.h"

namespace mslt::msl::host {
namespace {

constexpr RunOrder reversed = {.kind = RunOrder::Kind::reversed};
constexpr RunOrder random = {.kind = RunOrder::Kind::random, .seed = 3};

TEST(RunOrder, NamesEveryThingOnce) {
  for (const RunOrder& order : {RunOrder(), reversed, random}) {
    for (const std::uint64_t count : {1, 2, 3, 31, 32, 33, 1000}) {
      std::set<std::uint64_t> things;
      for (std::uint64_t place = 0; place < count; ++place) things.insert(thing_at(order, place, count, 5));
      EXPECT_EQ(things.size(), count);
      EXPECT_EQ(*things.rbegin(), count - 1);
    }
  }
  EXPECT_EQ(thing_at(RunOrder(), 3, 10, 0), 3u);
  EXPECT_EQ(thing_at(reversed, 3, 10, 0), 6u);
}

TEST(RunOrder, IsRandomByItsSeedAndStream) {
  const auto first_of = [](std::uint64_t seed, std::uint64_t stream) {
    std::array<std::uint64_t, 8> things{};
    for (std::uint64_t i = 0; i < 8; ++i) {
      things.at(i) = thing_at({.kind = RunOrder::Kind::random, .seed = seed}, i, 1000, stream);
    }
    return things;
  };
  EXPECT_EQ(first_of(1, 1), first_of(1, 1));
  EXPECT_NE(first_of(1, 1), first_of(2, 1));
  EXPECT_NE(first_of(1, 1), first_of(1, 2));
}

TEST(RunOrder, IsWhatItsNameSays) {
  for (const RunOrder& order : {RunOrder(), reversed, random}) EXPECT_EQ(parse_run_order(to_string(order)), order);
  EXPECT_EQ(parse_run_order("random").kind, RunOrder::Kind::random);
  for (const char* wrong : {"", "backward", "random:", "random:x", "random:1x"}) {
    EXPECT_NE(test::error_of(ErrorKind::usage, [&] { parse_run_order(wrong); }).find("Valid are"), std::string::npos);
  }
}

// Thread i stores its number and reads that of the previous thread, without a barrier between.
void racing_entry(const Bindings& bindings, const ThreadContext& context) {
  auto* left = static_cast<std::uint32_t*>(context.threadgroup_arguments[0]);
  const std::uint32_t i = context.thread_index_in_threadgroup;
  left[i] = i;
  static_cast<std::uint32_t*>(bindings.buffers[0])[i] = left[i == 0 ? 0 : i - 1];
}

// Two rounds in which each thread leaves the round's number, and in the first takes that of the other simdgroup between
// meetings of its own; nothing keeps a simdgroup's second round from overwriting what the other has yet to take.
void overtaking_entry(const Bindings& bindings, const ThreadContext& context) {
  auto* left = static_cast<std::uint32_t*>(context.threadgroup_arguments[0]);
  const std::uint32_t i = context.thread_index_in_threadgroup;
  for (std::uint32_t round = 0; round < 2; ++round) {
    left[i] = round;
    threadgroup_barrier(std::source_location::current(), true);
    simdgroup_barrier(std::source_location::current(), true);
    if (round == 0) static_cast<std::uint32_t*>(bindings.buffers[0])[i] = left[(i + 32) % 64];
    simdgroup_barrier(std::source_location::current(), true);
  }
}

// What 64 threads write into as many elements.
std::vector<std::uint32_t> run(void (*entry)(const Bindings&, const ThreadContext&), const RunOrder& order) {
  const std::array<HostKernel, 1> kernels = {{{.name = "racing", .entry = entry, .arrays = {}}}};
  HostDevice device(kernels, 1, order);
  const auto out = device.allocate(64 * sizeof(std::uint32_t), "out", true);
  const auto commands = device.command_buffer();
  commands->set_pipeline(device.pipeline("racing"));
  commands->set_buffer(0, *out, 0);
  commands->set_threadgroup_memory(0, 64 * sizeof(std::uint32_t));
  commands->dispatch({1}, {64});
  commands->commit();
  commands->wait();
  const auto* values = reinterpret_cast<const std::uint32_t*>(out->host());
  return {values, values + 64};
}

TEST(RunOrder, ShowsARaceThatAnotherHides) {
  if (sanitizer::sees_races) GTEST_SKIP() << "ThreadSanitizer sees it in any order.";
  const auto is_right = [](const RunOrder& order) {
    const std::vector<std::uint32_t> values = run(&racing_entry, order);
    for (std::uint32_t i = 1; i < 64; ++i) {
      if (values[i] != i - 1) return false;
    }
    return true;
  };
  EXPECT_TRUE(is_right({}));
  EXPECT_FALSE(is_right(reversed));
  EXPECT_FALSE(is_right(random));
}

TEST(RunOrder, LetsASimdgroupOvertakeAnotherWhenReversed) {
  if (sanitizer::sees_races) GTEST_SKIP() << "ThreadSanitizer sees it in any order.";
  const auto is_right = [](const RunOrder& order) {
    const std::vector<std::uint32_t> values = run(&overtaking_entry, order);
    return values[0] == 0 && values[32] == 0;
  };
  EXPECT_TRUE(is_right({}));
  EXPECT_FALSE(is_right(reversed));
}

}  // namespace
}  // namespace mslt::msl::host

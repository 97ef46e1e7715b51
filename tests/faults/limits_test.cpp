// Limits on memory and threads: an error that names the limit, never a crash.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/faults/scene.h"

namespace mslt::faults {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t mebibyte = std::uint64_t{1} << 20;

class LimitsTest : public SceneTest {
 protected:
  static Outcome run_within(const std::vector<std::string>& arguments, std::uint64_t address_space) {
    return run({.arguments = arguments, .limits = {.address_space = address_space}});
  }
  // The least address space, in steps of 4 MiB, in which the program prints its version.
  static std::uint64_t least_space() {
    std::uint64_t low = 0;
    std::uint64_t high = 4096;
    while (high - low > 4) {
      const std::uint64_t middle = (low + high) / 2;
      (run_within({"--version"}, middle * mebibyte).status == 0 ? high : low) = middle;
    }
    return high * mebibyte;
  }
};

TEST_F(LimitsTest, TooLittleAddressSpaceIsAnErrorThatSaysSo) {
  if (sanitized) GTEST_SKIP() << "sanitizers reserve address space without limit";
  const std::uint64_t least = least_space();
  const fs::path work = scene().path("work");
  int refused = 0;
  for (const Command& command : scene().commands(work)) {
    if (command.measures || command.name.find("--json") != std::string::npos) {
      continue;
    }
    for (const std::uint64_t more : {0, 2, 8, 12}) {
      SCOPED_TRACE(command.name + " with " + std::to_string(more) + " MiB more than it takes to start");
      scene().fresh("work");
      command.set_up();
      const Outcome outcome = run({.arguments = command.arguments,
                                   .input = command.input,
                                   .limits = {.address_space = least + more * mebibyte}});
      EXPECT_EQ(outcome.signal, 0) << outcome.describe();
      if (outcome.status == 0) continue;
      ++refused;
      EXPECT_EQ(outcome.status, 1) << outcome.describe();
      EXPECT_TRUE(contains(outcome.err, "ulimit -v")) << outcome.describe();
      EXPECT_FALSE(contains(outcome.err, "bad_alloc")) << outcome.describe();
      EXPECT_FALSE(contains(outcome.err, "terminate")) << outcome.describe();
    }
  }
  EXPECT_GE(refused, 1);
}

TEST_F(LimitsTest, ALargeModelNamesTheLimitNotTheMachine) {
  if (sanitized) GTEST_SKIP() << "sanitizers reserve address space without limit";
  const std::uint64_t space = least_space() + 300 * mebibyte;
  std::vector<std::string> arguments = scene().train(scene().path("run"));
  arguments.insert(arguments.end(), {"--channels", "1024", "--heads", "4", "--layers", "4"});
  const Outcome trained = run_within(arguments, space);
  EXPECT_EQ(trained.status, 1) << trained.describe();
  EXPECT_TRUE(contains(trained.err, "ulimit -v")) << trained.describe();
  // Nothing is left that blocks a run that fits.
  const Outcome corrected = run_within(scene().train(scene().path("run")), space);
  EXPECT_EQ(corrected.status, 0) << corrected.describe();
  const Outcome measured = run_within(
      {"bench", "train", "--device", "cpu", "--preset", "tiny", "--channels", "1024", "--steps", "1"}, space);
  EXPECT_EQ(measured.status, 1) << measured.describe();
  EXPECT_TRUE(contains(measured.err, "ulimit -v")) << measured.describe();
}

TEST_F(LimitsTest, ThreadsThatCannotStartAreAnErrorThatSaysSo) {
  if (sanitized) GTEST_SKIP() << "skipped: LeakSanitizer starts a thread of its own at the end";
  const fs::path work = scene().path("work");
  int refused = 0;
  int ran = 0;
  for (const Command& command : scene().commands(work)) {
    if (command.measures) continue;
    SCOPED_TRACE(command.name);
    scene().fresh("work");
    command.set_up();
    for (const auto& entry : fs::recursive_directory_iterator(scene().path(""))) {
      if (!entry.is_symlink()) fs::permissions(entry.path(), fs::perms(0777));
    }
    std::vector<std::string> arguments = command.arguments;
    if (command.name == "tokenizer train") arguments.insert(arguments.end(), {"--threads", "4"});
    const Outcome outcome = run(
        {.arguments = arguments, .input = command.input, .limits = {.processes = 1}, .rights = Rights::another_user});
    if (!outcome.executed) GTEST_SKIP() << outcome.error;
    EXPECT_EQ(outcome.signal, 0) << outcome.describe();
    if (outcome.status == 0) {
      ++ran;
      continue;
    }
    ++refused;
    EXPECT_EQ(outcome.status, 1) << outcome.describe();
    EXPECT_TRUE(contains(outcome.err, "thread")) << outcome.describe();
    EXPECT_TRUE(contains(outcome.err, "ulimit -u")) << outcome.describe();
  }
  EXPECT_GE(ran, 1);
  std::cout << refused << " commands were refused, " << ran << " ran on one thread\n";
}

// Memory for files that are read whole is bounded by their contents, not by their claims.
TEST_F(LimitsTest, MemoryIsAMultipleOfTheFile) {
  if (sanitized) GTEST_SKIP() << "sanitizers need memory of their own";
  const std::uint64_t base = run({"--version"}).most_memory;
  constexpr std::uint64_t size = 16 * mebibyte;
  std::string numbers = "{\"model\": [0";
  while (numbers.size() < size) numbers += ",0";
  std::string nested;
  while (nested.size() < size) nested += "{\"a\":";
  std::string strings = "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0";
  for (int i = 0; strings.size() < size; ++i) strings += ",\"" + std::to_string(i) + "\":" + std::to_string(i);
  strings += "}}}";
  for (const std::string& text : {numbers + "]}", nested, strings}) {
    SCOPED_TRACE(text.substr(0, 20));
    spill(scene().path("large.json"), text);
    const Outcome outcome = run({"tokenizer", "encode", "--tokenizer", scene().string("large.json")}, "text");
    EXPECT_EQ(outcome.status, 1) << outcome.describe();
    EXPECT_TRUE(contains(outcome.err, "large.json")) << outcome.describe();
    EXPECT_LE(outcome.most_memory, base + 12 * size) << outcome.most_memory / mebibyte << " MiB";
  }
  fs::remove(scene().path("large.json"));
}

}  // namespace
}  // namespace mslt::faults

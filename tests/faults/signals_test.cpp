// Signals at random moments to commands that write.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "tests/faults/scene.h"
#include "tests/faults/seed.h"

namespace mslt::faults {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int interrupted_status = 3;

// The requested number of kills: MSLT_FAULTS_KILLS, or a few.
int kills_wanted() {
  const char* given = std::getenv("MSLT_FAULTS_KILLS");
  if (given != nullptr) return std::max(1, std::atoi(given));
  return sanitized ? 6 : 24;
}

// A moment within `whole`.
std::chrono::microseconds moment(std::mt19937& random, Clock::duration whole) {
  const auto most = std::chrono::duration_cast<std::chrono::microseconds>(whole).count();
  return std::chrono::microseconds(std::uniform_int_distribution<std::int64_t>(0, most)(random));
}

class SignalsTest : public SceneTest {
 protected:
  // The duration of a busy run from its start, and from the beginning of its training.
  struct Durations {
    Clock::duration whole;
    Clock::duration training;
  };
  static Durations measure(const fs::path& run_folder) {
    fs::remove_all(run_folder);
    const std::vector<std::string> arguments = busy_run(run_folder);
    const Clock::time_point start = Clock::now();
    Child child({.arguments = arguments});
    EXPECT_TRUE(child.wait_for_message(training_begins, std::chrono::minutes(1)));
    const Clock::time_point begin = Clock::now();
    const Outcome outcome = child.wait();
    EXPECT_EQ(outcome.status, 0) << outcome.describe();
    return {Clock::now() - start, Clock::now() - begin};
  }
  // Most of a short run is preparation, so most signals come after that.
  static void wait_for_moment(Child& child, std::mt19937& random, const Durations& durations) {
    if (random() % 4 == 0) {
      child.listen(moment(random, durations.whole));
    } else if (child.wait_for_message(training_begins, std::chrono::minutes(1))) {
      child.listen(moment(random, durations.training));
    }
  }
  // Saves, evaluates and writes more than the scene's own runs.
  static std::vector<std::string> busy_run(const fs::path& run) {
    std::vector<std::string> arguments = scene().train(run, busy_steps);
    arguments.insert(arguments.end(), {"--save-every", "3", "--keep-checkpoints", "2", "--sample-every", "7"});
    return arguments;
  }
  static std::ptrdiff_t folders_in(const fs::path& folder) {
    return std::count_if(fs::directory_iterator(folder), fs::directory_iterator(),
                         [](const fs::directory_entry& entry) { return entry.is_directory(); });
  }
  static std::vector<std::string> resuming(std::vector<std::string> arguments) {
    arguments.emplace_back("--resume");
    return arguments;
  }

  static constexpr int busy_steps = 60;
  // The memory table is the last output before the first step.
  static constexpr std::string_view training_begins = "Device: ";
};

// The long version: MSLT_FAULTS_KILLS=1000.
TEST_F(SignalsTest, AKilledRunEqualsTheUndisturbedOne) {
  std::mt19937 random = seeded();
  const fs::path whole = scene().path("whole");
  const Durations durations = measure(whole);
  const int wanted = kills_wanted();
  int starts_killed = 0;
  int resumptions_killed = 0;
  int runs = 0;
  // Each start that is not killed completes a run, so this ends; the bound is for moments that always come too late.
  for (int start = 0; start < 20 * wanted && starts_killed + resumptions_killed < wanted; ++runs) {
    const fs::path run_folder = scene().path("killed");
    fs::remove_all(run_folder);
    bool finished = false;
    for (bool first = true; !finished; first = false, ++start) {
      SCOPED_TRACE("start " + std::to_string(start));
      Child child({.arguments = first ? busy_run(run_folder) : resuming(busy_run(run_folder))});
      const bool spared = starts_killed + resumptions_killed >= wanted;
      if (!spared) {
        wait_for_moment(child, random, durations);
        child.send(SIGKILL);
      }
      const Outcome outcome = child.wait();
      ASSERT_TRUE(outcome.signal == SIGKILL || outcome.status == 0) << outcome.describe();
      ASSERT_FALSE(outcome.timed_out) << outcome.describe();
      finished = outcome.status == 0;
      if (!finished) ++(first ? starts_killed : resumptions_killed);
    }
    expect_same_training(run_folder, whole, busy_steps);
    EXPECT_EQ(temporary_files(run_folder), std::vector<std::string>());
    // Two are kept in addition to the best.
    EXPECT_LE(folders_in(run_folder / "checkpoints"), 3);
    ASSERT_FALSE(HasFailure()) << "after " << starts_killed + resumptions_killed
                               << " kills; MSLT_FAULTS_SEED above repeats the choices, not the moments";
  }
  std::cout << starts_killed << " first starts and " << resumptions_killed << " resumptions killed, over " << runs
            << " runs, each equal to the undisturbed one\n";
  EXPECT_GE(starts_killed + resumptions_killed, std::min(wanted, 3));
}

TEST_F(SignalsTest, AStoppedRunSavesSaysSoAndGoesOn) {
  std::mt19937 random = seeded();
  const fs::path whole = scene().path("whole");
  const Durations durations = measure(whole);
  int stopped = 0;
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    for (int attempt = 0; attempt < (sanitized ? 1 : 3); ++attempt) {
      SCOPED_TRACE(::strsignal(signal));
      const fs::path run_folder = scene().fresh("stopped");
      Child child({.arguments = busy_run(run_folder)});
      // Before the handler is installed, the signal ends the program in the usual way.
      ASSERT_TRUE(child.wait_for_message(training_begins, std::chrono::minutes(1)));
      child.listen(moment(random, durations.training / 2));
      child.send(signal);
      const Outcome outcome = child.wait();
      if (outcome.status != 0) {
        ++stopped;
        EXPECT_EQ(outcome.status, interrupted_status) << outcome.describe();
        EXPECT_TRUE(contains(outcome.err, "--resume")) << outcome.describe();
        EXPECT_TRUE(contains(outcome.err, (run_folder / "checkpoints").string())) << outcome.describe();
      }
      const Outcome resumed = run(resuming(busy_run(run_folder)));
      EXPECT_EQ(resumed.status, 0) << resumed.describe();
      expect_same_training(run_folder, whole, busy_steps);
    }
  }
  EXPECT_GE(stopped, 1);
}

// Kernels assembled at run time use the stack register for other purposes: a handler running there would overwrite
// their data.
TEST_F(SignalsTest, NoComputingThreadTakesASignal) {
  if (!fs::exists("/proc/self/task")) GTEST_SKIP() << "skipped: this system has no /proc with threads";
  const fs::path run_folder = scene().path("run");
  Child child({.arguments = scene().train(run_folder, 100000), .environment = {{"OMP_NUM_THREADS", "3"}}});
  ASSERT_TRUE(child.wait_for_message(training_begins, std::chrono::minutes(1)));
  child.listen(std::chrono::milliseconds(100));
  int threads = 0;
  int taking = 0;
  for (const auto& task : fs::directory_iterator(fs::path("/proc") / std::to_string(child.id()) / "task")) {
    std::ifstream status(task.path() / "status");
    for (std::string line; std::getline(status, line);) {
      if (!line.starts_with("SigBlk:")) continue;
      const std::uint64_t blocked = std::stoull(line.substr(7), nullptr, 16);
      const auto is_blocked = [&](int signal) {
        return (blocked >> (signal - 1) & 1) != 0;
      };
      ++threads;
      taking += is_blocked(SIGINT) && is_blocked(SIGTERM) && is_blocked(SIGHUP) ? 0 : 1;
    }
  }
  EXPECT_GE(threads, 3);
  EXPECT_EQ(taking, 1);
  child.send(SIGINT);
  EXPECT_EQ(child.wait().status, interrupted_status);
}

TEST_F(SignalsTest, AStoppedResumptionSaysSoInJson) {
  const fs::path run_folder = scene().path("run");
  std::vector<std::string> arguments = scene().train(run_folder, 100000);
  arguments.insert(arguments.end(), {"--save-every", "0", "--eval-every", "0", "--json"});
  for (const bool again : {false, true}) {
    SCOPED_TRACE(again ? "resumed" : "first");
    Child child({.arguments = again ? resuming(arguments) : arguments});
    ASSERT_TRUE(child.wait_for_message(training_begins, std::chrono::minutes(1)));
    child.listen(std::chrono::milliseconds(100));
    child.send(SIGHUP);
    const Outcome outcome = child.wait();
    EXPECT_EQ(outcome.status, interrupted_status) << outcome.describe();
    const nlohmann::json document = nlohmann::json::parse(outcome.out, nullptr, false);
    ASSERT_TRUE(document.is_object()) << outcome.describe();
    EXPECT_TRUE(document.value("interrupted", false)) << outcome.out;
    EXPECT_TRUE(fs::exists(document.value("checkpoint", "") + "/manifest.json")) << outcome.out;
  }
}

// Whenever a command is killed, either the previous output is unchanged or the new one is complete; the next start
// works.
TEST_F(SignalsTest, KilledWritersLeaveTheOldOrTheNew) {
  std::mt19937 random = seeded();
  const fs::path work = scene().path("work");
  for (const Command& command : scene().commands(work)) {
    if (command.output.empty() || command.output == "run" || command.name == "tune") continue;
    scene().fresh("work");
    const Launch launch = {.arguments = command.arguments, .input = command.input};
    const Clock::time_point start = Clock::now();
    ASSERT_EQ(run(launch).status, 0);
    const Clock::duration duration = Clock::now() - start;
    const Snapshot complete = take_snapshot(work);
    for (int attempt = 0; attempt < (sanitized ? 2 : 8); ++attempt) {
      scene().fresh("work");
      const bool is_file = command.output != "data";
      const std::string old = "what stood there before";
      if (is_file) spill(work / command.output, old);
      Child child(launch);
      child.listen(moment(random, duration));
      child.send(attempt % 2 == 0 ? SIGKILL : SIGTERM);
      const Outcome outcome = child.wait();
      SCOPED_TRACE(command.name + ": " + outcome.describe());
      EXPECT_FALSE(outcome.timed_out);
      if (is_file) {
        const std::string now = slurp(work / command.output);
        EXPECT_TRUE(now == old || "file " + now == complete.at(command.output)) << now.size() << " bytes";
        EXPECT_TRUE(outcome.status != 0 || now != old);
      } else if (outcome.status == 0) {
        EXPECT_EQ(differences(complete, take_snapshot(work)), "");
      }
      const Outcome again = run(launch);
      EXPECT_EQ(again.status, 0) << again.describe();
      for (const auto& [name, content] : complete) EXPECT_TRUE(take_snapshot(work)[name] == content) << name;
    }
  }
}

}  // namespace
}  // namespace mslt::faults

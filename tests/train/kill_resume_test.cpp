// A run that is killed at any moment, or whose disk fills up, and resumed equals an undisturbed one, bit for bit.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <thread>
#include <vector>

#include "train/metrics.h"
#include "train/test_folder.h"

extern char** environ;

namespace mslt {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// One child process running the tool; its messages go to a file.
class Child {
 public:
  Child(std::vector<std::string> arguments, const fs::path& messages) {
    std::string program = MSLT_TRAIN_TOOL;
    std::vector<char*> argv = {program.data()};
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, 2, messages.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    const int error = ::posix_spawn(&process_, MSLT_TRAIN_TOOL, &actions, nullptr, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (error != 0) process_ = -1;
  }
  void kill() const { ::kill(process_, SIGKILL); }
  // The exit status, or minus the signal that ended it.
  int wait() const {
    int status = 0;
    if (process_ < 0 || ::waitpid(process_, &status, 0) != process_) return -1000;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  }

 private:
  pid_t process_ = -1;
};

class KillResumeTest : public testing::Test {
 protected:
  int tool(const std::vector<std::string>& arguments) {
    const int status = Child(arguments, messages()).wait();
    if (status != 0) said_ = slurp(messages());
    return status;
  }
  void SetUp() override {
    // The model is so small that threads would mostly wait for one another.
    ::setenv("OMP_NUM_THREADS", "1", 1);
    ASSERT_EQ(tool({"prepare", folder_.path().string()}), 0) << said_;
    const Clock::time_point begin = Clock::now();
    ASSERT_EQ(tool({"run", folder_.path().string(), "whole"}), 0) << said_;
    duration_ = std::chrono::duration<double>(Clock::now() - begin).count();
  }
  fs::path messages() const { return folder_.path() / "messages.txt"; }

  // All computed values of the training, in hexadecimal.
  std::string losses(const char* run) const {
    std::string text;
    const MetricsHistory history = read_metrics(folder_.path() / run / "metrics.jsonl");
    const auto add = [&](std::int64_t step, double first, double second) {
      char line[120];
      std::snprintf(line, sizeof line, "%lld %a %a\n", static_cast<long long>(step), first, second);
      text += line;
    };
    for (const auto& step : history.steps) add(step.step, step.loss, step.gradient_norm);
    for (const auto& event : history.evaluations) add(event.step, event.loss, event.bits_per_byte);
    return text;
  }
  void expect_equal_to_whole(const char* run) const {
    EXPECT_EQ(losses(run), losses("whole"));
    for (const char* file : {"model.safetensors", "checkpoints/step-36/optimizer.safetensors"}) {
      EXPECT_TRUE(slurp(folder_.path() / run / file) == slurp(folder_.path() / "whole" / file)) << file;
    }
  }

  TestFolder folder_;
  std::string said_;
  double duration_ = 0.0;
};

TEST_F(KillResumeTest, KilledAtRandomMoments) {
  std::mt19937 random(std::random_device{}());
  constexpr int attempts = 10;
  int killed = 0;
  double longest = duration_;
  for (int i = 0; i < attempts; ++i) {
    std::uniform_real_distribution<double> moment(0.0, longest);
    const Child child({"run", folder_.path().string(), "killed"}, messages());
    std::this_thread::sleep_for(std::chrono::duration<double>(moment(random)));
    child.kill();
    const int status = child.wait();
    ASSERT_TRUE(status == -SIGKILL || status == 0) << status << ": " << slurp(messages());
    killed += status == -SIGKILL ? 1 : 0;
    if (status != 0) continue;
    // It has ended, perhaps because the machine became faster. Another one begins, since of an ended one nothing is
    // left to kill.
    expect_equal_to_whole("killed");
    fs::remove_all(folder_.path() / "killed");
    longest /= 2;
  }
  EXPECT_GE(killed, 1);
  ASSERT_EQ(tool({"run", folder_.path().string(), "killed"}), 0) << said_;
  expect_equal_to_whole("killed");
  for (const auto& entry : fs::directory_iterator(folder_.path() / "killed" / "checkpoints")) {
    EXPECT_EQ(entry.path().filename().string().rfind("step-", 0), 0u) << entry.path();
  }
}

TEST_F(KillResumeTest, AFullDiskKeepsTheCheckpointBefore) {
  EXPECT_EQ(tool({"fill-disk", folder_.path().string(), "full", "18"}), 1);
  EXPECT_NE(said_.find("Cannot save the checkpoint of step 21"), std::string::npos) << said_;
  EXPECT_NE(said_.find("The checkpoint of step 18"), std::string::npos) << said_;
  EXPECT_TRUE(fs::exists(folder_.path() / "full/checkpoints/step-18/manifest.json"));
  EXPECT_FALSE(fs::exists(folder_.path() / "full/checkpoints/step-21"));
  ASSERT_EQ(tool({"run", folder_.path().string(), "full"}), 0) << said_;
  expect_equal_to_whole("full");
}

}  // namespace
}  // namespace mslt

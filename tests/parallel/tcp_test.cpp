// Tests of processes that meet by TCP: sums, faults, training on --devices, and namespaces as hosts.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/parallel/run_command.h"
#include "train/metrics.h"
#include "train/test_run.h"

namespace mslt {
namespace {

namespace fs = std::filesystem;

class TcpCommunicator : public testing::Test {
 protected:
  // A shell command that runs so many ranks, whose status is rank 0's.
  Outcome ranks(int count, const std::string& what, const std::string& variables = "") const {
    std::string command;
    for (int rank = count - 1; rank >= 0; --rank) {
      command += variables + " RANK=" + std::to_string(rank) + " WORLD_SIZE=" + std::to_string(count) +
                 " LOCAL_WORLD_SIZE=" + std::to_string(count) +
                 " MSLT_RENDEZVOUS=" + (folder_.path() / "meeting").string() + " " + MSLT_RANKS + " " + what;
      command += rank > 0 ? " & last=${last-$!}; " : "; status=$?; kill -9 $last 2>/dev/null; wait; exit $status";
    }
    return run_command(command);
  }

  TestFolder folder_;
};

TEST_F(TcpCommunicator, SumsHaveTheSameBitsInEveryRun) {
  const Outcome first = ranks(4, "sums");
  EXPECT_EQ(first.status, 0) << first.text;
  EXPECT_NE(first.text.find("sum of 4 ranks: "), std::string::npos) << first.text;
  EXPECT_EQ(ranks(4, "sums").text, first.text);
}

TEST_F(TcpCommunicator, CollectivesOfTensors) {
  const Outcome outcome = ranks(3, "tensors cpu");
  EXPECT_EQ(outcome.status, 0);
  EXPECT_NE(outcome.text.find("tensors on cpu are as they should be"), std::string::npos) << outcome.text;
}

TEST_F(TcpCommunicator, ARankThatDiesEndsAll) {
  const Outcome outcome = ranks(2, "dies");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_NE(outcome.text.find("Rank 1 on "), std::string::npos) << outcome.text;
  EXPECT_NE(outcome.text.find(" has ended without a word."), std::string::npos) << outcome.text;
}

TEST_F(TcpCommunicator, ARankThatHangsEndsAll) {
  const Outcome outcome = ranks(3, "hangs");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_NE(outcome.text.find("Rank 2 on "), std::string::npos) << outcome.text;
  EXPECT_NE(outcome.text.find("it has given no sign of life for 1.5 seconds"), std::string::npos) << outcome.text;
}

TEST_F(TcpCommunicator, ARankThatFailsTellsTheOthers) {
  const Outcome outcome = ranks(3, "fails");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_NE(outcome.text.find(": The disk is gone."), std::string::npos) << outcome.text;
}

TEST_F(TcpCommunicator, SaysWhyRankZeroIsNotReached) {
  const Outcome outcome = run_command(
      "MEETING_MILLISECONDS=300 RANK=1 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=1 " MSLT_RANKS " sums");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_NE(outcome.text.find("Rank 1 cannot join rank 0 at 127.0.0.1:1 (0.3 seconds): Connection refused."),
            std::string::npos)
      << outcome.text;
}

TEST_F(TcpCommunicator, AProcessEndsWithTheOneThatStartedIt) {
  // The shell is the parent, which is killed while its child waits.
  const Outcome outcome =
      run_command("(exec sh -c 'RANK=1 WORLD_SIZE=2 MSLT_RENDEZVOUS=127.0.0.1:1 MSLT_PARENT=$$ " MSLT_RANKS
                  " sums & sleep 0.3; kill -9 $$')");
  EXPECT_NE(outcome.text.find(", which started this one, has ended."), std::string::npos) << outcome.text;
}

class TcpTraining : public testing::Test {
 protected:
  void SetUp() override { make_test_data(folder_.path()); }
  std::string command(const std::string& name, const std::string& more) const {
    return std::string(MSLT_PROGRAM) + " train --data " + (folder_.path() / "data").string() + " --output " +
           (folder_.path() / name).string() +
           " --preset tiny --layers 1 --channels 16 --heads 2 --seq-len 16 --batch-size 2 --grad-accum 4 --lr 1e-2 "
           "--eval-batches 2 --device cpu --threads 1 " +
           more;
  }
  MetricsHistory history(const std::string& name) const {
    return read_metrics(folder_.path() / name / "metrics.jsonl");
  }

  TestFolder folder_;
};

TEST_F(TcpTraining, OneCommandTrainsOnSeveralDevices) {
  const std::string options = "--steps 6 --save-every 0 ";
  ASSERT_EQ(run_command(command("alone", options)).status, 0);
  const Outcome two = run_command(command("two", options + "--devices 2"));
  EXPECT_EQ(two.status, 0) << two.text;
  EXPECT_NE(two.text.find("Processes: 2,"), std::string::npos) << two.text;
  EXPECT_EQ(two.text.find("Trained to step 6"), two.text.rfind("Trained to step 6")) << two.text;
  const MetricsHistory a = history("alone");
  const MetricsHistory b = history("two");
  ASSERT_EQ(a.steps.size(), 6U);
  ASSERT_EQ(b.steps.size(), 6U);
  for (std::size_t i = 0; i < a.steps.size(); ++i)
    EXPECT_NEAR(b.steps[i].loss, a.steps[i].loss, 2e-6 * a.steps[i].loss);
  // As a launcher would start them.
  const std::string variables =
      "WORLD_SIZE=2 LOCAL_WORLD_SIZE=2 MSLT_RENDEZVOUS=" + (folder_.path() / "meeting").string() + " ";
  const std::string started = command("launched", options);
  const Outcome launched = run_command(variables + "RANK=1 " + started + " & " + variables + "RANK=0 " + started +
                                       "; status=$?; wait; exit $status");
  EXPECT_EQ(launched.status, 0) << launched.text;
  EXPECT_EQ(slurp(folder_.path() / "launched" / "model.safetensors"),
            slurp(folder_.path() / "two" / "model.safetensors"));
}

TEST_F(TcpTraining, ARefusalIsToldOnceAndEndsAll) {
  const Outcome outcome = run_command(command("run", "--steps 2 --devices 3"));
  EXPECT_EQ(outcome.status, 2) << outcome.text;
  const std::string message = "mslt: 3 processes cannot divide the 8 sequences of a step";
  EXPECT_NE(outcome.text.find(message), std::string::npos) << outcome.text;
  EXPECT_EQ(outcome.text.find(message), outcome.text.rfind(message)) << outcome.text;
}

TEST_F(TcpTraining, DevicesAreNotForProcessesOfALauncher) {
  const Outcome outcome =
      run_command("RANK=0 WORLD_SIZE=2 MASTER_ADDR=localhost MASTER_PORT=1 " + command("run", "--steps 2 --devices 2"));
  EXPECT_EQ(outcome.status, 2) << outcome.text;
  EXPECT_NE(outcome.text.find("--devices 2 starts processes, but by WORLD_SIZE (2) and RANK (0) a launcher"),
            std::string::npos)
      << outcome.text;
}

TEST_F(TcpTraining, AProcessThatIsKilledEndsTheRun) {
  // As soon as there is a checkpoint, rank 1 is killed.
  const std::string started = command("run", "--steps 100000 --save-every 5 --eval-every 0");
  const std::string variables =
      "WORLD_SIZE=2 LOCAL_WORLD_SIZE=2 MSLT_RENDEZVOUS=" + (folder_.path() / "meeting").string() + " ";
  const Outcome outcome =
      run_command(variables + "RANK=1 " + started + " & other=$!; " + variables + "RANK=0 " + started + " & run=$!; " +
                  wait_for_checkpoint((folder_.path() / "run").string()) + "; kill -9 $other; wait $run");
  EXPECT_EQ(outcome.status, 1) << outcome.text;
  EXPECT_NE(outcome.text.find("mslt: Rank 1 on "), std::string::npos) << outcome.text;
  EXPECT_NE(outcome.text.find(" is good; continue from it with --resume."), std::string::npos) << outcome.text;
}

TEST_F(TcpTraining, ASignalStopsAllWithACheckpoint) {
  const Outcome outcome =
      run_command(command("run", "--steps 100000 --save-every 5 --eval-every 0 --devices 2") + " & run=$!; " +
                  wait_for_checkpoint((folder_.path() / "run").string()) + "; kill -TERM $run; wait $run");
  EXPECT_EQ(outcome.status, 3) << outcome.text;
  EXPECT_NE(outcome.text.find("Repeat the command with --resume"), std::string::npos) << outcome.text;
}

// Two network namespaces, linked by a cable, are two hosts.
class Namespaces : public testing::Test {
 protected:
  void SetUp() override {
    const Outcome made = run_command(script("true"));
    if (made.status != 0) GTEST_SKIP() << "network namespaces cannot be made here: " << made.text;
  }
  // Runs `commands` where the shell functions `first` and `second` run a command on one of the hosts.
  static std::string script(const std::string& commands) {
    return "unshare --user --map-root-user --net --mount sh -ec '"
           "unshare --net sleep 60 & other=$!; trap \"kill -9 $other\" EXIT; "
           "while [ \"$(readlink /proc/$other/ns/net)\" = \"$(readlink /proc/$$/ns/net)\" ]; do sleep 0.01; done; "
           "ip link add left type veth peer name right netns $other; "
           "ip addr add 10.9.0.1/24 dev left; ip link set left up; "
           "second() { nsenter --target $other --net \"$@\"; }; "
           "second ip addr add 10.9.0.2/24 dev right; second ip link set right up; " +
           commands + "'";
  }
};

TEST_F(Namespaces, RanksOfTwoHostsMeet) {
  const Outcome outcome =
      run_command(script("export WORLD_SIZE=2 MASTER_ADDR=10.9.0.1 MASTER_PORT=29500 MSLT_RUN_TOKEN=secret; "
                         "RANK=1 second " MSLT_RANKS " sums & RANK=0 " MSLT_RANKS " sums"));
  EXPECT_EQ(outcome.status, 0) << outcome.text;
  EXPECT_NE(outcome.text.find("sum of 2 ranks: "), std::string::npos) << outcome.text;
}

TEST_F(Namespaces, ACutCableEndsTheRun) {
  const Outcome outcome = run_command(
      script("export WORLD_SIZE=2 MASTER_ADDR=10.9.0.1 MASTER_PORT=29500 MSLT_RUN_TOKEN=secret; "
             "RANK=1 second " MSLT_RANKS " waits & (sleep 1; ip link set left down) & RANK=0 " MSLT_RANKS " waits"));
  EXPECT_EQ(outcome.status, 1) << outcome.text;
  EXPECT_NE(outcome.text.find("it has given no sign of life for 1.5 seconds"), std::string::npos) << outcome.text;
}

}  // namespace
}  // namespace mslt

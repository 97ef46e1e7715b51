// Tests of processes that mpirun starts: sums, faults, and training as one process trains.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "tests/parallel/run_command.h"
#include "train/metrics.h"
#include "train/test_run.h"

namespace mslt {
namespace {

namespace fs = std::filesystem;

// What lets mpirun start more processes than cores, as root and in containers.
void allow_everything() {
  ::setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
  ::setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
  ::setenv("OMPI_MCA_rmaps_base_oversubscribe", "1", 1);
  ::setenv("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe", 1);
  ::setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 1);
  // MPI keeps memory until the process ends.
  ::setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
}

std::string on(int ranks) {
  return std::string(MSLT_MPIRUN) + " -n " + std::to_string(ranks) + " ";
}

class MpiCommunicator : public testing::Test {
 protected:
  void SetUp() override { allow_everything(); }
  static Outcome ranks(int count, const std::string& what) { return run_command(on(count) + MSLT_RANKS + " " + what); }
};

TEST_F(MpiCommunicator, SumsHaveTheSameBitsInEveryRun) {
  for (const int count : {2, 4}) {
    const Outcome first = ranks(count, "sums");
    EXPECT_EQ(first.status, 0);
    EXPECT_NE(first.text.find("sum of " + std::to_string(count) + " ranks: "), std::string::npos) << first.text;
    EXPECT_EQ(ranks(count, "sums").text, first.text);
  }
}

TEST_F(MpiCommunicator, ARankThatDiesEndsAll) {
  const Outcome outcome = ranks(2, "dies");
  EXPECT_NE(outcome.status, 0);
  EXPECT_NE(outcome.text.find("Rank 1 on "), std::string::npos) << outcome.text;
  EXPECT_NE(outcome.text.find(" has ended without a word."), std::string::npos) << outcome.text;
}

TEST_F(MpiCommunicator, ARankThatHangsEndsAll) {
  const Outcome outcome = ranks(3, "hangs");
  EXPECT_NE(outcome.status, 0);
  EXPECT_NE(outcome.text.find("Rank 2 on "), std::string::npos) << outcome.text;
  EXPECT_NE(outcome.text.find("it has given no sign of life for 1.5 seconds"), std::string::npos) << outcome.text;
}

TEST_F(MpiCommunicator, ARankThatFailsTellsTheOthers) {
  const Outcome outcome = ranks(3, "fails");
  EXPECT_NE(outcome.status, 0);
  EXPECT_NE(outcome.text.find(": The disk is gone."), std::string::npos) << outcome.text;
}

class MpiTraining : public testing::Test {
 protected:
  void SetUp() override {
    allow_everything();
    make_test_data(folder_.path());
  }
  // Trains a small model in folder `run`, on so many processes; 0: without mpirun.
  Outcome train(int ranks, const std::string& name, const std::string& more) const {
    const std::string options =
        " --preset tiny --layers 1 --channels 16 --heads 2 --seq-len 16 --batch-size 2 --grad-accum 4 --lr 1e-2 "
        "--eval-batches 2 --device cpu --threads 1 ";
    return run_command((ranks > 0 ? on(ranks) : std::string()) + MSLT_PROGRAM + " train --data " +
                       (folder_.path() / "data").string() + " --output " + (folder_.path() / name).string() + options +
                       more);
  }
  MetricsHistory history(const std::string& name) const {
    return read_metrics(folder_.path() / name / "metrics.jsonl");
  }
  void expect_like(const std::string& got, const std::string& expected, double tolerance = 2e-6) const {
    const MetricsHistory a = history(got);
    const MetricsHistory b = history(expected);
    ASSERT_FALSE(b.steps.empty());
    ASSERT_EQ(a.steps.size(), b.steps.size());
    for (std::size_t i = 0; i < a.steps.size(); ++i) {
      EXPECT_NEAR(a.steps[i].loss, b.steps[i].loss, tolerance * b.steps[i].loss) << "step " << i + 1;
    }
  }

  TestFolder folder_;
};

TEST_F(MpiTraining, ComputesWhatOneProcessComputes) {
  const std::string options = "--steps 6 --save-every 0";
  ASSERT_EQ(train(0, "alone", options).status, 0);
  for (const int ranks : {2, 4}) {
    const std::string name = "ranks" + std::to_string(ranks);
    const Outcome outcome = train(ranks, name, options);
    EXPECT_EQ(outcome.status, 0) << outcome.text;
    EXPECT_EQ(outcome.text.find("Trained to step 6"), outcome.text.rfind("Trained to step 6"));
    expect_like(name, "alone");
  }
  ASSERT_EQ(train(2, "again", options).status, 0);
  EXPECT_EQ(slurp(folder_.path() / "again" / "model.safetensors"),
            slurp(folder_.path() / "ranks2" / "model.safetensors"));
}

TEST_F(MpiTraining, ResumesOnAnotherNumberOfProcesses) {
  const std::string schedule = " --schedule constant --warmup 0 --save-every 2 --dropout 0.1";
  ASSERT_EQ(train(0, "alone", "--steps 6" + schedule).status, 0);
  ASSERT_EQ(train(0, "moved", "--steps 2" + schedule).status, 0);
  const Outcome two = train(2, "moved", "--resume --steps 4 --zero 2" + schedule);
  EXPECT_EQ(two.status, 0) << two.text;
  ASSERT_EQ(train(0, "moved", "--resume --steps 6" + schedule).status, 0);
  expect_like("moved", "alone");
}

TEST_F(MpiTraining, TrainsIn16Bits) {
  const std::string options = "--device msl-host --dtype bf16 --steps 3 --save-every 0";
  ASSERT_EQ(train(0, "alone", options).status, 0);
  const Outcome two = train(2, "two", options + " --zero 1");
  EXPECT_EQ(two.status, 0) << two.text;
  expect_like("two", "alone", 5e-3);
}

TEST_F(MpiTraining, RefusesWhatCannotBeDividedOnce) {
  const Outcome outcome = train(3, "run", "--steps 2");
  EXPECT_EQ(outcome.status, 2) << outcome.text;
  const std::string message = "mslt: 3 processes cannot divide the 8 sequences of a step";
  EXPECT_NE(outcome.text.find(message), std::string::npos) << outcome.text;
  EXPECT_EQ(outcome.text.find(message), outcome.text.rfind(message)) << outcome.text;
  EXPECT_FALSE(fs::exists(folder_.path() / "run"));
}

TEST_F(MpiTraining, AProcessThatIsKilledEndsTheRunAndNamesTheCheckpoint) {
  // As soon as there is a checkpoint, the shell that started rank 1 kills it.
  const std::string run_folder = (folder_.path() / "run").string();
  const std::string mslt = std::string(MSLT_PROGRAM) + " train --data " + (folder_.path() / "data").string() +
                           " --output " + run_folder +
                           " --preset tiny --layers 1 --channels 16 --heads 2 --seq-len 16 --batch-size 2 "
                           "--grad-accum 2 --device cpu --threads 1 --steps 100000 --save-every 5 --eval-every 0";
  spill(folder_.path() / "rank.sh",
        "if [ \"$OMPI_COMM_WORLD_RANK\" = 1 ]; then\n"
        "  (" +
            wait_for_checkpoint(run_folder) +
            "\n"
            "   kill -9 $$) &\n"
            "fi\n"
            "exec " +
            mslt + "\n");
  const Outcome outcome = run_command(on(2) + "sh " + (folder_.path() / "rank.sh").string());
  EXPECT_NE(outcome.status, 0);
  EXPECT_NE(outcome.text.find("mslt: Rank 1 on "), std::string::npos) << outcome.text;
  EXPECT_NE(outcome.text.find(" is good; continue from it with --resume."), std::string::npos) << outcome.text;
}

}  // namespace
}  // namespace mslt

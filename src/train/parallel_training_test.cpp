// Tests of training on several ranks, which are threads here: the same losses as alone, resuming on another number of
// ranks, and what ends a run on all of them.
#include <gtest/gtest.h>

#include <cmath>
#include <mutex>

#include "backend/cpu/cpu_backend.h"
#include "parallel/test_transport.h"
#include "train/agreement.h"
#include "train/metrics.h"
#include "train/test_run.h"
#include "train/trainer_parts.h"

namespace mslt {
namespace {

namespace fs = std::filesystem;

// Fails at the so many-th wait of a step for the device.
class FailingBackend : public CpuBackend {
 public:
  explicit FailingBackend(int waits) : waits_(waits) {}
  void throttle(std::size_t in_flight) override {
    if (--waits_ == 0) fail(ErrorKind::memory, "No memory is left.");
    CpuBackend::throttle(in_flight);
  }

 private:
  int waits_;
};

class ParallelTraining : public testing::Test {
 protected:
  void SetUp() override {
    make_test_data(folder_.path());
    options_ = test_options(folder_.path());
    options_.steps = 6;
    options_.grad_accum = 4;
    options_.eval_every = 3;
    options_.save_every = 3;
    options_.tensorboard = false;
    options_.report = false;
  }

  // What each rank's error said, empty where there was none.
  std::vector<std::string> train(int ranks, const TrainOptions& options,
                                 const std::function<void(Communicator&, TrainOptions&)>& change = {}) {
    return on_ranks(ranks, [&](Communicator& communicator) {
      CpuBackend backend;
      TrainOptions own = options;
      if (change) change(communicator, own);
      TrainCallbacks callbacks;
      callbacks.event = [&](const TrainEvent& event) {
        EXPECT_TRUE(communicator.leads());
        if (on_event_) on_event_(event);
      };
      if (stops_ == communicator.rank()) callbacks.stop = &stop_;
      Trainer trainer(std::make_unique<Trainer::Parts>(own, std::move(callbacks), backend, &communicator));
      const TrainResult result = trainer.run();
      const std::scoped_lock lock(mutex_);
      last_steps_.push_back(result.step);
    });
  }
  void train_well(int ranks, const TrainOptions& options) {
    for (const std::string& error : train(ranks, options)) EXPECT_EQ(error, "");
  }
  static MetricsHistory history(const TrainOptions& options) { return read_metrics(options.output / "metrics.jsonl"); }
  TrainOptions in(const char* name) const {
    TrainOptions options = options_;
    options.output = folder_.path() / name;
    return options;
  }
  static void expect_like(const MetricsHistory& got, const MetricsHistory& expected) {
    ASSERT_EQ(got.steps.size(), expected.steps.size());
    for (std::size_t i = 0; i < got.steps.size(); ++i) {
      EXPECT_NEAR(got.steps[i].loss, expected.steps[i].loss, 2e-6 * expected.steps[i].loss) << "step " << i + 1;
      EXPECT_NEAR(got.steps[i].gradient_norm, expected.steps[i].gradient_norm, 1e-5 * expected.steps[i].gradient_norm);
    }
    ASSERT_EQ(got.evaluations.size(), expected.evaluations.size());
    for (std::size_t i = 0; i < got.evaluations.size(); ++i) {
      EXPECT_NEAR(got.evaluations[i].loss, expected.evaluations[i].loss, 2e-6 * expected.evaluations[i].loss);
    }
  }

  TestFolder folder_;
  TrainOptions options_;
  std::function<void(const TrainEvent&)> on_event_;
  std::mutex mutex_;
  std::vector<std::int64_t> last_steps_;
  std::atomic<bool> stop_ = false;
  int stops_ = -1;
};

TEST_F(ParallelTraining, ComputesWhatOneProcessComputes) {
  const TrainOptions alone = in("alone");
  train_well(1, alone);
  for (const int ranks : {2, 4}) {
    const TrainOptions options = in(ranks == 2 ? "two" : "four");
    train_well(ranks, options);
    expect_like(history(options), history(alone));
  }
  // The same bits again.
  const TrainOptions again = in("again");
  train_well(4, again);
  EXPECT_EQ(slurp(again.output / "model.safetensors"), slurp(in("four").output / "model.safetensors"));
}

TEST_F(ParallelTraining, NumbersDropoutGlobally) {
  options_.dropout = 0.2f;
  const TrainOptions alone = in("alone");
  train_well(1, alone);
  const TrainOptions two = in("two");
  train_well(2, two);
  expect_like(history(two), history(alone));
}

TEST_F(ParallelTraining, DividesTheRowsOfABatch) {
  options_.grad_accum = 1;
  const TrainOptions alone = in("alone");
  train_well(1, alone);
  const TrainOptions four = in("four");
  train_well(4, four);
  expect_like(history(four), history(alone));
}

TEST_F(ParallelTraining, ResumesOnAnotherNumberOfRanks) {
  const TrainOptions alone = in("alone");
  train_well(1, alone);
  TrainOptions moved = in("moved");
  int ranks = 1;
  for (const std::int64_t steps : {2, 4, 6}) {
    // Stopped as by a signal, so that the schedule stays.
    stop_ = false;
    stops_ = steps < 6 ? ranks - 1 : -1;
    on_event_ = [&, steps](const TrainEvent& event) {
      if (const auto* step = std::get_if<StepEvent>(&event)) stop_ = step->step >= steps;
    };
    train_well(ranks, moved);
    ranks = ranks == 1 ? 2 : 1;
    moved.resume = true;
  }
  // Rank 1 notices at once or one step later; both ranks then stop there.
  ASSERT_EQ(last_steps_.size(), 5u);
  EXPECT_EQ(last_steps_[1], 2);
  EXPECT_EQ(last_steps_[2], last_steps_[3]);
  EXPECT_LE(last_steps_[2], 5);
  EXPECT_EQ(last_steps_[4], 6);
  expect_like(history(moved), history(alone));
}

// With the optimiser in parts on two ranks, whose checkpoints are like those of one.
TEST_F(ParallelTraining, ResumesWithAndWithoutParts) {
  const TrainOptions alone = in("alone");
  train_well(1, alone);
  TrainOptions moved = in("moved");
  int ranks = 2;
  for (const std::int64_t zero : {1, 0, 2, 1}) {
    moved.zero = zero;
    const auto stop_after = moved.resume ? last_steps_.back() + 1 : 1;
    stop_ = false;
    stops_ = zero == 1 && moved.resume ? -1 : 0;
    on_event_ = [&, stop_after](const TrainEvent& event) {
      if (const auto* step = std::get_if<StepEvent>(&event)) stop_ = step->step >= stop_after;
    };
    train_well(ranks, moved);
    ranks = ranks == 2 ? 1 : 2;
    moved.resume = true;
  }
  EXPECT_EQ(last_steps_.back(), 6);
  expect_like(history(moved), history(alone));
}

// Where the leading rank alone has a reason to save, the others write their parts.
TEST_F(ParallelTraining, AnExceptionFromACallbackSavesAllParts) {
  TrainOptions options = in("run");
  options.zero = 1;
  const auto errors = on_ranks(2, [&](Communicator& communicator) {
    CpuBackend backend;
    TrainCallbacks callbacks;
    callbacks.event = [&](const TrainEvent& event) {
      const auto* step = std::get_if<StepEvent>(&event);
      if (step != nullptr && step->step == 5) fail(ErrorKind::io, "The screen is gone.");
    };
    Trainer(std::make_unique<Trainer::Parts>(options, std::move(callbacks), backend, &communicator)).run();
  });
  // The checkpoint of that step is saved by both.
  EXPECT_EQ(errors[0], "The screen is gone.");
  EXPECT_TRUE(fs::exists(options.output / "checkpoints" / "step-5" / "optimizer.safetensors"));
}

TEST_F(ParallelTraining, RefusesWhatCannotBeDivided) {
  options_.batch_size = 3;
  options_.grad_accum = 1;
  for (const std::string& error : train(2, in("run"))) {
    EXPECT_EQ(error,
              "2 processes cannot divide the 3 sequences of a step (--batch-size 3, --grad-accum 1) evenly: "
              "--batch-size must be a multiple of 2, or --grad-accum one of 2.");
  }
  EXPECT_FALSE(fs::exists(folder_.path() / "run"));
}

TEST_F(ParallelTraining, NamesTheRankWithOtherOptionsOrData) {
  const auto errors = train(2, in("run"), [](Communicator& communicator, TrainOptions& options) {
    if (communicator.rank() == 1) options.lr = 0.5;
  });
  for (const std::string& error : errors) {
    EXPECT_EQ(error,
              "The processes disagree on their options with rank 0 on host0: rank 1 on host1 has lr 0.5 instead of "
              "0.01. Start the same program with the same command everywhere.");
  }
  EXPECT_FALSE(fs::exists(folder_.path() / "run"));
}

TEST_F(ParallelTraining, AFailureOfOneRankEndsAllAndNamesTheCheckpoint) {
  options_.save_every = 2;
  const TrainOptions options = in("run");
  const auto errors = on_ranks(3, [&](Communicator& communicator) {
    FailingBackend backend(communicator.rank() == 2 ? 5 : 1000);
    TrainOptions own = options;
    own.grad_accum = 3;
    Trainer(std::make_unique<Trainer::Parts>(own, TrainCallbacks(), backend, &communicator)).run();
  });
  EXPECT_EQ(errors[2], "No memory is left.");
  EXPECT_EQ(errors[0], "Rank 2 on host2: No memory is left. The checkpoint of step 2 in " +
                           (options.output / "checkpoints" / "step-2").string() +
                           " is good; continue from it with --resume.");
  EXPECT_EQ(errors[1], errors[0]);
}

TEST_F(ParallelTraining, NamesTheRankWhoseParametersDiffer) {
  const auto errors = on_ranks(4, [](Communicator& communicator) {
    require_same_parameters(communicator, 7, 100);
    require_same_parameters(communicator, communicator.rank() == 1 ? 5 : 6, 200);
  });
  for (const std::string& error : errors) {
    EXPECT_EQ(error,
              "After step 200, rank 1 on host1 had other parameters than the other processes: a fault of memory or of "
              "the device there.");
  }
}

}  // namespace
}  // namespace mslt

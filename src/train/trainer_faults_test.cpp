// Whole runs to which something happens: data and folders that go away, disks that are full, side tasks that fail.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "base/fail.h"
#include "model/transformer.h"
#include "train/test_file_size_limit.h"
#include "train/trainer_faults_fixture.h"

namespace mslt {
namespace {

TEST_F(TrainerFaultsTest, AllDataIsOpenedBeforeTheRunFolderIsMade) {
  const fs::path shard = options().data / "val_000000.bin";
  const std::string bytes = slurp(shard);
  fs::remove(shard);
  EXPECT_TRUE(contains(rejection(options(), ErrorKind::io), "val_000000.bin"));
  spill(shard, bytes.substr(0, bytes.size() - 2));
  EXPECT_TRUE(contains(rejection(options(), ErrorKind::input), "val_000000.bin is truncated"));
  spill(shard, bytes.substr(0, bytes.size() - 2) + "\xFF\xFF");
  EXPECT_TRUE(contains(rejection(options(), ErrorKind::input), "vocabulary ends at 299"));
  spill(shard, bytes);
  TrainOptions now = options();
  now.model.max_positions = now.seq_len = 1 << 20;
  EXPECT_TRUE(contains(rejection(now, ErrorKind::input), "a window of sequence length"));
  EXPECT_FALSE(fs::exists(run_folder()));
}

TEST_F(TrainerFaultsTest, AFailedEvaluationCostsNoStep) {
  at_step(12, [&] { ruin_shard(options().data / "val_000000.bin", 0); });
  TrainOptions now = options();
  now.save_every = 0;
  now.eval_batches = 0;
  EXPECT_EQ(train(now).step, 30);
  EXPECT_TRUE(contains(warnings(), "The validation loss could not be found: ")) << warnings();
  EXPECT_TRUE(contains(warnings(), "The checkpoint of step 20 is saved. Training goes on.")) << warnings();
  EXPECT_TRUE(fs::exists(checkpoint(20)));
  EXPECT_TRUE(fs::exists(checkpoint(30)));
  EXPECT_EQ(events<EvaluationEvent>().size(), 1u);
}

TEST_F(TrainerFaultsTest, AFailedSampleCostsNoStep) {
  TrainOptions now = options();
  now.sample_every = 7;
  on_sample_ = [](Model&, std::int64_t step) -> std::string {
    if (step == 14) fail(ErrorKind::io, "No sample today.");
    return "sample";
  };
  EXPECT_EQ(train(now).step, 30);
  EXPECT_TRUE(
      contains(warnings(), "The sample could not be made: No sample today. The checkpoint of step 14 is saved."))
      << warnings();
  EXPECT_EQ(events<SampleEvent>().size(), 4u);
}

TEST_F(TrainerFaultsTest, AReportThatCannotBeWrittenCostsNoStep) {
  fs::create_directories(run_folder() / "report.html/in the way");
  EXPECT_EQ(train(options()).step, 30);
  EXPECT_TRUE(contains(warnings(), "The report could not be written: ")) << warnings();
  EXPECT_TRUE(contains(warnings(), "step 10 is saved")) << warnings();
}

TEST_F(TrainerFaultsTest, MetricsThatCannotBeWrittenAreWrittenLater) {
  train_whole();
  std::unique_ptr<FileSizeLimit> full;
  on_event_ = [&](const TrainEvent& event) {
    const auto* step = std::get_if<StepEvent>(&event);
    if (step == nullptr) return;
    if (step->step == 4) full = std::make_unique<FileSizeLimit>(100);
    if (step->step == 5) full.reset();
  };
  TrainOptions now = options();
  now.save_every = 0;
  EXPECT_EQ(train(now).step, 30);
  full.reset();
  EXPECT_TRUE(contains(warnings(), "The metrics could not be written: ")) << warnings();
  EXPECT_TRUE(contains(warnings(), "The events for TensorBoard could not be written: ")) << warnings();
  EXPECT_TRUE(contains(warnings(), "is saved. Training goes on.")) << warnings();
  EXPECT_GE(events<SaveEvent>().size(), 2u);
  expect_whole();
}

TEST_F(TrainerFaultsTest, DataThatGoesAwayEndsInACheckpoint) {
  train_whole();
  const fs::path data = options().data;
  const fs::path moved = folder_.path() / "moved";
  at_step(12, [&] { fs::rename(data, moved); });
  std::string text = rejection(options(), ErrorKind::input);
  EXPECT_TRUE(contains(text, "was removed or moved during training")) << text;
  EXPECT_TRUE(contains(text, "The checkpoint of step 20 is saved in")) << text;
  EXPECT_TRUE(contains(text, "--resume")) << text;
  fs::rename(moved, data);
  on_event_ = {};
  EXPECT_EQ(train(resuming()).step, 30);
  expect_whole();

  fs::remove_all(run_folder());
  at_step(3, [&] {
    PrepareOptions again;
    again.inputs = {folder_.path() / "text.txt"};
    again.tokenizer = folder_.path() / "tokenizer.json";
    again.output = data;
    again.val_fraction = 0.2;
    prepare_data(again);
  });
  text = rejection(options(), ErrorKind::input);
  EXPECT_TRUE(contains(text, "was prepared anew or changed: data.json")) << text;
  EXPECT_TRUE(fs::exists(checkpoint(10))) << text;
}

TEST_F(TrainerFaultsTest, DataIsLookedAtWhereNothingElseHappens) {
  TrainOptions now = options();
  now.steps = 200;
  now.eval_every = now.save_every = 0;
  at_step(12, [&] { fs::remove_all(now.data); });
  EXPECT_TRUE(contains(rejection(now, ErrorKind::input), "The checkpoint of step 50 is saved"));
}

TEST_F(TrainerFaultsTest, AReaderThatFailsEndsInACheckpointOfTheLastStep) {
  train_whole();
  const fs::path shard = options().data / "train_000000.bin";
  const std::string good = slurp(shard);
  const std::size_t tokens = (good.size() - shard_header_bytes) / 2;
  at_step(5, [&] {
    for (std::size_t token = 0; token < tokens; token += 8) ruin_shard(shard, token);
  });
  const std::string text = rejection(options(), ErrorKind::input);
  EXPECT_TRUE(contains(text, "train_000000.bin: token")) << text;
  EXPECT_TRUE(contains(text, "continue from it with --resume")) << text;
  const auto saved = events<SaveEvent>();
  ASSERT_EQ(saved.size(), 1u);
  EXPECT_GE(saved[0].step, 5);
  spill(shard, good);
  on_event_ = {};
  EXPECT_EQ(train(resuming()).step, 30);
  expect_whole();
}

TEST_F(TrainerFaultsTest, ARunFolderThatIsMovedIsFollowedOnce) {
  train_whole();
  const fs::path moved = folder_.path() / "elsewhere";
  at_step(12, [&] { fs::rename(run_folder(), moved); });
  const std::string text = rejection(options(), ErrorKind::io);
  EXPECT_TRUE(contains(text, "was moved to")) << text;
  EXPECT_TRUE(contains(text, "The checkpoint of step 20 is saved in " + fs::canonical(moved).string())) << text;
  EXPECT_TRUE(fs::exists(moved / "checkpoints/step-20/manifest.json"));
  EXPECT_FALSE(fs::exists(run_folder()));
  on_event_ = {};
  fs::rename(moved, run_folder());
  EXPECT_EQ(train(resuming()).step, 30);
  expect_whole();
}

TEST_F(TrainerFaultsTest, ARunFolderThatIsRemovedLeavesNoStub) {
  at_step(12, [&] { fs::remove_all(run_folder()); });
  std::string text = rejection(options(), ErrorKind::io);
  EXPECT_TRUE(contains(text, "was removed during training")) << text;
  EXPECT_FALSE(fs::exists(run_folder()));
  // Another folder of that name is not the run's.
  at_step(12, [&] {
    fs::remove_all(run_folder());
    fs::create_directory(run_folder());
  });
  text = rejection(options(), ErrorKind::io);
  EXPECT_TRUE(contains(text, "was removed during training")) << text;
  EXPECT_TRUE(fs::is_empty(run_folder()));
}

TEST_F(TrainerFaultsTest, RunsDoNotLieInCheckpointsOfOthers) {
  train(options());
  TrainOptions now = options();
  for (const char* inside : {"checkpoints/mine", "checkpoints/step-30/mine", "checkpoints"}) {
    now.output = run_folder() / inside;
    EXPECT_TRUE(contains(rejection(now, ErrorKind::usage), "inside the checkpoints of the run")) << inside;
  }
  EXPECT_FALSE(fs::exists(run_folder() / "checkpoints/mine"));
}

TEST_F(TrainerFaultsTest, SweepsItsOwnTemporaryFilesAlone) {
  TrainOptions now = options();
  now.steps = 2;
  now.warmup = 0;
  train(now);
  const std::vector<std::string> own = {"run.json.saving-a1B2c3",
                                        "report.html.saving-zzzzzz",
                                        "run.json.q1W2e3",
                                        "report.html.tYuIoP",
                                        "model.safetensors.new",
                                        "tokenizer.json.new",
                                        "metrics.jsonl.after-step-0.saving-a1B2c3"};
  const std::vector<std::string> others = {"run.json.backup",     "report.html.20261126",  "report.html.Backup",
                                           "notes.saving-a1B2c3", "run.json.saving-a1B2c", "run.json.241126"};
  for (const auto& name : own) spill(run_folder() / name, "half");
  for (const auto& name : others) spill(run_folder() / name, "someone's");
  fs::create_directory(run_folder() / "checkpoints/.saving-step-9");
  now.resume = true;
  train(now);
  for (const auto& name : own) EXPECT_FALSE(fs::exists(run_folder() / name)) << name;
  for (const auto& name : others) EXPECT_TRUE(fs::exists(run_folder() / name)) << name;
  EXPECT_FALSE(fs::exists(run_folder() / "checkpoints/.saving-step-9"));
}

TEST_F(TrainerFaultsTest, ResumingNothingBegins) {
  train_whole();
  EXPECT_FALSE(holds_run(run_folder()));
  EXPECT_EQ(train(resuming()).step, 30);
  EXPECT_TRUE(contains(all_notes(), "holds no run to resume; one begins there")) << all_notes();
  EXPECT_TRUE(holds_run(run_folder()));
  expect_whole();
  fs::remove_all(run_folder());
  fs::create_directory(run_folder());
  EXPECT_EQ(train(resuming()).step, 30);
  expect_whole();
}

TEST_F(TrainerFaultsTest, AStartThatFailedIsInNobodysWay) {
  train_whole();
  TrainOptions wrong = options();
  wrong.model.ffn_size = 48;
  wrong.warmup = 0;
  wrong.schedule = Schedule::constant;
  wrong.lr = 1e38;
  rejection(wrong, ErrorKind::numeric);
  EXPECT_FALSE(holds_run(run_folder()));
  for (const bool resume : {false, true}) {
    const std::string metrics = slurp(run_folder() / "metrics.jsonl");
    EXPECT_FALSE(metrics.empty());
    TrainOptions now = options();
    now.resume = resume;
    forget();
    EXPECT_EQ(train(now).step, 30);
    EXPECT_TRUE(contains(all_notes(), "ended before its first checkpoint")) << all_notes();
    EXPECT_EQ(slurp(run_folder() / "metrics.jsonl.after-step-0"), metrics);
    expect_whole();
    fs::remove_all(run_folder());
    rejection(wrong, ErrorKind::numeric);
  }
}

TEST_F(TrainerFaultsTest, AModelWithoutCheckpointsIsNotOverwritten) {
  train(options());
  fs::remove_all(run_folder() / "checkpoints");
  spill(run_folder() / "config.json.new", "the user's");
  for (const TrainOptions& now : {options(), resuming()}) {
    EXPECT_TRUE(contains(rejection(now, ErrorKind::usage), "holds a model (model.safetensors) and no checkpoint"));
    EXPECT_EQ(slurp(run_folder() / "config.json.new"), "the user's");
  }
}

TEST_F(TrainerFaultsTest, APipeInTheRunFolderIsRefused) {
  train(options());
  fs::remove(run_folder() / "metrics.jsonl");
  ASSERT_EQ(::mkfifo((run_folder() / "metrics.jsonl").c_str(), 0600), 0);
  EXPECT_TRUE(contains(rejection(resuming(), ErrorKind::input), "metrics.jsonl is no regular file"));
}

TEST_F(TrainerFaultsTest, AnExceptionFromTheCallbackEndsInACheckpoint) {
  train_whole();
  at_step(7, [] { throw std::runtime_error("enough"); });
  EXPECT_THROW(
      {
        try {
          train(options());
        } catch (const std::runtime_error& error) {
          EXPECT_STREQ(error.what(), "enough");
          throw;
        }
      },
      std::runtime_error);
  on_event_ = {};
  EXPECT_TRUE(holds_run(run_folder()));
  EXPECT_EQ(train(resuming()).step, 30);
  expect_whole();
}

}  // namespace
}  // namespace mslt

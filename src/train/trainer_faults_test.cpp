// Whole runs to which something happens: damaged checkpoints, data and folders that go away, disks that are full.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "base/fail.h"
#include "base/json.h"
#include "data/shard.h"
#include "model/transformer.h"
#include "train/crc32c.h"
#include "train/test_file_size_limit.h"
#include "train/trainer_fixture.h"

namespace mslt {
namespace {

// Changes one byte in the middle.
void flip(const fs::path& path) {
  std::string bytes = slurp(path);
  bytes[bytes.size() / 2] ^= 1;
  spill(path, bytes);
}

// Every file under a folder with its content.
std::map<std::string, std::string> content_of(const fs::path& folder) {
  std::map<std::string, std::string> content;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) content[fs::relative(entry.path(), folder).string()] = slurp(entry.path());
  }
  return content;
}

class TrainerFaultsTest : public TrainerTest {
 protected:
  TrainOptions resuming() const {
    TrainOptions now = options();
    now.resume = true;
    return now;
  }
  // What a run without any fault computes; the folder is gone afterwards.
  void train_whole() {
    train(options());
    whole_ = losses();
    weights_ = slurp(run_folder() / "model.safetensors");
    fs::remove_all(run_folder());
    forget();
  }
  void forget() {
    events_.clear();
    notes_.clear();
  }
  void expect_whole() const {
    EXPECT_EQ(losses(), whole_);
    EXPECT_TRUE(slurp(run_folder() / "model.safetensors") == weights_);
  }
  fs::path checkpoint(int step) const { return run_folder() / "checkpoints" / ("step-" + std::to_string(step)); }
  std::string warnings() const {
    std::string text;
    for (const NoteEvent& note : events<NoteEvent>()) {
      if (note.warning) text += note.text + "\n";
    }
    return text;
  }
  std::string all_notes() const {
    std::string text;
    for (const std::string& note : notes_) text += note + "\n";
    return text;
  }
  void at_step(std::int64_t step, std::function<void()> action) {
    on_event_ = [=](const TrainEvent& event) {
      const auto* one = std::get_if<StepEvent>(&event);
      if (one != nullptr && one->step == step) action();
    };
  }
  // Changes a member of a checkpoint's state.json and makes the manifest agree.
  void change_state(int step, const char* member, const nlohmann::json& value) const {
    nlohmann::json state = read_json_file(checkpoint(step) / "state.json");
    state[member] = value;
    spill(checkpoint(step) / "state.json", state.dump());
    nlohmann::json manifest = read_json_file(checkpoint(step) / "manifest.json");
    const FileSum sum = sum_file(checkpoint(step) / "state.json");
    manifest["files"]["state.json"] = {{"bytes", sum.bytes}, {"crc32c", fmt::format("{:08x}", sum.crc32c)}};
    spill(checkpoint(step) / "manifest.json", manifest.dump());
  }
  // Overwrites an id in place with one that no vocabulary has, and hides that from whoever looks at times.
  void ruin_shard(const fs::path& path, std::size_t token) const {
    const auto time = fs::last_write_time(path);
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(shard_header_bytes + 2 * token));
    file.write("\xFF\xFF", 2);
    file.close();
    fs::last_write_time(path, time);
  }

  std::string whole_;
  std::string weights_;
};

TEST_F(TrainerFaultsTest, DamageInEveryCheckpointIsAQuestion) {
  train(options());
  const std::string whole = losses();
  flip(checkpoint(20) / "config.json");
  flip(checkpoint(30) / "config.json");
  const auto before = content_of(run_folder());
  const std::string text = rejection(resuming(), ErrorKind::input);
  for (const char* part : {"step-30 is damaged (config.json does not match its checksum)", "step-20 is damaged",
                           "go on from the first step, add --discard-damaged", "Nothing was changed"}) {
    EXPECT_TRUE(contains(text, part)) << text;
  }
  EXPECT_TRUE(content_of(run_folder()) == before);

  TrainOptions now = resuming();
  now.discard_damaged = true;
  forget();
  EXPECT_EQ(train(now).step, 30);
  EXPECT_EQ(events<StepEvent>().front().step, 1);
  EXPECT_EQ(losses(), whole);
  EXPECT_TRUE(slurp(checkpoint(30).string() + ".damaged/config.json") == before.at("checkpoints/step-30/config.json"));
  EXPECT_TRUE(fs::exists(checkpoint(20).string() + ".damaged/optimizer.safetensors"));
  EXPECT_EQ(slurp(run_folder() / "metrics.jsonl.after-step-0"), before.at("metrics.jsonl"));
  EXPECT_TRUE(contains(all_notes(), "is kept as step-30.damaged")) << all_notes();

  // The same again: names that are taken are not used twice.
  flip(checkpoint(30) / "config.json");
  train(now);
  EXPECT_TRUE(fs::exists(checkpoint(30).string() + ".damaged-2"));
}

TEST_F(TrainerFaultsTest, GoesOnFromTheStepThatTheUserNames) {
  train(options());
  const std::string whole = losses();
  const std::string metrics = slurp(run_folder() / "metrics.jsonl");
  flip(checkpoint(30) / "optimizer.safetensors");
  EXPECT_TRUE(contains(rejection(resuming(), ErrorKind::input), "--from-step with one of: 20"));
  TrainOptions now = resuming();
  now.from_step = 25;
  EXPECT_TRUE(contains(rejection(now, ErrorKind::usage), "no checkpoint of that step; complete are: 20"));
  now.from_step = 30;
  EXPECT_TRUE(contains(rejection(now, ErrorKind::usage), "step-30 is damaged"));
  now.from_step = 20;
  forget();
  train(now);
  EXPECT_EQ(events<StepEvent>().front().step, 21);
  EXPECT_EQ(losses(), whole);
  EXPECT_TRUE(fs::exists(checkpoint(30).string() + ".damaged"));
  const std::string kept = slurp(run_folder() / "metrics.jsonl.after-step-20");
  EXPECT_FALSE(kept.empty());
  EXPECT_TRUE(metrics.ends_with(kept));

  train(now);
  EXPECT_TRUE(fs::exists(checkpoint(30).string() + ".superseded/manifest.json"));
  EXPECT_EQ(losses(), whole);
  now.resume = false;
  EXPECT_TRUE(contains(rejection(now, ErrorKind::usage), "--from-step goes with --resume"));
}

TEST_F(TrainerFaultsTest, WhatCannotBeReadIsNeverPassedOver) {
  train(options());
  const auto metrics = slurp(run_folder() / "metrics.jsonl");
  const fs::path manifest = checkpoint(30) / "manifest.json";
  fs::rename(manifest, folder_.path() / "manifest");
  fs::create_symlink("manifest.json", manifest);  // leads to itself
  TrainOptions now = resuming();
  for (const bool discard : {false, true}) {
    now.discard_damaged = discard;
    const std::string text = rejection(now, ErrorKind::io);
    EXPECT_TRUE(contains(text, "step-30 cannot be read (manifest.json cannot be looked at")) << text;
    EXPECT_TRUE(contains(text, "Mend what keeps it from being read")) << text;
    EXPECT_FALSE(contains(text, "--discard-damaged")) << text;
  }
  EXPECT_EQ(slurp(run_folder() / "metrics.jsonl"), metrics);
  EXPECT_TRUE(fs::exists(checkpoint(20)));
  fs::rename(folder_.path() / "manifest", manifest);
  EXPECT_EQ(train(resuming()).step, 30);

  // A list that cannot be made is not an empty one.
  fs::rename(run_folder() / "checkpoints", folder_.path() / "checkpoints");
  fs::create_symlink("checkpoints", run_folder() / "checkpoints");
  EXPECT_TRUE(contains(rejection(resuming(), ErrorKind::io), "Cannot list the checkpoints"));
  EXPECT_TRUE(contains(rejection(options(), ErrorKind::io), "Cannot list the checkpoints"));
  EXPECT_EQ(slurp(run_folder() / "metrics.jsonl"), metrics);
}

TEST_F(TrainerFaultsTest, OtherUsersCheckpointsAreDoubtful) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  train(options());
  fs::permissions(folder_.path(), fs::perms(0755));
  for (const int step : {20, 30}) fs::permissions(checkpoint(step) / "manifest.json", fs::perms::none);
  // The lock has to be taken by the other user, too.
  for (const char* name : {".lock", "."}) fs::permissions(run_folder() / name, fs::perms(0777));
  const auto before = slurp(run_folder() / "metrics.jsonl");
  ASSERT_EQ(::seteuid(65534), 0);
  const std::string text = rejection(resuming(), ErrorKind::io);
  ASSERT_EQ(::seteuid(0), 0);
  EXPECT_TRUE(contains(text, "step-30 cannot be read")) << text;
  EXPECT_TRUE(contains(text, "step-20 cannot be read")) << text;
  EXPECT_TRUE(contains(text, "change its permissions")) << text;
  EXPECT_EQ(slurp(run_folder() / "metrics.jsonl"), before);
}

TEST_F(TrainerFaultsTest, OlderDamageIsNamedAndKept) {
  TrainOptions now = options();
  now.steps = 20;
  train(now);
  flip(checkpoint(10) / "model.safetensors");
  now = resuming();
  forget();
  train(now);
  EXPECT_EQ(events<StepEvent>().front().step, 21);
  EXPECT_TRUE(contains(all_notes(), "step-10 is damaged")) << all_notes();
  EXPECT_TRUE(fs::exists(checkpoint(10)));
}

TEST_F(TrainerFaultsTest, ThePublishedModelIsACopy) {
  train(options());
  EXPECT_FALSE(fs::equivalent(run_folder() / "model.safetensors", checkpoint(30) / "model.safetensors"));
  fs::resize_file(run_folder() / "model.safetensors", 0);
  forget();
  EXPECT_EQ(train(resuming()).step, 30);
  EXPECT_TRUE(slurp(run_folder() / "model.safetensors") == slurp(checkpoint(30) / "model.safetensors"));
}

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
  on_sample_ = [](Transformer&, std::int64_t step) -> std::string {
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

TEST_F(TrainerFaultsTest, AManifestThatListsTooLittleIsDamage) {
  train(options());
  const fs::path path = checkpoint(30) / "manifest.json";
  auto manifest = nlohmann::json::parse(slurp(path));
  manifest["files"].erase("optimizer.safetensors");
  spill(path, manifest.dump());
  const std::string text = rejection(resuming(), ErrorKind::input);
  EXPECT_TRUE(contains(text, "step-30 is damaged (its manifest does not list optimizer.safetensors)")) << text;
}

TEST_F(TrainerFaultsTest, APipeInTheRunFolderIsRefused) {
  train(options());
  fs::remove(run_folder() / "metrics.jsonl");
  ASSERT_EQ(::mkfifo((run_folder() / "metrics.jsonl").c_str(), 0600), 0);
  EXPECT_TRUE(contains(rejection(resuming(), ErrorKind::input), "metrics.jsonl is no regular file"));
}

TEST_F(TrainerFaultsTest, AStateOutOfItsRangeIsDamage) {
  train(options());
  const std::string good = slurp(checkpoint(30) / "state.json");
  const std::string manifest = slurp(checkpoint(30) / "manifest.json");
  const std::vector<std::pair<const char*, nlohmann::json>> wrong = {
      {"step", -30},          {"step", 30.5},
      {"step", 29},           {"step", std::uint64_t{1} << 63},
      {"updates", 31},        {"updates", -1},
      {"seconds", -1.0},      {"seconds", 1e300},
      {"loss_scale", 0.0},    {"loss_scale", "large"},
      {"good_updates", -1},   {"good_updates", 1e9},
      {"format", 1.5},        {"metrics_bytes", -1},
      {"metrics_bytes", 0.5}, {"best_validation_loss", "low"},
      {"options", nullptr},   {"arithmetic", nlohmann::json::array()},
      {"identity", 7}};
  for (const auto& [member, value] : wrong) {
    change_state(30, member, value);
    const std::string text = rejection(resuming(), ErrorKind::input);
    EXPECT_TRUE(contains(text, "step-30 is damaged")) << member << ": " << text;
    EXPECT_TRUE(contains(text, member)) << member << ": " << text;
    spill(checkpoint(30) / "state.json", good);
    spill(checkpoint(30) / "manifest.json", manifest);
  }
  for (const nlohmann::json& loader :
       {nlohmann::json{{"epoch", 0}, {"position", 121}}, nlohmann::json{{"epoch", 9}, {"position", 0}},
        nlohmann::json{{"epoch", std::uint64_t{1} << 40}, {"position", 120}},
        nlohmann::json{{"epoch", 0}, {"position", ~std::uint64_t{0}}}}) {
    change_state(30, "loader", loader);
    const std::string text = rejection(resuming(), ErrorKind::input);
    EXPECT_TRUE(contains(text, "state.json: The loader")) << text;
  }
  for (const nlohmann::json& loader :
       {nlohmann::json{{"epoch", -1}, {"position", 120}}, nlohmann::json{{"epoch", 0}, {"position", 1.5}}}) {
    change_state(30, "loader", loader);
    EXPECT_TRUE(contains(rejection(resuming(), ErrorKind::input), "the loader's"));
  }
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

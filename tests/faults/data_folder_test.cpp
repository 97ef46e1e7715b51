// Data folders that are missing, damaged, of another tokenizer, or changed while a run reads them.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>

#include "tests/faults/scene.h"

namespace mslt::faults {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

class DataFolderTest : public SceneTest {
 protected:
  static std::vector<fs::path> shards(const fs::path& data, const std::string& split) {
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(data)) {
      if (entry.path().extension() == ".bin" && entry.path().filename().string().find(split) != std::string::npos) {
        found.push_back(entry.path());
      }
    }
    std::sort(found.begin(), found.end());
    return found;
  }
  static std::vector<std::string> with_data(std::vector<std::string> arguments, const fs::path& data) {
    // The last --data counts.
    arguments.insert(arguments.end(), {"--data", data.string()});
    return arguments;
  }
  static bool has_checkpoint(const fs::path& run_folder) {
    if (!fs::exists(run_folder / "checkpoints")) return false;
    for (const auto& entry : fs::directory_iterator(run_folder / "checkpoints")) {
      if (fs::exists(entry.path() / "manifest.json")) return true;
    }
    return false;
  }
  // A data folder of equal size, prepared with another tokenizer with as many tokens.
  static fs::path data_of_another_tokenizer() {
    std::string text;
    for (int i = 0; i < 900; ++i) text += "zebra quartz " + std::to_string(i) + " vexing jumps over lazy dwarf fog\n";
    spill(scene().path("other.txt"), text);
    const Outcome trained = run({"tokenizer", "train", "--force", "--input", scene().string("other.txt"),
                                 "--vocab-size", "300", "--output", scene().string("other.json"), "--force"});
    EXPECT_EQ(trained.status, 0) << trained.describe();
    const Outcome prepared = run({"data", "prepare", "--force", "--tokenizer", scene().string("other.json"), "--input",
                                  scene().string("text.txt"), "--output", scene().string("other"), "--force"});
    EXPECT_EQ(prepared.status, 0) << prepared.describe();
    return scene().path("other");
  }
};

TEST_F(DataFolderTest, EveryShardIsCheckedBeforeTheFirstStep) {
  const std::map<std::string, std::function<void(const fs::path&)>> harms = {
      {"missing",
       [](const fs::path& file) {
         fs::remove(file);
       }},
      {"empty",
       [](const fs::path& file) {
         spill(file, "");
       }},
      {"half of it",
       [](const fs::path& file) {
         fs::resize_file(file, fs::file_size(file) / 2);
       }},
      {"longer",
       [](const fs::path& file) {
         spill(file, slurp(file) + "more");
       }},
      {"another header",
       [](const fs::path& file) {
         flip_byte(file, 0);
       }},
      {"a folder",
       [](const fs::path& file) {
         fs::remove(file);
         fs::create_directory(file);
       }},
      {"a loop of links",
       [](const fs::path& file) {
         fs::remove(file);
         fs::create_symlink(file, file);
       }},
  };
  const fs::path finished = scene().copy(scene().finished_run(), "resumed");
  const Snapshot before = take_snapshot(finished);
  for (const char* split : {"train", "val"}) {
    for (const auto& [name, harm] : harms) {
      SCOPED_TRACE(std::string(split) + " " + name);
      const fs::path data = scene().copy(scene().path("data"), "harmed");
      const fs::path shard = shards(data, split).back();
      harm(shard);
      fs::remove_all(scene().path("run"));
      // If it were noticed only at the first evaluation, the run would have started.
      const Outcome started = run(with_data(scene().train(scene().path("run")), data));
      EXPECT_EQ(started.status, 1) << started.describe();
      EXPECT_TRUE(contains(started.err, shard.string())) << started.describe();
      EXPECT_FALSE(contains(started.err, "step 1/")) << started.describe();
      EXPECT_FALSE(contains(started.err, "filesystem error")) << started.describe();
      const Outcome resumed = run(with_data(scene().resume(finished), data));
      EXPECT_EQ(resumed.status, 1) << resumed.describe();
      EXPECT_TRUE(contains(resumed.err, shard.string())) << resumed.describe();
      EXPECT_EQ(differences(before, take_snapshot(finished)), "");
      const Outcome evaluated =
          run({"eval", "--model", scene().finished_run().string(), "--data", data.string(), "--split", split});
      EXPECT_EQ(evaluated.status, 1) << evaluated.describe();
      EXPECT_TRUE(contains(evaluated.err, shard.string())) << evaluated.describe();
      // The failed command does not block the corrected one.
      const Outcome corrected = run(scene().train(scene().path("run")));
      EXPECT_EQ(corrected.status, 0) << corrected.describe();
    }
  }
}

TEST_F(DataFolderTest, AnUnreadableShardIsAnErrorOfPermissions) {
  const fs::path data = scene().copy(scene().path("data"), "harmed");
  const fs::path shard = shards(data, "val").back();
  fs::permissions(shard, fs::perms::none);
  const Outcome outcome =
      run({.arguments = with_data(scene().train(scene().path("run")), data), .rights = Rights::obeying_modes});
  if (!outcome.executed) GTEST_SKIP() << outcome.error;
  EXPECT_EQ(outcome.status, 1) << outcome.describe();
  EXPECT_TRUE(contains(outcome.err, shard.string())) << outcome.describe();
  EXPECT_TRUE(contains(outcome.err, "permission")) << outcome.describe();
}

TEST_F(DataFolderTest, AnotherTokenizerOfTheSameSizeIsRefused) {
  const fs::path other = data_of_another_tokenizer();
  const fs::path mixed = scene().copy(scene().path("data"), "mixed");
  fs::copy_file(scene().path("other.json"), mixed / "tokenizer.json", fs::copy_options::overwrite_existing);
  const fs::path finished = scene().copy(scene().finished_run(), "resumed");
  const Snapshot before = take_snapshot(finished);
  const std::map<std::string, std::vector<std::string>> commands = {
      {"train on a folder whose tokenizer was replaced", with_data(scene().train(scene().path("run")), mixed)},
      {"resume on it", with_data(scene().resume(finished), mixed)},
      {"eval on it", {"eval", "--model", finished.string(), "--data", mixed.string()}},
      {"resume on other data", with_data(scene().resume(finished), other)},
      {"eval on data of another tokenizer", {"eval", "--model", finished.string(), "--data", other.string()}},
  };
  for (const auto& [name, arguments] : commands) {
    SCOPED_TRACE(name);
    const Outcome outcome = run(arguments);
    EXPECT_TRUE(outcome.status == 1 || outcome.status == 2) << outcome.describe();
    EXPECT_TRUE(contains(outcome.err, "tokenizer")) << outcome.describe();
    EXPECT_EQ(differences(before, take_snapshot(finished)), "");
    EXPECT_FALSE(fs::exists(scene().path("run") / "model.safetensors"));
  }
}

TEST_F(DataFolderTest, AnotherModelIsNoStart) {
  const fs::path other = data_of_another_tokenizer();
  const std::string model = scene().finished_run().string();
  const std::vector<std::string> from = {"train",   "--output", scene().string("begun"), "--init-from", model,
                                         "--steps", "2",        "--batch-size",          "2",           "--eval-every",
                                         "0"};
  for (const char* option : {"--layers", "--channels", "--heads", "--max-positions", "--ffn-size", "--preset"}) {
    SCOPED_TRACE(option);
    std::vector<std::string> arguments = with_data(from, scene().path("data"));
    arguments.insert(arguments.end(), {option, std::string(option) == "--preset" ? "mini" : "2"});
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.status, 2) << outcome.describe();
    EXPECT_TRUE(contains(outcome.err, option)) << outcome.describe();
    EXPECT_TRUE(contains(outcome.err, "--init-from")) << outcome.describe();
  }
  std::vector<std::string> arguments = with_data(from, other);
  const Outcome refused = run(arguments);
  EXPECT_TRUE(refused.status == 1 || refused.status == 2) << refused.describe();
  EXPECT_TRUE(contains(refused.err, "--force-tokenizer")) << refused.describe();
  arguments.emplace_back("--force-tokenizer");
  const Outcome forced = run(arguments);
  EXPECT_EQ(forced.status, 0) << forced.describe();
  EXPECT_TRUE(contains(forced.err, "tokenizer")) << forced.describe();
  fs::remove_all(scene().path("begun"));
  const Outcome same = run(with_data(from, scene().path("data")));
  EXPECT_EQ(same.status, 0) << same.describe();
}

// A run notices changes of its data, and saves before it stops.
TEST_F(DataFolderTest, ChangesDuringARunEndInASavedCheckpoint) {
  const fs::path data = scene().path("changing");
  const std::vector<std::string> prepare_again = {"data",           "prepare",
                                                  "--tokenizer",    scene().string("tokenizer.json"),
                                                  "--input",        scene().string("text.txt"),
                                                  "--val-fraction", "0.3",
                                                  "--shard-tokens", "4000",
                                                  "--output",       data.string(),
                                                  "--force"};
  const std::map<std::string, std::function<void()>> changes = {
      {"deleted",
       [&] {
         fs::remove_all(data);
       }},
      {"moved",
       [&] {
         fs::rename(data, scene().path("away"));
       }},
      {"prepared again",
       [&] {
         const Outcome outcome = run(prepare_again);
         EXPECT_EQ(outcome.status, 0) << outcome.describe();
       }},
      {"deleted and prepared again",
       [&] {
         fs::remove_all(data);
         const Outcome outcome = run(prepare_again);
         EXPECT_EQ(outcome.status, 0) << outcome.describe();
       }},
  };
  for (const auto& [name, change] : changes) {
    SCOPED_TRACE(name);
    scene().copy(scene().path("data"), "changing");
    fs::remove_all(scene().path("away"));
    const fs::path run_folder = scene().fresh("run");
    std::vector<std::string> arguments = with_data(scene().train(run_folder, 200000), data);
    arguments.insert(arguments.end(), {"--save-every", "0", "--eval-every", "50", "--eval-batches", "2"});
    Child child({.arguments = arguments});
    ASSERT_TRUE(child.wait_for_message("validation loss", 1min));
    change();
    const Outcome outcome = child.wait();
    EXPECT_EQ(outcome.status, 1) << outcome.describe();
    EXPECT_TRUE(contains(outcome.err, data.string())) << outcome.describe();
    EXPECT_TRUE(has_checkpoint(run_folder)) << outcome.describe();
    EXPECT_FALSE(fs::exists(data / ".lock") && !fs::exists(data / "data.json"));
  }
}

}  // namespace
}  // namespace mslt::faults

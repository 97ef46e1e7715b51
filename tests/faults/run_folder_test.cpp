// Run folders that are missing, moved or removed during a run, left by failed starts, or full of leftovers of killed
// runs.
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

class RunFolderTest : public SceneTest {};

TEST_F(RunFolderTest, ResumingNothingBeginsARunAndSaysSo) {
  for (const bool exists : {false, true}) {
    SCOPED_TRACE(exists ? "empty" : "absent");
    const fs::path run_folder = scene().fresh("run");
    if (!exists) fs::remove(run_folder);
    std::vector<std::string> arguments = scene().train(run_folder);
    arguments.emplace_back("--resume");
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.status, 0) << outcome.describe();
    EXPECT_TRUE(contains(outcome.err, "begins")) << outcome.describe();
    expect_same_training(run_folder, scene().finished_run(), Scene::finished_steps);
  }
}

TEST_F(RunFolderTest, AFailedStartIsNotInTheWay) {
  const std::vector<std::vector<std::string>> failures = {
      {"--data", scene().string("missing")},
      {"--data", scene().string("text.txt")},
      {"--device", "abacus"},
      {"--seq-len", "64000"},
      {"--dtype", "f7"},
      {"--batch-size", "1099511627776"},
      {"--batch-size", "100000000"},
      {"--init-from", scene().string("missing")},
      {"--tuning", scene().string("missing"), "--device", "msl-host"},
      {"--kv-heads", "3"},
      {"--steps", "0"},
      {"--weight-decay", "1e30"},  // diverges before its first checkpoint
      {"--sample-every", "1", "--data", scene().string("missing")},
  };
  const fs::path run_folder = scene().path("run");
  for (const std::vector<std::string>& failure : failures) {
    SCOPED_TRACE(failure[0] + " " + failure[1]);
    fs::remove_all(run_folder);
    std::vector<std::string> arguments = scene().train(run_folder);
    arguments.insert(arguments.end(), failure.begin(), failure.end());
    const Outcome failed = run(arguments);
    EXPECT_TRUE(failed.status == 1 || failed.status == 2) << failed.describe();
    const Outcome corrected = run(scene().train(run_folder));
    EXPECT_EQ(corrected.status, 0) << corrected.describe() << "\nafter " << failed.describe();
    expect_same_training(run_folder, scene().finished_run(), Scene::finished_steps);
  }
}

TEST_F(RunFolderTest, AFinishedRunIsNeverOverwritten) {
  const fs::path run_folder = scene().copy(scene().finished_run(), "run");
  const Snapshot before = take_snapshot(run_folder);
  const Outcome outcome = run(scene().train(run_folder));
  EXPECT_EQ(outcome.status, 2) << outcome.describe();
  EXPECT_TRUE(contains(outcome.err, "--resume")) << outcome.describe();
  EXPECT_EQ(differences(before, take_snapshot(run_folder)), "");
}

TEST_F(RunFolderTest, WhatKilledRunsLeftIsSweptAndNothingElse) {
  const fs::path run_folder = scene().copy(scene().finished_run(), "run");
  const std::vector<std::string> kept = {
      "notes.txt",       "my.model.safetensors", "run.json.bak",          "run.json.backup",
      "report.html.old", "metrics.jsonl.first",  "checkpoints/notes.txt", "checkpoints/best/model.safetensors"};
  for (const std::string& name : kept) {
    fs::create_directories((run_folder / name).parent_path());
    spill(run_folder / name, "the user's own");
  }
  const fs::path unfinished = run_folder / "checkpoints/.saving-step-13";
  fs::create_directories(unfinished);
  spill(unfinished / "model.safetensors", "half");
  // As a killed run makes them: everything it writes goes through a temporary file.
  for (int i = 0; i < 6; ++i) {
    Child child({.arguments = scene().resume(run_folder, 4000)});
    ASSERT_TRUE(child.wait_for_message("saved", 1min));
    child.listen(std::chrono::microseconds(700 * i));
    child.send(SIGKILL);
    child.wait();
  }
  Child last({.arguments = scene().resume(run_folder, 4000)});
  ASSERT_TRUE(last.wait_for_message("saved", 1min));
  last.send(SIGTERM);
  const Outcome outcome = last.wait();
  EXPECT_EQ(outcome.status, 3) << outcome.describe();
  EXPECT_FALSE(fs::exists(unfinished));
  for (const std::string& name : kept) {
    EXPECT_TRUE(fs::exists(run_folder / name)) << name;
    fs::remove(run_folder / name);
  }
  EXPECT_EQ(temporary_files(run_folder), std::vector<std::string>());
}

TEST_F(RunFolderTest, TemporaryFilesOfEarlierVersionsAreSwept) {
  const fs::path run_folder = scene().copy(scene().finished_run(), "run");
  const std::vector<std::string> left = {"run.json.Xa9ZqP", "report.html.0kQw3B", "model.safetensors.new",
                                         "config.json.new"};
  for (const std::string& name : left) spill(run_folder / name, "half");
  const Outcome outcome = run(scene().resume(run_folder));
  EXPECT_EQ(outcome.status, 0) << outcome.describe();
  for (const std::string& name : left) EXPECT_FALSE(fs::exists(run_folder / name)) << name;
}

// The folder of a running run.
TEST_F(RunFolderTest, AFolderThatVanishesUnderARunIsAnError) {
  const fs::path run_folder = scene().path("vanishing/run");
  const fs::path elsewhere = scene().path("elsewhere");
  const std::map<std::string, std::function<void()>> changes = {
      {"removed",
       [&] {
         fs::remove_all(run_folder);
       }},
      {"removed with its parent",
       [&] {
         fs::remove_all(run_folder.parent_path());
       }},
      {"moved",
       [&] {
         fs::rename(run_folder, elsewhere);
       }},
      {"moved into another folder",
       [&] {
         fs::create_directories(elsewhere);
         fs::rename(run_folder, elsewhere / "run");
       }},
      {"nested within itself",
       [&] {
         fs::rename(run_folder, elsewhere);
         fs::create_directories(run_folder);
         fs::rename(elsewhere, run_folder / "run");
       }},
      {"replaced by a file",
       [&] {
         fs::rename(run_folder, elsewhere);
         spill(run_folder, "a file");
       }},
  };
  for (const auto& [name, change] : changes) {
    SCOPED_TRACE(name);
    fs::remove_all(elsewhere);
    fs::remove_all(run_folder);
    std::vector<std::string> arguments = scene().train(run_folder, 200000);
    arguments.insert(arguments.end(), {"--save-every", "40", "--eval-every", "0"});
    Child child({.arguments = arguments});
    ASSERT_TRUE(child.wait_for_message("saved", 1min));
    child.send(SIGSTOP);
    // Retries if the removal meets a file being made.
    std::error_code ignored;
    change();
    const Snapshot after_change = take_snapshot(run_folder.parent_path());
    child.send(SIGCONT);
    const Outcome outcome = child.wait();
    EXPECT_EQ(outcome.status, 1) << outcome.describe();
    EXPECT_EQ(outcome.signal, 0) << outcome.describe();
    EXPECT_TRUE(contains(outcome.err, run_folder.string())) << outcome.describe();
    EXPECT_FALSE(contains(outcome.err, "filesystem error")) << outcome.describe();
    // No stub in the old place.
    if (name.starts_with("removed") || name.starts_with("moved")) {
      EXPECT_FALSE(fs::exists(run_folder)) << differences(after_change, take_snapshot(run_folder.parent_path()));
    }
    if (name == "nested within itself") {
      EXPECT_EQ(fs::exists(run_folder / "checkpoints"), false);
      EXPECT_EQ(fs::exists(run_folder / "model.safetensors"), false);
    }
    // A moved run is complete, and can be resumed in its new place.
    for (const fs::path& place : {elsewhere, elsewhere / "run", run_folder / "run"}) {
      if (!fs::exists(place / "run.json")) continue;
      std::vector<std::string> resume = scene().resume(place, 1);
      resume.erase(resume.end() - 2, resume.end());
      Child resumed({.arguments = resume});
      EXPECT_TRUE(resumed.wait_for_message("Resuming at step", 1min)) << place;
      resumed.send(SIGTERM);
      const Outcome stopped = resumed.wait();
      EXPECT_TRUE(stopped.status == 3 || stopped.status == 0) << stopped.describe();
    }
  }
}

TEST_F(RunFolderTest, TwoRunsInOneFolderAreRefused) {
  const fs::path run_folder = scene().fresh("run");
  Child child({.arguments = scene().train(run_folder, 200000)});
  ASSERT_TRUE(child.wait_for_message("saved", 1min));
  std::vector<std::string> second = scene().train(run_folder, 200000);
  second.emplace_back("--resume");
  const Outcome outcome = run(second);
  EXPECT_EQ(outcome.status, 1) << outcome.describe();
  EXPECT_TRUE(contains(outcome.err, run_folder.string())) << outcome.describe();
  EXPECT_TRUE(contains(outcome.err, "another process")) << outcome.describe();
}

}  // namespace
}  // namespace mslt::faults

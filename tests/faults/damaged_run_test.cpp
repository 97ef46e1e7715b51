// Resuming a run whose checkpoints are damaged, unreadable or doubtful: refused with a choice, and nothing is deleted.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>

#include "tests/faults/scene.h"
#include "tests/faults/seed.h"

namespace mslt::faults {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string>& files_of_a_checkpoint() {
  static const std::vector<std::string> names = {"config.json", "model.safetensors", "manifest.json", "state.json",
                                                 "optimizer.safetensors"};
  return names;
}

// One way to damage a file.
struct Damage {
  std::string name;
  std::function<void(const fs::path&)> apply;
  bool is_doubt = false;  // the file may be intact but unreachable
};

std::vector<Damage> damages(std::mt19937& random) {
  return {
      {"a byte flipped",
       [&random](const fs::path& file) {
         flip_byte(file, static_cast<std::int64_t>(random() % fs::file_size(file)));
       }},
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
      {"a folder",
       [](const fs::path& file) {
         fs::remove(file);
         fs::create_directory(file);
       }},
      {"a loop of links",
       [](const fs::path& file) {
         fs::remove(file);
         fs::create_symlink(file, file);
       },
       true},
  };
}

// CRC-32C of a text as eight hexadecimal digits, bit by bit: a second implementation to check manifests.
std::string crc32c(std::string_view text) {
  std::uint32_t sum = ~std::uint32_t{0};
  for (const char character : text) {
    sum ^= static_cast<unsigned char>(character);
    for (int bit = 0; bit < 8; ++bit) sum = (sum >> 1) ^ ((sum & 1) != 0 ? 0x82F63B78u : 0u);
  }
  return fmt::format("{:08x}", ~sum);
}

class DamagedRunTest : public SceneTest {
 protected:
  static std::vector<fs::path> checkpoints(const fs::path& run) {
    std::vector<fs::path> folders;
    for (int step = Scene::save_every; step <= Scene::finished_steps; step += Scene::save_every) {
      folders.push_back(run / fmt::format("checkpoints/step-{}", step));
    }
    return folders;
  }
  static fs::path fresh_run() { return scene().copy(scene().finished_run(), "run"); }
  static Outcome resume(const fs::path& run_folder, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = scene().resume(run_folder);
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }
  // Refused with the choices, and everything unchanged. An unreadable file may be intact, so discarding it is not
  // offered; it should be repaired.
  static void expect_refused(const Outcome& outcome, const fs::path& run_folder, const Snapshot& before,
                             const std::string& choice) {
    EXPECT_EQ(outcome.status, 1) << outcome.describe();
    EXPECT_EQ(outcome.signal, 0) << outcome.describe();
    EXPECT_TRUE(contains(outcome.err, choice)) << outcome.describe();
    EXPECT_TRUE(contains(outcome.err, run_folder.string())) << outcome.describe();
    EXPECT_EQ(differences(before, take_snapshot(run_folder)), "");
  }
};

TEST_F(DamagedRunTest, NothingIsDeletedWhereEveryCheckpointIsDamaged) {
  std::mt19937 random = seeded();
  for (const Damage& damage : damages(random)) {
    for (const std::string& file : files_of_a_checkpoint()) {
      if (sanitized && random() % 4 != 0) continue;
      SCOPED_TRACE(file + ": " + damage.name);
      const fs::path run_folder = fresh_run();
      for (const fs::path& checkpoint : checkpoints(run_folder)) damage.apply(checkpoint / file);
      const Snapshot before = take_snapshot(run_folder);
      expect_refused(resume(run_folder), run_folder, before, damage.is_doubt ? "Mend" : "--discard-damaged");
    }
  }
}

TEST_F(DamagedRunTest, ADamagedNewestIsPassedOverWhereTold) {
  std::mt19937 random = seeded();
  for (const std::string& file : files_of_a_checkpoint()) {
    SCOPED_TRACE(file);
    const fs::path run_folder = fresh_run();
    const fs::path newest = checkpoints(run_folder).back();
    flip_byte(newest / file, static_cast<std::int64_t>(random() % fs::file_size(newest / file)));
    const Snapshot before = take_snapshot(run_folder);
    const Outcome refused = resume(run_folder);
    expect_refused(refused, run_folder, before, "--discard-damaged");
    EXPECT_TRUE(contains(refused.err, "--from-step")) << refused.describe();
    EXPECT_TRUE(contains(refused.err, newest.string())) << refused.describe();
    const bool by_step = random() % 2 == 0;
    const Outcome outcome =
        by_step ? resume(run_folder, {"--from-step", "8"}) : resume(run_folder, {"--discard-damaged"});
    EXPECT_EQ(outcome.status, 0) << (by_step ? "--from-step: " : "--discard-damaged: ") << outcome.describe();
    EXPECT_TRUE(contains(outcome.err, "step-8")) << outcome.describe();
    expect_same_training(run_folder, scene().longer_run(), Scene::longer_steps);
  }
}

TEST_F(DamagedRunTest, EveryStepCanBeChosen) {
  for (int step = Scene::save_every; step <= Scene::finished_steps; step += Scene::save_every) {
    SCOPED_TRACE(step);
    const fs::path run_folder = fresh_run();
    const Outcome outcome = resume(run_folder, {"--from-step", fmt::to_string(step)});
    EXPECT_EQ(outcome.status, 0) << outcome.describe();
    EXPECT_TRUE(contains(outcome.err, fmt::format("step-{}", step))) << outcome.describe();
    expect_same_training(run_folder, scene().longer_run(), Scene::longer_steps);
  }
  const fs::path run_folder = fresh_run();
  const Snapshot before = take_snapshot(run_folder);
  for (const char* step : {"5", "400", "-4", "4x", ""}) {
    SCOPED_TRACE(step);
    const Outcome outcome = resume(run_folder, {"--from-step", step});
    EXPECT_EQ(outcome.status, 2) << outcome.describe();
    EXPECT_TRUE(contains(outcome.err, "--from-step") || contains(outcome.err, "step")) << outcome.describe();
    EXPECT_EQ(differences(before, take_snapshot(run_folder)), "");
  }
}

TEST_F(DamagedRunTest, AnOlderDamagedCheckpointIsKept) {
  const fs::path run_folder = fresh_run();
  const fs::path oldest = checkpoints(run_folder).front();
  flip_byte(oldest / "config.json", 5);
  const Snapshot before = take_snapshot(oldest);
  // Few are to be kept, so the damaged one would be the first to be removed.
  const Outcome outcome = resume(run_folder, {"--keep-checkpoints", "1"});
  if (outcome.status != 0) {
    EXPECT_TRUE(contains(outcome.err, "--discard-damaged")) << outcome.describe();
  }
  bool kept = false;
  for (const auto& entry : fs::recursive_directory_iterator(run_folder / "checkpoints")) {
    kept = kept || (entry.is_directory() && differences(before, take_snapshot(entry.path())).empty());
  }
  EXPECT_TRUE(kept) << outcome.describe();
}

TEST_F(DamagedRunTest, UnreadableCheckpointsAreNoReasonToBeginAgain) {
  for (const std::string& file : files_of_a_checkpoint()) {
    SCOPED_TRACE(file);
    const fs::path run_folder = fresh_run();
    const Snapshot before = take_snapshot(run_folder);
    const auto set_modes = [&](fs::perms modes) {
      for (const fs::path& checkpoint : checkpoints(run_folder)) fs::permissions(checkpoint / file, modes);
    };
    set_modes(fs::perms::none);
    const Outcome outcome = run({.arguments = scene().resume(run_folder), .rights = Rights::obeying_modes});
    set_modes(fs::perms(0644));
    if (!outcome.executed) GTEST_SKIP() << outcome.error;
    expect_refused(outcome, run_folder, before, "Mend");
    EXPECT_TRUE(contains(outcome.err, "permission")) << outcome.describe();
    EXPECT_FALSE(contains(outcome.err, "make room")) << outcome.describe();
    // With its permissions restored the run is intact.
    const Outcome resumed = resume(run_folder);
    EXPECT_EQ(resumed.status, 0) << resumed.describe();
  }
}

TEST_F(DamagedRunTest, AFolderOfCheckpointsThatCannotBeListedIsAnError) {
  const fs::path run_folder = fresh_run();
  const Snapshot before = take_snapshot(run_folder);
  fs::permissions(run_folder / "checkpoints", fs::perms::none);
  const Outcome outcome = run({.arguments = scene().resume(run_folder), .rights = Rights::obeying_modes});
  fs::permissions(run_folder / "checkpoints", fs::perms(0755));
  if (!outcome.executed) GTEST_SKIP() << outcome.error;
  EXPECT_EQ(outcome.status, 1) << outcome.describe();
  EXPECT_TRUE(contains(outcome.err, (run_folder / "checkpoints").string())) << outcome.describe();
  EXPECT_TRUE(contains(outcome.err, "permission")) << outcome.describe();
  EXPECT_EQ(differences(before, take_snapshot(run_folder)), "");
}

TEST_F(DamagedRunTest, FewDescriptorsDeleteNothing) {
  if (sanitized) GTEST_SKIP() << "skipped: the sanitizers look at memory through pipes, which take descriptors";
  const fs::path whole = fresh_run();
  const Snapshot before = take_snapshot(whole);
  int failed = 0;
  int worked = 0;
  for (std::uint64_t most = 3; most <= 24; ++most) {
    SCOPED_TRACE(most);
    const fs::path run_folder = fresh_run();
    const Outcome outcome = run({.arguments = scene().resume(run_folder), .limits = {.open_files = most}});
    if (outcome.status == 0) {
      ++worked;
      expect_same_training(run_folder, scene().longer_run(), Scene::longer_steps);
      continue;
    }
    ++failed;
    EXPECT_EQ(outcome.signal, 0) << outcome.describe();
    // With fewer than it takes to load the program's libraries, the program cannot report anything.
    if (outcome.status == 127) continue;
    EXPECT_EQ(outcome.status, 1) << outcome.describe();
    EXPECT_TRUE(contains(outcome.err, "ulimit -n")) << outcome.describe();
    EXPECT_FALSE(contains(outcome.err, "holds no complete checkpoint")) << outcome.describe();
    const Snapshot after = take_snapshot(run_folder);
    for (const auto& [name, content] : before) {
      if (name.starts_with("checkpoints/")) {
        EXPECT_TRUE(after.contains(name) && after.at(name) == content) << name;
      }
    }
  }
  EXPECT_GE(failed, 1);
  EXPECT_GE(worked, 1);
}

TEST_F(DamagedRunTest, ThePublishedModelIsNotTheCheckpoints) {
  const fs::path run_folder = fresh_run();
  fs::resize_file(run_folder / "model.safetensors", 100);
  const Outcome outcome = resume(run_folder);
  EXPECT_EQ(outcome.status, 0) << outcome.describe();
  expect_same_training(run_folder, scene().longer_run(), Scene::longer_steps);
}

TEST_F(DamagedRunTest, WhatTheProgramPublishesIsNotTheCheckpoints) {
  const fs::path run_folder = scene().fresh("own");
  const Outcome trained = run(scene().train(run_folder));
  ASSERT_EQ(trained.status, 0) << trained.describe();
  flip_byte(run_folder / "model.safetensors", -1);
  const Outcome outcome = resume(run_folder);
  EXPECT_EQ(outcome.status, 0) << outcome.describe();
  expect_same_training(run_folder, scene().longer_run(), Scene::longer_steps);
}

TEST_F(DamagedRunTest, ADamagedRecordOfTheRunIsNoReasonToBeginAgain) {
  for (const char* harm : {"{", "{}", "[]", "", "null"}) {
    SCOPED_TRACE(harm);
    const fs::path run_folder = fresh_run();
    spill(run_folder / "run.json", harm);
    const Snapshot before = take_snapshot(run_folder / "checkpoints");
    const Outcome outcome = resume(run_folder);
    EXPECT_EQ(outcome.signal, 0) << outcome.describe();
    if (outcome.status == 0) {
      expect_same_training(run_folder, scene().longer_run(), Scene::longer_steps);
    } else {
      EXPECT_TRUE(contains(outcome.err, (run_folder / "run.json").string())) << outcome.describe();
      EXPECT_EQ(differences(before, take_snapshot(run_folder / "checkpoints")), "");
    }
  }
}

// state.json with impossible numbers, under a correct checksum.
TEST_F(DamagedRunTest, NumbersOfTheStateAreChecked) {
  struct Case {
    std::string pointer;
    nlohmann::json value;
  };
  const nlohmann::json huge = 1e300;
  const nlohmann::json most = std::uint64_t{18446744073709551615u};
  std::vector<Case> cases;
  for (const char* pointer : {"/step", "/updates", "/loader/epoch", "/loader/position", "/metrics_bytes"}) {
    for (const nlohmann::json& value :
         {nlohmann::json(-1), nlohmann::json(2.5), huge, most, nlohmann::json("12"), nlohmann::json()}) {
      cases.push_back({pointer, value});
    }
  }
  cases.push_back({"/step", 8});
  cases.push_back({"/step", 13});
  cases.push_back({"/updates", 13});
  cases.push_back({"/seconds", -1.0});
  cases.push_back({"/seconds", "long"});
  cases.push_back({"/loss_scale", 0.0});
  cases.push_back({"/loss_scale", -4.0});
  cases.push_back({"/good_updates", -1});
  cases.push_back({"/format", 2});
  int changed = 0;
  for (const Case& wrong : cases) {
    const fs::path run_folder = fresh_run();
    for (const fs::path& checkpoint : checkpoints(run_folder)) {
      const fs::path file = checkpoint / "state.json";
      nlohmann::json state = nlohmann::json::parse(slurp(file));
      const nlohmann::json::json_pointer pointer(wrong.pointer);
      if (!state.contains(pointer)) continue;
      EXPECT_EQ(nlohmann::json::parse(slurp(checkpoint / "manifest.json"))["files"]["state.json"]["crc32c"],
                crc32c(slurp(file)));
      state[pointer] = wrong.value;
      spill(file, state.dump(2) + "\n");
      nlohmann::json manifest = nlohmann::json::parse(slurp(checkpoint / "manifest.json"));
      nlohmann::json& entry = manifest["files"]["state.json"];
      entry = {{"bytes", fs::file_size(file)}, {"crc32c", crc32c(slurp(file))}};
      spill(checkpoint / "manifest.json", manifest.dump(2) + "\n");
      ++changed;
    }
    SCOPED_TRACE(wrong.pointer + " = " + wrong.value.dump());
    const Snapshot before = take_snapshot(run_folder);
    const Outcome outcome = resume(run_folder);
    EXPECT_NE(outcome.status, 0) << outcome.describe();
    EXPECT_EQ(outcome.signal, 0) << outcome.describe();
    EXPECT_TRUE(contains(outcome.err, "state.json")) << outcome.describe();
    EXPECT_EQ(differences(before, take_snapshot(run_folder)), "");
  }
  EXPECT_GE(changed, 3 * static_cast<int>(cases.size()) - 6);
}

}  // namespace
}  // namespace mslt::faults

// Disks that fill up, and limits on file sizes, under every command that writes.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "tests/faults/scene.h"
#include "tests/faults/seed.h"
#include "tests/faults/small_disk.h"

namespace mslt::faults {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t disk_bytes = std::uint64_t{4} << 20;
constexpr std::uint64_t page = 4096;

class FullDiskTest : public SceneTest {
 protected:
  // Commands whose output is one file or a folder that is not a run.
  static std::vector<Command> writers(const fs::path& work) {
    std::vector<Command> chosen;
    for (Command& command : scene().commands(work)) {
      if (!command.output.empty() && command.output != "run") chosen.push_back(std::move(command));
    }
    return chosen;
  }
  static Outcome run_command(const Command& command, const Limits& limits = {}) {
    return run({.arguments = command.arguments, .input = command.input, .limits = limits});
  }
  static void empty(const fs::path& folder) {
    for (const auto& entry : fs::directory_iterator(folder)) fs::remove_all(entry.path());
  }
  // A failed command has named the file and the reason, and has changed nothing.
  static void expect_unchanged(const Command& command, const Outcome& outcome, const fs::path& work,
                               const Snapshot& before, const std::string& why) {
    EXPECT_EQ(outcome.status, 1) << outcome.describe();
    EXPECT_TRUE(contains(outcome.err, why)) << outcome.describe();
    EXPECT_TRUE(contains(outcome.err, (work / command.output).string())) << outcome.describe();
    EXPECT_FALSE(contains(outcome.err, "Input/output error")) << outcome.describe();
    Snapshot after = take_snapshot(work);
    // A folder made for the output may stay, but must be empty.
    if (after.contains(command.output) && !before.contains(command.output)) after.erase(command.output);
    EXPECT_EQ(differences(before, after), "") << outcome.describe();
  }
};

TEST_F(FullDiskTest, AFileIsWrittenWholeOrNotAtAll) {
  std::mt19937 random = seeded();
  const SmallDisk disk(scene().path("disk"), disk_bytes);
  if (!disk.problem().empty()) GTEST_SKIP() << disk.problem();
  for (const Command& command : writers(disk.folder())) {
    empty(disk.folder());
    const Outcome whole = run_command(command);
    ASSERT_EQ(whole.status, 0) << command.name << ": " << whole.describe();
    const std::uint64_t needed = disk.used();
    const Snapshot complete = take_snapshot(disk.folder());
    const fs::path output = disk.folder() / command.output;
    for (int attempt = 0; attempt < 3; ++attempt) {
      empty(disk.folder());
      // Something exists there already, if possible.
      const bool is_file = command.output != "data";
      if (is_file) spill(output, "what stood there before");
      // The last page may come from the replaced file, so leave at least one less than needed.
      const std::uint64_t free = attempt == 0 ? 0 : page * (random() % std::max<std::uint64_t>(1, needed / page));
      disk.leave_free(free);
      SCOPED_TRACE(command.name + ", with " + std::to_string(free) + " of " + std::to_string(needed) + " bytes free");
      const Snapshot before = take_snapshot(disk.folder());
      const Outcome outcome = run_command(command);
      expect_unchanged(command, outcome, disk.folder(), before, "the disk is full");
      // The same command works once there is room.
      disk.make_room();
      const Outcome again = run_command(command);
      EXPECT_EQ(again.status, 0) << again.describe();
      if (command.name != "tune") {
        EXPECT_EQ(differences(complete, take_snapshot(disk.folder())), "");
      }
    }
  }
}

TEST_F(FullDiskTest, ALimitOnFileSizesIsWrittenWholeOrNotAtAll) {
  std::mt19937 random = seeded();
  for (const Command& command : writers(scene().path("work"))) {
    const fs::path work = scene().fresh("work");
    const Outcome whole = run_command(command);
    ASSERT_EQ(whole.status, 0) << command.name << ": " << whole.describe();
    const fs::path output = work / command.output;
    std::uint64_t largest = 0;
    for (const auto& [name, content] : take_snapshot(work)) {
      if (fs::is_regular_file(work / name)) largest = std::max(largest, std::uint64_t{fs::file_size(work / name)});
    }
    scene().fresh("work");
    if (command.output != "data") spill(output, "what stood there before");
    const std::uint64_t most = random() % largest;
    SCOPED_TRACE(command.name + ", with files of " + std::to_string(most) + " bytes at most");
    const Snapshot before = take_snapshot(work);
    const Outcome outcome = run_command(command, {.file_size = most});
    expect_unchanged(command, outcome, work, before, "limit on file sizes");
  }
}

// A run on a disk that fills up at any point: either everything is there, or the program says what is wrong. With room
// again, the run continues as if nothing had happened.
TEST_F(FullDiskTest, TrainingGoesOnWhenThereIsRoom) {
  std::mt19937 random = seeded();
  const SmallDisk disk(scene().path("disk"), disk_bytes);
  if (!disk.problem().empty()) GTEST_SKIP() << disk.problem();
  const fs::path output = disk.folder() / "run";
  const Outcome whole = run(scene().train(output));
  ASSERT_EQ(whole.status, 0) << whole.describe();
  const std::uint64_t needed = disk.used();
  int failed = 0;
  const int attempts = sanitized ? 4 : 12;
  for (int attempt = 0; attempt < attempts; ++attempt) {
    empty(disk.folder());
    const std::uint64_t free = page * (random() % (needed / page));
    disk.leave_free(free);
    SCOPED_TRACE(std::to_string(free) + " of " + std::to_string(needed) + " bytes free");
    const Outcome outcome = run(scene().train(output));
    ASSERT_EQ(outcome.signal, 0) << outcome.describe();
    EXPECT_TRUE(contains(outcome.err, "the disk is full")) << outcome.describe();
    if (outcome.status == 0) {
      // The report or a log had no room, and the user was told; the training itself is complete.
      EXPECT_TRUE(slurp(output / "model.safetensors") == slurp(scene().finished_run() / "model.safetensors"));
    } else {
      ++failed;
      EXPECT_EQ(outcome.status, 1) << outcome.describe();
      EXPECT_TRUE(contains(outcome.err, output.string())) << outcome.describe();
    }
    disk.make_room();
    // Like a script that does not know what exists.
    std::vector<std::string> restart = scene().train(output);
    restart.emplace_back("--resume");
    const Outcome restarted = run(restart);
    EXPECT_EQ(restarted.status, 0) << restarted.describe() << "\nafter " << outcome.describe();
    expect_same_model(output, scene().finished_run(), Scene::finished_steps);
    EXPECT_EQ(temporary_files(output), std::vector<std::string>());
  }
  EXPECT_GE(failed, 1);
}

TEST_F(FullDiskTest, ResumingOnAFullDiskKeepsEveryCheckpoint) {
  const SmallDisk disk(scene().path("disk"), disk_bytes);
  if (!disk.problem().empty()) GTEST_SKIP() << disk.problem();
  const fs::path output = scene().copy(scene().finished_run(), "disk/run");
  const Snapshot before = take_snapshot(output / "checkpoints");
  std::mt19937 random = seeded();
  for (const std::uint64_t free : {std::uint64_t{0}, page, page * (2 + random() % 8)}) {
    SCOPED_TRACE(std::to_string(free) + " bytes free");
    disk.leave_free(free);
    const Outcome outcome = run(scene().resume(output));
    EXPECT_EQ(outcome.status, 1) << outcome.describe();
    EXPECT_TRUE(contains(outcome.err, "the disk is full")) << outcome.describe();
    EXPECT_EQ(differences(before, take_snapshot(output / "checkpoints")), "");
  }
  disk.make_room();
  const Outcome resumed = run(scene().resume(output));
  EXPECT_EQ(resumed.status, 0) << resumed.describe();
  expect_same_training(output, scene().longer_run(), Scene::longer_steps);
}

TEST_F(FullDiskTest, ALimitOnFileSizesKeepsEveryCheckpoint) {
  const fs::path output = scene().copy(scene().finished_run(), "limited");
  const Snapshot before = take_snapshot(output / "checkpoints");
  const std::uint64_t model = fs::file_size(output / "model.safetensors");
  const Outcome outcome = run({.arguments = scene().resume(output), .limits = {.file_size = model / 2}});
  EXPECT_EQ(outcome.status, 1) << outcome.describe();
  EXPECT_TRUE(contains(outcome.err, "limit on file sizes")) << outcome.describe();
  EXPECT_EQ(differences(before, take_snapshot(output / "checkpoints")), "");
  const Outcome resumed = run(scene().resume(output));
  EXPECT_EQ(resumed.status, 0) << resumed.describe();
  expect_same_training(output, scene().longer_run(), Scene::longer_steps);
}

}  // namespace
}  // namespace mslt::faults

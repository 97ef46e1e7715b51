// Checkpoint folders: whole or not at all, verified, pruned, set aside, chosen; and their checksum.
#include "train/checkpoint.h"

#include <gtest/gtest.h>

#include "base/fail.h"
#include "base/file.h"
#include "train/checkpoint_choice.h"
#include "train/crc32c.h"
#include "train/test_folder.h"

namespace mslt {
namespace {

namespace fs = std::filesystem;

// Bit by bit, as the polynomial is defined.
std::uint32_t plain_crc32c(std::string_view text) {
  std::uint32_t crc = 0xFFFFFFFFu;
  for (const char c : text) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1u) != 0 ? 0x82F63B78u : 0u);
  }
  return ~crc;
}

std::uint32_t crc_of(std::string_view text, std::uint32_t previous = 0) {
  return crc32c(std::as_bytes(std::span(text.data(), text.size())), previous);
}

TEST(Crc32c, EqualsTheDefinitionAtEveryLengthAndSplit) {
  EXPECT_EQ(crc_of("123456789"), 0xE3069283u);
  std::string text;
  for (int i = 0; i < 70; ++i) {
    EXPECT_EQ(crc_of(text), plain_crc32c(text)) << i;
    for (std::size_t split = 0; split <= text.size(); split += 7) {
      EXPECT_EQ(crc_of(text.substr(split), crc_of(text.substr(0, split))), plain_crc32c(text));
    }
    text += static_cast<char>(i * 37 + 11);
  }
}

class CheckpointTest : public testing::Test {
 protected:
  CheckpointInfo save(std::int64_t step, std::optional<double> loss = std::nullopt, std::int64_t keep = 2) {
    return store_.save(step, loss, keep, [&](const fs::path& folder) {
      write_file(folder / "model", fmt::format("the weights of step {}", step));
      write_file(folder / "state", "position");
    });
  }
  // Of the checkpoints that are complete, as a process finds them that comes later.
  std::vector<std::int64_t> steps() const {
    std::vector<std::int64_t> found;
    CheckpointStore store(folder_.path() / "checkpoints");
    for (const auto& finding : store.examine()) {
      if (finding.health == CheckpointHealth::complete) found.push_back(finding.info.step);
    }
    return found;
  }
  // Everything in the folder, whether it is a checkpoint or not.
  std::size_t entries() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(folder_.path() / "checkpoints"), fs::directory_iterator()));
  }

  TestFolder folder_;
  CheckpointStore store_{folder_.path() / "checkpoints"};
};

TEST_F(CheckpointTest, FindsNothingWhereNothingWasSaved) {
  EXPECT_TRUE(store_.examine().empty());
  EXPECT_FALSE(store_.holds_any());
  store_.remove_unfinished();
}

TEST_F(CheckpointTest, FindsTheNewestByNumber) {
  save(9, 1.25);
  save(10);
  const auto findings = store_.examine();
  ASSERT_EQ(findings.size(), 2u);
  EXPECT_EQ(findings[0].info.step, 10);
  EXPECT_EQ(slurp(findings[0].info.folder / "model"), "the weights of step 10");
  EXPECT_EQ(findings[1].info.validation_loss, 1.25);
  EXPECT_EQ(findings[1].health, CheckpointHealth::complete);
  EXPECT_TRUE(store_.holds_any());
}

TEST_F(CheckpointTest, KeepsTheNewestAndTheBest) {
  save(1, 5.0);
  save(2, 3.0);
  save(3, 4.0);
  EXPECT_EQ(steps(), (std::vector<std::int64_t>{3, 2}));
  save(4, 4.5);
  save(5, 4.6);
  EXPECT_EQ(steps(), (std::vector<std::int64_t>{5, 4, 2}));
  save(6, 2.0, 1);
  EXPECT_EQ(steps(), (std::vector<std::int64_t>{6}));
  EXPECT_EQ(entries(), 1u);
}

TEST_F(CheckpointTest, TellsEveryKindOfDamage) {
  const fs::path manifest = folder_.path() / "checkpoints/step-2/manifest.json";
  const auto expect = [&](CheckpointHealth health, const char* why) {
    const auto findings = store_.examine();
    ASSERT_EQ(findings.size(), 2u);
    EXPECT_EQ(findings[0].health, health) << findings[0].problem;
    EXPECT_NE(findings[0].problem.find(why), std::string::npos) << findings[0].problem;
    EXPECT_EQ(findings[1].health, CheckpointHealth::complete);
  };
  const auto expect_damaged = [&](const char* why) {
    expect(CheckpointHealth::damaged, why);
  };
  save(1);
  save(2);
  const std::string good = slurp(manifest);
  spill(manifest, "{\"format\": 1");
  expect_damaged("manifest cannot be read");
  spill(manifest, "[]");
  expect_damaged("manifest cannot be read");
  spill(manifest, R"({"format": 2, "step": 2, "validation_loss": null, "files": {}})");
  expect_damaged("format is not 1");
  spill(manifest, R"({"format": 1, "step": 3, "validation_loss": null, "files": {}})");
  expect_damaged("another step");
  spill(manifest, R"({"format": 1, "step": 2.5, "validation_loss": null, "files": {}})");
  expect_damaged("another step");
  spill(manifest,
        R"({"format": 1, "step": 2, "validation_loss": null, "files": {"../x": {"bytes": 1, "crc32c": "0"}}})");
  expect_damaged("a file outside it");
  spill(manifest,
        R"({"format": 1, "step": 2, "validation_loss": null, "files": {"state": {"bytes": 8, "crc32c": "x"}}})");
  expect_damaged("a sum that is none");
  fs::remove(manifest);
  expect_damaged("manifest.json is missing");
  fs::create_directory(manifest);
  expect_damaged("manifest.json is no regular file");
  fs::remove(manifest);
  fs::create_symlink("manifest.json", manifest);  // leads to itself
  expect(CheckpointHealth::doubtful, "manifest.json cannot be looked at");
  fs::remove(manifest);
  spill(manifest, good);
  spill(folder_.path() / "checkpoints/step-2/state", "Position");
  expect_damaged("state does not match its checksum");
  spill(folder_.path() / "checkpoints/step-2/state", "positio");
  expect_damaged("state has 7 bytes instead of 8");
  fs::remove(folder_.path() / "checkpoints/step-2/state");
  expect_damaged("state is missing");
  fs::remove_all(folder_.path() / "checkpoints/step-2");
  spill(folder_.path() / "checkpoints/step-2", "");
  expect_damaged("it is no folder");
  fs::remove(folder_.path() / "checkpoints/step-2");
  save(2);
  expect(CheckpointHealth::complete, "");
}

TEST_F(CheckpointTest, ACheckLooksFurther) {
  save(1);
  const auto findings = store_.examine(
      [](const CheckpointInfo& info) { fail(ErrorKind::input, "Step {} is not to my liking.", info.step); });
  EXPECT_EQ(findings.at(0).health, CheckpointHealth::damaged);
  EXPECT_EQ(findings.at(0).problem, "Step 1 is not to my liking.");
}

TEST_F(CheckpointTest, AListThatCannotBeMadeIsAnError) {
  fs::create_symlink("checkpoints", folder_.path() / "checkpoints");
  EXPECT_THROW(store_.examine(), Error);
  EXPECT_THROW(store_.holds_any(), Error);
}

TEST_F(CheckpointTest, PrunesOnlyWhatItKnowsToBeComplete) {
  save(1);
  save(2);
  save(3, std::nullopt, 3);
  spill(folder_.path() / "checkpoints/step-2/state", "Position");
  store_.set_aside(folder_.path() / "checkpoints/step-1", "damaged");
  CheckpointStore later(folder_.path() / "checkpoints");
  later.examine();
  const auto write = [](const fs::path& folder) {
    write_file(folder / "model", "weights");
  };
  later.save(4, std::nullopt, 1, write);
  later.save(5, std::nullopt, 1, write);
  EXPECT_EQ(steps(), (std::vector<std::int64_t>{5}));
  EXPECT_TRUE(fs::exists(folder_.path() / "checkpoints/step-2/model"));
  EXPECT_TRUE(fs::exists(folder_.path() / "checkpoints/step-1.damaged/model"));
  EXPECT_EQ(entries(), 3u);
}

TEST_F(CheckpointTest, MakesNoFolderAroundItself) {
  CheckpointStore store(folder_.path() / "gone/checkpoints");
  EXPECT_THROW(store.save(1, std::nullopt, 1, [](const fs::path&) {}), Error);
  EXPECT_FALSE(fs::exists(folder_.path() / "gone"));
}

TEST_F(CheckpointTest, IsFollowedWhereItIsMoved) {
  save(1);
  fs::rename(folder_.path() / "checkpoints", folder_.path() / "moved");
  store_.move_to(folder_.path() / "moved");
  save(2, std::nullopt, 1);
  EXPECT_FALSE(fs::exists(folder_.path() / "moved/step-1"));
  EXPECT_TRUE(fs::exists(folder_.path() / "moved/step-2"));
  EXPECT_FALSE(fs::exists(folder_.path() / "checkpoints"));
}

TEST_F(CheckpointTest, AFailureWhileSavingChangesNothing) {
  save(1);
  try {
    store_.save(2, std::nullopt, 1, [](const fs::path& folder) {
      write_file(folder / "model", "half of the wei");
      fail(ErrorKind::io, "No space left on device.");
    });
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::io);
    const std::string text = error.what();
    EXPECT_NE(text.find("checkpoint of step 2: No space left"), std::string::npos) << text;
    EXPECT_NE(text.find("The checkpoint of step 1"), std::string::npos) << text;
  }
  EXPECT_EQ(steps(), (std::vector<std::int64_t>{1}));
  EXPECT_EQ(entries(), 1u);
}

TEST_F(CheckpointTest, RemovesWhatADeadProcessLeft) {
  save(1);
  fs::create_directories(folder_.path() / "checkpoints/.saving-step-2");
  spill(folder_.path() / "checkpoints/.saving-step-2/model", "half");
  EXPECT_EQ(steps(), (std::vector<std::int64_t>{1}));
  store_.remove_unfinished();
  EXPECT_EQ(entries(), 1u);
}

TEST_F(CheckpointTest, WhatHasTheNameAlreadyIsSetAside) {
  save(1);
  save(2);
  fs::remove(folder_.path() / "checkpoints/step-2/state");
  save(2);
  EXPECT_EQ(steps(), (std::vector<std::int64_t>{2, 1}));
  EXPECT_TRUE(fs::exists(folder_.path() / "checkpoints/step-2.superseded/model"));
}

CheckpointFinding finding(std::int64_t step, CheckpointHealth health) {
  return {{step, "run/checkpoints/step-" + std::to_string(step), std::nullopt},
          health,
          health == CheckpointHealth::complete ? "" : "a reason"};
}

// The message of the refusal.
std::string refusal(const std::vector<CheckpointFinding>& findings, ErrorKind kind, bool discard = false,
                    std::optional<std::int64_t> from = std::nullopt) {
  try {
    choose_checkpoint(findings, from, discard);
  } catch (const Error& error) {
    EXPECT_EQ(static_cast<int>(error.kind()), static_cast<int>(kind)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was refused";
  return "";
}

TEST(CheckpointChoice, GoesOnOnlyWhereTheNewestIsSure) {
  using enum CheckpointHealth;
  EXPECT_FALSE(choose_checkpoint({}, std::nullopt, false).checkpoint);
  auto choice =
      choose_checkpoint({finding(3, complete), finding(2, damaged), finding(1, doubtful)}, std::nullopt, false);
  EXPECT_EQ(choice.checkpoint->step, 3);
  EXPECT_EQ(choice.notes.size(), 2u);
  EXPECT_TRUE(choice.aside.empty());
  EXPECT_FALSE(choice.rewinds);

  const std::vector<CheckpointFinding> newer = {finding(4, damaged), finding(3, doubtful), finding(2, complete)};
  std::string text = refusal(newer, ErrorKind::io);
  EXPECT_NE(text.find("step-4 is damaged (a reason)"), std::string::npos) << text;
  EXPECT_NE(text.find("step-3 cannot be read (a reason)"), std::string::npos) << text;
  EXPECT_NE(text.find("--from-step with one of: 2."), std::string::npos) << text;
  EXPECT_EQ(text.find("--discard-damaged"), std::string::npos) << text;
  text = refusal(newer, ErrorKind::io, true);
  EXPECT_EQ(text.find("step-4"), std::string::npos) << text;
  refusal({finding(1, doubtful)}, ErrorKind::io, true);
  text = refusal({finding(4, damaged), finding(2, complete)}, ErrorKind::input);
  EXPECT_NE(text.find("go on from step 2, add --discard-damaged"), std::string::npos) << text;
  text = refusal({finding(4, damaged)}, ErrorKind::input);
  EXPECT_NE(text.find("go on from the first step, add --discard-damaged"), std::string::npos) << text;

  choice = choose_checkpoint({finding(4, damaged), finding(2, complete), finding(1, damaged)}, std::nullopt, true);
  EXPECT_EQ(choice.checkpoint->step, 2);
  EXPECT_EQ(choice.aside.size(), 2u);
  EXPECT_TRUE(choice.rewinds);
  choice = choose_checkpoint({finding(4, damaged)}, std::nullopt, true);
  EXPECT_FALSE(choice.checkpoint);
  EXPECT_TRUE(choice.rewinds);
}

TEST(CheckpointChoice, TheNamedStepComesBeforeAllNewerOnes) {
  using enum CheckpointHealth;
  const std::vector<CheckpointFinding> findings = {finding(5, complete), finding(4, doubtful), finding(3, damaged),
                                                   finding(2, complete), finding(1, damaged)};
  const auto choice = choose_checkpoint(findings, 2, false);
  EXPECT_EQ(choice.checkpoint->step, 2);
  ASSERT_EQ(choice.aside.size(), 3u);
  EXPECT_EQ(choice.aside[0].why, "superseded");
  EXPECT_EQ(choice.aside[2].why, "damaged");
  EXPECT_TRUE(choice.rewinds);
  EXPECT_EQ(choice.notes.size(), 1u);
  EXPECT_FALSE(choose_checkpoint(findings, 5, false).rewinds);
  EXPECT_NE(refusal(findings, ErrorKind::usage, false, 3).find("step-3 is damaged"), std::string::npos);
  EXPECT_NE(refusal(findings, ErrorKind::usage, true, 7).find("complete are: 5, 2"), std::string::npos);
}

}  // namespace
}  // namespace mslt

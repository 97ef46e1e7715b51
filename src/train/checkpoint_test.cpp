// Checkpoint folders: whole or not at all, verified, pruned; and their checksum.
#include "train/checkpoint.h"

#include <gtest/gtest.h>

#include "base/fail.h"
#include "base/file.h"
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
  std::vector<std::int64_t> steps() const {
    std::vector<std::int64_t> found;
    for (const auto& info : store_.list()) found.push_back(info.step);
    return found;
  }
  // Everything in the folder, whether it is a checkpoint or not.
  std::size_t entries() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(folder_.path() / "checkpoints"), fs::directory_iterator()));
  }

  TestFolder folder_;
  CheckpointStore store_{folder_.path() / "checkpoints"};
  std::vector<std::string> notes_;
};

TEST_F(CheckpointTest, FindsNothingWhereNothingWasSaved) {
  EXPECT_TRUE(store_.list().empty());
  EXPECT_FALSE(store_.latest(notes_));
  store_.remove_unfinished();
}

TEST_F(CheckpointTest, FindsTheNewestByNumber) {
  save(9, 1.25);
  save(10);
  EXPECT_EQ(steps(), (std::vector<std::int64_t>{10, 9}));
  const auto latest = store_.latest(notes_);
  ASSERT_TRUE(latest);
  EXPECT_EQ(latest->step, 10);
  EXPECT_EQ(slurp(latest->folder / "model"), "the weights of step 10");
  EXPECT_EQ(store_.list()[1].validation_loss, 1.25);
  EXPECT_TRUE(notes_.empty());
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

TEST_F(CheckpointTest, FallsBackFromADamagedOne) {
  save(1);
  save(2);
  std::string bytes = slurp(folder_.path() / "checkpoints/step-2/model");
  bytes[3] ^= 1;
  spill(folder_.path() / "checkpoints/step-2/model", bytes);
  auto latest = store_.latest(notes_);
  ASSERT_TRUE(latest);
  EXPECT_EQ(latest->step, 1);
  ASSERT_EQ(notes_.size(), 1u);
  EXPECT_NE(notes_[0].find("step-2 is damaged (model does not match its checksum)"), std::string::npos) << notes_[0];

  spill(folder_.path() / "checkpoints/step-1/state", "positio");
  EXPECT_FALSE(store_.latest(notes_));
  EXPECT_NE(notes_.back().find("state has 7 bytes instead of 8"), std::string::npos) << notes_.back();
}

TEST_F(CheckpointTest, PassesOverEveryKindOfDamage) {
  const fs::path manifest = folder_.path() / "checkpoints/step-2/manifest.json";
  const auto expect_damaged = [&](const char* why) {
    notes_.clear();
    const auto latest = store_.latest(notes_);
    ASSERT_TRUE(latest);
    EXPECT_EQ(latest->step, 1);
    ASSERT_EQ(notes_.size(), 1u);
    EXPECT_NE(notes_[0].find(why), std::string::npos) << notes_[0];
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
  spill(manifest,
        R"({"format": 1, "step": 2, "validation_loss": null, "files": {"../x": {"bytes": 1, "crc32c": "0"}}})");
  expect_damaged("");
  fs::remove(manifest);
  expect_damaged("manifest cannot be read");
  spill(manifest, good);
  fs::remove(folder_.path() / "checkpoints/step-2/state");
  expect_damaged("state is missing");
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

TEST_F(CheckpointTest, ReplacesADamagedOneOfTheSameStepAndDropsLaterOnes) {
  save(1);
  save(2);
  save(3, std::nullopt, 3);
  fs::remove(folder_.path() / "checkpoints/step-2/state");
  fs::remove(folder_.path() / "checkpoints/step-3/state");
  save(2);
  EXPECT_EQ(steps(), (std::vector<std::int64_t>{2, 1}));
  EXPECT_EQ(entries(), 2u);
  EXPECT_EQ(store_.latest(notes_)->step, 2);
}

}  // namespace
}  // namespace mslt

// Whole runs whose checkpoints are damaged, cannot be read or are chosen by the user.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "train/crc32c.h"
#include "train/trainer_faults_fixture.h"

namespace mslt {
namespace {

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

TEST_F(TrainerFaultsTest, AManifestThatListsTooLittleIsDamage) {
  train(options());
  const fs::path path = checkpoint(30) / "manifest.json";
  auto manifest = nlohmann::json::parse(slurp(path));
  manifest["files"].erase("optimizer.safetensors");
  spill(path, manifest.dump());
  const std::string text = rejection(resuming(), ErrorKind::input);
  EXPECT_TRUE(contains(text, "step-30 is damaged (its manifest does not list optimizer.safetensors)")) << text;
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

}  // namespace
}  // namespace mslt

// Invalid numbers, truth values and TOML files: bad usage, named, and nothing started.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/faults/scene.h"

namespace mslt::faults {
namespace {

namespace fs = std::filesystem;

class BadValuesTest : public SceneTest {
 protected:
  static std::vector<std::string> added(std::vector<std::string> arguments, const std::vector<std::string>& more) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  static void expect_usage(const Outcome& outcome, const std::string& named) {
    EXPECT_EQ(outcome.status, 2) << outcome.describe();
    EXPECT_EQ(outcome.signal, 0) << outcome.describe();
    EXPECT_TRUE(contains(outcome.err, named)) << outcome.describe();
    // No message is longer than a person would read.
    EXPECT_LT(outcome.err.size(), 1500u) << outcome.describe();
  }
};

TEST_F(BadValuesTest, NumbersAreTakenWholeOrRefused) {
  const std::string model = scene().finished_run().string();
  const std::vector<std::string> train = scene().train(scene().path("never"));
  const std::vector<std::string> generate = {"generate", "--model", model, "--prompt", "a", "--max-new-tokens", "1"};
  const std::vector<std::string> eval = {"eval", "--model", model, "--data", scene().string("data")};
  const std::vector<std::string> prepare = {"data",        "prepare",
                                            "--tokenizer", scene().string("tokenizer.json"),
                                            "--input",     scene().string("text.txt"),
                                            "--output",    scene().string("never")};
  const std::vector<std::string> tokenizer = {
      "tokenizer", "train", "--force", "--input", scene().string("text.txt"), "--output", scene().string("never")};
  const std::vector<std::string> bench = added({"bench", "train", "--device", "cpu"}, tiny_model());
  const std::vector<std::string> decode = added({"bench", "generate", "--device", "cpu"}, tiny_model());
  const std::vector<std::string> profile = added({"profile", "train", "--predict", "m3-max"}, tiny_model());
  const std::vector<std::string> tune = added({"tune", "--device", "msl-host"}, tiny_model());
  struct Option {
    std::vector<std::string> command;
    std::string name;
    bool real = false;
  };
  const std::vector<Option> options = {
      {train, "--steps"},
      {train, "--batch-size"},
      {train, "--seq-len"},
      {train, "--grad-accum"},
      {train, "--warmup"},
      {train, "--seed"},
      {train, "--eval-every"},
      {train, "--eval-batches"},
      {train, "--sample-every"},
      {train, "--save-every"},
      {train, "--layers"},
      {train, "--channels"},
      {train, "--heads"},
      {train, "--kv-heads"},
      {train, "--head-size"},
      {train, "--ffn-size"},
      {train, "--max-positions"},
      {train, "--keep-checkpoints"},
      {train, "--lr", true},
      {train, "--min-lr-ratio", true},
      {train, "--beta1", true},
      {train, "--beta2", true},
      {train, "--epsilon", true},
      {train, "--weight-decay", true},
      {train, "--clip", true},
      {train, "--dropout", true},
      {train, "--decay-fraction", true},
      {train, "--rope-theta", true},
      {generate, "--max-new-tokens"},
      {generate, "--top-k"},
      {generate, "--num"},
      {generate, "--seed"},
      {generate, "--temperature", true},
      {generate, "--top-p", true},
      {generate, "--min-p", true},
      {generate, "--repetition-penalty", true},
      {eval, "--batch-size"},
      {eval, "--seq-len"},
      {eval, "--max-batches"},
      {prepare, "--val-fraction", true},
      {prepare, "--seed"},
      {prepare, "--shard-tokens"},
      {tokenizer, "--vocab-size"},
      {tokenizer, "--min-frequency"},
      {tokenizer, "--threads"},
      {bench, "--steps"},
      {bench, "--batch-size"},
      {bench, "--seq-len"},
      {bench, "--vocab-size"},
      {decode, "--prompt-tokens"},
      {decode, "--new-tokens"},
      {profile, "--batch-size"},
      {profile, "--seq-len"},
      {profile, "--vocab-size"},
      {tune, "--batch-size"},
      {tune, "--seq-len"},
      {tune, "--vocab-size"},
      {tune, "--repeats"},
  };
  const std::vector<std::string> never = {"", " ", "abc", "5x", "0x10", "--", "1,5", "nan", "1e"};
  const std::vector<std::string> never_whole = {
      "1.5", "1e3", "-1", "99999999999999999999", "18446744073709551616", "99999999999999999999999"};
  const std::vector<std::string> never_real = {"inf", "1e999", "-1"};
  // Every third pair of an option and a value, which combines each value with many options; fewer if starting takes
  // long.
  constexpr int stride = sanitized ? 20 : 3;
  int pair = 0;
  for (const Option& option : options) {
    std::vector<std::string> values = never;
    const std::vector<std::string>& more = option.real ? never_real : never_whole;
    values.insert(values.end(), more.begin(), more.end());
    for (const std::string& value : values) {
      if (++pair % stride != 0) continue;
      SCOPED_TRACE(option.command[0] + " " + option.name + " '" + value + "'");
      expect_usage(run(added(option.command, {option.name + "=" + value})), option.name);
      EXPECT_FALSE(fs::exists(scene().path("never")));
    }
  }
}

TEST_F(BadValuesTest, NumbersOutOfReachAreRefused) {
  const std::vector<std::string> bench = added({"bench", "train", "--device", "cpu"}, tiny_model());
  for (const char* value : {"4294967296", "2147483648", "1099511627776"}) {
    SCOPED_TRACE(value);
    expect_usage(run(added(bench, {"--steps", value})), "--steps");
  }
  expect_usage(run(added(scene().train(scene().path("never")), {"--tied-embeddings", "5x"})), "--tied-embeddings");
  expect_usage(run(added(scene().train(scene().path("never")), {"--tied-embeddings", ""})), "--tied-embeddings");
  expect_usage(run(added(bench, {"--tied-embeddings", "maybe"})), "--tied-embeddings");
  EXPECT_FALSE(fs::exists(scene().path("never")));
}

TEST_F(BadValuesTest, ConfigurationFilesAreTomlOrRefused) {
  struct Case {
    std::string text;
    std::string words;  // required in the message
  };
  const std::vector<Case> cases = {
      {"steps = [1, 2]\n", "steps"},
      {"steps = 3\nsteps = 4\n", "steps"},
      {"seed =\nlr = 0.1\n", ":1"},
      {"steps = 3 4\n", ":1"},
      {"steps = \"3\n", ":1"},
      {"[train]\nsteps = 3\n", "train"},
      {"no_such_option = 3\n", "no_such_option"},
      {"no-such-option = 3\n", "no-such-option"},
      {"steps = 1.5\n", "steps"},
      {"steps = -3\n", "steps"},
      {"steps = \"three\"\n", "steps"},
      {"lr = \"fast\"\n", "lr"},
      {"lr = true\n", "lr"},
      {"steps = 1979-05-27\n", "steps"},
      {"steps = {a = 1}\n", "steps"},
      {"lr = nan\n", "lr"},
      {"steps = 99999999999999999999\n", ":1"},
      {"tied-embeddings = 5\n", "tied-embeddings"},
      {"resume = \"maybe\"\n", "resume"},
      {"config = \"other.toml\"\n", "config"},
      {std::string("steps = 3\0\n", 11), "NUL"},
      {"steps = \xFF\n", ":1"},
  };
  for (const Case& wrong : cases) {
    SCOPED_TRACE(wrong.text);
    spill(scene().path("wrong.toml"), wrong.text);
    std::vector<std::string> arguments = scene().train(scene().path("never"));
    // The command line wins, so it must not contain the file's options.
    std::vector<std::string> shorter = {"train",
                                        "--data",
                                        scene().string("data"),
                                        "--output",
                                        scene().string("never"),
                                        "--config",
                                        scene().string("wrong.toml")};
    const Outcome outcome = run(shorter);
    expect_usage(outcome, wrong.words);
    EXPECT_TRUE(contains(outcome.err, "wrong.toml")) << outcome.describe();
    EXPECT_FALSE(fs::exists(scene().path("never")));
  }
  const Outcome missing = run({"devices", "--config", scene().string("missing.toml")});
  EXPECT_TRUE(missing.status == 1 || missing.status == 2) << missing.describe();
  EXPECT_TRUE(contains(missing.err, "missing.toml")) << missing.describe();
}

TEST_F(BadValuesTest, WhatTomlAllowsIsTaken) {
  const std::vector<std::string> texts = {
      "seed = 1_000\n",
      "\xEF\xBB\xBFseed = 1000\n",
      "seed = 0x3E8\n",
      "# a comment\nseed = 1000 # another\n\n",
      "seed = 1000\r\nsample-prompt = '''\nOnce'''\r\n",
      "\"seed\" = 1000\nsample-prompt = \"\"\"\nOnce \\\n  upon\"\"\"\n",
      "seed = +1000\nresume = false\n",
  };
  std::string expected;
  for (const std::string& text : texts) {
    SCOPED_TRACE(text);
    const fs::path run_folder = scene().path("run");
    fs::remove_all(run_folder);
    spill(scene().path("right.toml"), text);
    const Outcome outcome = run(added(scene().train(run_folder, 3), {"--config", scene().string("right.toml")}));
    ASSERT_EQ(outcome.status, 0) << outcome.describe();
    const std::string found = losses(run_folder);
    if (expected.empty()) expected = found;
    EXPECT_EQ(found, expected);
  }
  // The seed had an effect.
  fs::remove_all(scene().path("run"));
  const Outcome other = run(scene().train(scene().path("run"), 3));
  ASSERT_EQ(other.status, 0) << other.describe();
  EXPECT_NE(losses(scene().path("run")), expected);
}

TEST_F(BadValuesTest, MisspelledNamesAreAnsweredWithWhatIsNear) {
  struct Case {
    std::vector<std::string> arguments;
    std::string near;
  };
  const std::vector<Case> cases = {
      {{"trian"}, "train"},
      {{"tokeniser", "train"}, "tokenizer"},
      {{"generat"}, "generate"},
      {{"train", "--step", "3"}, "--steps"},
      {{"generate", "--temprature", "1"}, "--temperature"},
      {{"data", "prepair"}, "prepare"},
      {{"bench", "trian"}, "train"},
  };
  for (const Case& wrong : cases) {
    SCOPED_TRACE(wrong.arguments.back());
    expect_usage(run(wrong.arguments), wrong.near);
  }
  const Outcome help = run({"--help"});
  EXPECT_EQ(help.status, 0);
  // Its last line is the next command to try.
  const std::size_t end = help.out.find_last_not_of('\n');
  const std::size_t start = help.out.rfind('\n', end);
  EXPECT_TRUE(contains(help.out.substr(start + 1), "mslt ")) << help.out;
}

}  // namespace
}  // namespace mslt::faults

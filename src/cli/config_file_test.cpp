// Tests of options from TOML files.
#include "cli/config_file.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include <filesystem>

#include "base/file.h"
#include "cli/numbers.h"
#include "cli/texts.h"
#include "mslt/error.h"

namespace mslt::cli {
namespace {

class ConfigFileTest : public testing::Test {
 protected:
  ConfigFileTest()
      : path_(testing::TempDir() + "mslt_config_" + testing::UnitTest::GetInstance()->current_test_info()->name() +
              ".toml") {
    app_.require_subcommand(1);
    CLI::App* command = app_.add_subcommand("train");
    command->option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    add_integer(*command, "--batch-size", batch_size_, "", {.least = 1, .unit = "sequences"});
    add_integer(*command, "--seed", seed_, "", {});
    add_real(*command, "--lr", lr_, "", {});
    add_boolean(*command, "--tied", tied_, "");
    add_switch(*command, "--resume", resume_, "");
    add_switch(*command, "--json", json_, "");
    command->add_option("--prompt", prompt_, "");
    command->add_option("--devices", devices_, "")->type_name(std::string(count_or_list_type));
    add_texts(*command, "--stop", stop_, "");
    command->add_option("--config");
  }
  ~ConfigFileTest() override { std::filesystem::remove(path_); }

  // Parses "train", `arguments` and --config of a file with `text`; returns the message if that is refused.
  std::string read(const std::string& text, std::vector<std::string> arguments = {}) {
    write_file(path_, text);
    arguments.insert(arguments.begin(), {"train", "--config", path_});
    try {
      arguments = with_config_file(app_, std::move(arguments));
      std::reverse(arguments.begin(), arguments.end());
      app_.parse(std::move(arguments));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
      return error.what();
    } catch (const CLI::Error& error) {
      return std::string("CLI11: ") + error.what();
    }
    return "accepted";
  }

  void expect_refused(const std::string& text, const std::string& position, const std::string& words) {
    const std::string message = read(text);
    EXPECT_TRUE(message.starts_with(path_ + ":" + position + ": ")) << message;
    EXPECT_NE(message.find(words), std::string::npos) << message;
  }

  std::string path_;
  CLI::App app_;
  std::int64_t batch_size_ = 0;
  std::uint64_t seed_ = 0;
  double lr_ = 0.0;
  bool tied_ = false, resume_ = false, json_ = false;
  std::string devices_;
  std::string prompt_ = "none";
  std::vector<std::string> stop_;
};

TEST_F(ConfigFileTest, TakesEveryKindOfValue) {
  EXPECT_EQ(read("\xEF\xBB\xBF# A comment\nbatch-size = 1_000\nseed = 0x10\nlr = 1e-3\ntied = true\nresume = true\n"
                 "json = false\nprompt = '''\n--it's\ta \"text\"'''\nstop = [\"A\", '[B]', \"\"\"C\n,D\"\"\", \"\", "
                 "\"--seed\"]\n"),
            "accepted");
  EXPECT_EQ(batch_size_, 1000);
  EXPECT_EQ(seed_, 16u);
  EXPECT_EQ(lr_, 1e-3);
  EXPECT_TRUE(tied_);
  EXPECT_TRUE(resume_);
  EXPECT_FALSE(json_);
  EXPECT_EQ(prompt_, "--it's\ta \"text\"");
  EXPECT_EQ(stop_, (std::vector<std::string>{"A", "[B]", "C\n,D", "", "--seed"}));
}

TEST_F(ConfigFileTest, TakesOneTextWhereSeveralMayStandAndAnEmptyText) {
  EXPECT_EQ(read("stop = '[END]'\nprompt = ''\nlr = 1\n"), "accepted");
  EXPECT_EQ(stop_, std::vector<std::string>{"[END]"});
  EXPECT_EQ(prompt_, "");
  EXPECT_EQ(lr_, 1.0);
}

TEST_F(ConfigFileTest, TheCommandLineWins) {
  EXPECT_EQ(read("seed = 3\nlr = 0.5\nstop = ['A']\nresume = true\n",
                 {"--seed", "4", "--lr=0.25", "--stop", "B", "--resume=false"}),
            "accepted");
  EXPECT_EQ(seed_, 4u);
  EXPECT_EQ(lr_, 0.25);
  EXPECT_EQ(stop_, std::vector<std::string>{"B"});
  EXPECT_FALSE(resume_);
}

TEST_F(ConfigFileTest, ValuesOfAnotherTypeAreRefusedWithTheirPlace) {
  expect_refused("lr = 1e-3\nbatch-size = [1, 2]\n", "2:14", "'batch-size' takes one value, not an array");
  expect_refused("batch-size = '16'\n", "1:14", "a number, without quotes");
  expect_refused("batch-size = true\n", "1:14", "'batch-size' is a truth value");
  expect_refused("batch-size = 1.5\n", "1:14", "--batch-size is '1.5'; it must be a whole number from 1 to");
  expect_refused("\nbatch-size = 0\n", "2:14", "--batch-size is '0'; it must be a whole number from 1 to");
  expect_refused("lr = nan\n", "1:6", "--lr is 'nan'");
  expect_refused("lr = inf\n", "1:6", "--lr is 'inf'");
  expect_refused("tied = 5\n", "1:8", "'tied' is a whole number; it must be true or false");
  expect_refused("resume = 1\n", "1:10", "it must be true or false");
  expect_refused("prompt = 5\n", "1:10", "a text, in quotes, as in prompt = \"5\"");
  expect_refused("prompt = 1979-05-27\n", "1:10", "'prompt' is a date;");
  expect_refused("prompt = 07:32:00\n", "1:10", "'prompt' is a time;");
  expect_refused("prompt = 1979-05-27T07:32:00Z\n", "1:10", "'prompt' is a date and time;");
  expect_refused("prompt = \"a\\u0000b\"\n", "1:10", "NUL");
  expect_refused("stop = []\n", "1:8", "an empty array");
  expect_refused("stop = ['a', 5]\n", "1:14", "'stop' is a whole number; it must be a text");
  expect_refused("stop = ['a', ['b']]\n", "1:14", "'stop' is an array; it must be a text");
}

TEST_F(ConfigFileTest, ACountMayStandForAText) {
  EXPECT_EQ(read("devices = 2\n"), "accepted");
  EXPECT_EQ(devices_, "2");
  EXPECT_EQ(read("devices = '0,1'\n"), "accepted");
  EXPECT_EQ(devices_, "0,1");
  expect_refused("devices = true\n", "1:11", "it must be a whole number, or a text, in quotes");
  expect_refused("devices = [0, 1]\n", "1:11", "several are one text, devices = \"0,1\"");
}

TEST_F(ConfigFileTest, KeysAreThoseOfTheCommand) {
  expect_refused("lr = 1\nbatch_size = 3\n", "2:1", "did you mean 'batch-size'?");
  expect_refused("promt = 'x'\n", "1:1", "did you mean 'prompt'?");
  expect_refused("wings = 3\n", "1:1", "'train' has no option 'wings'; its --help");
  expect_refused("config = 'other.toml'\n", "1:1", "'config' cannot be set in a configuration file");
  expect_refused("help = true\n", "1:1", "'help'");
  expect_refused("[train]\nseed = 3\n", "1:2", "'train' is a table");
  expect_refused("train.seed = 3\n", "1:1", "'train' is a table");
  expect_refused("prompt = {a = 1}\n", "1:1", "'prompt' is a table");
  expect_refused("[[stop]]\na = 1\n", "1:3", "'stop' is a table");
}

// The library's versions differ in the reported column.
TEST_F(ConfigFileTest, WhatIsNotTomlIsRefusedWithItsLine) {
  const auto expect_broken = [&](const std::string& text, const std::string& line) {
    const std::string message = read(text);
    EXPECT_TRUE(message.starts_with(path_ + ":" + line + ":")) << message;
    EXPECT_NE(message.find("this is not TOML"), std::string::npos) << message;
  };
  expect_broken("lr = 1\nseed =\nlr = 2\n", "2");
  expect_broken("seed = 3\nseed = 4\n", "2");
  expect_broken("lr = 1\nprompt = 'x\n", "2");
  expect_broken("lr = 1\nprompt = \"caf\xe9\"\n", "2");
  expect_broken("seed = 99999999999999999999\n", "1");
  expect_broken("\n\nseed = 1 2\n", "3");
  EXPECT_NE(read(std::string("seed = 1\0\n", 10)).find("NUL"), std::string::npos);
}

TEST_F(ConfigFileTest, KeysOfManyPartsAreRefused) {
  for (const char* part : {"a.", "a . ", "'a'."}) {
    std::string key;
    for (int i = 0; i < 100000; ++i) key += part;
    EXPECT_NE(read(key + "b = 1\n").find("parts"), std::string::npos) << part;
  }
  std::string prose = "prompt = 'One sentence.";
  for (int i = 0; i < 1000; ++i) prose += " And so on.";
  EXPECT_EQ(read(prose + "'\n"), "accepted");
}

TEST_F(ConfigFileTest, AnEmptyValueOnTheCommandLineIsEmpty) {
  EXPECT_EQ(read("", {"--prompt=", "--seed", "4"}), "accepted");
  EXPECT_EQ(prompt_, "");
  EXPECT_EQ(seed_, 4u);
  EXPECT_NE(read("", {"--seed=", "--resume"}).find("--seed is empty"), std::string::npos);
}

TEST_F(ConfigFileTest, TheFileMustBeNamedAndBeThere) {
  EXPECT_THROW(with_config_file(app_, {"train", "--config", ""}), Error);
  EXPECT_THROW(with_config_file(app_, {"train", "--config", path_ + ".absent"}), Error);
}

}  // namespace
}  // namespace mslt::cli

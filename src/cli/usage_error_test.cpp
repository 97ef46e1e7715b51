// Tests of the messages about refused command lines, through the whole program.
#include <gtest/gtest.h>

#include <sstream>

#include "cli/command.h"

namespace mslt::cli {
namespace {

// The text on standard error; checks the status.
std::string refusal(std::vector<std::string> arguments) {
  std::istringstream in;
  std::ostringstream out;
  std::ostringstream err;
  Context context{in, out, err};
  EXPECT_EQ(run(std::move(arguments), context), 2);
  EXPECT_EQ(out.str(), "");
  return err.str();
}

void expect_said(const std::vector<std::string>& arguments, const std::string& words) {
  const std::string said = refusal(arguments);
  EXPECT_NE(said.find(words), std::string::npos) << said;
  EXPECT_TRUE(said.starts_with("mslt: ")) << said;
}

TEST(UsageError, NamesTheCommandThatIsNear) {
  expect_said({"trian"}, "'mslt' has no command 'trian'. Did you mean 'mslt train'?");
  expect_said({"trian", "--data", "x"}, "Did you mean 'mslt train'?");
  expect_said({"tokenizer", "encod"}, "Did you mean 'mslt tokenizer encode'?");
  expect_said({"data", "preprae"}, "Did you mean 'mslt data prepare'?");
  expect_said({"bench", "kernel"}, "Did you mean 'mslt bench kernels'?");
  expect_said({"profile", "trains"}, "Did you mean 'mslt profile train'?");
  expect_said({"prepare"}, "Did you mean 'mslt data prepare'?");
  expect_said({"fly"}, "Its commands are tokenizer, data, train");
  expect_said({"data"}, "'mslt data' needs a command: 'mslt data prepare'");
}

TEST(UsageError, NamesTheFlagThatIsNearBeforeWhatIsMissing) {
  expect_said({"train", "--setps", "5"}, "'mslt train' has no option --setps. Did you mean --steps?");
  expect_said({"train", "--setps=5"}, "Did you mean --steps?");
  expect_said({"train", "-steps", "5"}, "Did you mean --steps?");
  expect_said({"train", "--data", "x", "steps", "5"}, "does not take the argument 'steps'. Did you mean --steps?");
  expect_said({"tokenizer", "train", "--vocabsize", "300"}, "Did you mean --vocab-size?");
  expect_said({"data", "prepare", "--inptu", "x"}, "Did you mean --input?");
  expect_said({"bench", "train", "--prest", "mini"}, "Did you mean --preset?");
  expect_said({"profile", "train", "--predcit", "m3-max"}, "Did you mean --predict?");
  expect_said({"generate", "--temprature", "1"}, "Did you mean --temperature?");
  expect_said({"devices", "--jsn"}, "Did you mean --json?");
  expect_said({"--device", "cpu", "train"}, "Options follow the command, as in 'mslt train --device'.");
  expect_said({"--wings"}, "'mslt' has no option --wings. 'mslt --help'");
  expect_said({"--versoin"}, "Did you mean --version?");
}

TEST(UsageError, TakesNoValueForAFlag) {
  // The prompt begins with dashes, several inputs follow --input, and a number is negative.
  expect_said({"generate", "--prompt", "--steps", "--wings"}, "has no option --wings");
  expect_said({"tokenizer", "train", "--input", "a", "b", "c", "--outptu", "d"}, "Did you mean --output?");
  expect_said({"train", "--data", "x", "--output", "y", "--lr", "-1"}, "--lr");
  expect_said({"train"}, "--data is required");
}

TEST(UsageError, EndsWithTheHelpToRead) {
  expect_said({"train"}, "'mslt train --help'");
  expect_said({"tokenizer", "encode", "--x"}, "'mslt tokenizer encode --help'");
}

}  // namespace
}  // namespace mslt::cli

// Tests of what commands refuse, how early, and with which words.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "cli/cli_fixture.h"
#include "mslt/tokenizer.h"

namespace mslt::cli {
namespace {

using CliRefusalTest = CliTest;

TEST_F(CliRefusalTest, FlagsOutOfRangeAreNamedBeforeWorkStarts) {
  prepare_data();
  const auto expect_refused = [&](std::vector<std::string> arguments, const std::string& flag,
                                  const std::string& value) {
    arguments.push_back(flag + "=" + value);
    const Outcome outcome = mslt(arguments);
    EXPECT_EQ(outcome.status, 2) << flag << " " << value << ": " << outcome.err;
    EXPECT_NE(outcome.err.find(flag), std::string::npos) << flag << " " << value << ": " << outcome.err;
    EXPECT_FALSE(std::filesystem::exists(folder_ / "run")) << flag;
  };
  const std::vector<std::pair<std::string, std::string>> train_flags = {{"--steps", "0"},
                                                                        {"--steps", "-3"},
                                                                        {"--steps", "many"},
                                                                        {"--batch-size", "0"},
                                                                        {"--seq-len", "-1"},
                                                                        {"--grad-accum", "0"},
                                                                        {"--lr", "0"},
                                                                        {"--lr", "-1"},
                                                                        {"--min-lr-ratio", "1.5"},
                                                                        {"--warmup", "-1"},
                                                                        {"--schedule", "sine"},
                                                                        {"--decay-fraction", "2"},
                                                                        {"--beta1", "1.5"},
                                                                        {"--beta2", "-0.1"},
                                                                        {"--epsilon", "0"},
                                                                        {"--weight-decay", "-1"},
                                                                        {"--clip", "-1"},
                                                                        {"--dropout", "1.5"},
                                                                        {"--seed", "-1"},
                                                                        {"--eval-every", "-1"},
                                                                        {"--eval-batches", "-1"},
                                                                        {"--sample-every", "-1"},
                                                                        {"--save-every", "-1"},
                                                                        {"--keep-checkpoints", "0"},
                                                                        {"--layers", "0"},
                                                                        {"--channels", "0"},
                                                                        {"--heads", "0"},
                                                                        {"--kv-heads", "0"},
                                                                        {"--head-size", "0"},
                                                                        {"--ffn-size", "0"},
                                                                        {"--max-positions", "0"},
                                                                        {"--norm", "batch"},
                                                                        {"--norm-position", "mid"},
                                                                        {"--position", "alibi"},
                                                                        {"--activation", "tanh"},
                                                                        {"--preset", "huge"},
                                                                        {"--device", "abacus"},
                                                                        {"--dtype", "f64"}};
  for (const auto& [flag, value] : train_flags) {
    if (flag == "--norm" || flag == "--norm-position" || flag == "--position" || flag == "--activation" ||
        flag == "--preset" || flag == "--schedule" || flag == "--device" || flag == "--dtype") {
      auto arguments = train_arguments();
      arguments.push_back(flag + "=" + value);
      const Outcome outcome = mslt(arguments);
      EXPECT_EQ(outcome.status, 2) << flag << ": " << outcome.err;
      EXPECT_NE(outcome.err.find(value), std::string::npos) << outcome.err;
      EXPECT_FALSE(std::filesystem::exists(folder_ / "run")) << flag;
    } else {
      expect_refused(train_arguments(), flag, value);
    }
  }
  const std::vector<std::string> tokenizer = {"tokenizer",      "train",    "--input",
                                              path("text.txt"), "--output", path("out.json")};
  expect_refused(tokenizer, "--vocab-size", "100");
  expect_refused(tokenizer, "--min-frequency", "0");
  expect_refused(tokenizer, "--threads", "-1");
  const std::vector<std::string> data = {"data",    "prepare",        "--tokenizer", path("tokenizer.json"),
                                         "--input", path("text.txt"), "--output",    path("other")};
  expect_refused(data, "--val-fraction", "1.5");
  auto polish = data;
  polish.push_back("--clean=polish");
  EXPECT_EQ(mslt(polish).status, 2);
  expect_refused(data, "--shard-tokens", "0");
  const std::vector<std::string> generate = {"generate", "--model", path("none"), "--prompt", "x"};
  expect_refused(generate, "--temperature", "-1");
  expect_refused(generate, "--top-k", "-1");
  expect_refused(generate, "--top-p", "0");
  expect_refused(generate, "--min-p", "2");
  expect_refused(generate, "--repetition-penalty", "0");
  expect_refused(generate, "--max-new-tokens", "-1");
  expect_refused(generate, "--num", "0");
}

TEST_F(CliRefusalTest, HeadsThatDoNotDivideAreRefusedBeforeWorkStarts) {
  prepare_data();
  auto arguments = train_arguments();
  arguments.insert(arguments.end(), {"--heads", "4", "--kv-heads", "3"});
  const Outcome outcome = mslt(arguments);
  EXPECT_EQ(outcome.status, 2) << outcome.err;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run"));
}

TEST_F(CliRefusalTest, OutputsAreReplacedByForceAlone) {
  prepare_data();
  const auto before = read_file(folder_ / "tokenizer.json", 1 << 20);
  std::vector<std::string> tokenizer = {"tokenizer",    "train", "--input",  path("text.txt"),
                                        "--vocab-size", "280",   "--output", path("tokenizer.json")};
  std::vector<std::string> data = {"data",    "prepare",        "--tokenizer", path("tokenizer.json"),
                                   "--input", path("text.txt"), "--output",    path("data")};
  for (std::vector<std::string>* const arguments : {&tokenizer, &data}) {
    const Outcome refused = mslt(*arguments);
    EXPECT_EQ(refused.status, 2) << refused.err;
    EXPECT_NE(refused.err.find("exists already; choose another --output, or add --force"), std::string::npos)
        << refused.err;
  }
  EXPECT_EQ(read_file(folder_ / "tokenizer.json", 1 << 20), before);
  for (std::vector<std::string>* const arguments : {&tokenizer, &data}) {
    arguments->emplace_back("--force");
    const Outcome outcome = mslt(*arguments);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
  }
  EXPECT_NE(read_file(folder_ / "tokenizer.json", 1 << 20), before);
}

TEST_F(CliRefusalTest, WrongFilesAreNamed) {
  train_tokenizer();
  write_file(folder_ / "empty.txt", "");
  write_file(folder_ / "binary.txt", std::string("\0\1\2\3", 4));
  const auto expect_failure = [&](const std::vector<std::string>& arguments, const std::string& named) {
    const Outcome outcome = mslt(arguments);
    EXPECT_EQ(outcome.status, 1) << outcome.err;
    EXPECT_NE(outcome.err.find(named), std::string::npos) << outcome.err;
  };
  expect_failure({"tokenizer", "train", "--input", path("missing.txt"), "--output", path("o.json")}, "missing.txt");
  expect_failure({"tokenizer", "encode", "--tokenizer", path("text.txt")}, "text.txt");
  expect_failure({"tokenizer", "encode", "--tokenizer", path("missing.json")}, "missing.json");
  for (const std::string name : {"empty.txt", "binary.txt", "missing.txt"}) {
    expect_failure(
        {"data", "prepare", "--tokenizer", path("tokenizer.json"), "--input", path(name), "--output", path("data2")},
        name);
  }
  expect_failure({"train", "--data", path("nowhere"), "--output", path("run2")}, "nowhere");
  expect_failure({"generate", "--model", path("nowhere"), "--prompt", "x"}, "nowhere");
  EXPECT_EQ(mslt({"tokenizer", "decode", "--tokenizer", path("tokenizer.json")}, "12 potato").status, 1);
  // Ids without a token give nothing, with a message.
  const Outcome decoded = mslt({"tokenizer", "decode", "--tokenizer", path("tokenizer.json")}, "99999");
  EXPECT_EQ(decoded.status, 0) << decoded.err;
  EXPECT_EQ(decoded.out, "");
  EXPECT_NE(decoded.err.find("1 of the 1 ids"), std::string::npos) << decoded.err;
}

// For a misspelled name, the message lists all valid ones and suggests the nearest.
TEST_F(CliRefusalTest, MisspelledNamesAreAskedAbout) {
  prepare_data();
  ASSERT_EQ(mslt(train_arguments()).status, 0);
  const auto expect_asked = [&](std::vector<std::string> arguments, const std::string& name) {
    const Outcome outcome = mslt(arguments);
    EXPECT_EQ(outcome.status, 2) << outcome.err;
    EXPECT_NE(outcome.err.find(" Did you mean " + name + "?"), std::string::npos) << outcome.err;
  };
  const auto train = [&](const std::string& flag) {
    auto arguments = train_arguments();
    arguments[4] = path("other");
    arguments.push_back(flag);
    return arguments;
  };
  expect_asked(train("--preset=mimi"), "mini");
  expect_asked(train("--norm=rms_norm"), "rmsnorm");
  expect_asked(train("--norm-position=prev"), "pre");
  expect_asked(train("--position=learnt"), "learned");
  expect_asked(train("--activation=swigelu"), "swiglu");
  expect_asked(train("--schedule=cosin"), "cosine");
  expect_asked(train("--device=gpu"), "cpu");
  expect_asked(train("--dtype=fp16"), "f16");
  const std::vector<std::string> eval = {"eval", "--model", path("run"), "--data", path("data")};
  auto split = eval;
  split.push_back("--split=trian");
  expect_asked(split, "train");
  for (auto arguments : {eval, {"generate", "--model", path("run"), "--prompt", "The"}}) {
    arguments.push_back("--dtype=bfp16");
    expect_asked(arguments, "bf16");
    arguments.back() = "--dtype=f64";
    EXPECT_NE(mslt(arguments).err.find("--dtype is 'f64'; valid are f32, bf16 and f16."), std::string::npos);
  }
  expect_asked({"tokenizer", "train", "--input", path("text.txt"), "--output", path("o.json"), "--pattern=lama3"},
               "llama3");
  expect_asked({"data", "prepare", "--tokenizer", path("tokenizer.json"), "--input", path("text.txt"), "--output",
                path("d"), "--clean=lowercas"},
               "lowercase");
  expect_asked({"profile", "train", "--predict", "m3max"}, "m3-max");
  const Outcome no_data = mslt({"eval", "--model", path("run"), "--data", path("run")});
  EXPECT_NE(no_data.err.find("data prepare --tokenizer TOKENIZER.json --input TEXT.txt --output " + path("run")),
            std::string::npos)
      << no_data.err;
}

TEST_F(CliRefusalTest, BadUsageIsStatusTwo) {
  EXPECT_EQ(mslt({}).status, 2);
  EXPECT_EQ(mslt({"fly"}).status, 2);
  EXPECT_EQ(mslt({"train"}).status, 2);
  EXPECT_EQ(mslt({"generate", "--model", "x", "--prompt", "y", "--wings"}).status, 2);
  EXPECT_EQ(mslt({"--version"}).out, "mslt 0.1.0\n");
}

TEST_F(CliRefusalTest, ARunCannotBeResumedWithWhatIsNoNumber) {
  prepare_data();
  ASSERT_EQ(mslt(train_arguments()).status, 0);
  for (const std::string value : {"8x", "", "1e3", "99999999999999999999"}) {
    const Outcome outcome =
        mslt({"train", "--data", path("data"), "--output", path("run"), "--resume", "--steps", value});
    EXPECT_EQ(outcome.status, 2) << value;
    EXPECT_NE(outcome.err.find("--steps is "), std::string::npos) << outcome.err;
  }
  write_file(folder_ / "resume.toml", "resume = true\nsteps = 8\nsample-prompt = ''\n");
  const Outcome resumed =
      mslt({"train", "--data", path("data"), "--output", path("run"), "--config", path("resume.toml")});
  EXPECT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_NE(resumed.out.find("Trained to step 8"), std::string::npos) << resumed.out << resumed.err;
}

TEST_F(CliRefusalTest, ManyNewTokensDoNotOverflow) {
  prepare_data();
  ASSERT_EQ(mslt(train_arguments()).status, 0);
  const Outcome refused =
      mslt({"generate", "--model", path("run"), "--prompt", "The", "--max-new-tokens", "9223372036854775807"});
  EXPECT_EQ(refused.status, 2);
  EXPECT_NE(refused.err.find("it must be a whole number from 0 to 1099511627776 tokens"), std::string::npos)
      << refused.err;
}

TEST_F(CliRefusalTest, FoldersThatLeadBackToThemselvesAreNamed) {
  std::filesystem::create_symlink("loop", folder_ / "loop");
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"eval", "--model", path("loop"), "--data", path("loop")},
        {"generate", "--model", path("loop"), "--prompt", "x"},
        {"tokenizer", "encode", "--tokenizer", path("loop")}}) {
    const Outcome outcome = mslt(arguments);
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("loop"), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.err.find("symbolic links lead back"), std::string::npos) << outcome.err;
    EXPECT_EQ(outcome.err.find("filesystem error"), std::string::npos) << outcome.err;
  }
}

TEST_F(CliRefusalTest, WeightsThatAreNoNumbersAreNamed) {
  prepare_data();
  ASSERT_EQ(mslt(train_arguments()).status, 0);
  const std::filesystem::path weights = folder_ / "run" / "model.safetensors";
  std::string file = read_file(weights, 1 << 24);
  std::filesystem::remove(weights);  // a hard link to the checkpoint's file
  file.replace(file.size() - 4, 4, std::string("\0\0\xC0\x7F", 4));
  write_file(weights, file);
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"eval", "--model", path("run"), "--data", path("data")},
        {"generate", "--model", path("run"), "--prompt", "The", "--json"}}) {
    const Outcome outcome = mslt(command);
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("holds NaN or an infinity"), std::string::npos) << outcome.err;
    EXPECT_EQ(outcome.out.find("Loss"), std::string::npos) << outcome.out;
  }
}

TEST_F(CliRefusalTest, EvaluationWantsDataOfTheModelsTokenizer) {
  prepare_data();
  ASSERT_EQ(mslt(train_arguments()).status, 0);
  const std::vector<std::string> eval = {"eval", "--model", path("run"), "--data", path("data")};
  ASSERT_EQ(mslt(eval).status, 0);
  // The model has another one of the same size.
  const std::string own = read_file(folder_ / "run" / "tokenizer.json", 1 << 24);
  std::string other_text;
  for (int i = 0; i < 400; ++i) other_text += "quite other words " + std::to_string(i * 7919) + " make other tokens, ";
  TokenizerTrainOptions training;
  training.vocab_size = 300;
  const Tokenizer other = Tokenizer::train_on_text(other_text, training);
  other.save(folder_ / "run" / "tokenizer.json");
  const Outcome model = mslt(eval);
  EXPECT_EQ(model.status, 1);
  EXPECT_NE(model.err.find("another tokenizer than the model in " + path("run")), std::string::npos) << model.err;
  // The model has no tokenizer to compare.
  std::filesystem::remove(folder_ / "run" / "tokenizer.json");
  const Outcome unknown = mslt(eval);
  EXPECT_EQ(unknown.status, 0);
  EXPECT_NE(unknown.err.find("Warning: " + path("run") + " has no tokenizer.json"), std::string::npos) << unknown.err;
  write_file(folder_ / "run" / "tokenizer.json", own);
  // The data has another one, smaller than its ids.
  for (const std::uint32_t size : {300, 280}) {
    training.vocab_size = size;
    Tokenizer::train_on_text(other_text, training).save(folder_ / "data" / "tokenizer.json");
    const Outcome data = mslt(eval);
    EXPECT_EQ(data.status, 1);
    EXPECT_NE(data.err.find("is not the tokenizer that the data was prepared with"), std::string::npos) << data.err;
  }
}

}  // namespace
}  // namespace mslt::cli

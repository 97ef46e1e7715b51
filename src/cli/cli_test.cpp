// Tests of the command line, run in this process with streams of their own.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/file.h"
#include "cli/command.h"
#include "cli/units.h"
#include "mslt/tokenizer.h"

namespace mslt::cli {
namespace {

struct Outcome {
  int status = 0;
  std::string out;
  std::string err;
};

Outcome mslt(std::vector<std::string> arguments, const std::string& input = "") {
  std::istringstream in(input);
  std::ostringstream out;
  std::ostringstream err;
  Context context{in, out, err};
  const int status = run(std::move(arguments), context);
  return {status, out.str(), err.str()};
}

// A text with structure enough for a vocabulary of 300.
std::string text() {
  std::string result;
  for (int i = 0; i < 400; ++i) {
    result += "The " + std::string(i % 3 == 0 ? "king" : "prophet") + " said unto the people of the city number " +
              std::to_string(i * 37 % 101) + ", behold the river and the mountain.\n";
  }
  return result;
}

class CliTest : public testing::Test {
 protected:
  CliTest() {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(testing::TempDir()) / (std::string("mslt_cli_") + info->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    write_file(folder_ / "text.txt", text());
  }
  ~CliTest() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  void train_tokenizer() {
    const Outcome outcome = mslt(
        {"tokenizer", "train", "--input", path("text.txt"), "--vocab-size", "300", "--output", path("tokenizer.json")});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
  }

  void prepare_data() {
    train_tokenizer();
    const Outcome outcome = mslt({"data", "prepare", "--tokenizer", path("tokenizer.json"), "--input", path("text.txt"),
                                  "--output", path("data")});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
  }

  std::vector<std::string> train_arguments() const {
    return {"train", "--data",       path("data"), "--output",  path("run"), "--preset",       "tiny", "--layers",
            "1",     "--channels",   "16",         "--heads",   "2",         "--steps",        "6",    "--lr",
            "1e-2",  "--batch-size", "2",          "--seq-len", "16",        "--eval-batches", "2"};
  }

  std::filesystem::path folder_;
};

TEST_F(CliTest, TextBecomesAModelThatWrites) {
  prepare_data();
  const Outcome trained = mslt(train_arguments());
  ASSERT_EQ(trained.status, 0) << trained.err;
  EXPECT_NE(trained.out.find("Trained to step 6"), std::string::npos) << trained.out;
  EXPECT_NE(trained.err.find("parameters"), std::string::npos) << trained.err;
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.json", "metrics.jsonl", "report.html"}) {
    EXPECT_TRUE(std::filesystem::exists(folder_ / "run" / name)) << name;
  }

  const std::vector<std::string> generate = {"generate",         "--model", path("run"), "--prompt", "The king",
                                             "--max-new-tokens", "8",       "--seed",    "5"};
  const Outcome first = mslt(generate);
  ASSERT_EQ(first.status, 0) << first.err;
  EXPECT_TRUE(first.out.starts_with("The king")) << first.out;
  EXPECT_EQ(mslt(generate).out, first.out);

  auto json_arguments = generate;
  json_arguments.insert(json_arguments.end(), {"--json", "--num", "2"});
  const auto document = nlohmann::json::parse(mslt(json_arguments).out);
  EXPECT_EQ(document["samples"].size(), 2u);
  EXPECT_EQ("The king" + document["samples"][0]["text"].get<std::string>() + "\n", first.out);

  const Outcome evaluated = mslt({"eval", "--model", path("run"), "--data", path("data"), "--json"});
  ASSERT_EQ(evaluated.status, 0) << evaluated.err;
  const auto evaluation = nlohmann::json::parse(evaluated.out);
  EXPECT_GT(evaluation["loss"].get<double>(), 0.0);
  EXPECT_GT(evaluation["targets"].get<int>(), 100);
}

TEST_F(CliTest, ARunIsNotOverwrittenAndResumes) {
  prepare_data();
  auto arguments = train_arguments();
  ASSERT_EQ(mslt(arguments).status, 0);
  const Outcome again = mslt(arguments);
  EXPECT_EQ(again.status, 2);
  EXPECT_NE(again.err.find("--resume"), std::string::npos) << again.err;
  const Outcome resumed = mslt({"train", "--data", path("data"), "--output", path("run"), "--resume", "--steps", "8"});
  EXPECT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_NE(resumed.out.find("Trained to step 8"), std::string::npos) << resumed.out << resumed.err;
}

TEST_F(CliTest, EvaluationWantsDataOfTheModelsTokenizer) {
  prepare_data();
  ASSERT_EQ(mslt(train_arguments()).status, 0);
  const std::vector<std::string> eval = {"eval", "--model", path("run"), "--data", path("data")};
  ASSERT_EQ(mslt(eval).status, 0);
  // The model's is another one of the same size.
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
  // It has none: nobody knows.
  std::filesystem::remove(folder_ / "run" / "tokenizer.json");
  const Outcome unknown = mslt(eval);
  EXPECT_EQ(unknown.status, 0);
  EXPECT_NE(unknown.err.find("Warning: " + path("run") + " has no tokenizer.json"), std::string::npos) << unknown.err;
  write_file(folder_ / "run" / "tokenizer.json", own);
  // The data's is another one, and smaller than its ids.
  for (const std::uint32_t size : {300, 280}) {
    training.vocab_size = size;
    Tokenizer::train_on_text(other_text, training).save(folder_ / "data" / "tokenizer.json");
    const Outcome data = mslt(eval);
    EXPECT_EQ(data.status, 1);
    EXPECT_NE(data.err.find("is not the tokenizer that the data was prepared with"), std::string::npos) << data.err;
  }
}

TEST_F(CliTest, WeightsThatAreNoNumbersAreNamed) {
  prepare_data();
  ASSERT_EQ(mslt(train_arguments()).status, 0);
  const std::filesystem::path weights = folder_ / "run" / "model.safetensors";
  std::string file = read_file(weights, 1 << 24);
  std::filesystem::remove(weights);  // a hard link of the checkpoint's
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

TEST_F(CliTest, AModelToStartFromKeepsItsShapeAndTokenizer) {
  prepare_data();
  ASSERT_EQ(mslt(train_arguments()).status, 0);
  const std::vector<std::string> start = {"train",       "--data",    path("data"), "--output", path("second"),
                                          "--init-from", path("run"), "--steps",    "2",        "--batch-size",
                                          "2",           "--seq-len", "16"};
  auto with_flags = start;
  with_flags.insert(with_flags.end(), {"--layers", "3", "--norm", "rmsnorm", "--dropout", "0.1"});
  const Outcome refused = mslt(with_flags);
  EXPECT_EQ(refused.status, 2);
  EXPECT_NE(refused.err.find("--layers, --norm cannot be combined with --init-from"), std::string::npos) << refused.err;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "second" / "run.json"));
  auto with_dropout = start;
  with_dropout.insert(with_dropout.end(), {"--dropout", "0.1"});
  ASSERT_EQ(mslt(with_dropout).status, 0);
  const Outcome resumed = mslt(
      {"train", "--data", path("data"), "--output", path("second"), "--resume", "--steps", "3", "--preset", "mini"});
  EXPECT_EQ(resumed.status, 2);
  EXPECT_NE(resumed.err.find("--preset cannot be combined with --init-from"), std::string::npos) << resumed.err;
  EXPECT_EQ(mslt({"train", "--data", path("data"), "--output", path("second"), "--resume", "--steps", "3",
                  "--force-tokenizer"})
                .status,
            0);
}

TEST_F(CliTest, EncodingAndDecodingAreInverse) {
  train_tokenizer();
  const std::string sample = "The king said \xF0\x9F\x99\x82 unto\n";
  const Outcome encoded = mslt({"tokenizer", "encode", "--tokenizer", path("tokenizer.json")}, sample);
  ASSERT_EQ(encoded.status, 0) << encoded.err;
  EXPECT_EQ(mslt({"tokenizer", "decode", "--tokenizer", path("tokenizer.json")}, encoded.out).out, sample);

  write_file(folder_ / "sample.txt", sample);
  ASSERT_EQ(mslt({"tokenizer", "encode", "--tokenizer", path("tokenizer.json"), "--input", path("sample.txt"),
                  "--output", path("sample.bin")})
                .status,
            0);
  EXPECT_EQ(mslt({"tokenizer", "decode", "--tokenizer", path("tokenizer.json"), "--input", path("sample.bin")}).out,
            sample);
}

TEST_F(CliTest, OptionsComeFromATomlFileAndTheCommandLineWins) {
  write_file(folder_ / "t.toml",
             "vocab-size = 270\ninput = [\"" + path("text.txt") + "\"]\noutput = \"" + path("t.json") + "\"\n");
  const Outcome from_file = mslt({"tokenizer", "train", "--config", path("t.toml"), "--json"});
  ASSERT_EQ(from_file.status, 0) << from_file.err;
  EXPECT_EQ(nlohmann::json::parse(from_file.out)["vocab_size"], 270);
  const Outcome overridden = mslt({"tokenizer", "train", "--config", path("t.toml"), "--vocab-size", "280", "--json"});
  EXPECT_EQ(nlohmann::json::parse(overridden.out)["vocab_size"], 280);

  write_file(folder_ / "bad.toml", "vocabulary = 3\n");
  const Outcome unknown = mslt({"tokenizer", "train", "--config", path("bad.toml")});
  EXPECT_EQ(unknown.status, 2);
  EXPECT_NE(unknown.err.find("vocabulary"), std::string::npos) << unknown.err;
  EXPECT_EQ(mslt({"tokenizer", "train", "--config", path("missing.toml")}).status, 1);
}

TEST_F(CliTest, EveryCommandHasHelpWithExamples) {
  const std::vector<std::vector<std::string>> commands = {{"tokenizer", "train"},
                                                          {"tokenizer", "encode"},
                                                          {"tokenizer", "decode"},
                                                          {"data", "prepare"},
                                                          {"train"},
                                                          {"eval"},
                                                          {"generate"},
                                                          {"devices"},
                                                          {"bench", "train"},
                                                          {"bench", "generate"},
                                                          {"bench", "tokenizer"},
                                                          {"bench", "kernels"},
                                                          {"profile", "train"}};
  for (auto arguments : commands) {
    arguments.push_back("--help");
    const Outcome outcome = mslt(arguments);
    EXPECT_EQ(outcome.status, 0) << arguments[0];
    EXPECT_NE(outcome.out.find("Examples:"), std::string::npos) << arguments[0];
    EXPECT_NE(outcome.out.find("--json"), std::string::npos) << arguments[0];
  }
}

TEST_F(CliTest, PredictsAStepAndSaysSo) {
  const std::vector<std::string> command = {"profile", "train", "--predict", "m3-max", "--preset", "tiny"};
  const Outcome text = mslt(command);
  EXPECT_EQ(text.status, 0) << text.err;
  EXPECT_TRUE(text.out.starts_with("PREDICTION for Apple M3 Max, not a measurement")) << text.out;
  EXPECT_NE(text.out.find("matmul_forward"), std::string::npos) << text.out;
  std::vector<std::string> as_json = command;
  as_json.emplace_back("--json");
  const auto json = nlohmann::json::parse(mslt(as_json).out);
  EXPECT_EQ(json["prediction"], true);
  EXPECT_GT(json["tokens_per_second"], 0.0);
  double seconds = 0.0;
  for (const auto& kernel : json["kernels"]) seconds += kernel["seconds"].get<double>();
  EXPECT_NEAR(seconds, json["step_seconds"], 1e-9);

  const Outcome unknown = mslt({"profile", "train", "--predict", "m9"});
  EXPECT_EQ(unknown.status, 2);
  EXPECT_NE(unknown.err.find("Known are m3-max"), std::string::npos) << unknown.err;
  std::vector<std::string> too_long = command;
  too_long.emplace_back("--seq-len=4096");
  EXPECT_EQ(mslt(too_long).status, 2);
}

TEST_F(CliTest, FlagsOutOfRangeAreNamedBeforeWorkStarts) {
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

TEST_F(CliTest, HeadsThatDoNotDivideAreRefusedBeforeWorkStarts) {
  prepare_data();
  auto arguments = train_arguments();
  arguments.insert(arguments.end(), {"--heads", "4", "--kv-heads", "3"});
  const Outcome outcome = mslt(arguments);
  EXPECT_EQ(outcome.status, 2) << outcome.err;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run"));
}

TEST_F(CliTest, WrongFilesAreNamed) {
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
  EXPECT_EQ(mslt({"tokenizer", "decode", "--tokenizer", path("tokenizer.json")}, "99999").status, 1);
}

TEST_F(CliTest, BadUsageIsStatusTwo) {
  EXPECT_EQ(mslt({}).status, 2);
  EXPECT_EQ(mslt({"fly"}).status, 2);
  EXPECT_EQ(mslt({"train"}).status, 2);
  EXPECT_EQ(mslt({"generate", "--model", "x", "--prompt", "y", "--wings"}).status, 2);
  EXPECT_EQ(mslt({"--version"}).out, "mslt 0.1.0\n");
}

TEST_F(CliTest, DevicesAreListed) {
  const auto list = nlohmann::json::parse(mslt({"devices", "--json"}).out);
  ASSERT_FALSE(list.empty());
  EXPECT_EQ(list.front()["device"], "cpu");
}

TEST(Units, ReadLikePeopleWrite) {
  EXPECT_EQ(format_bytes(512), "512 B");
  EXPECT_EQ(format_bytes(65e6), "65.0 MB");
  EXPECT_EQ(format_count(1776), "1.78 k");
  EXPECT_EQ(format_count(124e6), "124 M");
  EXPECT_EQ(format_duration(0.012), "12 ms");
  EXPECT_EQ(format_duration(4.2), "4.2 s");
  EXPECT_EQ(format_duration(200), "3 min 20 s");
  EXPECT_EQ(format_duration(3720), "1 h 02 min");
}

}  // namespace
}  // namespace mslt::cli

// Tests of the command line, run in this process with streams of their own.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "base/file.h"
#include "cli/command.h"
#include "cli/output_stream.h"
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

// The same with standard output on a descriptor.
Outcome mslt_onto(int descriptor, std::vector<std::string> arguments, const std::string& input = "") {
  std::istringstream in(input);
  OutputStream out(descriptor, WriteFailure::raise, false);
  std::ostringstream err;
  err.tie(&out);
  Context context{in, out, err};
  const int status = run(std::move(arguments), context);
  return {status, "", err.str()};
}

// Sends a signal to this process when something is written first.
class SignallingBuffer : public std::stringbuf {
 public:
  explicit SignallingBuffer(int signal) : signal_(signal) {}

 protected:
  std::streamsize xsputn(const char* text, std::streamsize size) override {
    if (const int signal = std::exchange(signal_, 0)) std::raise(signal);
    return std::stringbuf::xsputn(text, size);
  }

 private:
  int signal_;
};

// The same, where the first words on standard error, or on standard output, bring a signal.
Outcome mslt_interrupted(int signal, std::vector<std::string> arguments, bool by_output = false) {
  std::istringstream in;
  SignallingBuffer signalling(signal);
  std::stringbuf plain;
  std::ostream out(by_output ? static_cast<std::streambuf*>(&signalling) : &plain);
  std::ostream err(by_output ? static_cast<std::streambuf*>(&plain) : &signalling);
  Context context{in, out, err};
  const int status = run(std::move(arguments), context);
  return by_output ? Outcome{status, signalling.str(), plain.str()} : Outcome{status, plain.str(), signalling.str()};
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

  // Commands that print, after their inputs are there.
  std::vector<std::vector<std::string>> printing_commands() const {
    return {{"--version"},
            {"--help"},
            {"train", "--help"},
            {"devices"},
            {"devices", "--json"},
            {"tokenizer", "train", "--input", path("text.txt"), "--vocab-size", "300", "--output", path("second.json")},
            {"tokenizer", "encode", "--tokenizer", path("tokenizer.json"), "--input", path("text.txt")},
            {"tokenizer", "encode", "--tokenizer", path("tokenizer.json"), "--input", path("text.txt"), "--json"},
            {"tokenizer", "decode", "--tokenizer", path("tokenizer.json"), "--input", path("ids.txt")},
            {"data", "prepare", "--tokenizer", path("tokenizer.json"), "--input", path("text.txt"), "--output",
             path("second_data")},
            {"eval", "--model", path("run"), "--data", path("data")},
            {"eval", "--model", path("run"), "--data", path("data"), "--json"},
            {"generate", "--model", path("run"), "--prompt", "The king", "--max-new-tokens", "8"},
            {"generate", "--model", path("run"), "--prompt", "The king", "--max-new-tokens", "8", "--json"},
            {"bench", "tokenizer", "--input", path("text.txt"), "--vocab-size", "300", "--repeats", "1"},
            {"profile", "train", "--predict", "m3-max", "--preset", "tiny"}};
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
  // Ids of no token come to nothing, which is said.
  const Outcome decoded = mslt({"tokenizer", "decode", "--tokenizer", path("tokenizer.json")}, "99999");
  EXPECT_EQ(decoded.status, 0) << decoded.err;
  EXPECT_EQ(decoded.out, "");
  EXPECT_NE(decoded.err.find("1 of the 1 ids"), std::string::npos) << decoded.err;
}

TEST_F(CliTest, BadUsageIsStatusTwo) {
  EXPECT_EQ(mslt({}).status, 2);
  EXPECT_EQ(mslt({"fly"}).status, 2);
  EXPECT_EQ(mslt({"train"}).status, 2);
  EXPECT_EQ(mslt({"generate", "--model", "x", "--prompt", "y", "--wings"}).status, 2);
  EXPECT_EQ(mslt({"--version"}).out, "mslt 0.1.0\n");
}

TEST_F(CliTest, HelpEndsWithACommandThatStartsANewcomer) {
  std::istringstream in;
  std::ostringstream out;
  std::ostringstream err;
  Context context{in, out, err};
  context.program = "build/bin/mslt";
  EXPECT_EQ(run({"--help"}, context), 0);
  const std::string next =
      "  build/bin/mslt tokenizer train --input README.md --vocab-size 512 --output tokenizer.json\n";
  EXPECT_TRUE(out.str().ends_with(next + "\n") || out.str().ends_with(next)) << out.str();
  const Outcome alone = mslt({});
  EXPECT_EQ(alone.status, 2);
  EXPECT_EQ(alone.out, "");
  EXPECT_NE(alone.err.find("mslt tokenizer train --input README.md"), std::string::npos) << alone.err;
}

TEST_F(CliTest, EveryCommandSaysThatItsOutputIsLost) {
  const int full = ::open("/dev/full", O_WRONLY);
  if (full < 0) GTEST_SKIP() << "there is no /dev/full here";
  prepare_data();
  ASSERT_EQ(mslt(train_arguments()).status, 0);
  write_file(folder_ / "ids.txt", "1 2 3");
  for (const auto& arguments : printing_commands()) {
    const Outcome outcome = mslt_onto(full, arguments);
    EXPECT_EQ(outcome.status, 1) << arguments[0];
    EXPECT_NE(outcome.err.find("mslt: Cannot write standard output: the disk is full"), std::string::npos)
        << arguments[0] << ": " << outcome.err;
  }
  // What was written to files stays.
  EXPECT_TRUE(std::filesystem::exists(folder_ / "second.json"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "second_data" / "tokenizer.json"));
  auto arguments = train_arguments();
  arguments[4] = path("run2");
  EXPECT_EQ(mslt_onto(full, arguments).status, 1);
  const Outcome resumed = mslt({"train", "--data", path("data"), "--output", path("run2"), "--resume", "--steps", "8"});
  EXPECT_NE(resumed.err.find("Resuming at step 7"), std::string::npos) << resumed.err;
  ::close(full);
}

TEST_F(CliTest, EveryCommandEndsQuietlyWhereItsReaderWentAway) {
  prepare_data();
  ASSERT_EQ(mslt(train_arguments()).status, 0);
  write_file(folder_ / "ids.txt", "1 2 3");
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  ::close(ends[0]);
  const auto before = std::signal(SIGPIPE, SIG_IGN);
  for (const auto& arguments : printing_commands()) {
    const Outcome outcome = mslt_onto(ends[1], arguments);
    EXPECT_EQ(outcome.status, 141) << arguments[0] << ": " << outcome.err;
    EXPECT_EQ(outcome.err.find("mslt:"), std::string::npos) << outcome.err;
  }
  // Generation ends at its first words, not after all of them, which would take an hour.
  EXPECT_EQ(mslt_onto(ends[1], {"generate", "--model", path("run"), "--prompt", "The king", "--max-new-tokens",
                                "100000000", "--ignore-eos"})
                .status,
            141);
  // Errors are told of all the same.
  EXPECT_EQ(mslt_onto(ends[1], {"fly"}).status, 2);
  std::signal(SIGPIPE, before);
  ::close(ends[1]);
}

TEST_F(CliTest, ASignalStopsTrainingWithAStatusOfItsOwn) {
  prepare_data();
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    std::filesystem::remove_all(folder_ / "run");
    const Outcome stopped = mslt_interrupted(signal, train_arguments());
    EXPECT_EQ(stopped.status, 3) << signal << stopped.err;
    EXPECT_NE(stopped.err.find("--resume"), std::string::npos) << stopped.err;
    const Outcome resumed = mslt({"train", "--data", path("data"), "--output", path("run"), "--resume"});
    EXPECT_EQ(resumed.status, 0) << resumed.err;
    EXPECT_NE(resumed.err.find("Resuming at step 2"), std::string::npos) << resumed.err;
  }
  std::filesystem::remove_all(folder_ / "run");
  auto arguments = train_arguments();
  arguments.emplace_back("--json");
  const Outcome as_json = mslt_interrupted(SIGTERM, arguments);
  EXPECT_EQ(as_json.status, 3);
  EXPECT_NE(as_json.err.find("--resume"), std::string::npos) << as_json.err;
  EXPECT_EQ(nlohmann::json::parse(as_json.out)["interrupted"], true);
}

TEST_F(CliTest, ASignalEndsOtherWorkWithItsNumberAndLeavesNothingHalf) {
  prepare_data();
  ASSERT_EQ(mslt(train_arguments()).status, 0);
  std::filesystem::create_directories(folder_ / "empty");
  const Outcome training = mslt_interrupted(
      SIGINT, {"tokenizer", "train", "--input", path("text.txt"), "--output", path("empty/t.json"), "--json"});
  EXPECT_EQ(training.status, 130) << training.err;
  EXPECT_EQ(nlohmann::json::parse(training.out)["error"]["kind"], "interrupted");
  EXPECT_EQ(nlohmann::json::parse(training.out)["error"]["exit_status"], 130);
  const Outcome preparing = mslt_interrupted(SIGTERM, {"data", "prepare", "--tokenizer", path("tokenizer.json"),
                                                       "--input", path("text.txt"), "--output", path("empty/data")});
  EXPECT_EQ(preparing.status, 143) << preparing.err;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_ / "empty")) {
    EXPECT_TRUE(entry.is_directory() || entry.path().filename() == ".lock") << entry.path();
  }
  const Outcome generating = mslt_interrupted(
      SIGHUP, {"generate", "--model", path("run"), "--prompt", "The king", "--max-new-tokens", "100000000"}, true);
  EXPECT_EQ(generating.status, 129) << generating.err;
  EXPECT_TRUE(generating.out.starts_with("The king") && generating.out.ends_with("\n")) << generating.out;
}

TEST_F(CliTest, CommandsToTryNextQuotePathsAndNamesMayBeAnyBytes) {
  std::filesystem::rename(folder_ / "text.txt", folder_ / "a text; it's\xff.txt");
  const std::string input = path("a text; it's\xff.txt");
  const std::string tokenizer = path("token izer.json");
  const Outcome trained = mslt({"tokenizer", "train", "--input", input, "--vocab-size", "300", "--output", tokenizer});
  ASSERT_EQ(trained.status, 0) << trained.err;
  EXPECT_NE(trained.err.find("--tokenizer '" + tokenizer + "' --input $'"), std::string::npos) << trained.err;
  EXPECT_NE(trained.err.find("it\\047s\\377.txt'"), std::string::npos) << trained.err;
  const std::string data = path("da ta\xfe");
  const Outcome prepared = mslt({"data", "prepare", "--tokenizer", tokenizer, "--input", input, "--output", data});
  ASSERT_EQ(prepared.status, 0) << prepared.err;
  EXPECT_NE(prepared.err.find("da ta\\376'"), std::string::npos) << prepared.err;
  EXPECT_NE(prepared.out.find("da ta\\xfe"), std::string::npos) << prepared.out;
  auto arguments = train_arguments();
  arguments.insert(arguments.end(), {"--data", data, "--output", path("run\xfd x"), "--sample-prompt", ""});
  const Outcome run = mslt(arguments);
  ASSERT_EQ(run.status, 0) << run.err;
  EXPECT_NE(run.err.find("run\\375 x' --prompt"), std::string::npos) << run.err;
  EXPECT_EQ(run.err.find('\xfd'), std::string::npos) << run.err;
  arguments.insert(arguments.end(), {"--resume", "--steps", "8"});
  const Outcome resumed = mslt(arguments);
  EXPECT_EQ(resumed.status, 0) << resumed.err;
}

TEST_F(CliTest, ARunCannotBeResumedWithWhatIsNoNumber) {
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

TEST_F(CliTest, TextsInBracketsStayWhole) {
  const Outcome outcome = mslt({"tokenizer", "train", "--input", path("text.txt"), "--vocab-size", "300", "--output",
                                path("t.json"), "--special", "[END]", "[X,Y]"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const std::string json = read_file(path("t.json"), std::uint64_t{1} << 20);
  EXPECT_NE(json.find("\"[END]\""), std::string::npos);
  EXPECT_NE(json.find("\"[X,Y]\""), std::string::npos);
}

TEST_F(CliTest, ManyNewTokensDoNotOverflow) {
  prepare_data();
  ASSERT_EQ(mslt(train_arguments()).status, 0);
  const Outcome refused =
      mslt({"generate", "--model", path("run"), "--prompt", "The", "--max-new-tokens", "9223372036854775807"});
  EXPECT_EQ(refused.status, 2);
  EXPECT_NE(refused.err.find("it must be a whole number from 0 to 1099511627776 tokens"), std::string::npos)
      << refused.err;
}

TEST_F(CliTest, FoldersThatLeadBackToThemselvesAreNamed) {
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

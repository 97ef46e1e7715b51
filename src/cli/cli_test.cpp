// Tests of the command line, run in this process with its own streams: what each command does.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/file.h"
#include "cli/cli_fixture.h"
#include "data/data_folder.h"
#include "mslt/tokenizer.h"

namespace mslt::cli {
namespace {

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

TEST_F(CliTest, ARunResumesWithItsSamplesAndTuning) {
  prepare_data();
  auto arguments = train_arguments();
  arguments.insert(arguments.end(),
                   {"--sample-every", "2", "--sample-prompt", "The prophet", "--tuning", "none", "--seed", "3"});
  ASSERT_EQ(mslt(arguments).status, 0);
  const auto kept = [&](const char* name) {
    return nlohmann::json::parse(read_file(folder_ / "run" / "run.json", 1 << 20)).at(name).get<std::string>();
  };
  std::vector<std::string> resume = {"train",     "--data",   path("data"), "--output",
                                     path("run"), "--resume", "--steps",    "8"};
  const Outcome resumed = mslt(resume);
  ASSERT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_NE(resumed.err.find("step 8: The prophet"), std::string::npos) << resumed.err;
  // The sample continues the prompt, as generation with its settings does.
  std::string sample;
  for (std::istringstream lines(read_file(folder_ / "run" / "metrics.jsonl", 1 << 20)); std::getline(lines, sample);) {
    const auto line = nlohmann::json::parse(sample);
    if (line.at("step") == 8 && line.contains("sample")) break;
  }
  const Outcome generated = mslt({"generate", "--model", path("run"), "--prompt", "The prophet", "--temperature", "0.8",
                                  "--seed", "3", "--max-new-tokens", "100"});
  EXPECT_EQ(nlohmann::json::parse(sample).at("sample").get<std::string>() + "\n", generated.out);
  EXPECT_EQ(kept("tuning"), "none");
  // A tuning is of one device, and a run from before it was kept has the default.
  resume.back() = "9";
  resume.insert(resume.end(), {"--device", "cpu"});
  ASSERT_EQ(mslt(resume).status, 0);
  EXPECT_EQ(kept("tuning"), "auto");
  auto older = nlohmann::json::parse(read_file(folder_ / "run" / "run.json", 1 << 20));
  older.erase("tuning");
  older.erase("sample_prompt");
  write_file(folder_ / "run" / "run.json", older.dump());
  resume = {"train", "--data", path("data"), "--output", path("run"), "--resume", "--steps", "10"};
  ASSERT_EQ(mslt(resume).status, 0);
  EXPECT_EQ(kept("tuning"), "auto");
  EXPECT_EQ(kept("sample_prompt"), "");
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

TEST_F(CliTest, ExamplesArePaddedFromTextToModel) {
  train_tokenizer();
  std::string records;
  std::istringstream lines(text());
  int count = 0;
  for (std::string line; std::getline(lines, line) && count < 60; ++count) {
    const std::string shown = line.substr(0, 5 + static_cast<std::size_t>(count * 7 % 60));
    records += nlohmann::json({{"id", count}, {"text", shown}}).dump() + "\n";
  }
  write_file(path("lines.jsonl"), records);
  std::vector<std::string> prepare = {"data",      "prepare",           "--tokenizer", path("tokenizer.json"),
                                      "--input",   path("lines.jsonl"), "--output",    path("data"),
                                      "--examples"};
  Outcome outcome = mslt(prepare);
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_NE(outcome.out.find(" examples for training, "), std::string::npos) << outcome.out;
  prepare.insert(prepare.end(), {"--json", "--force"});
  const auto info = nlohmann::json::parse(mslt(prepare).out);
  EXPECT_EQ(info["train_examples"].get<int>() + info["validation_examples"].get<int>(), 60);
  const auto longest = info["longest_example"].get<int>();
  EXPECT_GT(longest, 17);

  outcome = mslt(train_arguments());
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("examples for training, the longest of " + std::to_string(longest) +
                             " tokens, each padded to 16; "),
            std::string::npos)
      << outcome.err;
  outcome = mslt({"eval", "--model", path("run"), "--data", path("data"), "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const auto whole = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(whole["seq_len"].get<std::uint64_t>() + 1, TokenStream(path("data"), "val").longest_example());
  EXPECT_GT(whole["bits_per_byte"].get<double>(), 0.5);
  outcome =
      mslt({"eval", "--model", path("run"), "--data", path("data"), "--split", "train", "--seq-len", "8", "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("are longer and are cut there"), std::string::npos) << outcome.err;
  EXPECT_EQ(nlohmann::json::parse(outcome.out)["targets"].get<std::uint64_t>(),
            TokenStream(path("data"), "train").example_targets(9));

  prepare.insert(prepare.end(), {"--separator", "--"});
  EXPECT_EQ(mslt(prepare).status, 2);
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
  const Outcome overridden =
      mslt({"tokenizer", "train", "--config", path("t.toml"), "--vocab-size", "280", "--force", "--json"});
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
                                                          {"profile", "train"},
                                                          {"profile", "generate"},
                                                          {"doctor"}};
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

TEST_F(CliTest, TextsInBracketsStayWhole) {
  const Outcome outcome = mslt({"tokenizer", "train", "--input", path("text.txt"), "--vocab-size", "300", "--output",
                                path("t.json"), "--special", "[END]", "[X,Y]"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const std::string json = read_file(path("t.json"), std::uint64_t{1} << 20);
  EXPECT_NE(json.find("\"[END]\""), std::string::npos);
  EXPECT_NE(json.find("\"[X,Y]\""), std::string::npos);
}

TEST_F(CliTest, DevicesAreListed) {
  const auto list = nlohmann::json::parse(mslt({"devices", "--json"}).out);
  ASSERT_FALSE(list.empty());
  EXPECT_EQ(list.front()["device"], "cpu");
  EXPECT_FALSE(list.front()["instructions"].empty());
  EXPECT_NE(mslt({"devices", "--threads", "3"}).out.find(", 3 threads, "), std::string::npos);
}

}  // namespace
}  // namespace mslt::cli

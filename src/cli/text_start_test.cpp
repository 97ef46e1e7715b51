// Tests of text prefixes, of special tokens and of how data is read: prepare, eval and generate together.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "cli/cli_fixture.h"
#include "mslt/tokenizer.h"

namespace mslt::cli {
namespace {

class TextStartTest : public CliTest {
 protected:
  // Makes a tokenizer whose template puts [BOS] before each text, data encoded by it, and a model.
  void make_model() {
    train_tokenizer();
    auto file = nlohmann::json::parse(read_file(folder_ / "tokenizer.json", 1 << 24));
    file["post_processor"] = {
        {"type", "TemplateProcessing"},
        {"single",
         {{{"SpecialToken", {{"id", "[BOS]"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
        {"special_tokens", {{"[BOS]", {{"id", "[BOS]"}, {"ids", {1}}, {"tokens", {"[BOS]"}}}}}}};
    write_file(folder_ / "tokenizer.json", file.dump());
    prepared_ = mslt({"data", "prepare", "--tokenizer", path("tokenizer.json"), "--input", path("text.txt"), "--output",
                      path("data")});
    ASSERT_EQ(prepared_.status, 0) << prepared_.err;
    const Outcome trained = mslt(train_arguments());
    ASSERT_EQ(trained.status, 0) << trained.err;
  }

  std::int64_t prompt_tokens(const std::string& prompt, const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"generate", "--model",          path("run"), "--prompt",
                                          prompt,     "--max-new-tokens", "1",         "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = mslt(arguments);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    warned_ = outcome.err;
    return nlohmann::json::parse(outcome.out)["prompt_tokens"].get<std::int64_t>();
  }

  nlohmann::json evaluated(const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"eval", "--model", path("run"), "--data", path("data"), "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = mslt(arguments);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    warned_ = outcome.err;
    return nlohmann::json::parse(outcome.out);
  }

  Outcome prepared_;
  std::string warned_;
};

TEST_F(TextStartTest, FollowsTheTokenizersFileUnlessTold) {
  make_model();
  EXPECT_NE(prepared_.out.find("Each document begins with [BOS], as the tokenizer's files say, and ends with [EOS]."),
            std::string::npos)
      << prepared_.out;
  const auto plain = static_cast<std::int64_t>(Tokenizer::load(folder_ / "run").encode("The king").size());
  EXPECT_EQ(prompt_tokens("The king", {}), plain + 1);
  EXPECT_EQ(prompt_tokens("The king", {"--no-bos"}), plain);
  EXPECT_EQ(prompt_tokens("", {}), 1);
  const auto with = evaluated({});
  EXPECT_NE(warned_.find("[BOS] stands before each"), std::string::npos) << warned_;
  const auto without = evaluated({"--no-bos"});
  EXPECT_EQ(warned_.find("[BOS]"), std::string::npos) << warned_;
  EXPECT_EQ(with["targets"].get<int>(), without["targets"].get<int>() + 1);  // the first token has one before it
  EXPECT_NE(with["loss"], without["loss"]);
  const Outcome bare = mslt({"data", "prepare", "--tokenizer", path("tokenizer.json"), "--input", path("text.txt"),
                             "--output", path("bare"), "--no-bos"});
  EXPECT_NE(bare.out.find("Each document ends with [EOS]; nothing is put before it."), std::string::npos) << bare.out;
  EXPECT_EQ(nlohmann::json::parse(read_file(folder_ / "bare" / "data.json", 1 << 20)).contains("document_prefix"),
            false);
}

TEST_F(TextStartTest, PromptsBeginAsTheDataThatTheModelWasTrainedOn) {
  make_model();
  const auto plain = static_cast<std::int64_t>(Tokenizer::load(folder_ / "run").encode("The king").size());
  const auto train_on = [&](const std::string& tokenizer, const std::vector<std::string>& more,
                            const std::vector<std::string>& training) {
    std::filesystem::remove_all(folder_ / "run");
    std::filesystem::remove_all(folder_ / "data");
    std::vector<std::string> preparing = {"data",    "prepare",        "--tokenizer", path(tokenizer),
                                          "--input", path("text.txt"), "--output",    path("data")};
    preparing.insert(preparing.end(), more.begin(), more.end());
    const Outcome prepared = mslt(preparing);
    EXPECT_EQ(prepared.status, 0) << prepared.err;
    auto arguments = training.empty() ? train_arguments() : training;
    const Outcome trained = mslt(arguments);
    EXPECT_EQ(trained.status, 0) << trained.err;
  };
  train_on("tokenizer.json", {"--no-bos"}, {});
  EXPECT_EQ(prompt_tokens("The king", {}), plain);
  EXPECT_EQ(evaluated({}), evaluated({"--no-bos"}));

  // No template, but a file next to the tokenizer that asks for the token.
  std::filesystem::create_directory(folder_ / "beside");
  Tokenizer::load(folder_ / "run").save(folder_ / "beside" / "tokenizer.json");
  write_file(folder_ / "beside" / "tokenizer_config.json", R"({"add_bos_token": true, "bos_token": "[BOS]"})");
  train_on("beside", {}, {});
  EXPECT_EQ(prompt_tokens("The king", {}), plain + 1);
  EXPECT_EQ(Tokenizer::load(folder_ / "run").text_prefix().size(), 1U);

  // A model with such a file continues without the token.
  std::filesystem::rename(folder_ / "run", folder_ / "first");
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) {
    write_file(folder_ / "first" / name, read_file(folder_ / "beside" / name, 1 << 24));
  }
  const std::vector<std::string> further = {"train",       "--data",      path("data"), "--output", path("run"),
                                            "--init-from", path("first"), "--steps",    "1",        "--batch-size",
                                            "1",           "--seq-len",   "8",          "--device", "cpu"};
  train_on("beside", {}, further);
  EXPECT_EQ(prompt_tokens("The king", {}), plain + 1);
  train_on("beside", {"--no-bos"}, further);
  EXPECT_EQ(prompt_tokens("The king", {}), plain);
}

TEST_F(TextStartTest, PromptsBeginAsTheExamplesThatTheModelWasTrainedOn) {
  train_tokenizer();
  prepared_ = mslt({"data", "prepare", "--tokenizer", path("tokenizer.json"), "--input", path("text.txt"), "--examples",
                    "--output", path("data")});
  ASSERT_EQ(prepared_.status, 0) << prepared_.err;
  EXPECT_NE(prepared_.out.find("Each example begins and ends with [EOS]"), std::string::npos) << prepared_.out;
  ASSERT_EQ(mslt(train_arguments()).status, 0);
  const Tokenizer tokenizer = Tokenizer::load(folder_ / "run");
  EXPECT_TRUE(std::ranges::equal(tokenizer.text_prefix(), std::vector<TokenId>{*tokenizer.eos_id()}));
  const auto plain = static_cast<std::int64_t>(tokenizer.encode("The king").size());
  EXPECT_EQ(prompt_tokens("The king", {}), plain + 1);
  EXPECT_EQ(prompt_tokens("The king", {"--no-bos"}), plain);
  EXPECT_EQ(prompt_tokens("", {}), 1);
  // Examples have the token already.
  EXPECT_EQ(evaluated({})["targets"], evaluated({"--no-bos"})["targets"]);
  EXPECT_EQ(evaluated({})["loss"], evaluated({"--no-bos"})["loss"]);
}

TEST_F(TextStartTest, SpecialTokensInAPromptAreTextUnlessTold) {
  make_model();
  const Tokenizer tokenizer = Tokenizer::load(folder_ / "run");
  const std::string prompt = "[BOS]The king[EOS]";
  const auto text = static_cast<std::int64_t>(tokenizer.encode(prompt).size());
  const auto parsed = static_cast<std::int64_t>(tokenizer.encode(prompt, SpecialTokens::parse).size());
  ASSERT_GT(text, parsed);
  EXPECT_EQ(prompt_tokens(prompt, {}), text + 1);
  EXPECT_EQ(warned_.find("Warning"), std::string::npos) << warned_;
  EXPECT_EQ(prompt_tokens(prompt, {"--parse-special"}), parsed + 1);
  EXPECT_NE(warned_.find("Warning: the prompt begins with [BOS]"), std::string::npos) << warned_;
  EXPECT_EQ(prompt_tokens(prompt, {"--parse-special", "--no-bos"}), parsed);
  EXPECT_EQ(warned_.find("Warning"), std::string::npos) << warned_;
}

// Not as long as the context, in which a long text would be one sequence without another at once.
TEST_F(TextStartTest, EvaluationTakes1024TokensASequence) {
  prepare_data();
  auto arguments = train_arguments();
  arguments.insert(arguments.end(), {"--max-positions", "16384", "--sample-prompt", ""});
  ASSERT_EQ(mslt(arguments).status, 0);
  const auto usual = evaluated({});
  EXPECT_EQ(usual["batch_size"], 2);
  EXPECT_EQ(usual["seq_len"], 1024);
  EXPECT_NE(warned_.find("sequences of 1024 tokens, 2 at once"), std::string::npos) << warned_;
  EXPECT_NE(warned_.find("the model's context holds 16384"), std::string::npos) << warned_;
  const auto whole = evaluated({"--seq-len", std::to_string(usual["targets"].get<int>())});
  EXPECT_EQ(whole["batch_size"], 1);
  EXPECT_EQ(whole["targets"], usual["targets"]);
  const auto asked = evaluated({"--seq-len", "8", "--batch-size", "3"});
  EXPECT_EQ(asked["batch_size"], 3);
  EXPECT_EQ(asked["seq_len"], 8);
}

TEST_F(TextStartTest, APromptThatIsRefusedIsNotShown) {
  prepare_data();
  ASSERT_EQ(mslt(train_arguments()).status, 0);
  const std::vector<std::string> generate = {"generate", "--model", path("run"), "--prompt"};
  const auto expect_refused = [&](std::vector<std::string> more, int status, const std::string& words) {
    more.insert(more.begin(), generate.begin(), generate.end());
    const Outcome outcome = mslt(more);
    EXPECT_EQ(outcome.status, status) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_NE(outcome.err.find(words), std::string::npos) << outcome.err;
    EXPECT_LT(outcome.err.size(), 250u) << outcome.err;
  };
  std::string many;
  for (int i = 0; i < 500; ++i) many += "king " + std::to_string(i);
  expect_refused({many}, 1, "the model's context holds");
  expect_refused({"The", "--stop", ""}, 2, "--stop is empty");
  expect_refused({"The", "--eos", "[NONE]"}, 2, "--eos is '[NONE]'");
  expect_refused({"The", "--max-new-tokens", "9223372036854775807"}, 2, "--max-new-tokens is '9223372036854775807'");
  expect_refused({"The", "--seed", "-1"}, 2,
                 "--seed is '-1'; it must be a whole number from 0 to 18446744073709551615.");
  expect_refused({"The", "--num", "99999999999999999999999"}, 2, "--num is ");
  const Outcome shown = mslt({"generate", "--model", path("run"), "--prompt", "The", "--max-new-tokens", "0"});
  EXPECT_EQ(shown.status, 0) << shown.err;
  EXPECT_EQ(shown.out, "The\n");
}

}  // namespace
}  // namespace mslt::cli

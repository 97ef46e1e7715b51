// Tests of tokenizers as vocab.json and merges.txt.
#include "text/vocabulary_files.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "mslt/error.h"
#include "mslt/tokenizer.h"

namespace mslt {
namespace {

using nlohmann::json;

class VocabularyFiles : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              (std::string("mslt_vocabulary_") + testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    const Tokenizer tokenizer =
        Tokenizer::train_on_text("hello hello world, a new world of words; \u00E9t\u00E9 \u00E9t\u00E9",
                                 {.vocab_size = 272, .special = {"<|endoftext|>"}, .min_frequency = 1});
    const json file = json::parse(tokenizer.to_json());
    write("vocab.json", file["model"]["vocab"].dump());
    std::string merges = "#version: 0.2\n";
    for (const json& merge : file["model"]["merges"]) {
      merges += merge[0].get<std::string>() + " " + merge[1].get<std::string>() + "\n";
    }
    write("merges.txt", merges);
    expected_ = tokenizer.encode(text_);
  }

  void write(const char* name, const std::string& text) { write_file(folder_ / name, text); }

  std::string error_of(const std::filesystem::path& path) {
    try {
      static_cast<void>(Tokenizer::load(path));
    } catch (const Error& error) {
      return error.what();
    }
    ADD_FAILURE() << "nothing was thrown";
    return "";
  }

  std::filesystem::path folder_;
  std::string text_ = "hello new worlds \u00E9t\u00E9";
  std::vector<TokenId> expected_;
};

TEST_F(VocabularyFiles, GiveTheTokenizer) {
  for (const auto& path : {folder_, folder_ / "vocab.json", folder_ / "merges.txt"}) {
    const Tokenizer tokenizer = Tokenizer::load(path);
    EXPECT_EQ(tokenizer.encode(text_), expected_);
    EXPECT_EQ(tokenizer.pattern(), SplitPattern::gpt2);
    EXPECT_EQ(tokenizer.eos_id(), TokenId{0});
  }
  write("tokenizer_config.json", R"({"tokenizer_class": "Qwen2Tokenizer"})");
  EXPECT_EQ(Tokenizer::load(folder_).pattern(), SplitPattern::qwen2);
  EXPECT_TRUE(Tokenizer::load(folder_).normalizes());
}

TEST_F(VocabularyFiles, TheModelsTypeNamesTheClassWhereNothingElseDoes) {
  write("config.json", R"({"model_type": "qwen2"})");
  EXPECT_EQ(Tokenizer::load(folder_).pattern(), SplitPattern::qwen2);
  write("tokenizer_config.json", R"({"unk_token": "<|endoftext|>"})");
  EXPECT_EQ(Tokenizer::load(folder_).pattern(), SplitPattern::qwen2);
  EXPECT_TRUE(Tokenizer::load(folder_).is_special(0));
  write("config.json", R"({"model_type": "gpt2", "tokenizer_class": "Qwen2Tokenizer"})");
  EXPECT_EQ(Tokenizer::load(folder_).pattern(), SplitPattern::qwen2);
  write("config.json", R"({"model_type": "gpt2", "tokenizer_class": "LlamaTokenizerFast"})");
  EXPECT_TRUE(
      error_of(folder_).starts_with((folder_ / "config.json").string() + ": tokenizer_class is \"LlamaTokenizerFast\""))
      << error_of(folder_);
  write("tokenizer_config.json", R"({"tokenizer_class": "GPT2Tokenizer"})");
  EXPECT_EQ(Tokenizer::load(folder_).pattern(), SplitPattern::gpt2);
}

TEST_F(VocabularyFiles, AddedTokensComeFromTheFilesBeside) {
  write("added_tokens.json", R"({"<tool>": 280})");
  write("special_tokens_map.json",
        R"({"eos_token": {"content": "<|endoftext|>"}, "additional_special_tokens": ["<tool>"]})");
  write("tokenizer_config.json",
        R"({"add_prefix_space": true, "added_tokens_decoder": {"281": {"content": "<plain>", "special": false}}})");
  const Tokenizer tokenizer = Tokenizer::load(folder_);
  EXPECT_TRUE(tokenizer.is_special(280));
  EXPECT_FALSE(tokenizer.is_special(281));
  EXPECT_EQ(tokenizer.encode("<plain>"), std::vector<TokenId>{281});
  EXPECT_EQ(tokenizer.eos_id(), TokenId{0});
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("hello")), " hello");
}

TEST_F(VocabularyFiles, WhatIsMissingOrUnknownIsNamed) {
  write("tokenizer_config.json", R"({"tokenizer_class": "BertTokenizer"})");
  EXPECT_NE(error_of(folder_).find("BertTokenizer"), std::string::npos);
  write("tokenizer_config.json", R"({"added_tokens_decoder": {"x": {"content": "y"}}})");
  EXPECT_NE(error_of(folder_).find("added_tokens_decoder"), std::string::npos);
  std::filesystem::remove(folder_ / "tokenizer_config.json");
  std::filesystem::remove(folder_ / "merges.txt");
  EXPECT_NE(error_of(folder_).find("merges.txt"), std::string::npos);
  EXPECT_NE(error_of(folder_ / "vocab.json").find("merges.txt"), std::string::npos);
}

}  // namespace
}  // namespace mslt

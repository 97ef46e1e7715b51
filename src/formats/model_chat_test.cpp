// Tests of finding and rendering a model's chat templates.
#include "formats/model_chat.h"

#include <gtest/gtest.h>

#include <string>

#include "base/test_errors.h"
#include "formats/model_folder.h"
#include "mslt/error.h"

namespace mslt {
namespace {

LoadedModel model_with(const std::map<std::string, std::string>& files) {
  LoadedModel model;
  TokenizerTrainOptions options;
  options.vocab_size = 259;
  options.special = {"<s>", "</s>", "<|end|>"};
  model.tokenizer = Tokenizer::train_on_text("hello hello", options);
  model.files = files;
  return model;
}

ChatInput question() {
  ChatInput input;
  input.messages = {{{"role", "user"}, {"content", "hi"}}};
  return input;
}

TEST(ModelChat, IsAbsentWithoutTemplateOrTokenizer) {
  EXPECT_FALSE(ModelChat::of(model_with({}), "m"));
  EXPECT_FALSE(ModelChat::of(model_with({{"tokenizer_config.json", "{}"}}), "m"));
  LoadedModel without = model_with({{"chat_template.jinja", "x"}});
  without.tokenizer.reset();
  EXPECT_FALSE(ModelChat::of(without, "m"));
}

TEST(ModelChat, PrefersTheJinjaFile) {
  const auto chat = ModelChat::of(model_with({{"chat_template.jinja", "file"},
                                              {"tokenizer_config.json", R"({"chat_template": "config"})"},
                                              {"chat_template.json", R"({"chat_template": "json"})"}}),
                                  "m");
  ASSERT_TRUE(chat);
  EXPECT_EQ(chat->render(question()), "file");
}

TEST(ModelChat, ReadsTheOtherFilesInOrder) {
  const auto config = ModelChat::of(model_with({{"tokenizer_config.json", R"({"chat_template": "config"})"},
                                                {"chat_template.json", R"({"chat_template": "json"})"}}),
                                    "m");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->render(question()), "config");
  const auto json = ModelChat::of(model_with({{"chat_template.json", R"({"chat_template": "json"})"}}), "m");
  ASSERT_TRUE(json);
  EXPECT_EQ(json->render(question()), "json");
}

TEST(ModelChat, ChoosesTheTemplateForTools) {
  const std::string named = R"({"chat_template": [{"name": "default", "template": "plain"},
                                                  {"name": "tool_use", "template": "tools"}]})";
  const auto chat = ModelChat::of(model_with({{"tokenizer_config.json", named}}), "m");
  ASSERT_TRUE(chat);
  EXPECT_EQ(chat->render(question()), "plain");
  ChatInput with_tools = question();
  with_tools.tools = nlohmann::ordered_json::array({{{"type", "function"}}});
  EXPECT_EQ(chat->render(with_tools), "tools");
  EXPECT_EQ(chat->names(), (std::vector<std::string>{"default", "tool_use"}));

  const auto folder = ModelChat::of(
      model_with({{"chat_template.jinja", "one"}, {"additional_chat_templates/tool_use.jinja", "two"}}), "m");
  ASSERT_TRUE(folder);
  EXPECT_EQ(folder->render(question()), "one");
  EXPECT_EQ(folder->render(with_tools), "two");
}

TEST(ModelChat, KnowsTheSpecialTokensThatTheFilesName) {
  const std::string show = "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ unk_token }}";
  const auto chat = ModelChat::of(
      model_with(
          {{"chat_template.jinja", show},
           {"tokenizer_config.json", R"({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": null})"},
           {"special_tokens_map.json", R"({"pad_token": "<pad>", "bos_token": "other"})"}}),
      "m");
  ASSERT_TRUE(chat);
  EXPECT_EQ(chat->render(question()), "<s>|</s>|<pad>|");
  ChatInput own = question();
  own.variables["bos_token"] = "mine";
  EXPECT_EQ(chat->render(own), "mine|</s>|<pad>|");
}

TEST(ModelChat, TakesTheModelsIdsWithoutFiles) {
  LoadedModel model =
      model_with({{"chat_template.jinja", "{{ bos_token }}|{{ eos_token }}|{{ pad_token is defined }}"}});
  model.generation.tokens.bos = model.tokenizer->special_id("<s>");
  model.generation.tokens.eos = {*model.tokenizer->special_id("<|end|>"), *model.tokenizer->special_id("</s>")};
  const auto chat = ModelChat::of(model, "m");
  ASSERT_TRUE(chat);
  EXPECT_EQ(chat->render(question()), "<s>|<|end|>|False");
}

TEST(ModelChat, EncodesSpecialTokensOnce) {
  LoadedModel model = model_with({{"chat_template.jinja", "{{ bos_token }}{{ messages[0].content }}<|end|>"},
                                  {"tokenizer_config.json", R"({"bos_token": "<s>"})"}});
  const TokenId bos = *model.tokenizer->special_id("<s>");
  model.text_prefix = {bos};
  const auto chat = ModelChat::of(model, "m");
  ASSERT_TRUE(chat);
  std::vector<TokenId> wanted = {bos};
  model.tokenizer->encode_append("hi", wanted);
  wanted.push_back(*model.tokenizer->special_id("<|end|>"));
  EXPECT_EQ(chat->tokens(question()), wanted);
}

TEST(ModelChat, NamesTheFileAndTheLineOfABadTemplate) {
  try {
    static_cast<void>(ModelChat::of(model_with({{"chat_template.jinja", "a\n{% if %}"}}), "folder"));
    FAIL() << "it was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    EXPECT_NE(std::string(error.what()).find("folder: the chat template 'default', line 2"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace mslt

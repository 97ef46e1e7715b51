// Tests of the names of tokens in messages, and of the usual spellings of special tokens.
#include "text/token_label.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace mslt {
namespace {

// 256 bytes with ids after the special tokens, plus tokens at the given ids.
Tokenizer tokenizer_with(const std::vector<std::string>& special,
                         const std::vector<std::pair<TokenId, std::string>>& added = {}) {
  TokenizerTrainOptions options;
  options.vocab_size = static_cast<std::uint32_t>(256 + special.size());
  options.special = special;
  options.threads = 1;
  auto json = nlohmann::json::parse(Tokenizer::train_on_text("text", options).to_json());
  for (const auto& [id, text] : added) {
    json["added_tokens"].push_back({{"id", id},
                                    {"content", text},
                                    {"single_word", false},
                                    {"lstrip", false},
                                    {"rstrip", false},
                                    {"normalized", false},
                                    {"special", true}});
  }
  return Tokenizer::from_json(json.dump(), "test");
}

TEST(TokenLabel, ShowsTextAndEscapesTheRest) {
  const Tokenizer tokenizer = tokenizer_with({"<|a|>", "été"}, {{260, "<|far|>"}});
  EXPECT_EQ(token_label(tokenizer, 0), "'<|a|>' (id 0)");
  EXPECT_EQ(token_label(tokenizer, 1), "'été' (id 1)");
  EXPECT_EQ(token_label(tokenizer, tokenizer.encode("\n")[0]).substr(0, 6), "'\\x0a'");
  EXPECT_EQ(token_label(tokenizer, tokenizer.encode("\xff")[0]).substr(0, 6), "'\\xff'");
  EXPECT_EQ(token_label(tokenizer, 258), "the id 258");
  EXPECT_EQ(token_label(tokenizer, 4000), "the id 4000");
}

TEST(TokenLabel, ListsTokensAndHoles) {
  const Tokenizer tokenizer = tokenizer_with({}, {{256, "<|0|>"}, {258, "<|2|>"}, {260, "<|4|>"}});
  EXPECT_EQ(token_labels_from(tokenizer, 257), "'<|2|>' (id 258), '<|4|>' (id 260)");
  EXPECT_EQ(token_labels_from(tokenizer, 256, 1), "'<|0|>' (id 256) and 2 more");
  EXPECT_EQ(token_labels_from(tokenizer, 261), "");
  EXPECT_EQ(ids_without_token(tokenizer), (std::vector<TokenId>{257, 259}));
}

TEST(SpecialTokens, AreFoundByTheirCustomarySpellings) {
  const Tokenizer deepseek = tokenizer_with({"<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"});
  EXPECT_EQ(deepseek.bos_id(), 0u);
  EXPECT_EQ(deepseek.eos_id(), 1u);
  EXPECT_EQ(deepseek.pad_id(), 2u);
  EXPECT_EQ(tokenizer_with({"<pad>", "<eos>", "<bos>"}).eos_id(), 1u);
  // Separates documents if nothing else does.
  EXPECT_EQ(tokenizer_with({"<|user|>", "<|bos|>"}).eos_id(), 1u);
  EXPECT_EQ(tokenizer_with({"<|bos|>", "</s>"}).eos_id(), 1u);
  EXPECT_EQ(tokenizer_with({"<|user|>"}).eos_id(), std::nullopt);
}

}  // namespace
}  // namespace mslt

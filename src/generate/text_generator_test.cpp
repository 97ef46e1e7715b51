// Tests of the decoding loop on a small random model.
#include "generate/text_generator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <vector>

#include "backend/registry.h"
#include "formats/model_folder.h"
#include "formats/model_parts.h"
#include "generate/sampler.h"
#include "model/inference_pass.h"
#include "model/kv_cache.h"
#include "mslt/error.h"
#include "mslt/generator.h"
#include "mslt/model.h"

namespace mslt {
namespace {

class TextGeneratorTest : public testing::Test {
 protected:
  static Config config() {
    Config result;
    result.vocab_size = 300;
    result.max_positions = 32;
    result.layers = 2;
    result.channels = 16;
    result.heads = result.kv_heads = 2;
    result.head_size = 8;
    result.ffn_size = 32;
    return result;
  }

  TextGeneratorTest() {
    transformer_.initialize(3);
    TokenizerTrainOptions options;
    options.vocab_size = 268;
    tokenizer_ = std::make_unique<Tokenizer>(
        Tokenizer::train_on_text("the cat sat on the mat and the dog sat on the log, the end of the tale", options));
  }

  std::vector<Generated> generate(const std::string& prompt, const GenerateOptions& options,
                                  const TextSink& sink = {}) {
    TextGenerator generator(transformer_, *tokenizer_, eos_ids_);
    return generator.generate(tokenizer_->encode(prompt), options, sink);
  }

  std::unique_ptr<Backend> backend_ = make_backend("cpu");
  Transformer transformer_{*backend_, config(), DType::f32};
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<TokenId> eos_ids_;
};

TEST_F(TextGeneratorTest, SeedsDecideAndSamplesDiffer) {
  GenerateOptions options{.max_new_tokens = 20, .num = 2};
  const auto first = generate("the cat", options);
  const auto second = generate("the cat", options);
  ASSERT_EQ(first.size(), 2u);
  EXPECT_EQ(first[0].tokens, second[0].tokens);
  EXPECT_EQ(first[1].text, second[1].text);
  EXPECT_NE(first[0].tokens, first[1].tokens);
  options.sampling.seed = 1;
  EXPECT_NE(generate("the cat", options)[0].tokens, first[0].tokens);
}

TEST_F(TextGeneratorTest, ASampleDoesNotDependOnTheOthersBesideIt) {
  const auto alone = generate("the dog", {.max_new_tokens = 12});
  const auto together = generate("the dog", {.max_new_tokens = 12, .num = 3});
  EXPECT_EQ(alone[0].tokens, together[0].tokens);
}

// What samplers on the host draw from logits of the same model, every step waited for.
class HostDraws {
 public:
  HostDraws(Transformer& transformer, const Tokenizer& tokenizer, const SamplingOptions& options)
      : cache_(transformer.backend(), transformer.config(), DType::f32, 1, transformer.config().max_positions),
        pass_(transformer, cache_),
        backend_(transformer.backend()),
        tokenizer_(tokenizer),
        options_(options) {}

  std::vector<TokenId> tokens(const std::string& prompt, std::uint32_t sample, std::int64_t count) {
    cache_.truncate(0, 0);
    Sampler sampler(options_, sample);
    std::vector<std::int32_t> history;
    for (const TokenId id : tokenizer_.encode(prompt)) history.push_back(static_cast<std::int32_t>(id));
    std::vector<std::int32_t> next = history;
    std::vector<TokenId> drawn;
    while (static_cast<std::int64_t>(drawn.size()) < count) {
      const std::vector<int> slots = {0};
      const std::vector<std::span<const std::int32_t>> each = {next};
      const Tensor logits = pass_.forward(slots, each);
      std::vector<float> values(static_cast<std::size_t>(logits.elements()));
      backend_.download(logits, std::as_writable_bytes(std::span(values)));
      const std::int32_t token = sampler.draw({std::span(values).first(tokenizer_.vocab_size())}, history);
      drawn.push_back(static_cast<TokenId>(token));
      history.push_back(token);
      next = {token};
    }
    return drawn;
  }

 private:
  KvCache cache_;
  InferencePass pass_;
  Backend& backend_;
  const Tokenizer& tokenizer_;
  SamplingOptions options_;
};

TEST_F(TextGeneratorTest, TheDeviceDrawsTheTokensThatTheHostWould) {
  for (const SamplingOptions& sampling :
       {SamplingOptions{.temperature = 0.0f}, SamplingOptions{}, SamplingOptions{.temperature = 0.7f, .top_k = 20},
        SamplingOptions{.top_p = 0.6f, .min_p = 0.2f, .seed = 4},
        SamplingOptions{.temperature = 0.0f, .repetition_penalty = 1.5f},
        SamplingOptions{.top_k = 100, .top_p = 0.9f, .repetition_penalty = 1.5f}}) {
    SCOPED_TRACE(testing::Message() << sampling.temperature << " " << sampling.top_k << " " << sampling.top_p << " "
                                    << sampling.min_p << " " << sampling.repetition_penalty);
    HostDraws host(transformer_, *tokenizer_, sampling);
    for (const std::int64_t most : {1, 2, 3, 24}) {
      const std::vector<Generated> actual =
          generate("the cat", {.sampling = sampling, .max_new_tokens = most, .num = 2});
      ASSERT_EQ(actual.size(), 2u);
      EXPECT_EQ(actual[0].tokens, host.tokens("the cat", 0, most));
      EXPECT_EQ(actual[1].tokens, host.tokens("the cat", 1, most));
    }
  }
}

// Those that reach the end of the context, too, and those that end early: the draws of each go on where they were.
TEST_F(TextGeneratorTest, SamplesBesideOthersDrawTheSameTokens) {
  for (const float temperature : {0.0f, 1.0f}) {
    GenerateOptions options{
        .sampling = {.temperature = temperature, .repetition_penalty = 1.1f}, .max_new_tokens = 50, .num = 2};
    const std::vector<Generated> both = generate("the cat", options);
    EXPECT_EQ(both[0].tokens.size(), 50u);
    eos_ids_ = {both[0].tokens[9]};
    const std::vector<Generated> ended = generate("the cat", options);
    EXPECT_LE(ended[0].tokens.size(), 10u);
    const auto common = static_cast<std::ptrdiff_t>(ended[1].tokens.size());
    EXPECT_EQ(ended[1].tokens, std::vector<TokenId>(both[1].tokens.begin(), both[1].tokens.begin() + common));
    eos_ids_.clear();
    int pieces = 0;
    const auto cancelled = generate("the cat", options,
                                    [&](std::int64_t sample, std::string_view) { return sample != 0 || ++pieces < 3; });
    EXPECT_EQ(cancelled[0].reason, FinishReason::cancelled);
    EXPECT_EQ(cancelled[1].tokens, both[1].tokens);
  }
}

TEST_F(TextGeneratorTest, StreamedPiecesMakeUpTheText) {
  std::vector<std::string> streamed(2);
  const auto results =
      generate("the", {.max_new_tokens = 25, .num = 2}, [&](std::int64_t sample, std::string_view piece) {
        streamed[static_cast<std::size_t>(sample)] += piece;
        return true;
      });
  EXPECT_EQ(streamed[0], results[0].text);
  EXPECT_EQ(streamed[1], results[1].text);
}

TEST_F(TextGeneratorTest, OutgrowsTheContext) {
  const auto results = generate("the cat sat", {.max_new_tokens = 100, .ignore_eos = true});
  EXPECT_EQ(results[0].tokens.size(), 100u);
  EXPECT_EQ(results[0].reason, FinishReason::length);
}

TEST_F(TextGeneratorTest, NeverDrawsIdsThatThePaddedVocabularyAdds) {
  for (const Generated& result : generate("the", {.max_new_tokens = 30, .num = 8})) {
    for (const TokenId id : result.tokens) EXPECT_LT(id, tokenizer_->vocab_size());
  }
}

TEST_F(TextGeneratorTest, EndsAtEosUnlessTold) {
  // Every token ends the text.
  for (TokenId id = 0; id < tokenizer_->vocab_size(); ++id) eos_ids_.push_back(id);
  const auto ended = generate("the", {.max_new_tokens = 10});
  EXPECT_EQ(ended[0].reason, FinishReason::eos);
  EXPECT_EQ(ended[0].tokens.size(), 1u);
  EXPECT_EQ(ended[0].text, "");
  EXPECT_EQ(generate("the", {.max_new_tokens = 10, .ignore_eos = true})[0].tokens.size(), 10u);
}

TEST_F(TextGeneratorTest, EndsBeforeAStopString) {
  const GenerateOptions options{.max_new_tokens = 40, .ignore_eos = true};
  const std::string full = generate("the", options)[0].text;
  ASSERT_GT(full.size(), 8u);
  GenerateOptions stopped = options;
  stopped.stop = {full.substr(5, 2)};
  const auto result = generate("the", stopped)[0];
  EXPECT_EQ(result.reason, FinishReason::stop);
  EXPECT_EQ(result.text, full.substr(0, full.find(stopped.stop[0])));
}

// Special tokens are not shown, so that no search of the text finds them.
TEST_F(TextGeneratorTest, AStopStringThatIsASpecialTokenEndsTheTextAtItsId) {
  GenerateOptions options{.max_new_tokens = 30, .num = 40, .ignore_eos = true};
  const auto whole = generate("the", options);
  options.stop = {"[EOS]", "never drawn as text"};
  const auto stopped = generate("the", options);
  const TokenId id = tokenizer_->special_id("[EOS]").value();
  int ended = 0;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    const std::vector<TokenId>& tokens = whole[i].tokens;
    const auto end = std::find(tokens.begin(), tokens.end(), id);
    const bool has = end != tokens.end();
    EXPECT_EQ(stopped[i].reason, has ? FinishReason::stop : FinishReason::length);
    EXPECT_EQ(stopped[i].tokens, (std::vector<TokenId>(tokens.begin(), has ? end + 1 : end)));
    EXPECT_TRUE(whole[i].text.starts_with(stopped[i].text.substr(0, stopped[i].text.rfind("\uFFFD"))));
    ended += has ? 1 : 0;
  }
  EXPECT_GT(ended, 0);
}

TEST_F(TextGeneratorTest, CancellingEndsASample) {
  const auto result =
      generate("the", {.max_new_tokens = 40, .ignore_eos = true}, [](std::int64_t, std::string_view) { return false; });
  EXPECT_EQ(result[0].reason, FinishReason::cancelled);
  EXPECT_LT(result[0].tokens.size(), 40u);
}

TEST_F(TextGeneratorTest, AnyNumberOfNewTokensCanBeAskedFor) {
  const auto result = generate("the", {.max_new_tokens = std::numeric_limits<std::int64_t>::max(), .ignore_eos = true},
                               [](std::int64_t, std::string_view) { return false; });
  EXPECT_EQ(result[0].reason, FinishReason::cancelled);
}

TEST_F(TextGeneratorTest, EmptyPromptsAndNoNewTokens) {
  EXPECT_EQ(generate("", {.max_new_tokens = 5, .ignore_eos = true})[0].tokens.size(), 5u);
  EXPECT_TRUE(generate("the", {.max_new_tokens = 0})[0].tokens.empty());
}

TEST_F(TextGeneratorTest, RejectsWhatCannotWork) {
  EXPECT_THROW(generate(std::string(400, 'x'), {}), Error);
  EXPECT_THROW(generate("the", {.max_new_tokens = -1}), Error);
  EXPECT_THROW(generate("the", {.num = 0}), Error);
  EXPECT_THROW(generate("the", {.stop = {"x", ""}}), Error);
}

// The tokenizer of the fixture, with tokens added at the given ids.
Tokenizer with_added(const Tokenizer& tokenizer, const std::vector<std::pair<TokenId, std::string>>& tokens) {
  auto json = nlohmann::json::parse(tokenizer.to_json());
  for (const auto& [id, text] : tokens) {
    json["added_tokens"].push_back({{"id", id},
                                    {"content", text},
                                    {"single_word", false},
                                    {"lstrip", false},
                                    {"rstrip", false},
                                    {"normalized", false},
                                    {"special", true}});
  }
  return Tokenizer::from_json(json.dump(), "added");
}

// As Qwen2's has: an error only where a token is used that the model lacks.
TEST_F(TextGeneratorTest, TheTokenizerMayHaveMoreTokensThanTheModel) {
  *tokenizer_ = with_added(*tokenizer_, {{299, "<|in|>"}, {300, "<|out|>"}, {305, "<|far|>"}});
  TextGenerator generator(transformer_, *tokenizer_, eos_ids_);
  const GenerateOptions options{.max_new_tokens = 30, .num = 8};
  for (const Generated& result : generator.generate(tokenizer_->encode("the"), options, {})) {
    for (const TokenId id : result.tokens) EXPECT_LT(id, 300u);
  }
  EXPECT_NO_THROW(generator.generate(std::vector<TokenId>{299}, options, {}));
  try {
    generator.generate(tokenizer_->encode("the <|far|>", SpecialTokens::parse), options, {});
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_STREQ(
        error.what(),
        "The prompt holds '<|far|>' (id 305), but the model's vocabulary ends at 300; of the tokenizer's tokens "
        "it lacks '<|out|>' (id 300), '<|far|>' (id 305).");
  }
}

TEST_F(TextGeneratorTest, NeverDrawsIdsWithoutAToken) {
  // Of the ids from 268 on only two have a token; the weights are random, so that each id is about as likely.
  *tokenizer_ = with_added(*tokenizer_, {{280, "<|x|>"}, {298, "<|y|>"}});
  std::set<TokenId> drawn;
  for (const Generated& result : generate("the", {.max_new_tokens = 30, .num = 20})) {
    drawn.insert(result.tokens.begin(), result.tokens.end());
  }
  EXPECT_GT(drawn.size(), 100u);
  for (const TokenId id : drawn) EXPECT_TRUE(id < 268 || id == 280 || id == 298) << id;
}

// As transformers encodes a prompt: the template's token first, special spellings only where they are asked for.
TEST_F(TextGeneratorTest, PromptsBeginAsTheTokenizersFileHasIt) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "mslt_generate_prefix";
  std::filesystem::remove_all(folder);
  auto json = nlohmann::json::parse(tokenizer_->to_json());
  json["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single",
       {{{"SpecialToken", {{"id", "[BOS]"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
      {"special_tokens", {{"[BOS]", {{"id", "[BOS]"}, {"ids", {1}}, {"tokens", {"[BOS]"}}}}}}};
  const Tokenizer with_template = Tokenizer::from_json(json.dump(), "template");
  save_model_folder(folder, transformer_, &with_template);
  LoadOptions on_cpu;
  on_cpu.device = "cpu";
  Model model = Model::load(folder, on_cpu);
  Generator generator(model);
  const auto text = with_template.encode("the [EOS]");
  const auto parsed = with_template.encode("the [EOS]", SpecialTokens::parse);
  ASSERT_NE(text, parsed);
  GenerateOptions options{.max_new_tokens = 20, .ignore_eos = true};
  const auto expect_prompt = [&](std::vector<TokenId> expected) {
    const auto by_text = generator.generate("the [EOS]", options);
    EXPECT_EQ(generator.statistics().prompt_tokens, static_cast<std::int64_t>(expected.size()));
    EXPECT_EQ(by_text[0].tokens, generator.generate_from_tokens(expected, options)[0].tokens);
  };
  const auto after_bos = [](std::vector<TokenId> ids) {
    ids.insert(ids.begin(), 1);
    return ids;
  };
  expect_prompt(after_bos(text));
  options.parse_special = true;
  expect_prompt(after_bos(parsed));
  options.add_prefix = false;
  expect_prompt(parsed);
  options.parse_special = false;
  expect_prompt(text);
  options.add_prefix = true;
  generator.generate("", options);
  EXPECT_EQ(generator.statistics().prompt_tokens, 1);
}

TEST_F(TextGeneratorTest, WeightsCutWhileTheyAreReadEndTheText) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "mslt_generate_cut";
  std::filesystem::remove_all(folder);
  Config large = config();
  large.ffn_size = 2048;  // many pages
  Transformer transformer(*backend_, large, DType::f32);
  transformer.initialize(3);
  save_model_folder(folder, transformer, tokenizer_.get());
  LoadOptions on_cpu;
  on_cpu.device = "cpu";
  Model model = Model::load(folder, on_cpu);
  ASSERT_TRUE(model.parts().loaded.transformer->parameters().is_mapped("token_embedding.weight"));
  Generator generator(model);
  int pieces = 0;
  try {
    generator.generate("the cat", {.max_new_tokens = 100, .ignore_eos = true}, [&](std::int64_t, std::string_view) {
      if (++pieces == 3) std::filesystem::resize_file(folder / "model.safetensors", 5000);
      return true;
    });
    FAIL() << "the text went on without its weights";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::io);
    EXPECT_NE(std::string(error.what()).find("model.safetensors was shortened"), std::string::npos) << error.what();
  }
  EXPECT_EQ(pieces, 3);
}

TEST_F(TextGeneratorTest, OutputThatIsNotFiniteIsAnError) {
  const Tensor norm = transformer_.parameters().tensor("final_norm.weight");
  const std::vector<float> huge(16, 3e38f);
  backend_->upload(norm, std::as_bytes(std::span(huge)));
  const auto expect_refused = [&](float temperature, const TextSink& sink) {
    try {
      generate("the cat", {.sampling = {.temperature = temperature}, .max_new_tokens = 20, .ignore_eos = true}, sink);
      FAIL() << "a text came of no numbers";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::numeric);
      EXPECT_NE(std::string(error.what()).find("not finite"), std::string::npos) << error.what();
    }
  };
  expect_refused(1.0f, {});
  // Where the device chooses, too.
  const std::vector<float> ones(16, 1.0f);
  backend_->upload(norm, std::as_bytes(std::span(ones)));
  expect_refused(0.0f, [&](std::int64_t, std::string_view) {
    backend_->upload(norm, std::as_bytes(std::span(huge)));
    return true;
  });
}

}  // namespace
}  // namespace mslt

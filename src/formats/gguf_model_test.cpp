// Tests of models in GGUF files: the golden files are those of the golden folders
// (tests/golden/make_gguf.py), and quantised ones are equal to unpacked ones.
#include "formats/gguf_model.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "backend/registry.h"
#include "base/test_errors.h"
#include "base/test_gguf.h"
#include "formats/test_folders.h"
#include "formats/test_gguf_llama.h"
#include "formats/test_parameters.h"
#include "mslt/model.h"

namespace mslt {
namespace {

using test::error_of;

std::filesystem::path written_gguf(const std::string& name, const TestGguf& file) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / ("mslt_" + name + ".gguf");
  std::ofstream(path, std::ios::binary) << file.bytes();
  return path;
}

class GgufModelTest : public testing::Test {
 protected:
  std::unique_ptr<Backend> backend = make_backend("cpu");
};

TEST_F(GgufModelTest, HoldsTheModelsOfTheGoldenFolders) {
  const std::vector<std::int32_t> ids = {3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8};
  for (const std::string name : {"gpt2", "llama", "llama_tied", "mistral", "qwen2"}) {
    const auto folder = golden_folder() / ("hf_" + name);
    const auto file = golden_folder() / "gguf" / (name + ".gguf");
    const LoadedModel expected = load_model_folder(*backend, folder);
    const LoadedModel found = load_model_folder(*backend, file);
    EXPECT_EQ(parameter_bytes(*found.transformer), parameter_bytes(*expected.transformer)) << name;
    EXPECT_EQ(found.transformer->dtype(), DType::f32);
    EXPECT_EQ(found.generation.tokens.eos, std::vector<std::uint32_t>{2}) << name;
    EXPECT_EQ(load_model_config(file), found.transformer->config()) << name;
    EXPECT_FALSE(found.tokenizer) << name;
    // Which shows that the configurations compute the same.
    // Copies: the folder holds gpt2's matrices transposed, and added up in place they differ by rounding.
    const LoadOptions options = {.device = "cpu", .dtype = "f32", .quantize = "none"};
    Model one = Model::load(folder, options);
    Model other = Model::load(file, options);
    EXPECT_EQ(other.logits(ids), one.logits(ids)) << name;
  }
}

// A golden folder's copy in which config.json says what llama.cpp takes for granted.
std::filesystem::path patched_folder(const std::string& name, const nlohmann::json& changes) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / ("mslt_patched_" + name);
  std::filesystem::create_directories(folder);
  std::filesystem::copy(golden_folder() / ("hf_" + name), folder,
                        std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing);
  std::ifstream given(golden_folder() / ("hf_" + name) / "config.json");
  nlohmann::json config = nlohmann::json::parse(given);
  config.merge_patch(changes);
  std::ofstream(folder / "config.json") << config.dump();
  return folder;
}

TEST_F(GgufModelTest, HoldsTheModelsOfOtherFamilies) {
  using nlohmann::json;
  const json size_of_head = 10;
  const json gemma3 = {{"query_pre_attn_scalar", size_of_head},
                       {"layer_types", nullptr},
                       {"rope_parameters", {{"sliding_attention", {{"rope_theta", 10000.0}}}}}};
  const json smollm3 = {{"no_rope_layers", nullptr}, {"no_rope_layer_interval", 4}};
  const std::vector<std::pair<std::string, json>> models = {
      {"qwen3", json::object()}, {"phi3", json::object()},
      {"olmo2", json::object()}, {"gemma2", {{"query_pre_attn_scalar", size_of_head}}},
      {"gemma3", gemma3},        {"smollm3", smollm3}};
  const std::vector<std::int32_t> ids = {3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8};
  for (const auto& [name, changes] : models) {
    const auto folder = patched_folder(name, changes);
    const auto file = golden_folder() / "gguf" / (name + ".gguf");
    EXPECT_EQ(load_model_config(file), load_model_config(folder)) << name;
    Model one = Model::load(folder, {.device = "cpu", .dtype = "f32"});
    Model other = Model::load(file, {.device = "cpu", .dtype = "f32"});
    const auto expected = one.logits(ids);
    const auto found = other.logits(ids);
    ASSERT_EQ(found.size(), expected.size()) << name;
    // The weights of Gemma's norms are rounded once, when one is added to them.
    const float tolerance = name.starts_with("gemma") ? 1e-5f : 0.0f;
    for (std::size_t i = 0; i < found.size(); ++i) ASSERT_NEAR(found[i], expected[i], tolerance) << name << " " << i;
    std::filesystem::remove_all(folder);
  }
}

TEST_F(GgufModelTest, UnpacksQuantisedWeights) {
  for (const std::string name : {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"}) {
    const auto packed = written_gguf("packed", quantised_llama(name, false));
    const auto unpacked = written_gguf("unpacked", quantised_llama(name, true));
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const LoadedModel found = load_gguf_model(*backend, packed, dtype);
      const LoadedModel expected = load_gguf_model(*backend, unpacked, dtype);
      EXPECT_EQ(parameter_bytes(*found.transformer), parameter_bytes(*expected.transformer)) << name;
    }
    EXPECT_EQ(load_gguf_model(*backend, packed, std::nullopt).transformer->dtype(), DType::f32);
  }
}

TEST_F(GgufModelTest, CarriesTokenizerAndTemplate) {
  const Tokenizer tokenizer = Tokenizer::train_on_text("the cat and the hat", {.vocab_size = 259, .threads = 1});
  std::vector<std::string> tokens;
  std::vector<std::int32_t> types;
  TestGguf file = quantised_llama("Q8_0", false);
  file.text("tokenizer.ggml.model", "gpt2")
      .text("tokenizer.ggml.pre", "gpt-2")
      .text("tokenizer.chat_template", "{{x}}");
  for (const std::string name : {"<|endoftext|>", "!", "\"", "#"}) {
    tokens.push_back(name);
    types.push_back(name.size() > 1 ? 3 : 1);
  }
  file.texts("tokenizer.ggml.tokens", tokens).integers("tokenizer.ggml.token_type", types);
  file.texts("tokenizer.ggml.merges", {}).number("tokenizer.ggml.bos_token_id", 0);
  file.boolean("tokenizer.ggml.add_bos_token", true);
  const LoadedModel model = load_model_folder(*backend, written_gguf("tokenizer", file));
  ASSERT_TRUE(model.tokenizer);
  EXPECT_EQ(model.tokenizer->encode("#!"), (std::vector<TokenId>{3, 1}));
  EXPECT_EQ(model.text_prefix, std::vector<TokenId>{0});
  EXPECT_EQ(model.generation.tokens.eos, std::vector<std::uint32_t>{0});
  EXPECT_EQ(model.files.at("chat_template.jinja"), "{{x}}");
}

TEST_F(GgufModelTest, RefusesOtherTensorsByName) {
  const auto refusal = [&](const std::string& name, const TestGguf& file, ErrorKind kind = ErrorKind::input) {
    const auto path = written_gguf(name, file);
    const std::string message = error_of(kind, [&] { load_model_folder(*backend, path); });
    EXPECT_NE(message.find(path.string()), std::string::npos) << message;
    return message;
  };
  const auto contains = [](const std::string& message, std::string_view part) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  TestGguf more = quantised_llama("Q8_0", false);
  more.floats("blk.0.attn_q.bias", {256}, std::vector<float>(256));
  contains(refusal("more", more), "do not match its keys");
  TestGguf other = quantised_llama("Q8_0", false);
  other.floats("blk.7.ffn_up.weight", {4}, std::vector<float>(4));
  contains(refusal("other", other), "blk.7.ffn_up.weight [4] is not expected");
  contains(refusal("type",
                   quantised_llama("Q4_0", false).tensor("output.weight", {40, 256}, 10, std::string(40 * 84, '\0'))),
           "output.weight has the dtype Q2_K, supported are F32, BF16, F16 and F64, and in GGUF files Q4_0, Q4_1");
  TestGguf infinite = quantised_llama("Q8_0", false);
  std::string blocks(40 * 8 * 34, '\0');
  blocks[5 * 34 + 1] = '\x7C';
  infinite.tensor("output.weight", {40, 256}, 8, blocks);
  contains(refusal("infinite", infinite, ErrorKind::numeric),
           "the tensor 'output.weight' holds NaN or an infinity (block 5 of 320");
}

}  // namespace
}  // namespace mslt

#include "model/parameters.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "model/test_models.h"

namespace mslt {
namespace {

using test::download;

std::vector<std::string> names_of(const Config& config) {
  std::vector<std::string> names;
  const ParameterLayout layout = parameter_layout(config, DType::f32);
  for (const Segment& segment : layout.arena.segments()) names.push_back(segment.name);
  return names;
}

TEST(ParameterLayout, NamesGpt2) {
  Config config = test::small_gpt2();
  config.layers = 1;
  const std::vector<std::string> expected = {"layers.0.qkv.weight",
                                             "layers.0.attention_out.weight",
                                             "layers.0.ffn_up.weight",
                                             "layers.0.ffn_down.weight",
                                             "token_embedding.weight",
                                             "position_embedding.weight",
                                             "layers.0.attention_norm.weight",
                                             "layers.0.attention_norm.bias",
                                             "layers.0.qkv.bias",
                                             "layers.0.attention_out.bias",
                                             "layers.0.ffn_norm.weight",
                                             "layers.0.ffn_norm.bias",
                                             "layers.0.ffn_up.bias",
                                             "layers.0.ffn_down.bias",
                                             "final_norm.weight",
                                             "final_norm.bias"};
  EXPECT_EQ(names_of(config), expected);
}

TEST(ParameterLayout, NamesLlamaAndPostNorm) {
  const std::vector<std::string> llama = names_of(test::small_llama());
  EXPECT_EQ(std::count(llama.begin(), llama.end(), "lm_head.weight"), 1);
  EXPECT_EQ(std::count(llama.begin(), llama.end(), "position_embedding.weight"), 0);
  EXPECT_EQ(std::count_if(llama.begin(), llama.end(), [](const std::string& name) { return name.ends_with("bias"); }),
            0);
  const std::vector<std::string> post = names_of(test::small_post_norm());
  EXPECT_EQ(std::count(post.begin(), post.end(), "final_norm.weight"), 0);
  const std::vector<std::string> qwen2 = names_of(test::small_qwen2());
  EXPECT_EQ(std::count(qwen2.begin(), qwen2.end(), "layers.1.qkv.bias"), 1);
}

TEST(ParameterLayout, ShapesFollowTheConfiguration) {
  const ArenaLayout llama = parameter_layout(test::small_llama(), DType::bf16).arena;
  EXPECT_EQ(llama.segment("layers.1.qkv.weight").shape, (Shape{80, 24}));
  EXPECT_EQ(llama.segment("layers.1.attention_out.weight").shape, (Shape{24, 40}));
  EXPECT_EQ(llama.segment("layers.1.ffn_up.weight").shape, (Shape{80, 24}));
  EXPECT_EQ(llama.segment("layers.1.ffn_down.weight").shape, (Shape{24, 40}));
  EXPECT_EQ(llama.segment("lm_head.weight").shape, (Shape{37, 24}));
  EXPECT_EQ(llama.segment("lm_head.weight").dtype, DType::bf16);
  const ArenaLayout gpt2 = parameter_layout(test::small_gpt2(), DType::f32).arena;
  EXPECT_EQ(gpt2.segment("layers.0.ffn_up.weight").shape, (Shape{40, 24}));
  EXPECT_EQ(gpt2.segment("position_embedding.weight").shape, (Shape{40, 24}));
}

TEST(ParameterLayout, DecayedSegmentsAreTheMatricesButEmbeddings) {
  for (const test::Family& family : test::families()) {
    const ParameterLayout layout = parameter_layout(family.config, DType::f32);
    for (std::size_t i = 0; i < layout.arena.segments().size(); ++i) {
      const Segment& segment = layout.arena.segments()[i];
      const bool matrix = segment.shape.rank() == 2 && !segment.name.ends_with("embedding.weight");
      EXPECT_EQ(i < layout.decayed, matrix) << family.name << " " << segment.name;
    }
  }
}

double deviation(const std::vector<float>& values) {
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  double sum = 0;
  for (const float value : values) sum += (value - mean) * (value - mean);
  return std::sqrt(sum / static_cast<double>(values.size()));
}

TEST(InitializeParameters, DeviationsMeansAndConstants) {
  const auto backend = make_backend("cpu");
  Config config = preset("tiny");
  config.vocab_size = 500;
  Transformer transformer(*backend, config, DType::f32);
  transformer.initialize(5);
  const auto values = [&](std::string_view name) {
    return download(*backend, transformer.parameters().tensor(name));
  };
  // 49,152 and more draws: the deviation's own error is below 1 %.
  EXPECT_NEAR(deviation(values("layers.0.qkv.weight")), 0.02, 0.0002);
  EXPECT_NEAR(deviation(values("token_embedding.weight")), 0.02, 0.0002);
  EXPECT_NEAR(deviation(values("layers.3.ffn_down.weight")), 0.02 / std::sqrt(8.0), 0.0001);
  EXPECT_NEAR(deviation(values("layers.3.attention_out.weight")), 0.02 / std::sqrt(8.0), 0.0001);
  const std::vector<float> qkv = values("layers.0.qkv.weight");
  EXPECT_NEAR(std::accumulate(qkv.begin(), qkv.end(), 0.0) / static_cast<double>(qkv.size()), 0.0, 0.0005);
  const auto beyond = std::count_if(qkv.begin(), qkv.end(), [](float value) { return std::abs(value) > 0.04f; });
  EXPECT_NEAR(static_cast<double>(beyond) / static_cast<double>(qkv.size()), 0.0455, 0.005);
  for (const float value : values("final_norm.weight")) EXPECT_EQ(value, 1.0f);
  for (const float value : values("layers.2.qkv.bias")) EXPECT_EQ(value, 0.0f);
}

// Value = f(seed, name, element): not of the other segments, nor of the dtype except rounding.
TEST(InitializeParameters, DependsOnSeedNameAndElementAlone) {
  const auto backend = make_backend("cpu");
  const auto values = [&](const Config& config, DType dtype, std::uint64_t seed, std::string_view name) {
    Transformer transformer(*backend, config, dtype);
    transformer.initialize(seed);
    return download(*backend, transformer.parameters().tensor(name));
  };
  const Config gpt2 = test::small_gpt2();
  Config other = gpt2;
  other.tied_embeddings = other.qkv_bias = false;
  const std::vector<float> expected = values(gpt2, DType::f32, 5, "token_embedding.weight");
  EXPECT_EQ(values(other, DType::f32, 5, "token_embedding.weight"), expected);
  EXPECT_NE(values(gpt2, DType::f32, 6, "token_embedding.weight"), expected);
  EXPECT_NE(values(gpt2, DType::f32, 5, "layers.0.qkv.weight"), values(gpt2, DType::f32, 5, "layers.1.qkv.weight"));
  const std::vector<float> bf16 = values(gpt2, DType::bf16, 5, "token_embedding.weight");
  const std::vector<float> f16 = values(gpt2, DType::f16, 5, "token_embedding.weight");
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(bf16[i], to_float(to_bfloat16(expected[i])));
    EXPECT_EQ(f16[i], to_float(to_float16(expected[i])));
  }
}

}  // namespace
}  // namespace mslt

#include "model/stages.h"

#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "model/test_models.h"

namespace mslt {
namespace {

std::string names(const Config& config) {
  std::vector<std::string> result;
  for (const Stage& stage : stages_of(config)) result.push_back(stage.name);
  return fmt::format("{}", fmt::join(result, " "));
}

Config one_layer(NormPosition position) {
  Config config = test::small_gpt2();
  config.layers = 1;
  config.norm_position = position;
  return config;
}

// Norms stand where the configuration says; those of a branch's result are apart from those of sums.
TEST(Stages, StandInTheOrderOfTheNorms) {
  EXPECT_EQ(names(one_layer(NormPosition::pre)),
            "layers.0.attention_norm layers.0.qkv layers.0.attention layers.0.attention_out layers.0.ffn_norm "
            "layers.0.ffn_up layers.0.ffn_hidden layers.0.ffn_down final_norm");
  EXPECT_EQ(names(one_layer(NormPosition::post)),
            "layers.0.qkv layers.0.attention layers.0.attention_out layers.0.attention_norm "
            "layers.0.ffn_up layers.0.ffn_hidden layers.0.ffn_down layers.0.ffn_norm");
  EXPECT_EQ(names(one_layer(NormPosition::sandwich)),
            "layers.0.attention_norm layers.0.qkv layers.0.attention layers.0.attention_out "
            "layers.0.attention_out_norm layers.0.ffn_norm layers.0.ffn_up layers.0.ffn_hidden layers.0.ffn_down "
            "layers.0.ffn_out_norm final_norm");
  EXPECT_EQ(names(one_layer(NormPosition::output)),
            "layers.0.qkv layers.0.attention layers.0.attention_out layers.0.attention_out_norm layers.0.ffn_in "
            "layers.0.ffn_up layers.0.ffn_hidden layers.0.ffn_down layers.0.ffn_out_norm final_norm");
  Config rotary = one_layer(NormPosition::post);
  rotary.position = PositionType::rope;
  EXPECT_NE(names(rotary).find("layers.0.qkv layers.0.rotated layers.0.attention "), std::string::npos);
}

TEST(Stages, DescribeAttention) {
  Config config = test::small_llama();
  const auto shape = [&] {
    return attention_shape(config.layer(1).attention);
  };
  EXPECT_EQ(shape().heads, 4);
  EXPECT_EQ(shape().kv_heads, 2);
  EXPECT_EQ(shape().head_size, 10);
  EXPECT_FLOAT_EQ(shape().scale, 1.0f / std::sqrt(10.0f));
  EXPECT_TRUE(shape().causal);
  config.attention_scale = 0.5f;
  EXPECT_EQ(shape().scale, 0.5f);
  EXPECT_TRUE(norm_kind(config).rms);
}

TEST(Stages, LayersDifferAsTheirNumbersSay) {
  Config config = test::small_llama();
  config.layers = 6;
  config.window = 7;
  config.window_from = 1;
  config.full_attention_every = 3;
  config.no_rope_every = 2;
  std::vector<std::int64_t> windows;
  std::vector<bool> rotary;
  for (std::int64_t i = 0; i < config.layers; ++i) {
    windows.push_back(attention_shape(config.layer(i).attention).window);
    rotary.push_back(config.layer(i).attention.rotary);
  }
  EXPECT_EQ(windows, (std::vector<std::int64_t>{0, 7, 0, 7, 7, 0}));
  EXPECT_EQ(rotary, (std::vector<bool>{true, false, true, false, true, false}));
  config.rope_scaling = {.type = RopeScalingType::yarn, .factor = 4.0, .attention_factor = 2.0};
  EXPECT_FLOAT_EQ(config.layer(0).attention.scale, 4.0f / std::sqrt(10.0f));
  EXPECT_FLOAT_EQ(config.layer(1).attention.scale, 1.0f / std::sqrt(10.0f));
}

// Every place of dropout draws from a stream of its own, wherever the norms stand. Operation 0 is the embedding's.
TEST(Stages, NumberDropoutByItsPlace) {
  for (const NormPosition position :
       {NormPosition::pre, NormPosition::post, NormPosition::sandwich, NormPosition::output}) {
    Config config = one_layer(position);
    config.layers = 3;
    std::vector<std::uint32_t> numbers;
    for (const Stage& stage : stages_of(config)) {
      if (const auto* attend = stage.as<Attend>()) numbers.push_back(attend->dropout);
      if (const auto* join = stage.as<Join>(); join != nullptr && join->adds) numbers.push_back(join->dropout);
    }
    EXPECT_EQ(numbers, (std::vector<std::uint32_t>{1, 2, 3, 5, 6, 7, 9, 10, 11})) << name_of(position);
  }
}

}  // namespace
}  // namespace mslt

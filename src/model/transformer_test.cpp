#include "model/transformer.h"

#include <gtest/gtest.h>

#include <numbers>

#include "model/test_models.h"

namespace mslt {
namespace {

using test::download;
using test::expect_error;

TEST(Transformer, AllocatesZeroedParametersAndOnlyTheTablesItNeeds) {
  const auto backend = make_backend("cpu");
  const Transformer gpt2(*backend, test::small_gpt2(), DType::f32);
  EXPECT_TRUE(gpt2.frequencies().empty());
  EXPECT_FALSE(gpt2.position_table());
  for (const float value : download(*backend, gpt2.parameters().whole())) EXPECT_EQ(value, 0.0f);
  const Transformer llama(*backend, test::small_llama(), DType::bf16);
  ASSERT_EQ(llama.frequencies().size(), 1u);
  EXPECT_EQ(llama.frequencies()[0].inverse.shape(), Shape{5});
  EXPECT_EQ(llama.frequencies()[0].inverse.dtype(), DType::f32);
  EXPECT_FALSE(llama.position_table());
  EXPECT_EQ(llama.parameters().layout().segments()[0].dtype, DType::bf16);
}

TEST(Transformer, RopeFrequencies) {
  const auto backend = make_backend("cpu");
  Config config = test::small_llama();
  config.head_size = 8;
  config.rope_theta = 10000;
  const auto frequencies = [&] {
    return download(*backend, Transformer(*backend, config, DType::f32).frequencies().at(0).inverse);
  };
  EXPECT_EQ(frequencies(), (std::vector<float>{1.0f, 0.1f, 0.01f, 0.001f}));
  config.rope_scaling = {RopeScalingType::linear, 4.0};
  EXPECT_EQ(frequencies(), (std::vector<float>{0.25f, 0.025f, 0.0025f, 0.00025f}));

  // Wavelengths 6.28, 62.8, 628 and 6283 with bounds at 50 and 200: kept, blended, divided, divided.
  config.rope_scaling = {RopeScalingType::llama3, 8.0, 1.0, 4.0, 200};
  const std::vector<float> scaled = frequencies();
  const double smooth = (200.0 * 0.1 / (2.0 * std::numbers::pi) - 1.0) / 3.0;
  EXPECT_EQ(scaled[0], 1.0f);
  EXPECT_FLOAT_EQ(scaled[1], static_cast<float>((1 - smooth) * 0.1 / 8 + smooth * 0.1));
  EXPECT_FLOAT_EQ(scaled[2], 0.01f / 8);
  EXPECT_FLOAT_EQ(scaled[3], 0.001f / 8);

  // Of 500 positions, frequencies number 0.2 and 2 turn about 50 and 0.8 times: kept, half, divided, divided.
  config.rope_scaling = {
      .type = RopeScalingType::yarn, .factor = 8.0, .original_max_positions = 500, .beta_fast = 50.0, .beta_slow = 0.8};
  const std::vector<float> yarn = frequencies();
  EXPECT_FLOAT_EQ(yarn[0], 1.0f);
  EXPECT_FLOAT_EQ(yarn[1], 0.5f * 0.1f + 0.5f * 0.1f / 8);
  EXPECT_FLOAT_EQ(yarn[2], 0.01f / 8);
  EXPECT_FLOAT_EQ(yarn[3], 0.001f / 8);
}

// Of the channels that are rotated; long sequences have others.
TEST(Transformer, FrequenciesOfLongrope) {
  const auto backend = make_backend("cpu");
  Config config = test::small_llama();
  config.head_size = 8;
  config.rotary_size = 4;
  config.rope_theta = 10000;
  config.rope_scaling = {.type = RopeScalingType::longrope,
                         .original_max_positions = 5,
                         .short_factors = {1.0, 2.0},
                         .long_factors = {4.0, 5.0}};
  const Transformer model(*backend, config, DType::f32);
  const Rotate& rotate = model.frequencies().at(0).rotate;
  EXPECT_EQ(download(*backend, model.inverse_frequencies(rotate, 5)), (std::vector<float>{1.0f, 0.005f}));
  EXPECT_EQ(download(*backend, model.inverse_frequencies(rotate, 6)), (std::vector<float>{0.25f, 0.002f}));
}

// A layer has the rotation that its description says: with a window, of another base and without rescaling.
TEST(Transformer, RotationsOfLayers) {
  const auto backend = make_backend("cpu");
  Config config = test::small_llama();
  config.layers = 4;
  config.head_size = 4;
  config.rope_theta = 10000;
  config.rope_scaling = {RopeScalingType::linear, 2.0};
  config.window = 3;
  config.full_attention_every = 2;
  config.local_rope_theta = 100;
  const Transformer model(*backend, config, DType::f32);
  std::vector<std::vector<float>> found;
  for (const Stage& stage : model.stages()) {
    if (const auto* rotate = stage.as<Rotate>())
      found.push_back(download(*backend, model.inverse_frequencies(*rotate, config.max_positions)));
  }
  const std::vector<float> local = {1.0f, 0.1f};
  const std::vector<float> all = {0.5f, 0.005f};
  EXPECT_EQ(found, (std::vector<std::vector<float>>{local, all, local, all}));
  EXPECT_EQ(model.frequencies().size(), 2u);
}

TEST(Transformer, SinusoidalPositions) {
  const auto backend = make_backend("cpu");
  Config config = test::small_post_norm();
  config.channels = 4;
  const std::vector<float> table = download(*backend, Transformer(*backend, config, DType::f32).position_table());
  ASSERT_EQ(table.size(), 160u);
  EXPECT_EQ(std::vector<float>(table.begin(), table.begin() + 4), (std::vector<float>{0, 1, 0, 1}));
  EXPECT_FLOAT_EQ(table[12], std::sin(3.0f));
  EXPECT_FLOAT_EQ(table[13], std::cos(3.0f));
  EXPECT_FLOAT_EQ(table[14], std::sin(0.03f));
  EXPECT_FLOAT_EQ(table[15], std::cos(0.03f));
  const Transformer half(*backend, config, DType::bf16);
  EXPECT_EQ(half.position_table().dtype(), DType::bf16);
  EXPECT_EQ(download(*backend, half.position_table())[14], to_float(to_bfloat16(table[14])));
}

TEST(Transformer, RejectsImpossibleConfigurationsAndDTypes) {
  const auto backend = make_backend("cpu");
  Config config = test::small_gpt2();
  config.kv_heads = 2;
  expect_error(ErrorKind::usage, {"kv_heads is 2"}, [&] { Transformer(*backend, config, DType::f32); });
  expect_error(ErrorKind::usage, {"not i8"}, [&] { Transformer(*backend, test::small_gpt2(), DType::i8); });
}

}  // namespace
}  // namespace mslt

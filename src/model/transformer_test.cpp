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
  EXPECT_FALSE(gpt2.inverse_frequencies());
  EXPECT_FALSE(gpt2.position_table());
  for (const float value : download(*backend, gpt2.parameters().whole())) EXPECT_EQ(value, 0.0f);
  const Transformer llama(*backend, test::small_llama(), DType::bf16);
  EXPECT_EQ(llama.inverse_frequencies().shape(), Shape{5});
  EXPECT_EQ(llama.inverse_frequencies().dtype(), DType::f32);
  EXPECT_FALSE(llama.position_table());
  EXPECT_EQ(llama.parameters().layout().segments()[0].dtype, DType::bf16);
}

TEST(Transformer, RopeFrequencies) {
  const auto backend = make_backend("cpu");
  Config config = test::small_llama();
  config.head_size = 8;
  config.rope_theta = 10000;
  EXPECT_EQ(download(*backend, Transformer(*backend, config, DType::f32).inverse_frequencies()),
            (std::vector<float>{1.0f, 0.1f, 0.01f, 0.001f}));
  config.rope_scaling = {RopeScalingType::linear, 4.0};
  EXPECT_EQ(download(*backend, Transformer(*backend, config, DType::f32).inverse_frequencies()),
            (std::vector<float>{0.25f, 0.025f, 0.0025f, 0.00025f}));

  // Wavelengths 6.28, 62.8, 628 and 6283 with bounds at 50 and 200: kept, blended, divided, divided.
  config.rope_scaling = {RopeScalingType::llama3, 8.0, 1.0, 4.0, 200};
  const std::vector<float> scaled = download(*backend, Transformer(*backend, config, DType::f32).inverse_frequencies());
  const double smooth = (200.0 * 0.1 / (2.0 * std::numbers::pi) - 1.0) / 3.0;
  EXPECT_EQ(scaled[0], 1.0f);
  EXPECT_FLOAT_EQ(scaled[1], static_cast<float>((1 - smooth) * 0.1 / 8 + smooth * 0.1));
  EXPECT_FLOAT_EQ(scaled[2], 0.01f / 8);
  EXPECT_FLOAT_EQ(scaled[3], 0.001f / 8);
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

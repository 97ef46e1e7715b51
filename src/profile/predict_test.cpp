// Tests of the prediction: its arithmetic, and that it counts the work of a step.
#include "profile/predict.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "mslt/error.h"

namespace mslt {
namespace {

Config model() {
  Config config;
  config.vocab_size = 1776;
  config.max_positions = 128;
  config.layers = 4;
  config.channels = 256;
  config.heads = config.kv_heads = 4;
  config.head_size = 64;
  config.ffn_size = 1024;
  return config;
}

StepPrediction predict(const Config& config, const Chip& chip, DType dtype = DType::f32) {
  return predict_training_step(config, dtype, 8, 128, chip);
}

// The model's own count has three products for every weight and token, plus the scores of attention.
TEST(PredictTest, CountsTheFlopsOfTheModel) {
  const StepPrediction step = predict(model(), chip_from_name("m3-max"));
  const double products = 8.0 * 128.0 * model().training_flops_per_token(128);
  EXPECT_GT(step.flops, products);
  // Additional work: norms, activations, the optimiser, and the scores that the backward pass recomputes.
  EXPECT_LT(step.flops, 1.35 * products);
}

TEST(PredictTest, CountsTheBytesOfTheOptimiser) {
  const StepPrediction step = predict(model(), chip_from_name("m3-max"));
  double bytes = 0.0;
  for (const KernelPrediction& kernel : step.kernels) {
    if (kernel.kernel.starts_with("adamw")) bytes += kernel.bytes;
  }
  // Parameters and both moments read and written, gradients read: 28 bytes per parameter; then the state, and gaps.
  const auto parameters = static_cast<double>(model().parameter_count());
  EXPECT_GE(bytes, 28.0 * parameters);
  EXPECT_LT(bytes, 28.5 * parameters);
}

TEST(PredictTest, AddsUp) {
  const StepPrediction step = predict(model(), chip_from_name("m3-max"));
  const auto total = [&](auto member) {
    return std::accumulate(step.kernels.begin(), step.kernels.end(), 0.0,
                           [member](double sum, const KernelPrediction& kernel) { return sum + kernel.*member; });
  };
  EXPECT_NEAR(total(&KernelPrediction::seconds), step.seconds, 1e-12 * step.seconds);
  EXPECT_NEAR(total(&KernelPrediction::bytes), step.bytes, 1e-12 * step.bytes);
  EXPECT_NEAR(step.tokens_per_second * step.seconds, 1024.0, 1e-9);
  EXPECT_TRUE(
      std::is_sorted(step.kernels.begin(), step.kernels.end(),
                     [](const KernelPrediction& a, const KernelPrediction& b) { return a.seconds > b.seconds; }));
}

TEST(PredictTest, FollowsTheBoundThatHolds) {
  Chip chip = chip_from_name("m3-max");
  const StepPrediction before = predict(model(), chip);
  const auto kernel = [](const StepPrediction& step, std::string_view prefix) {
    return *std::find_if(step.kernels.begin(), step.kernels.end(),
                         [prefix](const KernelPrediction& k) { return k.kernel.starts_with(prefix); });
  };
  EXPECT_EQ(kernel(before, "adamw").bound, Bound::memory);
  EXPECT_EQ(kernel(before, "matmul_weight").bound, Bound::arithmetic);
  chip.bandwidth *= 2.0;
  const StepPrediction faster = predict(model(), chip);
  EXPECT_LT(kernel(faster, "adamw").seconds, 0.6 * kernel(before, "adamw").seconds);
  EXPECT_EQ(kernel(faster, "matmul_weight").seconds, kernel(before, "matmul_weight").seconds);
}

TEST(PredictTest, HalvesTheBytesOf16BitActivations) {
  const Chip& chip = chip_from_name("h100");
  const auto norm_bytes = [](const StepPrediction& step) {
    double bytes = 0.0;
    for (const KernelPrediction& kernel : step.kernels) {
      if (kernel.kernel.starts_with("norm_forward")) bytes += kernel.bytes;
    }
    return bytes;
  };
  EXPECT_NEAR(norm_bytes(predict(model(), chip, DType::bf16)) / norm_bytes(predict(model(), chip)), 0.5, 0.01);
}

// A billion parameters need no memory here.
TEST(PredictTest, NeedsNoMemory) {
  Config config = model();
  config.layers = 24;
  config.channels = 2048;
  config.heads = config.kv_heads = 16;
  config.head_size = 128;
  config.ffn_size = 8192;
  config.vocab_size = 50257;
  const StepPrediction step = predict(config, chip_from_name("m3-max"));
  EXPECT_TRUE(std::isfinite(step.seconds));
  EXPECT_GT(step.seconds, 0.1);
}

TEST(PredictTest, NamesTheChipsThatItKnows) {
  try {
    chip_from_name("m9");
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    EXPECT_NE(std::string(error.what()).find("m3-max, h100"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace mslt

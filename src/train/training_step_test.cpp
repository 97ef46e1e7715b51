// The recipe of a step against the same spelled out, and what it refuses.
#include "train/training_step.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/registry.h"
#include "model/test_models.h"

namespace mslt {
namespace {

using test::download;
using test::random_ids;

constexpr std::size_t batch_tokens = 2 * 9;

Config model() {
  Config config = test::small_gpt2();
  config.dropout = 0.1f;
  return config;
}

TrainingStepOptions options() {
  return {.batch_size = 2, .seq_len = 9, .grad_accum = 2, .seed = 5, .clip = 0.5, .adamw = {.weight_decay = 0.1f}};
}

std::vector<std::int32_t> targets() {
  std::vector<std::int32_t> ids = random_ids(2 * batch_tokens, model().vocab_size, 2);
  ids[3] = ids[20] = ids[35] = -1;
  return ids;
}

class TrainingStepTest : public testing::Test {
 protected:
  TrainingStepTest() { test::randomize(transformer_); }

  CpuBackend backend_;
  Transformer transformer_{backend_, model(), DType::f32};
  std::vector<std::int32_t> tokens_ = random_ids(2 * batch_tokens, model().vocab_size, 1);
  std::vector<std::int32_t> targets_ = targets();
  StepInput input_ = {.step = 7, .update = 3, .learning_rate = 1e-2, .tokens = tokens_, .targets = targets_};
};

TEST_F(TrainingStepTest, IsTheRecipeSpelledOut) {
  TrainingStep step(transformer_, options());
  const auto result = step.run(input_);
  const std::vector<float> weights = download(backend_, transformer_.parameters().whole());

  test::randomize(transformer_);
  TrainingPass pass(transformer_, 2, 9, TrainingPass::Mode::train);
  AdamW optimizer(backend_, transformer_.parameters(), transformer_.layout().decayed, options().adamw);
  const auto buffer = backend_.allocate(64, "scalars");
  const Tensor loss_sum(*buffer, 0, DType::f32, {1});
  const Tensor loss_scale(*buffer, 16, DType::f32, {1});
  const Tensor random_state(*buffer, 32, DType::u32, {4});
  loss_scale.host<float>()[0] = 1.0f / 33.0f;
  for (std::size_t batch = 0; batch < 2; ++batch) {
    const auto of_batch = [&](const std::vector<std::int32_t>& all) {
      return std::span(all).subspan(batch * batch_tokens, batch_tokens);
    };
    // Six steps of two batches came before.
    const auto state = random_state.host<std::uint32_t>();
    state[0] = 5;
    state[2] = 12 + static_cast<std::uint32_t>(batch);
    pass.set_batch(of_batch(tokens_), of_batch(targets_));
    pass.forward_backward(loss_sum, loss_scale, random_state);
  }
  optimizer.set_update(3, 1e-2, 1.0f, 0.5f);
  optimizer.update(pass.gradients());
  EXPECT_EQ(result->targets, 33);
  EXPECT_EQ(result->loss(), static_cast<double>(loss_sum.host<float>()[0]) / 33.0);
  EXPECT_EQ(result->gradient_norm(), static_cast<double>(optimizer.norm().host<float>()[0]));
  EXPECT_EQ(weights, download(backend_, transformer_.parameters().whole()));
}

TEST_F(TrainingStepTest, TakesTheLossScaleOutAgain) {
  TrainingStep step(transformer_, options());
  const auto plain = step.run(input_);
  const std::vector<float> weights = download(backend_, transformer_.parameters().whole());
  test::randomize(transformer_);
  TrainingStep again(transformer_, options());
  input_.loss_scale = 1024.0;
  const auto scaled = again.run(input_);
  EXPECT_EQ(scaled->scaled_norm, 1024.0f * plain->scaled_norm);
  EXPECT_EQ(scaled->gradient_norm(), plain->gradient_norm());
  EXPECT_EQ(weights, download(backend_, transformer_.parameters().whole()));
}

TEST_F(TrainingStepTest, KeepsTheWeightsWhereTheNormIsNotFinite) {
  TrainingStep step(transformer_, options());
  const std::vector<float> weights = download(backend_, transformer_.parameters().whole());
  input_.loss_scale = 1e300;
  EXPECT_FALSE(std::isfinite(step.run(input_)->gradient_norm()));
  EXPECT_EQ(weights, download(backend_, transformer_.parameters().whole()));
}

TEST_F(TrainingStepTest, RefusesWhatIsNoStep) {
  TrainingStep step(transformer_, options());
  input_.tokens = std::span(tokens_).first(batch_tokens);
  test::expect_error(ErrorKind::input, {"2 batches", "36", "18"}, [&] { step.run(input_); });
  input_.tokens = tokens_;
  const std::vector<std::int32_t> none(targets_.size(), -1);
  input_.targets = none;
  test::expect_error(ErrorKind::input, {"Step 7 has no target"}, [&] { step.run(input_); });
  TrainingStepOptions empty = options();
  empty.grad_accum = 0;
  test::expect_error(ErrorKind::usage, {"at least 1 batch"}, [&] { TrainingStep(transformer_, empty); });
}

// Everything that changes from step to step comes from memory that the step has had since it was made: no step takes
// more than its read-backs.
TEST(TrainingStepUploads, GoThroughSlots) {
  const auto backend = make_backend("msl-host");
  Transformer transformer(*backend, model(), DType::f32);
  backend->wait();
  const std::size_t before = backend->working_memory().staging;
  TrainingStep step(transformer, options());
  const std::size_t slots = backend->working_memory().staging - before;
  constexpr std::size_t steps = 3;
  constexpr std::size_t batches = 6;
  // Tokens, targets and random state of each batch, loss scale and settings of each step, in 256 bytes each.
  EXPECT_EQ(slots, 256 * (3 * batches + 2 * steps));
  const auto ids = random_ids(2 * batch_tokens, model().vocab_size, 1);
  for (std::int64_t i = 1; i <= 5; ++i) {
    step.run({.step = i, .update = i, .learning_rate = 1e-3, .tokens = ids, .targets = ids});
    backend->throttle(TrainingStep::most_in_flight(DType::f32));
  }
  // Two scalars of each step come back, in 256 bytes each.
  EXPECT_LE(backend->working_memory().staging - before - slots, steps * 2 * 256);
}

// What is printed before training is what training holds.
TEST(TrainingStepPlan, CountsWhatTheDeviceHolds) {
  for (const char* const device : {"cpu", "msl-host"}) {
    const auto backend = make_backend(device);
    const MemoryEstimate plan = TrainingStep::plan(*backend, model(), DType::f32, options());
    EXPECT_EQ(backend->working_memory().scratch + backend->working_memory().staging, 0u) << device;
    Transformer transformer(*backend, model(), DType::f32);
    TrainingStep step(transformer, options());
    const auto ids = random_ids(2 * batch_tokens, model().vocab_size, 1);
    for (std::int64_t i = 1; i <= 5; ++i) {
      step.run({.step = i, .update = i, .learning_rate = 1e-3, .tokens = ids, .targets = ids});
      backend->throttle(TrainingStep::most_in_flight(DType::f32));
    }
    const WorkingMemory held = backend->working_memory();
    EXPECT_GT(plan.scratch, 0u) << device;
    EXPECT_EQ(plan.scratch, held.scratch) << device;
    EXPECT_GE(plan.staging, held.staging) << device;
    // Three steps on their way hold all their batches.
    EXPECT_EQ(plan.staging > 0, held.staging > 0) << device;
    EXPECT_EQ(plan.activations, step.pass().memory().activations);
  }
}

}  // namespace
}  // namespace mslt

// The recipe of a step against the same spelled out, and what it refuses.
#include "train/training_step.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/memoryless_backend.h"
#include "backend/msl/host_backend.h"
#include "backend/msl/msl_backend.h"
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

class CountingCpu final : public CpuBackend {
 public:
  std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label) override {
    allocated_ += bytes;
    return CpuBackend::allocate(bytes, label);
  }
  // The backend's own memory comes from elsewhere.
  std::size_t held() const { return allocated_ + working_memory().scratch; }

 private:
  std::size_t allocated_ = 0;
};

class CountingDevice final : public msl::Device {
 public:
  explicit CountingDevice(std::size_t& allocated) : allocated_(allocated) {}
  const DeviceInfo& info() const override { return host_->info(); }
  const msl::DeviceLimits& limits() const override { return host_->limits(); }
  std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label, bool host_visible) override {
    allocated_ += bytes;
    return host_->allocate(bytes, label, host_visible);
  }
  void* address(const Tensor& tensor) const override { return host_->address(tensor); }
  const msl::Pipeline& pipeline(std::string_view name) override { return host_->pipeline(name); }
  std::unique_ptr<msl::CommandBuffer> command_buffer() override { return host_->command_buffer(); }

 private:
  std::size_t& allocated_;
  std::unique_ptr<msl::Device> host_ = make_msl_host_device();
};

// What is printed before training is what training holds, by the count of everything that is allocated.
void expect_held_as_planned(Backend& backend, DType dtype, Recompute level, const std::function<std::size_t()>& held,
                            bool rounds = false) {
  SCOPED_TRACE(fmt::format("{} {} {}", backend.device().backend, name_of(dtype), name_of(level)));
  Config config = model();
  config.layers = 3;
  TrainingStepOptions chosen = options();
  chosen.recompute = level;
  if (rounds) chosen.master_weights = MasterWeights::none;
  if (rounds) chosen.grad_dtype = GradientSums::f32;
  const std::size_t before = held();
  const MemoryEstimate plan = TrainingStep::plan(backend, config, dtype, chosen);
  EXPECT_EQ(plan.recompute, level);
  EXPECT_EQ(held(), before) << "planning allocates nothing";
  Transformer transformer(backend, config, dtype);
  TrainingStep step(transformer, chosen);
  const auto ids = random_ids(2 * batch_tokens, config.vocab_size, 1);
  for (std::int64_t i = 1; i <= 5; ++i) {
    step.run({.step = i, .update = i, .learning_rate = 1e-3, .tokens = ids, .targets = ids});
    backend.throttle(TrainingStep::most_in_flight(dtype));
  }
  EXPECT_NEAR(static_cast<double>(held()), static_cast<double>(plan.total()), 0.05 * static_cast<double>(plan.total()));
  const WorkingMemory working = backend.working_memory();
  EXPECT_GT(plan.scratch, 0u);
  EXPECT_EQ(plan.scratch, working.scratch);
  EXPECT_GE(plan.staging, working.staging);
  // Three steps on their way hold all their batches.
  EXPECT_EQ(plan.staging > 0, working.staging > 0);
  EXPECT_EQ(plan.activations, step.pass().memory().activations);
}

TEST(TrainingStepPlan, CountsWhatTheDeviceHolds) {
  for (const Recompute level : {Recompute::none, Recompute::activations, Recompute::layers}) {
    CountingCpu cpu;
    expect_held_as_planned(cpu, DType::f32, level, [&] { return cpu.held(); });
    std::size_t allocated = 0;
    MslBackend host(std::make_unique<CountingDevice>(allocated));
    expect_held_as_planned(host, level == Recompute::none ? DType::f32 : DType::bf16, level, [&] { return allocated; });
  }
  std::size_t allocated = 0;
  MslBackend host(std::make_unique<CountingDevice>(allocated));
  expect_held_as_planned(host, DType::bf16, Recompute::none, [&] { return allocated; }, true);
}

// The batches' gradients, each rounded to bf16 once, are added up in f32.
TEST(TrainingStepGradients, AreAddedUpInF32WhereAsked) {
  const auto backend = make_backend("msl-host");
  const Config config = test::small_gpt2();
  TrainingStepOptions chosen = options();
  chosen.grad_dtype = GradientSums::f32;
  const auto ids = random_ids(2 * batch_tokens, config.vocab_size, 1);
  Transformer transformer(*backend, config, DType::bf16);
  test::randomize(transformer);
  TrainingStep step(transformer, chosen);
  step.optimizer().initialize_master();
  const auto result = step.run({.learning_rate = 1e-2, .tokens = ids, .targets = ids});
  const std::vector<float> weights = download(*backend, transformer.parameters().whole());

  test::randomize(transformer);
  TrainingPass pass(transformer, 2, 9, TrainingPass::Mode::train);
  const auto count = static_cast<std::size_t>(pass.gradients().whole().elements());
  std::vector<float> sums(count);
  const auto buffer = backend->allocate(512 + count * sizeof(float), "test");
  const Tensor loss_sum(*buffer, 0, DType::f32, {1});
  const Tensor loss_scale(*buffer, 256, DType::f32, {1});
  const Tensor gradients(*buffer, 512, DType::f32, {static_cast<std::int64_t>(count)});
  backend->run(Fill{.out = loss_scale, .value = 1.0f / 36.0f});
  for (std::size_t batch = 0; batch < 2; ++batch) {
    const auto of_batch = std::span(ids).subspan(batch * batch_tokens, batch_tokens);
    pass.zero_gradients();
    pass.set_batch(of_batch, of_batch);
    pass.forward_backward(loss_sum, loss_scale, {});
    const std::vector<float> found = download(*backend, pass.gradients().whole());
    for (std::size_t i = 0; i < count; ++i) sums[i] += found[i];
  }
  test::upload(*backend, gradients, sums);
  AdamW optimizer(*backend, transformer.parameters(), transformer.layout().decayed, chosen.adamw);
  optimizer.initialize_master();
  optimizer.set_update(1, 1e-2, 1.0f, 0.5f);
  optimizer.update(gradients);
  EXPECT_EQ(result->scaled_norm, download(*backend, optimizer.norm())[0]);
  EXPECT_EQ(weights, download(*backend, transformer.parameters().whole()));
}

// A device of any size, where nothing is computed.
class SizedBackend final : public MemorylessBackend<SizedBackend> {
 public:
  explicit SizedBackend(std::uint64_t bytes) { device_.memory_bytes = bytes; }
  template <class Op>
  void each(const Op& /*op*/) {}
};

TEST(TrainingStepPlan, AutomaticRecomputationIsTheLeastThatFits) {
  Config config = model();
  config.layers = 8;
  TrainingStepOptions chosen = options();
  const auto total = [&](Recompute level) {
    chosen.recompute = level;
    return TrainingStep::plan(SizedBackend(0), config, DType::f32, chosen).total();
  };
  const std::size_t none = total(Recompute::none);
  const std::size_t activations = total(Recompute::activations);
  const std::size_t layers = total(Recompute::layers);
  EXPECT_LT(activations, none);
  EXPECT_LT(layers, activations);
  chosen.recompute = Recompute::automatic;
  const auto level_for = [&](std::size_t bytes) {
    const MemoryEstimate plan = TrainingStep::plan(SizedBackend(bytes), config, DType::f32, chosen);
    return std::pair(plan.recompute, plan.total());
  };
  // Of the device's memory, a sixteenth is left.
  EXPECT_EQ(level_for(none * 16 / 15 + 16), std::pair(Recompute::none, none));
  EXPECT_EQ(level_for(none), std::pair(Recompute::activations, activations));
  EXPECT_EQ(level_for(activations), std::pair(Recompute::layers, layers));
  EXPECT_EQ(level_for(layers / 2), std::pair(Recompute::layers, layers));
  EXPECT_EQ(level_for(0), std::pair(Recompute::none, none));
}

// What is recorded once computes again in every replay, for every batch with its own dropout.
TEST(TrainingStepRecomputation, ChangesNoStep) {
  for (const char* const device : {"cpu", "msl-host"}) {
    const auto backend = make_backend(device);
    Config config = model();
    config.layers = 3;
    std::vector<std::vector<float>> results;
    for (const Recompute level : {Recompute::none, Recompute::layers, Recompute::automatic}) {
      Transformer transformer(*backend, config, DType::f32);
      test::randomize(transformer);
      TrainingStepOptions chosen = options();
      chosen.recompute = level;
      TrainingStep step(transformer, chosen);
      std::vector<float> all;
      for (std::int64_t i = 1; i <= 2; ++i) {
        const auto tokens = random_ids(2 * batch_tokens, config.vocab_size, static_cast<std::uint32_t>(i));
        const auto result =
            step.run({.step = i, .update = i, .learning_rate = 1e-2, .tokens = tokens, .targets = tokens});
        backend->wait();
        all.push_back(result->loss_sum);
      }
      const std::vector<float> weights = download(*backend, transformer.parameters().whole());
      all.insert(all.end(), weights.begin(), weights.end());
      results.push_back(all);
    }
    for (const auto& result : results) EXPECT_TRUE(result == results.front()) << device;
  }
}

}  // namespace
}  // namespace mslt

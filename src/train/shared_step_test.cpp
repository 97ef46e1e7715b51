// Steps that several ranks make together, which are threads here: the same as of one rank, with gradients reduced
// behind the backward pass and with optimiser and gradients in parts.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "backend/registry.h"
#include "model/test_models.h"
#include "parallel/test_transport.h"
#include "train/training_step.h"

namespace mslt {
namespace {

using test::download;
using test::random_ids;
using test::relative_error;

constexpr std::int64_t seq_len = 9;
constexpr std::int64_t all_batches = 10;

struct Setting {
  Config config = test::small_gpt2();
  const char* device = "cpu";
  DType dtype = DType::f32;
  std::int64_t zero = 0;
  double clip = 0.01;  // less than any norm here
  GradientSums grad_dtype = GradientSums::as_parameters;
  MasterWeights master_weights = MasterWeights::f32;
};

TrainingStepOptions options_of(const Setting& setting, int rank, int ranks) {
  const std::int64_t own = all_batches / ranks;
  return {.batch_size = 1,
          .seq_len = seq_len,
          .grad_accum = own,
          .first_batch = own * rank,
          .all_batches = all_batches,
          .rank = rank,
          .ranks = ranks,
          .zero = setting.zero,
          .bucket_bytes = 4096,  // about a matrix
          .clip = setting.clip,
          // So large an epsilon makes an update nearly proportional to the gradients, as rounding is.
          .adamw = {.epsilon = 1.0f, .weight_decay = 0.1f},
          .master_weights = setting.master_weights,
          .grad_dtype = setting.grad_dtype};
}

struct Outcome {
  std::vector<float> weights;
  std::vector<double> losses;
  std::vector<double> norms;
  bool operator==(const Outcome&) const = default;
};

// Two steps of a share of the batches.
Outcome train(const Setting& setting, Communicator* communicator) {
  const int rank = communicator == nullptr ? 0 : communicator->rank();
  const int ranks = communicator == nullptr ? 1 : communicator->size();
  const auto backend = make_backend(setting.device);
  Transformer transformer(*backend, setting.config, setting.dtype);
  test::randomize(transformer);
  TrainingStep step(transformer, options_of(setting, rank, ranks), communicator);
  step.optimizer().initialize_master();
  Outcome outcome;
  for (std::int64_t i = 1; i <= 2; ++i) {
    const auto ids = random_ids(all_batches * seq_len, setting.config.vocab_size, static_cast<std::uint32_t>(i));
    const std::size_t own = ids.size() / static_cast<std::size_t>(ranks);
    const auto tokens = std::span(ids).subspan(own * static_cast<std::size_t>(rank), own);
    const auto result = step.run({.step = i, .update = i, .learning_rate = 10.0, .tokens = tokens, .targets = tokens});
    backend->wait();
    outcome.losses.push_back(result->loss());
    outcome.norms.push_back(result->gradient_norm());
  }
  outcome.weights = download(*backend, transformer.parameters().whole());
  return outcome;
}

// All ranks have the same bits.
Outcome train_on(int ranks, const Setting& setting) {
  std::vector<Outcome> outcomes(static_cast<std::size_t>(ranks));
  const auto errors = on_ranks(ranks, [&](Communicator& communicator) {
    outcomes[static_cast<std::size_t>(communicator.rank())] = train(setting, &communicator);
  });
  for (const std::string& error : errors) EXPECT_EQ(error, "");
  for (const Outcome& outcome : outcomes) EXPECT_TRUE(outcome == outcomes.front());
  return outcomes.front();
}

void expect_like(const Outcome& got, const Outcome& expected, double tolerance) {
  EXPECT_LT(relative_error(got.weights, expected.weights), tolerance);
  for (std::size_t i = 0; i < expected.losses.size(); ++i) {
    EXPECT_NEAR(got.losses[i], expected.losses[i], tolerance * expected.losses[i]);
    EXPECT_NEAR(got.norms[i], expected.norms[i], tolerance * expected.norms[i]);
  }
}

TEST(SharedStep, ComputesWhatOneRankComputes) {
  for (const Config& config : {test::small_gpt2(), test::small_llama()}) {
    Setting setting{.config = config};
    const Outcome alone = train(setting, nullptr);
    for (const int ranks : {2, 5}) {  // matrices do not divide evenly among five
      for (setting.zero = 0; setting.zero <= 2; ++setting.zero) {
        SCOPED_TRACE(fmt::format("{} ranks, stage {}", ranks, setting.zero));
        const Outcome together = train_on(ranks, setting);
        expect_like(together, alone, 1e-6);
        EXPECT_TRUE(train_on(ranks, setting) == together) << "other bits in another run";
      }
    }
  }
}

// Without clipping, nothing is summed in another order.
TEST(SharedStep, PartsOfTheOptimizerChangeNoBit) {
  Setting setting{.clip = 0.0};
  const Outcome whole = train_on(5, setting);
  setting.zero = 1;
  EXPECT_EQ(train_on(5, setting).weights, whole.weights);
}

TEST(SharedStep, TrainsIn16Bits) {
  for (const GradientSums sums : {GradientSums::as_parameters, GradientSums::f32}) {
    Setting setting{.device = "msl-host", .dtype = DType::bf16, .grad_dtype = sums};
    const Outcome alone = train(setting, nullptr);
    for (setting.zero = 0; setting.zero <= 2; ++setting.zero) {
      SCOPED_TRACE(fmt::format("stage {}", setting.zero));
      expect_like(train_on(5, setting), alone, 5e-3);
    }
  }
}

// The random bits of an element do not depend on who rounds it.
TEST(SharedStep, RoundsAtRandomAsWithoutParts) {
  Setting setting{.device = "msl-host", .dtype = DType::bf16, .clip = 0.0, .master_weights = MasterWeights::none};
  const Outcome whole = train_on(2, setting);
  setting.zero = 1;
  EXPECT_EQ(train_on(2, setting).weights, whole.weights);
}

TEST(SharedStep, ItsPlanCountsParts) {
  Config config = test::small_gpt2();
  config.layers = 4;
  const auto backend = make_backend("cpu");
  Setting setting{.config = config};
  const auto plan = [&](int ranks, std::int64_t zero) {
    setting.zero = zero;
    TrainingStepOptions options = options_of(setting, 0, ranks);
    options.grad_accum = 1;
    return TrainingStep::plan(*backend, config, DType::f32, options);
  };
  const MemoryEstimate alone = plan(1, 0);
  EXPECT_EQ(plan(2, 0).total(), alone.total());
  EXPECT_EQ(plan(1, 2).total(), alone.total()) << "one rank holds everything";
  EXPECT_EQ(plan(2, 1).moments, alone.moments / 2);
  EXPECT_EQ(plan(2, 1).gradients, alone.gradients);
  EXPECT_EQ(plan(2, 2).moments, alone.moments / 2);
  EXPECT_LT(plan(8, 2).gradients, alone.gradients);
}

std::size_t planned_gradients(const Setting& setting, int ranks, std::int64_t zero, std::size_t bucket_bytes) {
  Setting changed = setting;
  changed.zero = zero;
  TrainingStepOptions options = options_of(changed, 0, ranks);
  options.grad_accum = 1;
  options.bucket_bytes = bucket_bytes;
  return TrainingStep::plan(*make_backend(setting.device), setting.config, setting.dtype, options).gradients;
}

TEST(SharedStep, GradientsInPartsTakeNoMoreMemory) {
  constexpr std::size_t small = 4096;
  constexpr std::size_t large = std::size_t{1} << 25;  // all is one bucket
  // The tests above have gradients in parts on five ranks.
  Setting setting;
  for (const Config& config : {test::small_llama(), test::small_gpt2()}) {
    setting.config = config;
    EXPECT_LT(planned_gradients(setting, 5, 2, small), planned_gradients(setting, 5, 1, small));
  }
  EXPECT_EQ(planned_gradients(setting, 2, 2, large), planned_gradients(setting, 2, 1, large));
  Setting in_16_bits{.device = "msl-host", .dtype = DType::bf16, .grad_dtype = GradientSums::f32};
  const std::size_t whole = planned_gradients(in_16_bits, 5, 0, small);
  EXPECT_EQ(planned_gradients(in_16_bits, 5, 1, small), whole) << "the sums in f32 are of all gradients";
  EXPECT_LT(planned_gradients(in_16_bits, 5, 2, small), whole);
  in_16_bits.grad_dtype = GradientSums::as_parameters;
  EXPECT_LT(planned_gradients(in_16_bits, 5, 2, small), planned_gradients(in_16_bits, 5, 1, small));
}

}  // namespace
}  // namespace mslt

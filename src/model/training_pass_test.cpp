#include "model/training_pass.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "model/test_models.h"
#include "model/weights.h"

namespace mslt {
namespace {

using test::download;
using test::expect_error;
using test::random_ids;
using test::relative_error;
using Mode = TrainingPass::Mode;

// A backend's scalars for one pass.
struct Scalars {
  explicit Scalars(Backend& backend) : backend(backend) {
    ArenaLayout layout;
    layout.add("loss_sum", DType::f32, {1});
    layout.add("loss_scale", DType::f32, {1});
    layout.add("random_state", DType::u32, {4});
    arena = Arena(layout, backend.allocate(layout.bytes(), "scalars"));
    backend.run(Fill{.out = arena.tensor("loss_scale"), .value = 1.0f});
    const std::vector<std::uint32_t> state = {5, 6, 7, 0};
    backend.upload(arena.tensor("random_state"), std::as_bytes(std::span(state)));
  }

  double forward_backward(TrainingPass& pass) {
    backend.run(Fill{.out = arena.tensor("loss_sum"), .value = 0.0f});
    pass.forward_backward(arena.tensor("loss_sum"), arena.tensor("loss_scale"), arena.tensor("random_state"));
    return download(backend, arena.tensor("loss_sum"))[0];
  }

  double forward_loss(TrainingPass& pass) {
    backend.run(Fill{.out = arena.tensor("loss_sum"), .value = 0.0f});
    pass.forward_loss(arena.tensor("loss_sum"));
    return download(backend, arena.tensor("loss_sum"))[0];
  }

  Backend& backend;
  Arena arena;
};

class TrainingPassTest : public testing::TestWithParam<test::Family> {
 protected:
  void SetUp() override { test::randomize(transformer_); }

  std::vector<float> gradients(const TrainingPass& pass) { return download(*backend_, pass.gradients().whole()); }

  // Central differences against the gradient. Dropout's mask is a function of the random state, so that the loss is
  // differentiable with it, too.
  void expect_gradient(float dropout) {
    Config config = config_;
    config.dropout = dropout;
    Transformer transformer(*backend_, config, DType::f32);
    test::randomize(transformer);
    TrainingPass pass(transformer, 2, 7, Mode::train);
    pass.set_batch(random_ids(14, config.vocab_size, 13), random_ids(14, config.vocab_size, 14));
    const double loss = scalars_.forward_backward(pass);
    EXPECT_EQ(loss != scalars_.forward_loss(pass), dropout > 0) << "what dropout should drop";
    const std::vector<float> gradient = gradients(pass);
    const Tensor parameters = transformer.parameters().whole();
    const std::vector<float> start = download(*backend_, parameters);

    for (const Segment& segment : transformer.layout().arena.segments()) {
      // Along the gradient's signs, where the slope is steepest for its length; only in this segment.
      const std::size_t begin = segment.offset / sizeof(float);
      const std::size_t end = begin + static_cast<std::size_t>(segment.shape.elements());
      double slope = 0;
      for (std::size_t i = begin; i < end; ++i) slope += std::abs(static_cast<double>(gradient[i]));
      const float step = std::clamp(static_cast<float>(0.02 / slope), 1e-5f, 2e-3f);
      const auto loss_at = [&](float distance) {
        std::vector<float> moved = start;
        for (std::size_t i = begin; i < end; ++i) moved[i] += std::copysign(1.0f, gradient[i]) * distance;
        test::upload(*backend_, parameters, moved);
        return scalars_.forward_backward(pass);
      };
      const double difference = (loss_at(step) - loss_at(-step)) / (2.0 * static_cast<double>(step));
      // The f32 loss resolves about 1e-6 of itself over a difference of 0.04.
      EXPECT_NEAR(difference, slope, 5e-3 * slope) << segment.name << " with a step of " << step;
    }
  }

  Config config_ = GetParam().config;
  std::unique_ptr<Backend> backend_ = make_backend("cpu");
  Transformer transformer_{*backend_, config_, DType::f32};
  Scalars scalars_{*backend_};
};

TEST_P(TrainingPassTest, AllocatesExactlyWhatWasPlanned) {
  for (const Mode mode : {Mode::train, Mode::evaluate}) {
    const MemoryPlan planned = TrainingPass::plan(config_, DType::f32, 3, 13, mode);
    const TrainingPass pass(transformer_, 3, 13, mode);
    EXPECT_EQ(pass.memory().parameters, planned.parameters);
    EXPECT_EQ(pass.memory().gradients, planned.gradients);
    EXPECT_EQ(pass.memory().activations, planned.activations);
    EXPECT_EQ(planned.parameters, transformer_.parameters().buffer().size());
    EXPECT_EQ(planned.gradients, mode == Mode::train ? pass.gradients().buffer().size() : 0u);
    EXPECT_EQ(static_cast<bool>(pass.gradients()), mode == Mode::train);
  }
}

// What a part is done with is what the whole pass makes, and the parts are done with everything once.
TEST_P(TrainingPassTest, ItsPartsAreDoneWithTheirGradients) {
  for (const Recompute recompute : {Recompute::none, Recompute::layers}) {
    TrainingPass pass(transformer_, 2, 7, Mode::train, recompute);
    pass.set_batch(random_ids(14, config_.vocab_size, 13), random_ids(14, config_.vocab_size, 14));
    const double loss = scalars_.forward_backward(pass);
    const std::vector<float> expected = gradients(pass);
    for (const std::size_t bytes : {std::size_t{1}, std::size_t{8192}, std::size_t{1} << 30}) {
      pass.zero_gradients();
      backend_->run(Fill{.out = scalars_.arena.tensor("loss_sum"), .value = 0.0f});
      std::vector<float> found(expected.size(), -1.0f);
      std::size_t done = 0;
      for (const PassPart& part : parts_of_pass(config_, transformer_.layout(), bytes)) {
        pass.forward_backward(part, scalars_.arena.tensor("loss_sum"), scalars_.arena.tensor("loss_scale"),
                              scalars_.arena.tensor("random_state"));
        const std::vector<float> now = gradients(pass);
        std::copy_n(now.begin() + static_cast<std::ptrdiff_t>(part.first), part.count,
                    found.begin() + static_cast<std::ptrdiff_t>(part.first));
        done += part.count;
      }
      EXPECT_EQ(done, expected.size());
      EXPECT_EQ(found, expected);
      EXPECT_EQ(download(*backend_, scalars_.arena.tensor("loss_sum"))[0], loss);
    }
    EXPECT_EQ(parts_of_pass(config_, transformer_.layout(), std::size_t{1} << 30).size(), 2u);
  }
}

// The same sequences beside others, with other padding and in another mode, have the same loss.
TEST_P(TrainingPassTest, EvaluationGivesTheSameLossAsTraining) {
  const std::vector<std::int32_t> tokens = random_ids(3 * 13, config_.vocab_size, 1);
  const std::vector<std::int32_t> targets = random_ids(3 * 13, config_.vocab_size, 2);
  TrainingPass train(transformer_, 3, 13, Mode::train);
  train.set_batch(tokens, targets);
  const double loss = scalars_.forward_backward(train);
  EXPECT_EQ(scalars_.forward_loss(train), loss);
  // One batch serves several passes.
  EXPECT_EQ(scalars_.forward_backward(train), loss);
  TrainingPass evaluate(transformer_, 3, 13, Mode::evaluate);
  evaluate.set_batch(tokens, targets);
  EXPECT_EQ(scalars_.forward_loss(evaluate), loss);

  double sum = 0;
  TrainingPass single(transformer_, 1, 13, Mode::evaluate);
  for (std::size_t b = 0; b < 3; ++b) {
    single.set_batch(std::span(tokens).subspan(b * 13, 13), std::span(targets).subspan(b * 13, 13));
    sum += scalars_.forward_loss(single);
  }
  EXPECT_NEAR(sum, loss, 2e-6 * loss);
}

TEST_P(TrainingPassTest, LogitsGiveTheLoss) {
  const std::vector<std::int32_t> tokens = random_ids(2 * 9, config_.vocab_size, 3);
  const std::vector<std::int32_t> targets = random_ids(2 * 9, config_.vocab_size, 4);
  TrainingPass pass(transformer_, 2, 9, Mode::evaluate);
  pass.set_batch(tokens, targets);
  const Tensor tensor = pass.forward_logits();
  ASSERT_EQ(tensor.shape(), (Shape{18, config_.vocab_size}));
  const std::vector<float> logits = download(*backend_, tensor);
  double loss = 0;
  for (std::size_t row = 0; row < targets.size(); ++row) {
    const float* values = logits.data() + row * static_cast<std::size_t>(config_.vocab_size);
    double sum = 0;
    for (std::int64_t v = 0; v < config_.vocab_size; ++v) sum += std::exp(static_cast<double>(values[v]));
    loss += std::log(sum) - static_cast<double>(values[targets[row]]);
  }
  EXPECT_NEAR(scalars_.forward_loss(pass), loss, 2e-6 * loss);
}

// Ignored targets, and whatever tokens stand at the end of a padded sequence, count nothing.
TEST_P(TrainingPassTest, PaddingCountsNothing) {
  std::vector<std::int32_t> tokens = random_ids(2 * 12, config_.vocab_size, 5);
  std::vector<std::int32_t> targets = random_ids(2 * 12, config_.vocab_size, 6);
  for (std::size_t t = 7; t < 12; ++t) targets[12 + t] = -1;
  TrainingPass pass(transformer_, 2, 12, Mode::train);
  pass.set_batch(tokens, targets);
  const double loss = scalars_.forward_backward(pass);
  const std::vector<float> expected = gradients(pass);

  for (std::size_t t = 7; t < 12; ++t) {
    tokens[12 + t] = 0;
    targets[12 + t] = -100;
  }
  pass.set_batch(tokens, targets);
  pass.zero_gradients();
  EXPECT_EQ(scalars_.forward_backward(pass), loss);
  EXPECT_LE(relative_error(gradients(pass), expected), 1e-6);

  const std::vector<std::int32_t> ignored(24, -1);
  pass.set_batch(tokens, ignored);
  pass.zero_gradients();
  EXPECT_EQ(scalars_.forward_backward(pass), 0.0);
  for (const float value : gradients(pass)) ASSERT_EQ(value, 0.0f);
}

TEST_P(TrainingPassTest, AccumulationEqualsTheLargeBatch) {
  const std::vector<std::int32_t> tokens = random_ids(6 * 11, config_.vocab_size, 7);
  const std::vector<std::int32_t> targets = random_ids(6 * 11, config_.vocab_size, 8);
  TrainingPass large(transformer_, 6, 11, Mode::train);
  large.set_batch(tokens, targets);
  const double loss = scalars_.forward_backward(large);
  TrainingPass small(transformer_, 2, 11, Mode::train);
  double sum = 0;
  for (std::size_t part = 0; part < 3; ++part) {
    small.set_batch(std::span(tokens).subspan(part * 22, 22), std::span(targets).subspan(part * 22, 22));
    sum += scalars_.forward_backward(small);
  }
  EXPECT_NEAR(sum, loss, 2e-6 * loss);
  for (const Segment& segment : transformer_.layout().arena.segments()) {
    EXPECT_LE(relative_error(download(*backend_, small.gradients().tensor(segment)),
                             download(*backend_, large.gradients().tensor(segment))),
              1e-5)
        << segment.name;
  }
}

TEST_P(TrainingPassTest, SameBitsEveryRun) {
  const std::vector<std::int32_t> tokens = random_ids(4 * 17, config_.vocab_size, 9);
  const std::vector<std::int32_t> targets = random_ids(4 * 17, config_.vocab_size, 10);
  std::vector<std::vector<float>> runs;
  for (int run = 0; run < 3; ++run) {
    TrainingPass pass(transformer_, 4, 17, Mode::train);
    pass.set_batch(tokens, targets);
    scalars_.forward_backward(pass);
    runs.push_back(gradients(pass));
  }
  EXPECT_EQ(runs[0], runs[1]);
  EXPECT_EQ(runs[0], runs[2]);
}

// Logits in several chunks: 700 rows of a vocabulary that is large beside the feed-forward width.
TEST_P(TrainingPassTest, ChunksOfLogitsChangeNothing) {
  Config config = config_;
  config.vocab_size = 301;
  config.ffn_size = 8;
  Transformer transformer(*backend_, config, DType::f32);
  test::randomize(transformer);
  const std::vector<std::int32_t> tokens = random_ids(20 * 35, config.vocab_size, 11);
  const std::vector<std::int32_t> targets = random_ids(20 * 35, config.vocab_size, 12);
  TrainingPass large(transformer, 20, 35, Mode::train);
  large.set_batch(tokens, targets);
  const double loss = scalars_.forward_backward(large);
  TrainingPass small(transformer, 5, 35, Mode::train);
  double sum = 0;
  for (std::size_t part = 0; part < 4; ++part) {
    small.set_batch(std::span(tokens).subspan(part * 175, 175), std::span(targets).subspan(part * 175, 175));
    sum += scalars_.forward_backward(small);
  }
  EXPECT_NEAR(sum, loss, 2e-6 * loss);
  EXPECT_LE(relative_error(gradients(small), gradients(large)), 1e-5);
}

// The rows behind the vocabulary's take part in products, and in nothing that is seen.
TEST_P(TrainingPassTest, SpareRowsOfTheVocabularyChangeNothing) {
  Config config = config_;
  config.vocab_size = 1100;
  Transformer transformer(*backend_, config, DType::f32);
  test::randomize(transformer);
  const Tensor padded =
      bind_weights(transformer.config(), transformer.stages(), transformer.parameters()).padded_lm_head.values;
  ASSERT_EQ(padded.shape(), (Shape{1152, config.channels}));
  const Tensor spare = padded.slice(1100, 52);
  const auto step = [&](float value) {
    backend_->run(Fill{.out = spare, .value = value});
    TrainingPass pass(transformer, 2, 9, Mode::train);
    pass.set_batch(random_ids(18, config.vocab_size, 13), random_ids(18, config.vocab_size, 14));
    std::vector<float> all = {static_cast<float>(scalars_.forward_backward(pass))};
    const Tensor gradient = bind_weights(transformer.config(), transformer.stages(), pass.gradients())
                                .padded_lm_head.values.slice(1100, 52);
    EXPECT_EQ(download(*backend_, gradient), std::vector<float>(static_cast<std::size_t>(gradient.elements())));
    const std::vector<float> rest = gradients(pass);
    all.insert(all.end(), rest.begin(), rest.end());
    return all;
  };
  EXPECT_EQ(step(0.0f), step(100.0f));
}

// Three layers, so that one that runs again lies between another and the last; rows that no span fills, in 16 bits.
TEST_P(TrainingPassTest, RecomputationChangesNoBit) {
  struct Case {
    const char* device;
    DType dtype;
    std::int64_t channels;
  };
  for (const Case& each : {Case{"cpu", DType::f32, 24}, Case{"msl-host", DType::f32, 24},
                           Case{"msl-host", DType::bf16, 20}, Case{"msl-host", DType::f16, 24}}) {
    SCOPED_TRACE(fmt::format("{} {}", each.device, name_of(each.dtype)));
    const auto backend = make_backend(each.device);
    Scalars scalars(*backend);
    Config config = config_;
    config.layers = 3;
    config.channels = each.channels;
    config.dropout = 0.2f;
    Transformer transformer(*backend, config, each.dtype);
    test::randomize(transformer);
    std::vector<float> expected;
    std::size_t activations = 0;
    for (const Recompute level : {Recompute::none, Recompute::activations, Recompute::layers}) {
      SCOPED_TRACE(name_of(level));
      TrainingPass pass(transformer, 2, 7, Mode::train, level);
      pass.set_batch(random_ids(14, config.vocab_size, 15), random_ids(14, config.vocab_size, 16));
      std::vector<float> all = {static_cast<float>(scalars.forward_backward(pass))};
      const std::vector<float> found = download(*backend, pass.gradients().whole());
      all.insert(all.end(), found.begin(), found.end());
      const auto planned = TrainingPass::plan(config, each.dtype, 2, 7, Mode::train, level);
      EXPECT_EQ(pass.memory().activations, planned.activations);
      if (level == Recompute::none) {
        expected = all;
      } else {
        EXPECT_LT(planned.activations, activations);
        EXPECT_TRUE(all == expected);
      }
      activations = planned.activations;
    }
  }
}

TEST_P(TrainingPassTest, GradientMatchesFiniteDifferences) {
  for (const float dropout : {0.0f, 0.3f}) expect_gradient(dropout);
}

TEST_P(TrainingPassTest, DropoutFollowsTheRandomState) {
  Config config = config_;
  config.dropout = 0.2f;
  Transformer transformer(*backend_, config, DType::f32);
  test::randomize(transformer);
  TrainingPass pass(transformer, 2, 7, Mode::train);
  pass.set_batch(random_ids(14, config.vocab_size, 13), random_ids(14, config.vocab_size, 14));
  const double loss = scalars_.forward_backward(pass);
  EXPECT_EQ(scalars_.forward_backward(pass), loss);
  const std::vector<std::uint32_t> next = {5, 6, 8, 0};
  backend_->upload(scalars_.arena.tensor("random_state"), std::as_bytes(std::span(next)));
  EXPECT_NE(scalars_.forward_backward(pass), loss);
}

INSTANTIATE_TEST_SUITE_P(Families, TrainingPassTest, testing::ValuesIn(test::families()),
                         [](const auto& instance) { return std::string(instance.param.name); });

TEST(TrainingPassPlan, LayersShareMemory) {
  Config config = test::small_gpt2();
  const auto activations = [&](std::int64_t layers, Mode mode) {
    config.layers = layers;
    return TrainingPass::plan(config, DType::f32, 8, 40, mode).activations;
  };
  // Evaluation keeps nothing of a layer; training keeps 16 · C and statistics a row (here 4·C more than 3·C + 2·F).
  EXPECT_EQ(activations(12, Mode::evaluate), activations(2, Mode::evaluate));
  const std::size_t a_layer = activations(12, Mode::train) - activations(11, Mode::train);
  const std::size_t kept = 8 * 40 * sizeof(float) * (8 * 24 + 2 * 40 + 4 + 3);
  EXPECT_EQ(a_layer, kept);
  // Gradients of activations live in what the backward pass has freed, but for one layer's.
  EXPECT_LT(activations(12, Mode::train), 14 * kept);
}

// Bytes of a row that another layer adds: all but norms and activations, which the backward pass makes again, or the
// stream alone.
TEST(TrainingPassPlan, RecomputationKeepsLessOfALayer) {
  Config config = test::small_gpt2();
  const auto a_layer = [&](Recompute level) {
    const auto activations = [&](std::int64_t layers) {
      config.layers = layers;
      return TrainingPass::plan(config, DType::f32, 8, 40, Mode::train, level).activations;
    };
    return (activations(12) - activations(11)) / (8 * 40 * sizeof(float));
  };
  EXPECT_EQ(a_layer(Recompute::none), 8 * 24u + 2 * 40 + 4 + 3);
  EXPECT_EQ(a_layer(Recompute::activations), 6 * 24u + 40 + 3);
  EXPECT_EQ(a_layer(Recompute::layers), 24u);
  expect_error(ErrorKind::usage, {"other than auto"}, [&] { a_layer(Recompute::automatic); });
}

TEST(TrainingPassPlan, SixteenBitActivationsTakeHalf) {
  const Config config = preset("mini");
  const MemoryPlan full = TrainingPass::plan(config, DType::f32, 4, 256, Mode::train);
  const MemoryPlan half = TrainingPass::plan(config, DType::bf16, 4, 256, Mode::train);
  EXPECT_NEAR(static_cast<double>(half.activations) / static_cast<double>(full.activations), 0.5, 0.01);
  EXPECT_NEAR(static_cast<double>(half.parameters) / static_cast<double>(full.parameters), 0.5, 0.01);
}

TEST(TrainingPassErrors, NameWhatIsWrong) {
  const auto backend = make_backend("cpu");
  const Config config = test::small_gpt2();
  Transformer transformer(*backend, config, DType::f32);
  expect_error(ErrorKind::usage, {"sequence length is 41", "1 to 40"},
               [&] { TrainingPass(transformer, 1, 41, Mode::train); });
  expect_error(ErrorKind::usage, {"sequence length is 0"}, [&] { TrainingPass(transformer, 1, 0, Mode::train); });
  expect_error(ErrorKind::usage, {"batch size is 0"}, [&] { TrainingPass(transformer, 0, 8, Mode::train); });
  expect_error(ErrorKind::usage, {"2^31"}, [&] { TrainingPass(transformer, std::int64_t{1} << 40, 8, Mode::train); });
  expect_error(ErrorKind::usage, {"batch size is -1"},
               [&] { TrainingPass::plan(config, DType::f32, -1, 8, Mode::train); });
  expect_error(ErrorKind::memory, {"activations"},
               [&] { TrainingPass(transformer, std::int64_t{1} << 25, 40, Mode::train); });

  TrainingPass pass(transformer, 2, 4, Mode::train);
  const std::vector<std::int32_t> good(8, 1);
  const std::vector<std::int32_t> too_few(7, 1);
  std::vector<std::int32_t> bad = good;
  bad[5] = 37;
  expect_error(ErrorKind::input, {"8 tokens and targets", "8 and 7"}, [&] { pass.set_batch(good, too_few); });
  expect_error(ErrorKind::input, {"Token 5", "is 37", "0 to 36"}, [&] { pass.set_batch(bad, good); });
  expect_error(ErrorKind::input, {"Target 5", "is 37"}, [&] { pass.set_batch(good, bad); });
  bad[5] = -1;
  expect_error(ErrorKind::input, {"Token 5", "is -1"}, [&] { pass.set_batch(bad, good); });
  pass.set_batch(good, bad);

  Scalars scalars(*backend);
  const Tensor loss_sum = scalars.arena.tensor("loss_sum");
  expect_error(ErrorKind::input, {"loss_scale"}, [&] { pass.forward_backward(loss_sum, {}, {}); });
  TrainingPass evaluate(transformer, 2, 4, Mode::evaluate);
  evaluate.zero_gradients();
  expect_error(ErrorKind::usage, {"evaluation"},
               [&] { evaluate.forward_backward(loss_sum, scalars.arena.tensor("loss_scale"), {}); });

  Transformer half(*backend, config, DType::bf16);
  expect_error(ErrorKind::usage, {"cpu", "f32 only", "bf16"}, [&] { TrainingPass(half, 1, 4, Mode::train); });
  Config dropping = config;
  dropping.dropout = 0.1f;
  Transformer dropper(*backend, dropping, DType::f32);
  TrainingPass drops(dropper, 2, 4, Mode::train);
  expect_error(ErrorKind::input, {"random_state"},
               [&] { drops.forward_backward(loss_sum, scalars.arena.tensor("loss_scale"), {}); });
}

}  // namespace
}  // namespace mslt

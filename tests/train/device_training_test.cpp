// Training and generation on every device except the CPU, compared with the CPU.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "backend/msl/msl_backend.h"
#include "backend/registry.h"
#include "base/philox.h"
#include "generate/text_generator.h"
#include "model/transformer.h"
#include "tests/backend/backend_under_test.h"
#include "train/test_run.h"
#include "train/trainer_parts.h"
#include "train/training_step.h"

namespace mslt {
namespace {

namespace fs = std::filesystem;

// The models of the three families, small enough for kernels whose threads are fibers.
Config gpt2_model() {
  Config config;
  config.max_positions = 24;
  config.layers = 2;
  config.channels = 40;
  config.heads = config.kv_heads = 5;
  config.head_size = 8;
  config.ffn_size = 72;
  config.dropout = 0.1f;
  return config;
}

Config llama_model() {
  Config config = gpt2_model();
  config.heads = 4;
  config.kv_heads = 2;
  config.head_size = 16;
  config.norm = NormType::rmsnorm;
  config.position = PositionType::rope;
  config.activation = ActivationType::swiglu;
  config.qkv_bias = config.attention_out_bias = config.ffn_bias = config.norm_bias = false;
  config.tied_embeddings = false;
  config.dropout = 0.0f;
  return config;
}

Config post_norm_model() {
  Config config = gpt2_model();
  config.norm_position = NormPosition::post;
  config.position = PositionType::sinusoidal;
  config.activation = ActivationType::relu;
  config.embedding_scale = std::sqrt(40.0f);
  return config;
}

std::vector<std::string> other_devices() {
  std::vector<std::string> names = test::test_backends();
  std::erase(names, "cpu");
  return names;
}

class DeviceTrainingTest : public testing::TestWithParam<std::string> {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TestFolder>();
    make_test_data(folder_->path());
  }
  static void TearDownTestSuite() { folder_.reset(); }

  TrainOptions options(const Config& model, const std::string& dtype = "f32") const {
    TrainOptions options = test_options(folder_->path());
    options.model = model;
    options.dtype = dtype;
    options.steps = 8;
    options.batch_size = 3;
    options.grad_accum = 2;
    options.seq_len = 19;
    options.warmup = 3;
    options.lr = 3e-3;
    options.eval_every = 0;
    options.save_every = 0;
    options.tensorboard = options.report = false;
    return options;
  }

  // The losses and gradient norms of every step, and the loss of the final evaluation.
  static std::vector<double> train(TrainOptions options, Backend& backend) {
    options.output = folder_->path() / "run";
    fs::remove_all(options.output);
    std::vector<double> values;
    TrainCallbacks callbacks;
    callbacks.event = [&](const TrainEvent& event) {
      if (const auto* step = std::get_if<StepEvent>(&event)) {
        values.push_back(step->loss);
        values.push_back(step->gradient_norm);
      }
    };
    const TrainResult result = Trainer(std::make_unique<Trainer::Parts>(options, std::move(callbacks), backend)).run();
    values.push_back(result.validation.value().loss);
    return values;
  }

  static std::vector<double> train(const TrainOptions& options, const std::string& device) {
    const std::unique_ptr<Backend> backend = test::make_test_backend(device);
    return train(options, *backend);
  }

  void expect_the_losses_of_the_cpu(const Config& model) const {
    const std::vector<double> expected = train(options(model), "cpu");
    ASSERT_EQ(expected.size(), 17u);
    EXPECT_LT(expected[14], expected[0]);
    EXPECT_LT(test::relative_error(train(options(model), GetParam()), expected), 1e-6);
    // bf16 has 8 bits of mantissa; the CPU trains only in f32.
    EXPECT_LT(test::relative_error(train(options(model, "bf16"), GetParam()), expected), 3e-3);
  }

  static std::unique_ptr<TestFolder> folder_;
};
std::unique_ptr<TestFolder> DeviceTrainingTest::folder_;

TEST_P(DeviceTrainingTest, Gpt2FollowsTheCpu) {
  expect_the_losses_of_the_cpu(gpt2_model());
}

TEST_P(DeviceTrainingTest, LlamaFollowsTheCpu) {
  expect_the_losses_of_the_cpu(llama_model());
}

TEST_P(DeviceTrainingTest, PostNormFollowsTheCpu) {
  expect_the_losses_of_the_cpu(post_norm_model());
}

TEST_P(DeviceTrainingTest, RepeatsItselfToTheBit) {
  TrainOptions run = options(gpt2_model());
  run.steps = 4;
  EXPECT_EQ(train(run, GetParam()), train(run, GetParam()));
}

// With the workspaces of libraries.
TEST_P(DeviceTrainingTest, HoldsTheScratchMemoryThatWasPlanned) {
  const std::unique_ptr<Backend> backend = test::make_test_backend(GetParam());
  Config model = gpt2_model();
  model.vocab_size = 100;
  model.dropout = 0.0f;
  TrainingStepOptions step_options = {.batch_size = 3, .seq_len = 19};
  const MemoryEstimate plan = TrainingStep::plan(*backend, model, DType::bf16, step_options);
  step_options.recompute = plan.recompute;
  Transformer transformer(*backend, model, DType::bf16);
  TrainingStep step(transformer, step_options);
  const std::vector<std::int32_t> ids(3 * 19);
  for (int i = 0; i < 4; ++i) step.run({.tokens = ids, .targets = ids});
  backend->wait();
  EXPECT_EQ(backend->working_memory().scratch, plan.scratch);
}

// Where libraries may add up in another order each time: heads of 64 and many sequences.
TEST_P(DeviceTrainingTest, RepeatsItselfToTheBitInLargeBatches) {
  if (!GetParam().starts_with("cuda")) GTEST_SKIP() << "large batches take too long on " << GetParam();
  Config model = gpt2_model();
  model.vocab_size = 2048;
  model.max_positions = 1024;
  model.channels = 384;
  model.heads = model.kv_heads = 6;
  model.head_size = 64;
  model.ffn_size = 1536;
  model.dropout = 0.0f;
  const auto weights_after = [&](std::int64_t batch) {
    const std::unique_ptr<Backend> backend = test::make_test_backend(GetParam());
    Transformer transformer(*backend, model, DType::bf16);
    transformer.initialize(5);
    TrainingStep step(transformer, {.batch_size = batch, .seq_len = model.max_positions});
    step.optimizer().initialize_master();
    std::vector<std::int32_t> tokens(static_cast<std::size_t>(batch * model.max_positions) + 1);
    PhiloxStream stream(1, 2, 3);
    for (std::int32_t& token : tokens) token = static_cast<std::int32_t>(stream.below(2048));
    const std::span<const std::int32_t> all(tokens);
    for (std::int64_t i = 1; i <= 5; ++i) {
      step.run({.step = i,
                .update = i,
                .learning_rate = 1e-3,
                .tokens = all.first(tokens.size() - 1),
                .targets = all.subspan(1)});
    }
    const Tensor whole = transformer.parameters().whole();
    std::vector<std::byte> bytes(whole.bytes());
    backend->download(whole, bytes);
    return bytes;
  };
  for (const std::int64_t batch : {32, 64}) EXPECT_TRUE(weights_after(batch) == weights_after(batch)) << batch;
}

TEST_P(DeviceTrainingTest, WaitsOnceAStep) {
  const auto waits_of = [&](std::int64_t steps) {
    const std::unique_ptr<Backend> backend = test::make_test_backend(GetParam());
    TrainOptions run = options(gpt2_model());
    run.steps = steps;
    train(run, *backend);
    return dynamic_cast<MslBackend&>(*backend).recorder().counters().waits;
  };
  EXPECT_EQ(waits_of(11) - waits_of(6), 5u);
}

TEST_P(DeviceTrainingTest, GeneratesAsTheCpu) {
  TrainOptions run = options(llama_model());
  const Tokenizer tokenizer = Tokenizer::load(run.data / "tokenizer.json");
  const auto generate = [&](const std::string& device) {
    const std::unique_ptr<Backend> backend = test::make_test_backend(device);
    Config config = llama_model();
    config.vocab_size = static_cast<std::int64_t>(tokenizer.vocab_size());
    Transformer transformer(*backend, config, DType::f32);
    transformer.initialize(7);
    TextGenerator generator(transformer, tokenizer, {});
    std::vector<std::vector<TokenId>> tokens;
    for (const Generated& sample : generator.generate(tokenizer.encode("the old king"),
                                                      {.max_new_tokens = 40, .num = 3, .ignore_eos = true}, {})) {
      tokens.push_back(sample.tokens);
    }
    return tokens;
  };
  const auto expected = generate("cpu");
  EXPECT_EQ(expected.at(0).size(), 40u);
  EXPECT_EQ(generate(GetParam()), expected);
}

INSTANTIATE_TEST_SUITE_P(Devices, DeviceTrainingTest, testing::ValuesIn(other_devices()), test::test_backend_name);

}  // namespace
}  // namespace mslt

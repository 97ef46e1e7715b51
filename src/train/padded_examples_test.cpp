// Runs on padded examples: what stands in the padding changes nothing, and nothing counts it.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <numeric>
#include <set>
#include <sstream>

#include "base/json.h"
#include "formats/model_folder.h"
#include "train/evaluate.h"
#include "train/trainer_fixture.h"

namespace mslt {
namespace {

// Lines of one to about thirty tokens.
std::string lines() {
  std::string text;
  const std::string sentence = test_text(60);
  for (std::size_t i = 0; i < 60; ++i) text += sentence.substr(i * 17 % 900, 2 + i * 29 % 61 / (i % 4 + 1)) + "\n";
  return text;
}

class PaddedExamplesTest : public TrainerTest {
 protected:
  void SetUp() override {
    TrainerTest::SetUp();
    std::ranges::replace(text_, '.', ',');
    spill(folder_.path() / "lines.txt", text_);
    PrepareOptions prepare;
    prepare.inputs = {folder_.path() / "lines.txt"};
    prepare.tokenizer = folder_.path() / "tokenizer.json";
    prepare.output = folder_.path() / "examples";
    prepare.examples = true;
    prepare_data(prepare);
  }

  TrainOptions padded_options() const {
    TrainOptions options = this->options();
    options.data = folder_.path() / "examples";
    options.model.max_positions = 40;
    options.seq_len = 16;
    options.warmup = 0;
    options.steps = 20;
    return options;
  }

  // The sum of losses of the next tokens, of which there are `targets`, computed without any padding.
  double unpadded_loss(Transformer& transformer, std::span<const std::int32_t> tokens) {
    const auto count = static_cast<std::int64_t>(tokens.size()) - 1;
    TrainingPass pass(transformer, 1, count, TrainingPass::Mode::evaluate);
    pass.set_batch(tokens.first(tokens.size() - 1), tokens.subspan(1));
    const auto buffer = backend_.allocate(sizeof(float), "loss");
    const Tensor sum(*buffer, 0, DType::f32, {1});
    backend_.run(Fill{.out = sum, .value = 0.0f});
    pass.forward_loss(sum);
    float value = 0.0f;
    backend_.download(sum, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }

  // The mean loss over examples, one by one, each cut after `most` tokens; sets targets_.
  double one_by_one(Transformer& transformer, const TokenStream& examples, std::uint64_t most) {
    double sum = 0.0;
    targets_ = 0;
    for (std::uint64_t i = 0; i < examples.examples(); ++i) {
      std::vector<std::int32_t> tokens(most);
      tokens.resize(examples.copy_example(i, tokens));
      sum += unpadded_loss(transformer, tokens);
      targets_ += static_cast<std::int64_t>(tokens.size()) - 1;
    }
    return sum / static_cast<double>(targets_);
  }

  std::string text_ = lines();
  std::int64_t targets_ = 0;
};

TEST_F(PaddedExamplesTest, ExamplesAreTheLines) {
  const Tokenizer tokenizer = Tokenizer::load(folder_.path() / "tokenizer.json");
  const auto eos = static_cast<std::int32_t>(tokenizer.eos_id().value());
  std::multiset<std::vector<std::int32_t>> expected;
  std::istringstream text(text_);
  for (std::string line; std::getline(text, line);) {
    const std::vector<TokenId> ids = tokenizer.encode(line);
    std::vector<std::int32_t> example = {eos};
    example.insert(example.end(), ids.begin(), ids.end());
    example.push_back(eos);
    expected.insert(example);
  }
  std::multiset<std::vector<std::int32_t>> found;
  for (const char* const split : {"train", "val"}) {
    const TokenStream examples(folder_.path() / "examples", split);
    for (std::uint64_t i = 0; i < examples.examples(); ++i) {
      std::vector<std::int32_t> example(1000);
      example.resize(examples.copy_example(i, example));
      EXPECT_EQ(example.size(), examples.example_size(i));
      found.insert(example);
    }
  }
  EXPECT_EQ(found, expected);
}

TEST_F(PaddedExamplesTest, ALossIsThatOfTheExamplesOneByOne) {
  const TokenStream examples(folder_.path() / "examples", "train");
  ASSERT_GT(examples.longest_example(), 17u);
  TrainOptions now = padded_options();
  // A step of one epoch, before which the weights are the seed's.
  now.batch_size = static_cast<std::int64_t>(examples.examples());
  now.steps = 1;
  const TrainResult result = train(now);
  Config config = now.model;
  config.vocab_size = 300;
  Transformer transformer(backend_, config, DType::f32);
  transformer.initialize(now.seed);
  EXPECT_NEAR(result.loss, one_by_one(transformer, examples, 17), 1e-5);
  EXPECT_LT(targets_, now.batch_size * 16 * 9 / 10) << "there is little padding";
  const StepEvent step = events<StepEvent>().front();
  EXPECT_EQ(step.tokens, targets_);
  EXPECT_DOUBLE_EQ(result.tokens_per_second, step.tokens_per_second);

  // The trained weights on the validation examples, of which some are cut.
  const LoadedModel trained = load_model_folder(backend_, run_folder());
  const TokenStream val(folder_.path() / "examples", "val");
  EXPECT_NEAR(result.validation->loss, one_by_one(*trained.transformer, val, 17), 1e-5);
}

TEST_F(PaddedExamplesTest, ThePlanCountsNoPadding) {
  const TokenStream examples(folder_.path() / "examples", "train");
  TrainOptions now = padded_options();
  const TrainPlan plan = Trainer(std::make_unique<Trainer::Parts>(now, TrainCallbacks(), backend_)).plan();
  EXPECT_EQ(plan.training_tokens, static_cast<std::int64_t>(examples.example_targets(17)));
  EXPECT_EQ(plan.tokens_per_step,
            std::llround(4.0 * static_cast<double>(plan.training_tokens) / static_cast<double>(examples.examples())));
  EXPECT_LT(plan.tokens_per_step, 4 * 16);
}

TEST_F(PaddedExamplesTest, WhatIsCutIsTold) {
  TrainOptions now = padded_options();
  now.steps = 1;
  train(now);
  ASSERT_FALSE(notes_.empty());
  const TokenStream examples(folder_.path() / "examples", "train");
  EXPECT_TRUE(contains(notes_.front(), fmt::format("{} of them are longer and are cut there, by {} tokens in all",
                                                   examples.examples_above(17),
                                                   examples.example_targets(1000) - examples.example_targets(17))))
      << notes_.front();
}

// Unless a length is asked for, examples are no more padded than it takes.
TEST_F(PaddedExamplesTest, TheLongestExampleIsTheLengthWhereTheContextHasRoom) {
  const TokenStream examples(folder_.path() / "examples", "train");
  TrainOptions now = padded_options();
  now.steps = 1;
  now.seq_len = 0;
  train(now);
  EXPECT_TRUE(contains(notes_.front(), fmt::format("padded to {}.", examples.longest_example() - 1))) << notes_.front();
}

TEST_F(PaddedExamplesTest, MoreTokensThanCanBeCountedAreRefused) {
  TrainOptions now = padded_options();
  now.model.position = PositionType::rope;
  now.model.max_positions = now.seq_len = now.batch_size = now.grad_accum = std::int64_t{1} << 24;
  EXPECT_TRUE(contains(rejection(now, ErrorKind::usage), "more than 2^31 - 1 tokens"));
}

TEST_F(PaddedExamplesTest, StoppingAndResumingChangesNoBit) {
  const TrainOptions now = padded_options();
  train(now);
  const std::string whole = losses();
  const std::string weights = slurp(run_folder() / "model.safetensors");
  fs::remove_all(run_folder());
  on_event_ = [&](const TrainEvent& event) {
    const auto* step = std::get_if<StepEvent>(&event);
    if (step != nullptr && step->step == 11) stop_ = true;
  };
  EXPECT_TRUE(train(now).interrupted);
  stop_ = false;
  TrainOptions again = now;
  again.resume = true;
  train(again);
  EXPECT_EQ(losses(), whole);
  EXPECT_TRUE(slurp(run_folder() / "model.safetensors") == weights);
  // Other data, also of as many tokens.
  again.data = folder_.path() / "data";
  EXPECT_TRUE(contains(rejection(again, ErrorKind::usage), "cannot be resumed"));
}

}  // namespace
}  // namespace mslt

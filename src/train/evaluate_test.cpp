// Tests of the loss over a split: what is predicted from what, and how much at once.
#include "train/evaluate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <numeric>
#include <vector>

#include "backend/registry.h"
#include "data/shard.h"
#include "mslt/error.h"

namespace mslt {
namespace {

Config small_config() {
  Config config;
  config.vocab_size = 60;
  config.max_positions = 32;
  config.layers = 1;
  config.channels = 16;
  config.heads = config.kv_heads = 2;
  config.head_size = 8;
  config.ffn_size = 32;
  return config;
}

class EvaluateTest : public testing::Test {
 protected:
  EvaluateTest() {
    transformer_.initialize(5);
    for (std::uint32_t i = 0; i < 50; ++i) ids_.push_back(2 + i * 7 % 58);
  }

  // Evaluates ids_ with a token before each window.
  EvaluationResult run(std::int64_t seq_len, std::vector<TokenId> prefix, std::int64_t max_batches = 0) {
    const auto path =
        std::filesystem::path(testing::TempDir()) /
        (std::string("mslt_evaluate_") + testing::UnitTest::GetInstance()->current_test_info()->name() + ".bin");
    ShardWriter writer(path, token_width_for(60));
    writer.append(ids_);
    writer.finish();
    EvaluateOptions options;
    options.data = path;
    options.tokens = std::make_shared<const TokenStream>(std::vector<std::filesystem::path>{path}, 60);
    options.batch = 2;
    options.seq_len = seq_len;
    options.max_batches = max_batches;
    options.prefix = std::move(prefix);
    options.progress = [&](std::int64_t done, std::int64_t batches) {
      EXPECT_EQ(done, static_cast<std::int64_t>(++reported_));
      batches_ = batches;
    };
    reported_ = 0;
    TrainingPass pass(transformer_, options.batch, seq_len, TrainingPass::Mode::evaluate);
    return evaluate(*backend_, pass, options, std::vector<std::uint32_t>(60, 1));
  }

  // Minus the logarithm of the probability of each of `tokens` after those before it, by the logits.
  std::vector<double> losses(const std::vector<TokenId>& tokens) {
    TrainingPass pass(transformer_, 1, static_cast<std::int64_t>(tokens.size()), TrainingPass::Mode::evaluate);
    pass.set_batch(std::vector<std::int32_t>(tokens.begin(), tokens.end()),
                   std::vector<std::int32_t>(tokens.size(), -1));
    const Tensor logits = pass.forward_logits();
    std::vector<float> values(tokens.size() * 60);
    backend_->download(logits, std::as_writable_bytes(std::span(values)));
    std::vector<double> result;
    for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
      double sum = 0.0;
      for (std::size_t id = 0; id < 60; ++id) sum += std::exp(static_cast<double>(values[i * 60 + id]));
      result.push_back(std::log(sum) - static_cast<double>(values[i * 60 + tokens[i + 1]]));
    }
    return result;
  }

  // The loss of the windows [first, first + length] of ids_ after `prefix`, and of the first token too.
  double expected(std::size_t length, const std::vector<TokenId>& prefix) {
    std::vector<double> all;
    for (std::size_t first = 0; first + 1 < ids_.size(); first += length) {
      const std::size_t end = std::min(first + length + 1, ids_.size());
      std::vector<TokenId> tokens = prefix;
      if (ids_[first] == prefix.front()) tokens.clear();
      const std::size_t put = tokens.size();
      tokens.insert(tokens.end(), ids_.begin() + static_cast<std::ptrdiff_t>(first),
                    ids_.begin() + static_cast<std::ptrdiff_t>(end));
      const std::vector<double> window = losses(tokens);
      const std::size_t skipped = first == 0 && put > 0 ? put - 1 : put;
      all.insert(all.end(), window.begin() + static_cast<std::ptrdiff_t>(skipped), window.end());
    }
    count_ = static_cast<std::int64_t>(all.size());
    return std::accumulate(all.begin(), all.end(), 0.0) / static_cast<double>(all.size());
  }

  std::unique_ptr<Backend> backend_ = make_backend("cpu");
  Transformer transformer_{*backend_, small_config(), DType::f32};
  std::vector<TokenId> ids_;
  std::size_t reported_ = 0;
  std::int64_t batches_ = 0;
  std::int64_t count_ = 0;
};

TEST_F(EvaluateTest, ThePrefixStandsBeforeEachWindow) {
  for (const std::int64_t seq_len : {12, 31}) {
    const EvaluationResult result = run(seq_len, {1});
    EXPECT_NEAR(result.loss, expected(static_cast<std::size_t>(seq_len - 1), {1}), 1e-5);
    EXPECT_EQ(result.targets, 50);
    EXPECT_EQ(result.targets, count_);
  }
  EXPECT_NEAR(run(14, {1, 0}).loss, expected(12, {1, 0}), 1e-5);
  // A window that begins with it is left alone.
  ids_[0] = 1;
  ids_[11] = 1;
  const EvaluationResult result = run(12, {1});
  EXPECT_NEAR(result.loss, expected(11, {1}), 1e-5);
  EXPECT_EQ(result.targets, 49);
  EXPECT_NE(run(12, {}).loss, result.loss);
}

TEST_F(EvaluateTest, ThePrefixLeavesRoomForTokens) {
  EXPECT_THROW(run(1, {1}), Error);
  EXPECT_NO_THROW(run(2, {1}));
}

TEST_F(EvaluateTest, ProgressCountsTheBatches) {
  run(10, {});
  EXPECT_EQ(reported_, 3u);  // 49 targets, 2 × 10 a batch
  EXPECT_EQ(batches_, 3);
  run(10, {}, 2);
  EXPECT_EQ(reported_, 2u);
  EXPECT_EQ(batches_, 2);
}

TEST(EvaluationShape, FollowsTheDataAndTheMemory) {
  Config config = small_config();
  config.max_positions = 32768;
  const auto shape = [&](std::uint64_t tokens, std::int64_t prefix, std::optional<std::int64_t> batch,
                         std::int64_t seq_len, std::uint64_t memory) {
    const EvaluationShape chosen = choose_evaluation_shape(config, DType::f32, tokens, prefix, batch, seq_len, memory);
    return std::pair(chosen.batch, chosen.seq_len);
  };
  using Pair = std::pair<std::int64_t, std::int64_t>;
  EXPECT_EQ(shape(658, 0, {}, 0, 0), Pair(1, 657));
  EXPECT_EQ(shape(658, 1, {}, 0, 0), Pair(1, 658));
  EXPECT_EQ(shape(70000, 0, {}, 0, 0), Pair(2, 32768));
  EXPECT_EQ(shape(10'000'000, 0, {}, 0, 0), Pair(2, 32768));
  EXPECT_EQ(shape(658, 0, {}, 64, 0), Pair(8, 64));
  EXPECT_EQ(shape(658, 0, 4, 0, 0), Pair(1, 657));
  EXPECT_EQ(shape(2, 0, {}, 0, 0), Pair(1, 1));
  EXPECT_EQ(shape(0, 0, {}, 0, 0), Pair(1, 1));
  // What was asked for stays; the rest is as large as fits.
  const auto needed = [&](std::int64_t batch, std::int64_t seq_len) {
    return TrainingPass::plan(config, DType::f32, batch, seq_len, TrainingPass::Mode::evaluate).activations;
  };
  EXPECT_EQ(shape(10'000'000, 0, {}, 0, needed(1, 32768)), Pair(1, 32768));
  EXPECT_EQ(shape(10'000'000, 0, {}, 0, needed(1, 8192)), Pair(1, 8192));
  EXPECT_EQ(shape(10'000'000, 0, 4, 0, needed(4, 1024)), Pair(4, 1024));
  EXPECT_EQ(shape(10'000'000, 0, {}, 512, needed(4, 512)), Pair(4, 512));
  EXPECT_EQ(shape(10'000'000, 0, 8, 512, 1), Pair(8, 512));
  EXPECT_EQ(shape(10'000'000, 0, {}, 0, 1), Pair(1, 32));
}

}  // namespace
}  // namespace mslt

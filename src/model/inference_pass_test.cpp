#include "model/inference_pass.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>

#include "backend/msl/host_backend.h"
#include "model/test_models.h"
#include "model/training_pass.h"

namespace mslt {
namespace {

using test::download;
using test::expect_error;
using test::random_ids;
using test::relative_error;

// f32 in another order of summation.
constexpr double tolerance = 1e-5;

class InferencePassTest : public testing::TestWithParam<test::Family> {
 protected:
  void SetUp() override { test::randomize(transformer_); }

  // Logits of the last token of `ids` without a cache.
  std::vector<float> uncached(Transformer& transformer, const std::vector<std::int32_t>& ids) {
    TrainingPass pass(transformer, 1, static_cast<std::int64_t>(ids.size()), TrainingPass::Mode::evaluate);
    pass.set_batch(ids, ids);
    const std::vector<float> all = download(*backend_, pass.forward_logits());
    return {all.end() - config_.vocab_size, all.end()};
  }

  void expect_same(const Tensor& logits, std::int64_t row, const std::vector<std::int32_t>& ids) {
    EXPECT_LE(relative_error(download(*backend_, logits.slice(row, 1)), uncached(transformer_, ids)), tolerance)
        << ids.size() << " tokens";
  }

  Config config_ = GetParam().config;
  std::unique_ptr<Backend> backend_ = make_backend("cpu");
  Transformer transformer_{*backend_, config_, DType::f32};
};

using Tokens = std::vector<std::span<const std::int32_t>>;

TEST_P(InferencePassTest, PrefillInOnePass) {
  for (const std::size_t length : {1u, 2u, 13u, 17u, 40u}) {
    KvCache cache(*backend_, config_, DType::f32, 1, 40);
    InferencePass pass(transformer_, cache);
    const std::vector<std::int32_t> ids = random_ids(length, config_.vocab_size, 1);
    const std::vector<int> slots = {0};
    expect_same(pass.forward(slots, Tokens{ids}), 0, ids);
    EXPECT_EQ(cache.length(0), static_cast<std::int64_t>(length));
  }
}

TEST_P(InferencePassTest, TokenByToken) {
  KvCache cache(*backend_, config_, DType::f32, 1, 40);
  InferencePass pass(transformer_, cache);
  const std::vector<std::int32_t> ids = random_ids(40, config_.vocab_size, 2);
  const std::vector<int> slots = {0};
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const Tensor logits = pass.forward(slots, Tokens{std::span(ids).subspan(i, 1)});
    expect_same(logits, 0, {ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(i) + 1});
  }
}

TEST_P(InferencePassTest, InChunks) {
  KvCache cache(*backend_, config_, DType::f32, 1, 40);
  InferencePass pass(transformer_, cache);
  const std::vector<std::int32_t> ids = random_ids(40, config_.vocab_size, 3);
  const std::vector<int> slots = {0};
  std::size_t done = 0;
  for (const std::size_t count : {5u, 11u, 1u, 20u, 3u}) {
    const Tensor logits = pass.forward(slots, Tokens{std::span(ids).subspan(done, count)});
    done += count;
    expect_same(logits, 0, {ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(done)});
  }
}

// Prompts of very different lengths, then decode steps, some of them with a new prompt and a continued one beside.
TEST_P(InferencePassTest, SequencesOfDifferentLengths) {
  KvCache cache(*backend_, config_, DType::f32, 12, 12 * 40);
  InferencePass pass(transformer_, cache);
  std::vector<std::vector<std::int32_t>> ids;
  std::vector<int> slots;
  for (const std::size_t length : {3u, 17u, 1u, 16u, 30u, 3u, 2u, 29u, 8u, 9u}) {
    ids.push_back(random_ids(length, config_.vocab_size, static_cast<std::uint32_t>(ids.size()) + 10));
    slots.push_back(11 - static_cast<int>(slots.size()));
  }
  Tokens tokens(ids.begin(), ids.end());
  const auto check = [&](const Tensor& logits) {
    ASSERT_EQ(logits.shape(), (Shape{static_cast<std::int64_t>(ids.size()), config_.vocab_size}));
    for (std::size_t i = 0; i < ids.size(); ++i) expect_same(logits, static_cast<std::int64_t>(i), ids[i]);
  };
  check(pass.forward(slots, tokens));
  for (std::uint32_t step = 0; step < 3; ++step) {
    const std::vector<std::int32_t> next = random_ids(ids.size(), config_.vocab_size, 30 + step);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      ids[i].push_back(next[i]);
      tokens[i] = std::span(ids[i]).last(1);
    }
    check(pass.forward(slots, tokens));
  }
  // A second turn of 4 tokens here, one token there, and two new prompts.
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const std::size_t count = i % 3 == 0 ? 4 : 1;
    const std::vector<std::int32_t> more = random_ids(count, config_.vocab_size, 40 + static_cast<std::uint32_t>(i));
    ids[i].insert(ids[i].end(), more.begin(), more.end());
  }
  ids.insert(ids.begin() + 4, random_ids(6, config_.vocab_size, 50));
  slots.insert(slots.begin() + 4, 1);
  ids.push_back(random_ids(5, config_.vocab_size, 51));
  slots.push_back(0);
  tokens.clear();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    tokens.push_back(std::span(ids[i]).subspan(static_cast<std::size_t>(cache.length(slots[i]))));
  }
  check(pass.forward(slots, tokens));
}

// The padded rows of a prompt lie outside its blocks and must land in nobody else's.
TEST_P(InferencePassTest, PaddingTouchesNoOtherSequence) {
  KvCache cache(*backend_, config_, DType::f32, 3, 120);
  InferencePass pass(transformer_, cache);
  std::vector<std::int32_t> ids = random_ids(15, config_.vocab_size, 60);
  const std::vector<std::int32_t> longer = random_ids(30, config_.vocab_size, 61);
  const std::vector<std::int32_t> shorter = random_ids(16, config_.vocab_size, 62);
  const std::vector<int> first = {0};
  const std::vector<int> others = {1, 2};
  pass.forward(first, Tokens{ids});
  pass.forward(others, Tokens{longer, shorter});
  ids.push_back(5);
  expect_same(pass.forward(first, Tokens{std::span(ids).last(1)}), 0, ids);
}

// One sequence at its last position beside another that goes on by many tokens.
TEST_P(InferencePassTest, ContinuesAtTheLastPosition) {
  KvCache cache(*backend_, config_, DType::f32, 2, 80);
  InferencePass pass(transformer_, cache);
  const std::vector<std::int32_t> full = random_ids(40, config_.vocab_size, 63);
  const std::vector<std::int32_t> other = random_ids(30, config_.vocab_size, 64);
  const std::vector<int> slots = {0, 1};
  pass.forward(slots, Tokens{std::span(full).first(39), std::span(other).first(2)});
  const Tensor logits = pass.forward(slots, Tokens{std::span(full).last(1), std::span(other).last(28)});
  expect_same(logits, 0, full);
  expect_same(logits, 1, other);
}

TEST_P(InferencePassTest, TruncationRollsBack) {
  KvCache cache(*backend_, config_, DType::f32, 2, 80);
  InferencePass pass(transformer_, cache);
  const std::vector<std::int32_t> ids = random_ids(35, config_.vocab_size, 4);
  const std::vector<std::int32_t> other = random_ids(20, config_.vocab_size, 5);
  const std::vector<int> both = {0, 1};
  pass.forward(both, Tokens{ids, other});
  for (const std::size_t kept : {33u, 16u, 15u, 1u, 0u}) {
    cache.truncate(0, static_cast<std::int64_t>(kept));
    std::vector<std::int32_t> changed(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(kept));
    changed.push_back(7);
    changed.push_back(3);
    const std::vector<int> slots = {0};
    expect_same(pass.forward(slots, Tokens{std::span(changed).last(2)}), 0, changed);
    cache.truncate(0, static_cast<std::int64_t>(kept));
  }
  std::vector<std::int32_t> longer = other;
  longer.push_back(9);
  const std::vector<int> slots = {1};
  expect_same(pass.forward(slots, Tokens{std::span(longer).last(1)}), 0, longer);
}

// The weights are exact in bf16, so that 16-bit storage of them changes nothing but the order of summation; a 16-bit
// cache rounds keys and values.
TEST_P(InferencePassTest, SixteenBitWeightsAndCache) {
  for (const DType dtype : {DType::bf16, DType::f16}) {
    Transformer half(*backend_, config_, dtype);
    test::randomize(half);
    const std::vector<std::int32_t> ids = random_ids(33, config_.vocab_size, 6);
    // f16 rounds small weights away, and positions are stored in the weights' dtype; compare within one dtype then.
    const std::vector<float> expected = uncached(half, ids);
    const std::vector<int> slots = {0};
    for (const DType cache_dtype : {DType::f32, dtype}) {
      KvCache cache(*backend_, config_, cache_dtype, 1, 40);
      InferencePass pass(half, cache);
      pass.forward(slots, Tokens{std::span(ids).first(20)});
      Tensor logits;
      for (std::size_t i = 20; i < ids.size(); ++i) logits = pass.forward(slots, Tokens{std::span(ids).subspan(i, 1)});
      const double rounding = cache_dtype == DType::f32 ? tolerance : dtype == DType::bf16 ? 1e-2 : 1e-3;
      EXPECT_EQ(logits.dtype(), DType::f32);
      EXPECT_LE(relative_error(download(*backend_, logits), expected), rounding)
          << name_of(dtype) << " weights, " << name_of(cache_dtype) << " cache";
    }
    if (dtype == DType::bf16 && config_.position != PositionType::sinusoidal) {
      EXPECT_LE(relative_error(expected, uncached(transformer_, ids)), tolerance);
    }
  }
}

// Tokens that lie on the device, in slots of different lengths, one of them empty.
TEST_P(InferencePassTest, StepsByTokensOnTheDevice) {
  const std::vector<std::int32_t> ids = random_ids(38, config_.vocab_size, 9);
  const std::vector<std::size_t> lengths = {17, 0, 32};
  const std::vector<int> slots = {2, 0, 1};
  KvCache cache(*backend_, config_, DType::f32, 3, 120);
  InferencePass pass(transformer_, cache);
  const std::vector<int> filled = {2, 1};
  pass.forward(filled, Tokens{std::span(ids).first(lengths[0]), std::span(ids).first(lengths[2])});
  for (std::size_t i = 0; i < 6; ++i) {
    const std::vector<std::int32_t> next = {ids[lengths[0] + i], ids[lengths[1] + i], ids[lengths[2] + i]};
    pass.set_next_tokens(next);
    const Tensor logits = pass.step(slots);
    for (std::size_t j = 0; j < 3; ++j) {
      expect_same(logits, static_cast<std::int64_t>(j),
                  {ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(lengths[j] + i + 1)});
    }
  }
  EXPECT_EQ(cache.length(2), 23);
  // Chosen tokens are read by the next step, with their logits behind them.
  const std::int64_t choices = config_.vocab_size - 3;
  const std::vector<float> logits = download(*backend_, pass.step(slots, choices));
  std::vector<std::int32_t> words(6);
  backend_->download(pass.next_tokens(3).words, std::as_writable_bytes(std::span(words)));
  for (std::size_t row = 0; row < 3; ++row) {
    const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(row * (logits.size() / 3));
    const auto largest = std::max_element(begin, begin + choices);
    EXPECT_EQ(words[row], largest - begin);
    EXPECT_EQ(std::bit_cast<float>(words[3 + row]), *largest);
  }
}

// Where products do norms and additions, and attention rotates and stores: by steps, and by a few tokens at once. Head
// sizes that kernels take whole, beside those of the families.
TEST_P(InferencePassTest, AgreesOnADeviceThatFuses) {
  if (msl_host_devices().empty()) GTEST_SKIP() << "this build has no msl-host";
  const auto device = make_backend("msl-host");
  ASSERT_GE(device->fused_rows({}, DType::f32, true), 6);
  for (const std::int64_t head_size : {config_.head_size, std::int64_t{16}}) {
    Config config = config_;
    config.head_size = head_size;
    Transformer expected(*backend_, config, DType::f32);
    Transformer transformer(*device, config, DType::f32);
    test::randomize(expected);
    test::randomize(transformer);
    const std::vector<std::int32_t> ids = random_ids(24, config.vocab_size, 11);
    KvCache cache(*device, config, DType::f32, 2, 80);
    InferencePass pass(transformer, cache);
    const std::vector<int> slots = {1, 0};
    std::array<std::size_t, 2> done = {5, 9};
    pass.forward(slots, Tokens{std::span(ids).first(done[0]), std::span(ids).first(done[1])});
    for (const std::size_t count : {1u, 3u, 1u, 1u}) {
      const Tensor logits =
          pass.forward(slots, Tokens{std::span(ids).subspan(done[0], count), std::span(ids).subspan(done[1], count)});
      for (std::size_t i = 0; i < 2; ++i) {
        done[i] += count;
        const std::vector<std::int32_t> seen(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(done[i]));
        std::vector<float> row = download(*device, logits.slice(static_cast<std::int64_t>(i), 1));
        row.resize(static_cast<std::size_t>(config.vocab_size));
        EXPECT_LE(relative_error(row, uncached(expected, seen)), tolerance) << done[i] << " tokens, head " << head_size;
      }
    }
  }
}

TEST_P(InferencePassTest, SameBitsEveryRun) {
  const std::vector<std::int32_t> ids = random_ids(23, config_.vocab_size, 7);
  const auto run = [&] {
    KvCache cache(*backend_, config_, DType::f32, 2, 80);
    InferencePass pass(transformer_, cache);
    const std::vector<int> slots = {1, 0};
    pass.forward(slots, Tokens{ids, std::span(ids).first(4)});
    return download(*backend_, pass.forward(slots, Tokens{std::span(ids).last(1), std::span(ids).first(1)}));
  };
  EXPECT_EQ(run(), run());
}

INSTANTIATE_TEST_SUITE_P(Families, InferencePassTest, testing::ValuesIn(test::families()),
                         [](const auto& instance) { return std::string(instance.param.name); });

// Columns behind the vocabulary change nothing in it.
TEST(InferencePassVocabulary, IsPaddedInside) {
  const auto backend = make_backend("cpu");
  Config config = test::small_gpt2();
  config.vocab_size = 1100;
  const std::vector<std::int32_t> ids = random_ids(9, config.vocab_size, 10);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    Transformer transformer(*backend, config, dtype);
    test::randomize(transformer);
    TrainingPass whole(transformer, 1, 9, TrainingPass::Mode::evaluate);
    whole.set_batch(ids, ids);
    const std::vector<float> all = download(*backend, whole.forward_logits());
    KvCache cache(*backend, config, DType::f32, 1, 40);
    InferencePass pass(transformer, cache);
    const std::vector<int> slots = {0};
    const Tensor logits = pass.forward(slots, Tokens{ids});
    ASSERT_EQ(logits.shape(), (Shape{1, 1152}));
    std::vector<float> row = download(*backend, logits);
    row.resize(1100);
    EXPECT_LE(relative_error(row, {all.end() - 1100, all.end()}), tolerance) << name_of(dtype);
  }
}

TEST(InferencePassErrors, LeaveTheCacheAsItWas) {
  const auto backend = make_backend("cpu");
  const Config config = test::small_gpt2();
  Transformer transformer(*backend, config, DType::f32);
  test::randomize(transformer);
  KvCache cache(*backend, config, DType::f32, 3, 48);  // 5 blocks
  InferencePass pass(transformer, cache);
  const std::vector<std::int32_t> ids = random_ids(40, config.vocab_size, 8);
  const std::vector<std::int32_t> bad = {1, 37};
  const std::vector<std::int32_t> negative = {-1};
  const std::vector<int> one = {0};
  const std::vector<int> two = {0, 1};
  const std::vector<int> twice = {2, 2};
  const std::vector<int> unknown = {3};
  const std::span<const std::int32_t> none;
  const std::int64_t free = cache.free_blocks();
  expect_error(ErrorKind::input, {"Token 37", "slot 1", "0 to 36"}, [&] { pass.forward(two, Tokens{ids, bad}); });
  expect_error(ErrorKind::input, {"Token -1"}, [&] { pass.forward(one, Tokens{negative}); });
  expect_error(ErrorKind::input, {"no tokens for slot 0"}, [&] { pass.forward(one, Tokens{none}); });
  expect_error(ErrorKind::input, {"Slot 2 is given twice"}, [&] { pass.forward(twice, Tokens{ids, ids}); });
  expect_error(ErrorKind::input, {"1 for 2"}, [&] { pass.forward(two, Tokens{ids}); });
  expect_error(ErrorKind::input, {"at least 1"}, [&] { pass.forward({}, {}); });
  expect_error(ErrorKind::usage, {"no slot 3"}, [&] { pass.forward(unknown, Tokens{ids}); });
  expect_error(ErrorKind::input, {"at least 1"}, [&] { pass.step({}); });
  expect_error(ErrorKind::input, {"Slot 2 is given twice"}, [&] { pass.step(twice); });
  // The first sequence fits, the second does not: the first gives its blocks back.
  expect_error(ErrorKind::memory, {"2 are free"}, [&] { pass.forward(two, Tokens{ids, ids}); });
  EXPECT_EQ(cache.free_blocks(), free);
  pass.forward(one, Tokens{ids});
  expect_error(ErrorKind::usage, {"40 positions"}, [&] { pass.forward(one, Tokens{std::span(ids).first(1)}); });
  EXPECT_EQ(cache.length(0), 40);

  KvCache foreign(*backend, test::small_llama(), DType::f32, 1, 40);
  expect_error(ErrorKind::usage, {"KV cache"}, [&] { InferencePass(transformer, foreign); });
}

}  // namespace
}  // namespace mslt

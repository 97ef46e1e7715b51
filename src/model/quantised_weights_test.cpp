// Tests of models whose products read quantised matrices.
#include "model/quantised_weights.h"

#include <gtest/gtest.h>

#include "backend/msl/host_backend.h"
#include "model/inference_pass.h"
#include "model/test_models.h"
#include "model/training_pass.h"
#include "tensor/quantize.h"

namespace mslt {
namespace {

using test::download;
using test::expect_error;
using test::random_ids;
using test::relative_error;
using test::upload;

// attention_out reads 40 columns, which are no whole groups.
Config config() {
  Config result = test::small_llama();
  result.channels = 64;
  result.ffn_size = 96;
  return result;
}

std::vector<float> rounded(const std::vector<float>& plain, Quantisation kind) {
  std::vector<float> result(plain.size());
  std::vector<Float16> scales(plain.size() / 32 * (kind == Quantisation::int4 ? 2 : 1));
  if (kind == Quantisation::int8) {
    std::vector<std::int8_t> values(plain.size());
    quantise_8_bit(plain, values, scales);
    dequantise_8_bit(values, scales, result);
  } else {
    std::vector<std::uint8_t> values(plain.size() / 2);
    quantise_4_bit(plain, values, scales);
    dequantise_4_bit(values, scales, result);
  }
  return result;
}

std::vector<float> logits_by_evaluation(Transformer& transformer, const std::vector<std::int32_t>& ids) {
  TrainingPass pass(transformer, 1, static_cast<std::int64_t>(ids.size()), TrainingPass::Mode::evaluate);
  pass.set_batch(ids, ids);
  return download(transformer.backend(), pass.forward_logits());
}

// The CPU rounds the input of each quantised product to 16 bits.
constexpr double rounded_input_tolerance = 2e-4;

// Of the last token: by one pass over all, and by steps behind a prompt.
void expect_logits_of_inference(Transformer& transformer, const std::vector<std::int32_t>& ids,
                                const std::vector<float>& expected) {
  Backend& backend = transformer.backend();
  KvCache cache(backend, config(), DType::f32, 1, 40);
  InferencePass pass(transformer, cache);
  const std::vector<int> slots = {0};
  const std::span<const std::int32_t> tokens = ids;
  const auto forward = [&](std::span<const std::int32_t> some) {
    return download(backend, pass.forward(slots, std::vector{some}));
  };
  EXPECT_LT(relative_error(forward(tokens), expected), rounded_input_tolerance);
  cache.truncate(0, 0);
  forward(tokens.first(18));
  forward(tokens.subspan(18, 1));
  EXPECT_LT(relative_error(forward(tokens.last(1)), expected), rounded_input_tolerance);
}

class QuantisedWeightsTest : public testing::TestWithParam<Quantisation> {};

TEST_P(QuantisedWeightsTest, GiveTheLogitsOfTheValuesThatTheyHold) {
  const auto backend = make_backend("cpu");
  Transformer expected(*backend, config(), DType::f32);
  test::randomize(expected);
  Transformer quantised(*backend, config(), DType::f32);
  test::randomize(quantised);
  quantised.quantise(GetParam());
  const std::vector<std::int32_t> ids = random_ids(20, config().vocab_size, 1);
  const std::vector<float> plain = logits_by_evaluation(expected, ids);
  for (const Segment& segment : expected.layout().arena.segments()) {
    if (segment.shape.rank() != 2 || segment.name == "token_embedding.weight" || segment.shape[1] % 32 != 0) continue;
    const Tensor tensor = expected.parameters().tensor(segment);
    const bool head = segment.name == "lm_head.weight";
    upload(*backend, tensor, rounded(download(*backend, tensor), head ? Quantisation::int8 : GetParam()));
  }
  const std::vector<float> all = logits_by_evaluation(expected, ids);
  EXPECT_GT(relative_error(plain, all), 1e-4);
  EXPECT_LT(relative_error(logits_by_evaluation(quantised, ids), all), rounded_input_tolerance);
  expect_logits_of_inference(quantised, ids, {all.end() - config().vocab_size, all.end()});

  if (msl_host_devices().empty()) GTEST_SKIP() << "this build has no msl-host, which fuses operations in decoding";
  const auto fusing = make_backend("msl-host");
  ASSERT_GE(fusing->fused_rows({}, DType::f32, true), 1);
  Transformer fused(*fusing, config(), DType::f32);
  test::randomize(fused);
  fused.quantise(GetParam());
  expect_logits_of_inference(fused, ids, {all.end() - config().vocab_size, all.end()});
}

INSTANTIATE_TEST_SUITE_P(, QuantisedWeightsTest, testing::Values(Quantisation::int8, Quantisation::int4));

TEST(QuantisedWeights, LeaveEmbeddingsAndIncompleteGroupsAndKeepLogitsIn8Bits) {
  const auto backend = make_backend("cpu");
  Config tied = config();
  tied.tied_embeddings = true;
  Transformer transformer(*backend, tied, DType::bf16);
  test::randomize(transformer);
  EXPECT_EQ(transformer.quantised().bytes(), 0u);
  transformer.quantise(Quantisation::int4);
  const QuantisedWeights& weights = transformer.quantised();
  const auto dtype = [&](const std::string& name) {
    const Tensor plain = transformer.parameters().tensor(name);
    return weights.find(name, plain).values.dtype();
  };
  EXPECT_EQ(dtype("layers.1.ffn_up.weight"), DType::u8);
  EXPECT_EQ(dtype("layers.1.attention_out.weight"), DType::bf16);
  EXPECT_EQ(dtype("token_embedding.weight"), DType::i8);
  transformer.quantise(Quantisation::none);
  EXPECT_EQ(weights.bytes(), 0u);
}

TEST(QuantisedWeights, NameTheMatrixThatCannotBeQuantised) {
  const auto backend = make_backend("cpu");
  Transformer transformer(*backend, config(), DType::f32);
  const Tensor matrix = transformer.parameters().tensor("layers.0.ffn_up.weight");
  upload(*backend, matrix, std::vector<float>(static_cast<std::size_t>(matrix.elements()), 1e9f));
  expect_error(ErrorKind::input, {"'layers.0.ffn_up.weight'", "f16 holds at most"},
               [&] { transformer.quantise(Quantisation::int8); });
  EXPECT_EQ(quantisation_from_name("int4"), Quantisation::int4);
  expect_error(ErrorKind::usage, {"'q8'", "none, int8 and int4"}, [] { quantisation_from_name("q8"); });
}

}  // namespace
}  // namespace mslt

// Every launch that a tuning allows gives the results of the table's tuning, which the other suites compare with
// references.
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "backend/msl/msl_backend.h"
#include "backend/msl/tunables.h"
#include "tests/backend/backend_under_test.h"
#include "tests/backend/numeric_check.h"

namespace mslt::test {
namespace {

using Outputs = std::vector<std::pair<std::string, std::vector<double>>>;

// Runs operations and collects their outputs, with odd sizes.
class Operations {
 public:
  Operations(Backend& backend, DType dtype) : backend_(backend), dtype_(dtype) {}

  Outputs run() {
    outputs_.clear();
    for (const std::int64_t rows : {1, 3, 12, 40, 70}) products(rows, 131, 33);
    products(65, 24, 72);
    products(40, 48, 40);
    for (const std::int64_t rows : {1, 5, 40}) matvec(rows);
    // Many columns: groups with as many simdgroups as the tuning says.
    wide_matvec(16411, 8);
    elementwise(2 * 1031);
    gated(7, 45);
    layout();
    embedding();
    cache();
    norm(37, 64);
    norm(9, 77);
    for (const std::int64_t columns : {45, 1500}) loss(7, columns);
    sums(100003);
    optimizer(3001);
    return std::move(outputs_);
  }

 private:
  Guarded random(const Shape& shape) { return random(dtype_, shape); }
  Guarded random(DType dtype, const Shape& shape) {
    return upload(backend_, dtype, shape, random_values(dtype, shape.elements(), ++seed_));
  }
  Guarded integers(const Shape& shape, std::int64_t bound) {
    std::vector<double> values(static_cast<std::size_t>(shape.elements()));
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<double>(i * 7 % static_cast<std::size_t>(bound));
    }
    return upload(backend_, DType::i32, shape, values);
  }
  void keep(const std::string& name, const Guarded& output) {
    EXPECT_TRUE(output.intact()) << name;
    outputs_.emplace_back(name, output.values());
  }

  void products(std::int64_t m, std::int64_t n, std::int64_t k) {
    const Guarded in = random({m, k});
    const Guarded weight = random({n, k});
    const Guarded bias = random({n});
    const Guarded out(backend_, dtype_, {m, n});
    backend_.run(MatmulForward{.out = out, .in = in, .weight = {weight}, .bias = bias, .activation = Activation::gelu});
    keep("matmul_forward", out);
    const Guarded dout = random({m, n});
    const Guarded din(backend_, dtype_, {m, k});
    backend_.run(MatmulBackwardInput{.din = din, .dout = dout, .weight = weight});
    keep("matmul_backward_input", din);
    const Guarded dweight = random({n, k});
    const Guarded dbias = random({n});
    backend_.run(MatmulBackwardWeight{.dweight = dweight, .dbias = dbias, .dout = dout, .in = in});
    keep("matmul_backward_weight", dweight);
    keep("bias gradient", dbias);
  }

  void matvec(std::int64_t rows) {
    const Guarded in = random({rows, 96});
    const Guarded out(backend_, dtype_, {rows, 521});
    const Guarded weight = random({521, 96});
    backend_.run(MatmulForward{.out = out, .in = in, .weight = {weight}});
    keep("matvec", out);
    const Guarded values = integers({521, 24}, 127);
    const Guarded scales = random(DType::f16, {521, 3});
    const Tensor bytes(values.tensor().buffer(), values.tensor().offset(), DType::i8, {521, 96});
    backend_.run(MatmulForward{.out = out, .in = in, .weight = {bytes, scales}});
    keep("matvec with i8", out);
  }

  void wide_matvec(std::int64_t columns, std::int64_t inner) {
    const Guarded in = random({1, inner});
    const Guarded weight = random({columns, inner});
    const Guarded out(backend_, dtype_, {1, columns});
    backend_.run(MatmulForward{.out = out, .in = in, .weight = {weight}});
    keep("wide matvec", out);
  }

  void elementwise(std::int64_t n) {
    const Guarded in = random({n});
    const Guarded dout = random({n});
    const Guarded out(backend_, dtype_, {n});
    backend_.run(ActivationForward{.activation = Activation::gelu, .out = out, .in = in});
    keep("gelu", out);
    backend_.run(ActivationBackward{.activation = Activation::relu, .din = out, .dout = dout, .in = in});
    keep("relu's gradient", out);
    const Guarded state = upload(backend_, DType::u32, {4}, {1, 2, 3, 0});
    backend_.run(DropElements{.out = out, .in = in, .dropout = {0.3f, 5, state}});
    keep("dropout", out);
    const Guarded copied = random({n});
    backend_.run(Add{.out = copied, .in = in});
    keep("add", copied);
    backend_.run(Copy{.out = copied, .in = dout});
    keep("copy", copied);
    backend_.run(Fill{.out = copied, .value = 1.5f});
    keep("fill", copied);
    const Guarded cast(backend_, dtype_ == DType::f32 ? DType::bf16 : DType::f32, {n});
    backend_.run(Cast{.out = cast, .in = in});
    keep("cast", cast);
  }

  void gated(std::int64_t rows, std::int64_t columns) {
    const Guarded in = random({rows, 2 * columns});
    const Guarded dout = random({rows, columns});
    const Guarded out(backend_, dtype_, {rows, columns});
    const Guarded din(backend_, dtype_, {rows, 2 * columns});
    backend_.run(ActivationForward{.activation = Activation::swiglu, .out = out, .in = in});
    backend_.run(ActivationBackward{.activation = Activation::swiglu, .din = din, .dout = dout, .in = in});
    keep("swiglu", out);
    keep("swiglu's gradient", din);
  }

  void layout() {
    const Guarded table = random({19, 77});
    const Guarded rows(backend_, dtype_, {11, 77});
    backend_.run(GatherRows{.out = rows, .in = table, .indices = integers({11}, 19)});
    keep("gather_rows", rows);
  }

  void embedding() {
    const Guarded tokens = integers({3, 41}, 17);
    const Guarded table = random({17, 75});
    const Guarded places = random({41, 75});
    const Guarded out(backend_, dtype_, {3, 41, 75});
    backend_.run(EmbeddingForward{.out = out, .tokens = tokens, .token_weight = table, .position_weight = places});
    keep("embedding", out);
    const Guarded dout = random({3, 41, 75});
    const Guarded dtable = random({17, 75});
    const Guarded dplaces = random({41, 75});
    backend_.run(
        EmbeddingBackward{.dtoken_weight = dtable, .dposition_weight = dplaces, .dout = dout, .tokens = tokens});
    keep("tokens' gradient", dtable);
    keep("positions' gradient", dplaces);
  }

  void cache() {
    const AttentionShape shape{2, 1, 40, 1.0f, true};
    const Guarded keys = random({4, KvCacheView::block_size, 40});
    const Guarded values = random({4, KvCacheView::block_size, 40});
    const Guarded blocks = upload(backend_, DType::i32, {2, 2}, {2, 0, 3, 1});
    backend_.run(KvCacheAppend{.cache = {keys, values, blocks}, .qkv = random({2, 21, 4 * 40}), .shape = shape});
    keep("cached keys", keys);
    keep("cached values", values);
  }

  void norm(std::int64_t rows, std::int64_t columns) {
    const Guarded residual = random({rows, columns});
    const Guarded x = random({rows, columns});
    const Guarded weight = random({columns});
    const Guarded bias = random({columns});
    const Guarded out(backend_, dtype_, {rows, columns});
    const Guarded sum(backend_, dtype_, {rows, columns});
    const Guarded mean(backend_, DType::f32, {rows});
    const Guarded rstd(backend_, DType::f32, {rows});
    backend_.run(ResidualNormForward{.out = out,
                                     .sum = sum,
                                     .mean = mean,
                                     .rstd = rstd,
                                     .residual = residual,
                                     .x = x,
                                     .weight = weight,
                                     .bias = bias});
    keep("norm", out);
    keep("sum", sum);
    keep("rstd", rstd);
    const Guarded dout = random({rows, columns});
    const Guarded dsum(backend_, dtype_, {rows, columns});
    const Guarded dweight = random({columns});
    const Guarded dbias = random({columns});
    backend_.run(ResidualNormBackward{.dsum = dsum,
                                      .dweight = dweight,
                                      .dbias = dbias,
                                      .dout = dout,
                                      .sum = sum,
                                      .mean = mean,
                                      .rstd = rstd,
                                      .weight = weight});
    keep("norm's gradient", dsum);
    keep("norm weight's gradient", dweight);
    keep("norm bias's gradient", dbias);
  }

  void loss(std::int64_t rows, std::int64_t columns) {
    const Guarded logits = random({rows, columns});
    const Guarded losses(backend_, DType::f32, {rows});
    const Guarded scale = upload(backend_, DType::f32, {1}, {0.5});
    backend_.run(CrossEntropy{.losses = losses,
                              .logits = logits,
                              .targets = integers({rows}, columns - 3),
                              .vocab = columns - 3,
                              .loss_scale = scale});
    keep("losses", losses);
    keep("logits' gradient", logits);
  }

  void sums(std::int64_t n) {
    const Guarded in = random(DType::f32, {n});
    const Guarded total(backend_, DType::f32, {1});
    // All of one sign, so nothing cancels.
    const Guarded ones = upload(backend_, DType::f32, {n}, std::vector<double>(static_cast<std::size_t>(n), 0.75));
    backend_.run(Sum{.out = total, .in = ones});
    keep("sum of equals", total);
    const Guarded norm(backend_, DType::f32, {1});
    backend_.run(GlobalNorm{.out = norm, .gradients = in});
    keep("global_norm", norm);
  }

  void optimizer(std::int64_t n) {
    const Guarded p = random({n});
    const Guarded g = random({n});
    const Guarded m = random(DType::f32, {n});
    const Guarded v = upload(backend_, DType::f32, {n}, std::vector<double>(static_cast<std::size_t>(n), 0.25));
    const Guarded state = upload(backend_, DType::f32, {adamw_state_size}, {0.1, 1.0, 1.0, 1.0, 0.0});
    const Guarded norm = upload(backend_, DType::f32, {1}, {1.0});
    backend_.run(AdamWUpdate{
        .parameters = p, .gradients = g, .first_moment = m, .second_moment = v, .state = state, .norm = norm});
    keep("parameters", p);
    keep("first moment", m);
    if (dtype_ == DType::f32) return;
    const Guarded master = random(DType::f32, {n});
    backend_.run(AdamWUpdate{.parameters = p,
                             .gradients = g,
                             .first_moment = m,
                             .second_moment = v,
                             .master = master,
                             .state = state,
                             .norm = norm});
    keep("master weights", master);
  }

  Backend& backend_;
  DType dtype_;
  std::uint64_t seed_ = 0;
  Outputs outputs_;
};

// Tunings in which every member takes, at least once, each candidate of the autotuner and both ends of the range
// allowed in files.
std::vector<msl::Tuning> variants(const msl::Tuning& base, DType dtype) {
  const msl::TuneShape shape = {.batch = 2,
                                .steps = 9,
                                .channels = 32,
                                .ffn_size = 96,
                                .vocab_size = 300,
                                .heads = 2,
                                .kv_heads = 1,
                                .head_size = 16,
                                .parameters = 1000,
                                .dtype = dtype};
  const std::vector<msl::Tunable> tunables = msl::tunables(shape, 1 << 20);
  std::vector<msl::Tuning> all;
  const auto add = [&](const msl::TuningField& field, const std::vector<std::int64_t>& values) {
    if (values.size() > all.size()) all.resize(values.size(), base);
    for (std::size_t i = 0; i < all.size(); ++i) all[i].*field.member = values[i % values.size()];
  };
  // Two passes: the first one counts the variants for the second.
  for (int turn = 0; turn < 2; ++turn) {
    for (const msl::TuningField& field : msl::tuning_fields()) {
      std::vector<std::int64_t> values = {field.least, field.most};
      for (const msl::Tunable& tunable : tunables) {
        if (tunable.member == field.member) {
          values.insert(values.end(), tunable.candidates.begin(), tunable.candidates.end());
        }
      }
      add(field, values);
    }
  }
  return all;
}

std::string describe(const msl::Tuning& tuning) {
  return msl::format_tuning({.backend = "", .device = "", .measured_with = "", .tuning = tuning});
}

class TuningTest : public BackendTest {};

TEST_P(TuningTest, EveryCandidateGivesTheTablesResults) {
  auto* const msl_backend = dynamic_cast<MslBackend*>(&backend());
  if (msl_backend == nullptr) GTEST_SKIP() << "This device runs no kernels.";
  const msl::Tuning table = msl_backend->tuning();
  for (const DType dtype : activation_types(backend())) {
    const Outputs expected = Operations(backend(), dtype).run();
    for (const msl::Tuning& tuning : variants(table, dtype)) {
      SCOPED_TRACE(std::string(name_of(dtype)) + describe(tuning));
      msl_backend->set_tuning(tuning);
      const Outputs actual = Operations(backend(), dtype).run();
      ASSERT_EQ(actual.size(), expected.size());
      for (std::size_t i = 0; i < actual.size(); ++i) {
        SCOPED_TRACE(actual[i].first);
        expect_close(actual[i].second, expected[i].second, tolerance_of(dtype, 2e-6));
      }
      if (HasFailure()) return;
    }
    msl_backend->set_tuning(table);
  }
}

TEST_P(TuningTest, TheTuningDecidesWhichKernelsRun) {
  auto* const msl_backend = dynamic_cast<MslBackend*>(&backend());
  if (msl_backend == nullptr) GTEST_SKIP() << "This device runs no kernels.";
  if (GetParam() == "cuda") GTEST_SKIP() << "A library multiplies here; " << cuda_kernels_device << " has the kernels.";
  msl::Tuning tuning = msl_backend->tuning();
  const auto uses = [&](std::string_view kernel) {
    const auto used = msl_backend->recorder().used_kernels();
    return std::find(used.begin(), used.end(), kernel) != used.end();
  };
  const Guarded in = upload(backend(), DType::f32, {20, 8}, random_values(DType::f32, 160, 1));
  const Guarded weight = upload(backend(), DType::f32, {24, 8}, random_values(DType::f32, 192, 2));
  const Guarded out(backend(), DType::f32, {20, 24});
  const auto run = [&](std::int64_t direct_results, std::int64_t few_rows) {
    tuning.direct_results_forward = direct_results;
    tuning.few_rows = few_rows;
    msl_backend->set_tuning(tuning);
    backend().run(MatmulForward{.out = out, .in = in, .weight = {weight}});
  };
  run(20 * 24, 19);
  EXPECT_TRUE(uses("matmul_forward_direct_f32_f32"));
  EXPECT_FALSE(uses("matmul_forward_staged_f32_f32"));
  run(20 * 24 - 1, 19);
  EXPECT_TRUE(uses("matmul_forward_staged_f32_f32"));
  EXPECT_FALSE(uses("matvec_four_f32_f32"));
  run(0, 20);
  EXPECT_TRUE(uses("matvec_four_f32_f32"));
}

TEST_P(TuningTest, ImpossibleTuningsAreRefused) {
  auto* const msl_backend = dynamic_cast<MslBackend*>(&backend());
  if (msl_backend == nullptr) GTEST_SKIP() << "This device runs no kernels.";
  msl::Tuning tuning = msl_backend->tuning();
  tuning.tile_threads = 96;
  refuses("set_tuning", "'tile_threads' is 96; valid are powers of two, 32 to 512",
          [&] { msl_backend->set_tuning(tuning); });
}

INSTANTIATE_TEST_SUITE_P(Backends, TuningTest, testing::ValuesIn(test_backends()), test_backend_name);

}  // namespace
}  // namespace mslt::test

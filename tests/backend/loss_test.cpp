// Cross entropy and sums against the reference, on every backend.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/parallel.h"
#include "base/philox.h"
#include "tests/backend/backend_under_test.h"
#include "tests/backend/numeric_check.h"
#include "tests/backend/reference_elementwise.h"

namespace mslt::test {
namespace {

struct LossSize {
  std::int64_t rows, columns, vocab;
};

const std::vector<LossSize>& loss_sizes() {
  static const std::vector<LossSize> all = {{1, 1, 1},     {1, 7, 7},       {3, 16, 13},      {5, 128, 65},
                                            {40, 100, 97}, {9, 2048, 2001}, {3, 50304, 50257}};
  return all;
}

// Some are ignored, some past the vocabulary, including the last column.
std::vector<double> random_targets(const LossSize& s) {
  PhiloxStream stream(3, 0, 0);
  std::vector<double> targets;
  for (std::int64_t i = 0; i < s.rows; ++i) {
    const auto vocab = static_cast<double>(s.vocab);
    const double choices[] = {static_cast<double>(stream.below(static_cast<std::uint64_t>(s.vocab))), vocab - 1, -1,
                              vocab, 0};
    targets.push_back(choices[i % 5]);
  }
  return targets;
}

class LossTest : public BackendTest {};

TEST(LossReference, GradientsAreFiniteDifferences) {
  const std::vector<double> logits = random_values(DType::f32, 18, 1);
  const std::vector<double> targets = {2, -1, 4};
  const std::vector<double> gradient = reference_cross_entropy(logits, targets, 6, 5, 1.0).dlogits;
  EXPECT_LT(gradient_error(logits, gradient,
                           [&](const auto& v) {
                             const std::vector<double> losses = reference_cross_entropy(v, targets, 6, 5, 1.0).losses;
                             return std::accumulate(losses.begin(), losses.end(), 0.0);
                           }),
            1e-7);
}

TEST_P(LossTest, EqualsTheReference) {
  for (const LossSize& s : loss_sizes()) {
    for (const DType dtype : floating_types()) {
      SCOPED_TRACE(std::to_string(s.columns) + " columns " + std::string(name_of(dtype)));
      std::vector<double> values = random_values(dtype, s.rows * s.columns, 1);
      // Shifting a row changes nothing, but would overflow naive exponentials; padding must not matter.
      for (std::int64_t row = 0; row < s.rows; ++row) {
        for (std::int64_t c = 0; c < s.columns; ++c) {
          double& value = values[size(row * s.columns + c)];
          value = c >= s.vocab ? 1e4 : 3.0 * value + (row == 1 ? 500.0 : 0.0);
        }
      }
      values = rounded(dtype, values);
      const std::vector<double> target_values = random_targets(s);
      const Guarded targets = upload(backend(), DType::i32, {s.rows}, target_values);
      const Guarded logits = upload(backend(), dtype, {s.rows, s.columns}, values);
      const Guarded losses(backend(), DType::f32, {s.rows});
      const Guarded scale = upload(backend(), DType::f32, {1}, {0.125});
      const ReferenceLoss expected =
          reference_cross_entropy(values, target_values, size(s.columns), size(s.vocab), 0.125);
      const std::vector<std::byte> before = logits.bytes();
      backend().run(CrossEntropy{.losses = losses, .logits = logits, .targets = targets, .vocab = s.vocab});
      expect_close(losses.values(), expected.losses, 2e-7);
      EXPECT_EQ(logits.bytes(), before);
      const Guarded again(backend(), DType::f32, {s.rows});
      backend().run(
          CrossEntropy{.losses = again, .logits = logits, .targets = targets, .vocab = s.vocab, .loss_scale = scale});
      EXPECT_EQ(again.bytes(), losses.bytes());
      const std::vector<double> gradient = logits.values();
      if (s.vocab > 1) expect_close(gradient, expected.dlogits, tolerance_of(dtype));
      for (std::size_t i = 0; i < gradient.size(); ++i) {
        if (expected.dlogits[i] == 0.0) {
          EXPECT_EQ(gradient[i], 0.0) << i;
        }
      }
      EXPECT_TRUE(logits.intact() && losses.intact() && targets.intact());
    }
  }
}

// The gradient of capped logits, by the chain rule through the reference's own.
TEST_P(LossTest, SoftCapsEqualTheReference) {
  for (const LossSize& s : loss_sizes()) {
    for (const DType dtype : floating_types()) {
      SCOPED_TRACE(std::to_string(s.columns) + " columns " + std::string(name_of(dtype)));
      constexpr double cap = 1.5;
      std::vector<double> values = random_values(dtype, s.rows * s.columns, 1);
      for (std::size_t i = 0; i < values.size(); i += 3) values[i] *= 4.0;
      values = rounded(dtype, values);
      const std::vector<double> target_values = random_targets(s);
      const Guarded targets = upload(backend(), DType::i32, {s.rows}, target_values);
      const Guarded in = upload(backend(), dtype, {s.rows, s.columns}, values);
      const Guarded logits(backend(), dtype, {s.rows, s.columns});
      const Guarded losses(backend(), DType::f32, {s.rows});
      const Guarded scale = upload(backend(), DType::f32, {1}, {0.125});
      backend().run(SoftCap{.out = logits, .in = in, .cap = static_cast<float>(cap)});
      std::vector<double> expected = values;
      for (double& value : expected) value = cap * std::tanh(value / cap);
      const std::vector<double> capped = logits.values();
      expect_close(capped, expected, tolerance_of(dtype, 2e-7));
      backend().run(SoftCap{.out = in, .in = in, .cap = static_cast<float>(cap)});
      EXPECT_EQ(in.bytes(), logits.bytes());
      backend().run(CrossEntropy{.losses = losses,
                                 .logits = logits,
                                 .targets = targets,
                                 .vocab = s.vocab,
                                 .loss_scale = scale,
                                 .softcap = static_cast<float>(cap)});
      const ReferenceLoss reference =
          reference_cross_entropy(capped, target_values, size(s.columns), size(s.vocab), 0.125);
      expect_close(losses.values(), reference.losses, 2e-7);
      std::vector<double> gradient = reference.dlogits;
      for (std::size_t i = 0; i < gradient.size(); ++i) gradient[i] *= 1.0 - capped[i] * capped[i] / (cap * cap);
      if (s.vocab > 1) expect_close(logits.values(), gradient, tolerance_of(dtype));
      EXPECT_TRUE(logits.intact() && losses.intact() && in.intact());
    }
  }
}

TEST_P(LossTest, SoftCapsKeepSmallValuesAndTails) {
  const double infinity = std::numeric_limits<double>::infinity();
  const Guarded in = upload(backend(), DType::f32, {6}, {1e-6, -1e-3, 1e6, -1e30, infinity, std::nan("")});
  const Guarded out(backend(), DType::f32, {6});
  backend().run(SoftCap{.out = out, .in = in, .cap = 30.0f});
  const std::vector<double> values = out.values();
  EXPECT_NEAR(values[0], 1e-6, 3e-13);
  EXPECT_NEAR(values[1], -1e-3, 3e-10);
  EXPECT_EQ(values[2], 30.0);
  EXPECT_EQ(values[3], -30.0);
  EXPECT_EQ(values[4], 30.0);
  EXPECT_TRUE(std::isnan(values[5]));
}

TEST_P(LossTest, NanIsNotHidden) {
  std::vector<double> values(40, 1.0);
  values[3] = std::nan("");
  const Guarded logits = upload(backend(), DType::f32, {2, 20}, values);
  const Guarded targets = upload(backend(), DType::i32, {2}, {0.0, 0.0});
  const Guarded losses(backend(), DType::f32, {2});
  backend().run(CrossEntropy{.losses = losses, .logits = logits, .targets = targets, .vocab = 20});
  EXPECT_TRUE(std::isnan(losses.values()[0]));
  EXPECT_NEAR(losses.values()[1], std::log(20.0), 1e-6);
}

TEST_P(LossTest, ShowsRowsOfMinusInfinity) {
  std::vector<double> values(40, -std::numeric_limits<double>::infinity());
  std::fill(values.begin() + 20, values.end(), 1.0);
  const Guarded logits = upload(backend(), DType::f32, {2, 20}, values);
  const Guarded targets = upload(backend(), DType::i32, {2}, {0.0, 0.0});
  const Guarded losses(backend(), DType::f32, {2});
  const Guarded scale = upload(backend(), DType::f32, {1}, {1.0});
  backend().run(CrossEntropy{.losses = losses, .logits = logits, .targets = targets, .vocab = 20, .loss_scale = scale});
  const std::vector<double> gradient = logits.values();
  for (std::size_t i = 0; i < gradient.size(); ++i) EXPECT_EQ(std::isnan(gradient[i]), i < 20) << i;
  EXPECT_TRUE(std::isnan(losses.values()[0]));
  EXPECT_NEAR(losses.values()[1], std::log(20.0), 1e-6);
}

TEST_P(LossTest, BitsDoNotDependOnRunsOrThreads) {
  const Guarded targets = upload(backend(), DType::i32, {33}, std::vector<double>(33, 5.0));
  const Guarded scale = upload(backend(), DType::f32, {1}, {1.0});
  const Guarded values = upload(backend(), DType::f32, {100001}, random_values(DType::f32, 100001, 2));
  std::vector<std::vector<std::byte>> first;
  const int threads = parallel_threads();
  for (const int count : {1, 2, 5}) {
    set_parallel_threads(count);
    const Guarded logits = upload(backend(), DType::f32, {33, 1001}, random_values(DType::f32, 33 * 1001, 1));
    const Guarded losses(backend(), DType::f32, {33});
    const Guarded total(backend(), DType::f32, {1});
    backend().run(
        CrossEntropy{.losses = losses, .logits = logits, .targets = targets, .vocab = 1001, .loss_scale = scale});
    backend().run(Sum{.out = total, .in = values});
    const std::vector<std::vector<std::byte>> now = {logits.bytes(), losses.bytes(), total.bytes()};
    if (first.empty()) first = now;
    EXPECT_EQ(now, first) << count << " threads";
  }
  set_parallel_threads(threads);
}

TEST_P(LossTest, SumEqualsTheReference) {
  for (const std::int64_t n : {1, 3, 17, 8192, 100001}) {
    const std::vector<double> values = random_values(DType::f32, n, 1);
    const Guarded in = upload(backend(), DType::f32, {n}, values);
    const Guarded out = upload(backend(), DType::f32, {1}, {100.0});
    const double expected = std::accumulate(values.begin(), values.end(), 0.0);
    backend().run(Sum{.out = out, .in = in, .accumulate = true});
    EXPECT_NEAR(out.values()[0], expected + 100.0, 1e-5 * std::sqrt(static_cast<double>(n)) + 1e-5);
    backend().run(Sum{.out = out, .in = in});
    EXPECT_NEAR(out.values()[0], expected, 1e-6 * std::sqrt(static_cast<double>(n)));
    EXPECT_TRUE(out.intact() && in.intact());
  }
}

TEST_P(LossTest, NamesWrongArguments) {
  Backend& b = backend();
  const Guarded logits(b, DType::f32, {3, 8});
  const Guarded losses(b, DType::f32, {3});
  const Guarded targets(b, DType::i32, {3});
  const Guarded four(b, DType::i32, {4});
  const Guarded scale(b, DType::f32, {1});
  const auto entropy = [&](std::string_view part, const Tensor& l, const Tensor& x, const Tensor& t, std::int64_t vocab,
                           const Tensor& s) {
    refuses("cross_entropy: ", part,
            [&] { b.run(CrossEntropy{.losses = l, .logits = x, .targets = t, .vocab = vocab, .loss_scale = s}); });
  };
  entropy("losses is f32 [1]", scale, logits, targets, 8, {});
  entropy("logits is absent", losses, {}, targets, 8, {});
  entropy("logits is i32", losses, targets, targets, 3, {});
  entropy("targets is i32 [4]", losses, logits, four, 8, {});
  entropy("targets is f32", losses, logits, losses, 8, {});
  entropy("vocab is 9", losses, logits, targets, 9, {});
  entropy("vocab is 0", losses, logits, targets, 0, {});
  entropy("loss_scale is f32 [3]", losses, logits, targets, 8, losses);
  refuses("cross_entropy: ", "soft cap is -1", [&] {
    b.run(CrossEntropy{.losses = losses, .logits = logits, .targets = targets, .vocab = 8, .softcap = -1.0f});
  });
  refuses("soft_cap: ", "cap is 0", [&] { b.run(SoftCap{.out = logits, .in = logits, .cap = 0.0f}); });
  refuses("soft_cap: ", "in is absent", [&] { b.run(SoftCap{.out = logits, .in = {}, .cap = 1.0f}); });
  refuses("sum: ", "in is i32", [&] { b.run(Sum{.out = scale, .in = targets}); });
  refuses("sum: ", "out is f32 [3]", [&] { b.run(Sum{.out = losses, .in = losses}); });
  refuses("sum: ", "out is absent", [&] { b.run(Sum{.out = {}, .in = losses}); });
}

INSTANTIATE_TEST_SUITE_P(Backends, LossTest, testing::ValuesIn(test_backends()), test_backend_name);

}  // namespace
}  // namespace mslt::test

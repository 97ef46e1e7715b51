// The matrix products against the reference, on every backend.
#include <gtest/gtest.h>

#include <algorithm>
#include <string_view>

#include "backend/msl/drivers/host/sanitizer_hooks.h"
#include "tests/backend/backend_under_test.h"
#include "tests/backend/numeric_check.h"
#include "tests/backend/reference_linear.h"
#include "tests/backend/reference_norm.h"
#include "tests/backend/test_weight.h"

namespace mslt::test {
namespace {

struct LinearSize {
  std::int64_t m, n, k;
};

// Products with at most 48 · 48 results use the direct design on msl-host, the others the staged one. On a GPU the
// staged design takes at least 256 · 256 results, which each of the last four sizes has in one of the three products.
// {40, 48, 40} and {264, 264, 40} have tiles inside the matrix and at its edges, in rows of whole aligned spans.
const std::vector<LinearSize>& linear_sizes() {
  static const std::vector<LinearSize> all = {
      {1, 1, 1},    {1, 70, 33},   {2, 5, 300},    {3, 7, 1},      {8, 64, 64},    {9, 3, 17},    {12, 130, 31},
      {33, 17, 65}, {64, 128, 96}, {100, 1, 40},   {300, 75, 9},   {5, 33, 100},   {600, 40, 24}, {31, 129, 257},
      {24, 40, 16}, {40, 48, 40},  {264, 264, 40}, {260, 261, 17}, {263, 10, 259}, {5, 264, 262}};
  return all;
}

std::string describe(const LinearSize& s) {
  return "m " + std::to_string(s.m) + " n " + std::to_string(s.n) + " k " + std::to_string(s.k);
}

std::size_t count(std::int64_t n) {
  return static_cast<std::size_t>(n);
}

// A function of its own elements changes no thread's accesses, so one is enough for ThreadSanitizer.
std::vector<Activation> fused_activations() {
  if (msl::host::sanitizer::sees_races) return {Activation::none, Activation::gelu};
  return {Activation::none, Activation::gelu, Activation::gelu_erf, Activation::relu};
}

// Multiplies by the reference of the activation's derivative.
std::vector<double> times_derivative(std::vector<double> values, Activation activation,
                                     const std::vector<double>& pre) {
  for (std::size_t i = 0; i < values.size(); ++i) values[i] *= activation_derivative(activation, pre[i]);
  return values;
}

constexpr double f32_tolerance = 1e-6;  // the longest sums have 600 terms

// The CPU rounds the input of a quantised weight to 16 bits, with a scale for each 32 elements. Few results may cancel.
constexpr double rounded_input_tolerance = 1e-4;

class LinearTest : public BackendTest {
 protected:
  double tolerance_with(DType dtype, DType kept, std::int64_t k) const {
    if (!is_floating(kept) && std::string_view(GetParam()) == "cpu") return rounded_input_tolerance;
    return tolerance_of(dtype, k > 2000 ? 2.0 * f32_tolerance : f32_tolerance);
  }
};

std::string describe(DType dtype, DType kept) {
  return std::string(name_of(dtype)) + " with " + std::string(name_of(kept));
}

TEST_P(LinearTest, ForwardEqualsTheReference) {
  for (const LinearSize& s : linear_sizes()) {
    for (const DType dtype : activation_types(backend())) {
      const double tolerance = tolerance_of(dtype, f32_tolerance);
      const std::vector<double> in_values = random_values(dtype, s.m * s.k, 1);
      const Guarded in = upload(backend(), dtype, {s.m, s.k}, in_values);
      for (const DType kept : kept_types(dtype)) {
        const std::vector<double> weight_values = random_values(kept, s.n * s.k, 2);
        const std::vector<double> bias_values = random_values(kept, s.n, 3);
        const Guarded weight = upload(backend(), kept, {s.n, s.k}, weight_values);
        const Guarded bias = upload(backend(), kept, {s.n}, bias_values);
        for (const bool has_bias : {false, true}) {
          const std::vector<double> sums =
              reference_matmul(in_values, weight_values, has_bias ? bias_values : std::vector<double>(), count(s.m),
                               count(s.n), count(s.k));
          for (const Activation activation : fused_activations()) {
            // A library's products are rounded to 16 bits before the activation.
            const double roundings = dtype == DType::f32 ? 1.0 : roundings_of(activation, sums);
            std::vector<double> expected = sums;
            for (double& value : expected) value = activate(activation, value);
            for (const bool keeps : {false, true}) {
              SCOPED_TRACE(describe(s) + " " + describe(dtype, kept) + " activation " +
                           std::to_string(static_cast<int>(activation)) + " bias " + std::to_string(has_bias) +
                           " keeps " + std::to_string(keeps));
              const Guarded out(backend(), dtype, {s.m, s.n});
              const Guarded pre(backend(), dtype, {s.m, s.n});
              backend().run(MatmulForward{.out = out,
                                          .in = in,
                                          .weight = {weight},
                                          .bias = has_bias ? bias.tensor() : Tensor(),
                                          .activation = activation,
                                          .pre_activation = keeps ? pre.tensor() : Tensor()});
              if (keeps) expect_close(pre.values(), sums, tolerance);
              expect_close(out.values(), expected, roundings * tolerance);
              EXPECT_TRUE(out.intact() && pre.intact() && in.intact() && weight.intact() && bias.intact());
            }
          }
        }
      }
    }
  }
}

TEST_P(LinearTest, BackwardInputEqualsTheReference) {
  for (const LinearSize& s : linear_sizes()) {
    for (const DType dtype : activation_types(backend())) {
      const std::vector<double> dout_values = random_values(dtype, s.m * s.n, 1);
      const std::vector<double> weight_values = random_values(dtype, s.n * s.k, 2);
      const std::vector<double> pre_values = random_values(dtype, s.m * s.k, 3);
      const std::vector<double> before = random_values(dtype, s.m * s.k, 4);
      const Guarded dout = upload(backend(), dtype, {s.m, s.n}, dout_values);
      const Guarded weight = upload(backend(), dtype, {s.n, s.k}, weight_values);
      const Guarded pre = upload(backend(), dtype, {s.m, s.k}, pre_values);
      const std::vector<double> product = reference_matmul(
          dout_values, transposed(weight_values, count(s.n), count(s.k)), {}, count(s.m), count(s.k), count(s.n));
      for (const Activation activation : fused_activations()) {
        for (const bool accumulate : {false, true}) {
          SCOPED_TRACE(describe(s) + " " + std::string(name_of(dtype)) + " activation " +
                       std::to_string(static_cast<int>(activation)) + " accumulate " + std::to_string(accumulate));
          const Guarded din =
              accumulate ? upload(backend(), dtype, {s.m, s.k}, before) : Guarded(backend(), dtype, {s.m, s.k});
          backend().run(MatmulBackwardInput{.din = din,
                                            .dout = dout,
                                            .weight = weight,
                                            .activation = activation,
                                            .pre_activation = activation == Activation::none ? Tensor() : pre.tensor(),
                                            .accumulate = accumulate});
          std::vector<double> expected = times_derivative(product, activation, pre_values);
          for (std::size_t i = 0; accumulate && i < expected.size(); ++i) expected[i] += before[i];
          // A library's products are rounded to 16 bits before the derivative multiplies them.
          const bool is_rounded_twice = dtype != DType::f32 && activation != Activation::none;
          expect_close(din.values(), expected, (is_rounded_twice ? 2.0 : 1.0) * tolerance_of(dtype, f32_tolerance));
          EXPECT_TRUE(din.intact());
        }
      }
    }
  }
}

TEST_P(LinearTest, BackwardWeightEqualsTheReference) {
  for (const LinearSize& s : linear_sizes()) {
    for (const DType dtype : activation_types(backend())) {
      SCOPED_TRACE(describe(s) + " " + std::string(name_of(dtype)));
      const std::vector<double> dout_values = random_values(dtype, s.m * s.n, 1);
      const std::vector<double> in_values = random_values(dtype, s.m * s.k, 2);
      const std::vector<double> dweight_before = random_values(dtype, s.n * s.k, 3);
      const std::vector<double> dbias_before = random_values(dtype, s.n, 4);
      const Guarded dout = upload(backend(), dtype, {s.m, s.n}, dout_values);
      const Guarded in = upload(backend(), dtype, {s.m, s.k}, in_values);
      const Guarded dweight = upload(backend(), dtype, {s.n, s.k}, dweight_before);
      const Guarded dbias = upload(backend(), dtype, {s.n}, dbias_before);
      backend().run(MatmulBackwardWeight{.dweight = dweight, .dbias = dbias, .dout = dout, .in = in});
      std::vector<double> expected =
          reference_matmul(transposed(dout_values, count(s.m), count(s.n)),
                           transposed(in_values, count(s.m), count(s.k)), {}, count(s.n), count(s.k), count(s.m));
      for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += dweight_before[i];
      std::vector<double> sums = dbias_before;
      for (std::size_t i = 0; i < dout_values.size(); ++i) sums[i % count(s.n)] += dout_values[i];
      expect_close(dweight.values(), expected, tolerance_of(dtype, f32_tolerance));
      expect_close(dbias.values(), sums, tolerance_of(dtype, f32_tolerance));
      EXPECT_TRUE(dweight.intact() && dbias.intact());
      const Guarded alone = upload(backend(), dtype, {s.n, s.k}, dweight_before);
      backend().run(MatmulBackwardWeight{.dweight = alone, .dout = dout, .in = in});
      EXPECT_EQ(alone.bytes(), dweight.bytes());
    }
  }
}

TEST_P(LinearTest, GivesTheSameBitsAgain) {
  const LinearSize s = {700, 130, 200};
  const Guarded in = upload(backend(), DType::f32, {s.m, s.k}, random_values(DType::f32, s.m * s.k, 1));
  const Guarded weight = upload(backend(), DType::f32, {s.n, s.k}, random_values(DType::f32, s.n * s.k, 2));
  const Guarded bias = upload(backend(), DType::f32, {s.n}, random_values(DType::f32, s.n, 3));
  std::vector<std::vector<std::byte>> runs;
  for (int run = 0; run < 2; ++run) {
    const Guarded out(backend(), DType::f32, {s.m, s.n});
    const Guarded pre(backend(), DType::f32, {s.m, s.n});
    const Guarded din(backend(), DType::f32, {s.m, s.k});
    const Guarded dweight = upload(backend(), DType::f32, {s.n, s.k}, std::vector<double>(count(s.n * s.k)));
    const Guarded dbias = upload(backend(), DType::f32, {s.n}, std::vector<double>(count(s.n)));
    backend().run(MatmulForward{
        .out = out, .in = in, .weight = {weight}, .bias = bias, .activation = Activation::gelu, .pre_activation = pre});
    backend().run(MatmulBackwardInput{
        .din = din, .dout = out, .weight = weight, .activation = Activation::gelu, .pre_activation = in});
    backend().run(MatmulBackwardWeight{.dweight = dweight, .dbias = dbias, .dout = out, .in = in});
    std::vector<std::byte> all;
    for (const Guarded* tensor : {&out, &pre, &din, &dweight, &dbias}) {
      const std::vector<std::byte> bytes = tensor->bytes();
      all.insert(all.end(), bytes.begin(), bytes.end());
    }
    runs.push_back(std::move(all));
  }
  EXPECT_EQ(runs[0], runs[1]);
}

TEST_P(LinearTest, EveryKindOfWeightEqualsTheReference) {
  // Simdgroups share the long rows of the last ones, whose ends cut turns short.
  const std::vector<LinearSize> shapes = {{1, 1, 32},   {1, 70, 96},   {2, 33, 64},  {3, 5, 320},
                                          {8, 40, 32},  {11, 257, 64}, {40, 67, 96}, {1, 600, 256},
                                          {1, 9, 1312}, {5, 33, 800},  {1, 7, 5120}};
  for (const LinearSize& s : shapes) {
    for (const DType dtype : activation_types(backend())) {
      const std::vector<double> in_values = random_values(dtype, s.m * s.k, 1);
      const Guarded in = upload(backend(), dtype, {s.m, s.k}, in_values);
      std::vector<DType> weights = kept_types(dtype);
      weights.insert(weights.end(), {DType::i8, DType::u8});
      for (const DType kept : weights) {
        SCOPED_TRACE(describe(s) + " " + describe(dtype, kept));
        const TestWeight weight(backend(), kept, s.n, s.k);
        const DType bias_dtype = is_floating(kept) ? kept : dtype;
        const std::vector<double> bias_values = random_values(bias_dtype, s.n, 4);
        const Guarded bias = upload(backend(), bias_dtype, {s.n}, bias_values);
        const Guarded out(backend(), dtype, {s.m, s.n});
        const Guarded plain(backend(), dtype, {s.m, s.n});
        backend().run(MatmulForward{
            .out = out, .in = in, .weight = weight.weight(), .bias = bias, .activation = Activation::relu});
        backend().run(MatmulForward{.out = plain, .in = in, .weight = weight.weight()});
        const double tolerance = tolerance_with(dtype, kept, s.k);
        std::vector<double> expected =
            reference_matmul(in_values, weight.meaning, bias_values, count(s.m), count(s.n), count(s.k));
        for (double& value : expected) value = activate(Activation::relu, value);
        expect_close(out.values(), expected, tolerance);
        expect_close(plain.values(),
                     reference_matmul(in_values, weight.meaning, {}, count(s.m), count(s.n), count(s.k)), tolerance);
        EXPECT_TRUE(out.intact() && plain.intact());
      }
    }
  }
}

TEST_P(LinearTest, QuantisedWeightsMayBeginAnywhere) {
  const LinearSize s = {40, 9, 96};
  for (const DType dtype : activation_types(backend())) {
    const Guarded in = upload(backend(), dtype, {s.m, s.k}, random_values(dtype, s.m * s.k, 1));
    for (const DType kept : {DType::i8, DType::u8}) {
      SCOPED_TRACE(describe(dtype, kept));
      const TestWeight weight(backend(), kept, s.n, s.k);
      const TestWeight moved(backend(), kept, s.n, s.k, 8, 2);
      const Guarded whole(backend(), dtype, {s.m, s.n});
      const Guarded out(backend(), dtype, {s.m, s.n});
      backend().run(MatmulForward{.out = whole, .in = in, .weight = weight.weight()});
      backend().run(MatmulForward{.out = out, .in = in, .weight = moved.weight()});
      EXPECT_EQ(out.values(), whole.values());
      EXPECT_TRUE(out.intact());
    }
  }
}

TEST_P(LinearTest, FusedProductsEqualTheReference) {
  // Whole spans, some of them shared; then rows that the kernels do not normalise; then too many rows.
  // And sizes of the kernels for few rows of 16 bits: parts of a long inner length, and rows that end between tiles.
  const std::vector<LinearSize> shapes = {{1, 70, 64},  {3, 33, 96},   {1, 9, 1312},  {5, 33, 800},  {2, 7, 36},
                                          {70, 12, 64}, {17, 70, 160}, {17, 6, 3072}, {31, 18, 256}, {6, 34, 832}};
  for (const LinearSize& s : shapes) {
    for (const DType dtype : activation_types(backend())) {
      const std::vector<double> in_values = random_values(dtype, s.m * s.k, 1);
      const Guarded in = upload(backend(), dtype, {s.m, s.k}, in_values);
      std::vector<DType> weights = kept_types(dtype);
      if (s.k % 32 == 0) weights.insert(weights.end(), {DType::i8, DType::u8});
      for (const DType kept : weights) {
        const TestWeight weight(backend(), kept, s.n, s.k);
        const DType plain = is_floating(kept) ? kept : dtype;
        const std::vector<double> bias_values = random_values(plain, s.n, 4);
        const std::vector<double> gain_values = random_values(plain, s.k, 5);
        const std::vector<double> offset_values = random_values(plain, s.k, 6);
        const std::vector<double> before = random_values(dtype, s.m * s.n, 7);
        const Guarded bias = upload(backend(), plain, {s.n}, bias_values);
        const Guarded gain = upload(backend(), plain, {s.k}, gain_values);
        const Guarded offset = upload(backend(), plain, {s.k}, offset_values);
        for (const int norm : {0, 1, 2}) {  // none, LayerNorm, RMSNorm
          SCOPED_TRACE(describe(s) + " " + describe(dtype, kept) + " norm " + std::to_string(norm));
          const NormKind kind{.rms = norm == 2, .epsilon = 1e-5f, .weight_offset = norm == 2 ? 1.0f : 0.0f};
          const std::vector<double> offsets = norm == 1 ? offset_values : std::vector<double>();
          const std::vector<double> x =
              norm == 0 ? in_values : reference_norm(in_values, gain_values, offsets, kind).out;
          const Activation activation = norm == 0 ? Activation::none : Activation::relu;
          std::vector<double> expected =
              reference_matmul(x, weight.meaning, bias_values, count(s.m), count(s.n), count(s.k));
          for (double& value : expected) value = activate(activation, value);
          for (const bool accumulate : {false, true}) {
            const Guarded out = upload(backend(), dtype, {s.m, s.n}, before);
            backend().run(FusedProduct{.out = out,
                                       .in = in,
                                       .norm_weight = norm == 0 ? Tensor() : gain.tensor(),
                                       .norm_bias = norm == 1 ? offset.tensor() : Tensor(),
                                       .norm = kind,
                                       .weight = weight.weight(),
                                       .bias = bias,
                                       .activation = activation,
                                       .accumulate = accumulate});
            std::vector<double> sums = expected;
            for (std::size_t i = 0; accumulate && i < sums.size(); ++i) sums[i] += before[i];
            // Operations of their own round the norm and the product, too.
            const double tolerance = tolerance_with(dtype, kept, s.k);
            expect_close(out.values(), sums, (dtype == DType::f32 ? 1.0 : 3.0) * tolerance);
            EXPECT_TRUE(out.intact() && in.intact());
          }
        }
      }
    }
  }
}

TEST_P(LinearTest, FusedProductsRefuseWrongArguments) {
  const Guarded in(backend(), DType::f32, {2, 6});
  const Guarded out(backend(), DType::f32, {2, 5});
  const Guarded weight(backend(), DType::f32, {5, 6});
  const Guarded gain(backend(), DType::f32, {6});
  const auto refusal = [&](const FusedProduct& op) {
    return error_of(ErrorKind::input, [&] { backend().run(op); });
  };
  EXPECT_NE(refusal({.out = out, .in = in, .norm_weight = out, .weight = {weight}}).find("norm_weight is f32 [2, 5]"),
            std::string::npos);
  EXPECT_NE(refusal({.out = out, .in = in, .norm_bias = gain, .weight = {weight}}).find("norm_bias"),
            std::string::npos);
  EXPECT_NE(
      refusal({.out = out, .in = in, .norm_weight = gain, .norm_bias = out, .weight = {weight}}).find("norm_bias"),
      std::string::npos);
  EXPECT_NE(refusal({.out = in, .in = in, .weight = {weight}}).find("out is f32 [2, 6]"), std::string::npos);
  for (const Activation gated : {Activation::swiglu, Activation::geglu}) {
    EXPECT_NE(refusal({.out = out, .in = in, .weight = {weight}, .activation = gated}).find("gated"),
              std::string::npos);
  }
}

TEST_P(LinearTest, RefusesWrongArguments) {
  const auto f32 = [&](const Shape& shape) {
    return Guarded(backend(), DType::f32, shape);
  };
  const Guarded in = f32({4, 6});
  const Guarded out = f32({4, 5});
  const Guarded weight = f32({5, 6});
  const Guarded bias = f32({5});
  const Guarded wrong = f32({3, 7});
  const Guarded integers(backend(), DType::i32, {4, 5});
  const auto expect = [](const std::string& message, std::string_view part) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  const auto forward = [&](const Tensor& o, const Tensor& i, const Tensor& w, const Tensor& b, Activation a,
                           const Tensor& p) {
    const std::string message = error_of(ErrorKind::input, [&] {
      backend().run(MatmulForward{.out = o, .in = i, .weight = w, .bias = b, .activation = a, .pre_activation = p});
    });
    EXPECT_TRUE(message.starts_with("matmul_forward: ")) << message;
    return message;
  };
  using enum Activation;
  expect(forward({}, in, weight, bias, none, {}), "out is absent");
  expect(forward(out, {}, weight, bias, none, {}), "in is absent");
  expect(forward(out, in, {}, bias, none, {}), "weight is absent");
  expect(forward(wrong, in, weight, bias, none, {}), "out is f32 [3, 7]");
  expect(forward(integers, in, weight, bias, none, {}), "out is i32 [4, 5]");
  expect(forward(out, wrong, weight, bias, none, {}), "in is f32 [3, 7]");
  expect(forward(out, in, bias, bias, none, {}), "weight is f32 [5]");
  expect(forward(out, in, weight, wrong, none, {}), "bias is f32 [3, 7]");
  expect(forward(out, in, weight, bias, swiglu, {}), "swiglu");
  expect(forward(out, in, weight, bias, gelu, wrong), "pre_activation is f32 [3, 7]");
  expect(forward(out, in, weight, bias, gelu, out), "overlap");

  const auto input = [&](const Tensor& din, const Tensor& dout, const Tensor& w, Activation a, const Tensor& p) {
    const std::string message = error_of(ErrorKind::input, [&] {
      backend().run(MatmulBackwardInput{.din = din, .dout = dout, .weight = w, .activation = a, .pre_activation = p});
    });
    EXPECT_TRUE(message.starts_with("matmul_backward_input: ")) << message;
    return message;
  };
  const Guarded din = f32({4, 6});
  expect(input(wrong, out, weight, none, {}), "din is f32 [3, 7]");
  expect(input(din, wrong, weight, none, {}), "dout is f32 [3, 7]");
  expect(input(din, out, {}, none, {}), "weight is absent");
  expect(input(din, out, weight, none, in), "pre_activation is");
  expect(input(din, out, weight, gelu, {}), "pre_activation is absent");
  expect(input(din, out, weight, swiglu, in), "swiglu");
  expect(input(in, out, weight, relu, in), "overlap");

  const auto gradient = [&](const Tensor& dweight, const Tensor& dbias, const Tensor& dout, const Tensor& i) {
    const std::string message = error_of(ErrorKind::input, [&] {
      backend().run(MatmulBackwardWeight{.dweight = dweight, .dbias = dbias, .dout = dout, .in = i});
    });
    EXPECT_TRUE(message.starts_with("matmul_backward_weight: ")) << message;
    return message;
  };
  expect(gradient({}, bias, out, in), "dweight is absent");
  expect(gradient(weight, wrong, out, in), "dbias is f32 [3, 7]");
  expect(gradient(weight, bias, wrong, in), "dout is f32 [3, 7]");
  expect(gradient(weight, bias, out, wrong), "in is f32 [3, 7]");
}

// Results so many that a GPU's library is asked for parts of the rows: each row is as it is alone.
TEST_P(LinearTest, GelusGradientsOfManyRows) {
  if (backend().device().backend != "cuda") GTEST_SKIP() << "Only products on an NVIDIA GPU are that large.";
  constexpr std::int64_t rows = 65537;
  constexpr std::int64_t outputs = 8;
  constexpr std::int64_t inputs = 2048;
  constexpr double argument = 0.75;
  const std::vector<double> dout_values = random_values(DType::bf16, rows * outputs, 1);
  const std::vector<double> weight_values = random_values(DType::bf16, outputs * inputs, 2);
  const Guarded dout = upload(backend(), DType::bf16, {rows, outputs}, dout_values);
  const Guarded weight = upload(backend(), DType::bf16, {outputs, inputs}, weight_values);
  const Guarded pre(backend(), DType::bf16, {rows, inputs});
  const Guarded din(backend(), DType::bf16, {rows, inputs});
  backend().run(Fill{.out = pre, .value = static_cast<float>(argument)});
  backend().run(MatmulBackwardInput{
      .din = din, .dout = dout, .weight = weight, .activation = Activation::gelu, .pre_activation = pre});
  const double slope = activation_derivative(Activation::gelu, argument);
  for (const std::int64_t row : {std::int64_t{0}, rows / 2 - 1, rows / 2, rows - 1}) {
    SCOPED_TRACE(row);
    std::vector<double> expected(size(inputs), 0.0);
    for (std::int64_t j = 0; j < outputs; ++j) {
      for (std::int64_t i = 0; i < inputs; ++i) {
        expected[size(i)] += slope * dout_values[size(row * outputs + j)] * weight_values[size(j * inputs + i)];
      }
    }
    const Guarded one(backend(), DType::bf16, {1, inputs});
    backend().run(Copy{.out = one, .in = din.tensor().slice(row, 1)});
    expect_close(one.values(), expected, tolerance_of(DType::bf16, 1e-6));
  }
}

TEST_P(LinearTest, RefusesDtypesThatDoNotMeet) {
  Backend& b = backend();
  for (const auto& [dtype, other] : refused_pairs()) {
    SCOPED_TRACE(describe(dtype, other));
    const Guarded in(b, dtype, {4, 64});
    const Guarded out(b, dtype, {4, 5});
    const Guarded din(b, dtype, {4, 64});
    const Guarded weight(b, dtype, {5, 64});
    const Guarded bytes(b, DType::i8, {5, 64});
    const Guarded scales(b, DType::f16, {5, 2});
    const Guarded other_weight(b, other, {5, 64});
    const Guarded other_bias(b, other, {5});
    refuses("matmul_forward: ", unkept("weight", other_weight, "in", in),
            [&] { b.run(MatmulForward{.out = out, .in = in, .weight = {other_weight}}); });
    refuses("matmul_forward: ", unlike("bias", other_bias, "weight", weight),
            [&] { b.run(MatmulForward{.out = out, .in = in, .weight = {weight}, .bias = other_bias}); });
    refuses("matmul_forward: ", unkept("bias", other_bias, "in", in),
            [&] { b.run(MatmulForward{.out = out, .in = in, .weight = {bytes, scales}, .bias = other_bias}); });
    refuses("matmul_backward_input: ", unlike("weight", other_weight, "dout", out),
            [&] { b.run(MatmulBackwardInput{.din = din, .dout = out, .weight = other_weight}); });
    refuses("matmul_backward_weight: ", unlike("dweight", other_weight, "dout", out),
            [&] { b.run(MatmulBackwardWeight{.dweight = other_weight, .dout = out, .in = in}); });
    refuses("matmul_backward_weight: ", unlike("dbias", other_bias, "dout", out),
            [&] { b.run(MatmulBackwardWeight{.dweight = weight, .dbias = other_bias, .dout = out, .in = in}); });
  }
}

TEST_P(LinearTest, RefusesWrongWeights) {
  const Guarded in(backend(), DType::f32, {2, 64});
  const Guarded out(backend(), DType::f32, {2, 5});
  const Guarded plain(backend(), DType::f32, {5, 64});
  const Guarded bytes(backend(), DType::i8, {5, 64});
  const Guarded uneven(backend(), DType::i8, {5, 40});
  const Guarded nibbles(backend(), DType::u8, {5, 32});
  const Guarded scales(backend(), DType::f16, {5, 2});
  const Guarded wrong(backend(), DType::f16, {5, 3});
  const Guarded integers(backend(), DType::i32, {5, 64});
  const auto refuses = [&](const Tensor& o, const Tensor& i, const Weight& weight, const Tensor& bias,
                           std::string_view part) {
    const std::string message = error_of(
        ErrorKind::input, [&] { backend().run(MatmulForward{.out = o, .in = i, .weight = weight, .bias = bias}); });
    EXPECT_TRUE(message.starts_with("matmul_forward: ")) << message;
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  refuses(out, in, {}, {}, "weight is absent");
  refuses(out, in, {integers, {}}, {}, "weight is i32");
  refuses(out, in, {plain, scales}, {}, "weight.scales is f16");
  refuses(out, in, {bytes, {}}, {}, "weight.scales is absent");
  refuses(out, in, {bytes, wrong}, {}, "weight.scales is f16 [5, 3]");
  refuses(out, in, {nibbles, scales}, {}, "must be f16 [5, 2, 2]");
  refuses(out, in, {uneven, scales}, {}, "multiple of 32");
  refuses(out, out, {plain, {}}, {}, "in is f32 [2, 5]");
  refuses(in, in, {plain, {}}, {}, "out is f32 [2, 64]");
  refuses(out, in, {plain, {}}, out, "bias is f32 [2, 5]");
  refuses(out, in, Weight::by_columns(bytes), {}, "weight.scales is absent");
  Weight groups = {bytes, scales};
  groups.transposed = true;
  refuses(out, in, groups, {}, "a transposed weight must be f32, bf16 or f16");
}

// With bias, activation and the activation's argument, for few rows and for as many as a library multiplies.
TEST_P(LinearTest, TransposedWeightsEqualTheReferenceWhereTheyAreRead) {
  for (const LinearSize& s : {LinearSize{1, 70, 96}, LinearSize{3, 33, 64}, LinearSize{300, 67, 48}}) {
    for (const DType kept : kept_types(DType::f32)) {
      SCOPED_TRACE(describe(s) + " " + describe(DType::f32, kept));
      const std::vector<double> in_values = random_values(DType::f32, s.m * s.k, 1);
      const std::vector<double> weight_values = random_values(kept, s.n * s.k, 2);
      const std::vector<double> bias_values = random_values(kept, s.n, 4);
      std::vector<double> meaning;
      for (std::int64_t n = 0; n < s.n; ++n) {
        for (std::int64_t k = 0; k < s.k; ++k) meaning.push_back(weight_values[count(k * s.n + n)]);
      }
      const Guarded in = upload(backend(), DType::f32, {s.m, s.k}, in_values);
      const Guarded weight = upload(backend(), kept, {s.k, s.n}, weight_values);
      const Guarded bias = upload(backend(), kept, {s.n}, bias_values);
      const Guarded out(backend(), DType::f32, {s.m, s.n});
      const Guarded pre(backend(), DType::f32, {s.m, s.n});
      const auto run = [&] {
        backend().run(MatmulForward{.out = out,
                                    .in = in,
                                    .weight = Weight::by_columns(weight),
                                    .bias = bias,
                                    .activation = Activation::relu,
                                    .pre_activation = pre});
      };
      if (!backend().device().reads_transposed) {
        EXPECT_NE(error_of(ErrorKind::device, run).find("matmul_forward: the weight is transposed"), std::string::npos);
        return;
      }
      run();
      std::vector<double> expected =
          reference_matmul(in_values, meaning, bias_values, count(s.m), count(s.n), count(s.k));
      expect_close(pre.values(), expected, tolerance_with(DType::f32, kept, s.k));
      for (double& value : expected) value = activate(Activation::relu, value);
      expect_close(out.values(), expected, tolerance_with(DType::f32, kept, s.k));
      EXPECT_TRUE(out.intact() && pre.intact());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, LinearTest, testing::ValuesIn(test_backends()), test_backend_name);

}  // namespace
}  // namespace mslt::test

// Activations and dropout against the reference, on every backend.
#include <gtest/gtest.h>

#include <limits>

#include "tests/backend/backend_under_test.h"
#include "tests/backend/numeric_check.h"
#include "tests/backend/reference_attention.h"
#include "tests/backend/reference_elementwise.h"

namespace mslt::test {
namespace {

struct ActivationSize {
  std::int64_t rows, columns;
};

const std::vector<ActivationSize>& activation_sizes() {
  static const std::vector<ActivationSize> all = {{1, 1},   {1, 7},    {3, 16},   {5, 33},
                                                  {17, 64}, {70, 100}, {2, 4099}, {3, 2048}};
  return all;
}

const std::vector<Activation>& activations() {
  static const std::vector<Activation> all = {Activation::gelu, Activation::gelu_erf, Activation::relu,
                                              Activation::swiglu, Activation::geglu};
  return all;
}

class ActivationTest : public BackendTest {};
class DropoutTest : public BackendTest {};

// From deep in both tails to zero.
std::vector<double> wide_values(DType dtype, std::int64_t n, std::uint64_t seed) {
  std::vector<double> values = random_values(dtype, n, seed);
  for (std::size_t i = 0; i < values.size(); i += 5) values[i] *= 4.0;
  return rounded(dtype, values);
}

TEST(ActivationReference, GradientsAreFiniteDifferences) {
  const std::vector<double> dout = random_values(DType::f32, 12, 1);
  for (const Activation activation : activations()) {
    const std::vector<double> in = random_values(DType::f32, is_gated(activation) ? 24 : 12, 2);
    const std::vector<double> gradient = reference_activation_backward(activation, dout, in, 4);
    EXPECT_LT(
        gradient_error(in, gradient, [&](const auto& v) { return dot(dout, reference_activation(activation, v, 4)); }),
        1e-8);
  }
}

TEST_P(ActivationTest, EqualsTheReference) {
  for (const ActivationSize& s : activation_sizes()) {
    for (const DType dtype : floating_types()) {
      for (const Activation activation : activations()) {
        SCOPED_TRACE(std::to_string(s.rows) + " x " + std::to_string(s.columns) + " " + std::string(name_of(dtype)) +
                     " activation " + std::to_string(static_cast<int>(activation)));
        const std::int64_t width = is_gated(activation) ? 2 * s.columns : s.columns;
        const std::vector<double> in_values = wide_values(dtype, s.rows * width, 1);
        const std::vector<double> dout_values = random_values(dtype, s.rows * s.columns, 2);
        const Guarded in = upload(backend(), dtype, {s.rows, width}, in_values);
        const Guarded dout = upload(backend(), dtype, {s.rows, s.columns}, dout_values);
        const Guarded out(backend(), dtype, {s.rows, s.columns});
        const Guarded din(backend(), dtype, {s.rows, width});
        backend().run(ActivationForward{.activation = activation, .out = out, .in = in});
        const double tolerance = tolerance_of(dtype, 2e-7);
        expect_close(out.values(), reference_activation(activation, in_values, size(s.columns)), tolerance);
        backend().run(ActivationBackward{.activation = activation, .din = din, .dout = dout, .in = in});
        const std::vector<double> gradient =
            reference_activation_backward(activation, dout_values, in_values, size(s.columns));
        expect_close(din.values(), gradient, tolerance);
        // In place: over dout, or over the input of a gated one.
        const Guarded& place = is_gated(activation) ? in : dout;
        backend().run(ActivationBackward{.activation = activation, .din = place, .dout = dout, .in = in});
        EXPECT_EQ(place.bytes(), din.bytes());
        EXPECT_TRUE(in.intact() && dout.intact() && out.intact() && din.intact());
      }
    }
  }
}

TEST_P(ActivationTest, TailsGoToTheirLimits) {
  const double infinity = std::numeric_limits<double>::infinity();
  const Guarded in = upload(backend(), DType::f32, {6}, {-1e30, -200.0, -20.0, 20.0, 200.0, 1e15});
  const Guarded broken = upload(backend(), DType::f32, {2}, {std::nan(""), infinity});
  const Guarded out(backend(), DType::f32, {6});
  const Guarded results(backend(), DType::f32, {2});
  for (const Activation gelu : {Activation::gelu, Activation::gelu_erf}) {
    backend().run(ActivationForward{.activation = gelu, .out = out, .in = in});
    EXPECT_EQ(out.values(), (std::vector<double>{0.0, 0.0, 0.0, 20.0, 200.0, rounded(DType::f32, {1e15})[0]}));
    backend().run(ActivationBackward{.activation = gelu, .din = out, .dout = in, .in = in});
    EXPECT_EQ(out.values(), (std::vector<double>{0.0, 0.0, 0.0, 20.0, 200.0, rounded(DType::f32, {1e15})[0]}));
    backend().run(ActivationForward{.activation = gelu, .out = results, .in = broken});
    EXPECT_TRUE(std::isnan(results.values()[0]));
    EXPECT_EQ(results.values()[1], infinity);
  }
  backend().run(ActivationForward{.activation = Activation::relu, .out = results, .in = broken});
  EXPECT_TRUE(std::isnan(results.values()[0]));
}

// Relative to each value, not to the largest: an approximation of erf by a difference would fail this.
TEST_P(ActivationTest, ExactGeluKeepsItsDigitsInTheTail) {
  std::vector<double> values;
  for (double x = -12.0; x < 6.0; x += 0.0371) values.push_back(x);
  values = rounded(DType::f32, values);
  const auto count = static_cast<std::int64_t>(values.size());
  const Guarded in = upload(backend(), DType::f32, {count}, values);
  const Guarded ones = upload(backend(), DType::f32, {count}, std::vector<double>(values.size(), 1.0));
  const Guarded out(backend(), DType::f32, {count});
  const Guarded slope(backend(), DType::f32, {count});
  backend().run(ActivationForward{.activation = Activation::gelu_erf, .out = out, .in = in});
  backend().run(ActivationBackward{.activation = Activation::gelu_erf, .din = slope, .dout = ones, .in = in});
  const std::vector<double> found = out.values();
  const std::vector<double> found_slope = slope.values();
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double x = values[i];
    // The error of exp(-x² / 2) on a device without compensation or with an exp of 2 ulp.
    const double relative = 1e-6 + 0x1p-24 * x * x;
    const double expected = activate(Activation::gelu_erf, x);
    ASSERT_NEAR(found[i], expected, std::abs(expected) * relative) << x;
    const double derivative = activation_derivative(Activation::gelu_erf, x);
    ASSERT_NEAR(found_slope[i], derivative, x < -2.0 ? std::abs(derivative) * relative : 5e-7) << x;
  }
}

TEST_P(ActivationTest, NamesWrongArguments) {
  Backend& b = backend();
  const Guarded rows(b, DType::f32, {3, 8});
  const Guarded other(b, DType::f32, {3, 8});
  const Guarded wide(b, DType::f32, {3, 16});
  const Guarded half(b, DType::f16, {3, 8});
  const auto forward = [&](std::string_view part, Activation a, const Tensor& out, const Tensor& in) {
    refuses("activation_forward: ", part, [&] { b.run(ActivationForward{.activation = a, .out = out, .in = in}); });
  };
  forward("the activation is none", Activation::none, rows, other);
  forward("in is f32 [3, 16]", Activation::gelu, rows, wide);
  forward("in is f32 [3, 8]", Activation::swiglu, rows, other);
  forward("in is f16", Activation::gelu, rows, half);
  forward("out is absent", Activation::relu, {}, other);
  forward("overlap", Activation::relu, rows, rows);
  const auto backward = [&](std::string_view part, Activation a, const Tensor& din, const Tensor& dout,
                            const Tensor& in) {
    refuses("activation_backward: ", part,
            [&] { b.run(ActivationBackward{.activation = a, .din = din, .dout = dout, .in = in}); });
  };
  backward("din is f32 [3, 16]", Activation::gelu, wide, other, rows);
  backward("dout is absent", Activation::gelu, rows, {}, other);
  backward("in is f32 [3, 16]", Activation::gelu, rows, other, wide);
  backward("overlap", Activation::gelu, rows, other, rows);
}

TEST_P(DropoutTest, EqualsTheReference) {
  for (const ActivationSize& s : activation_sizes()) {
    for (const DType dtype : floating_types()) {
      for (const double probability : {0.0, 0.1, 0.5, 0.9}) {
        SCOPED_TRACE(std::to_string(s.rows) + " x " + std::to_string(s.columns) + " " + std::string(name_of(dtype)) +
                     " p " + std::to_string(probability));
        const std::vector<double> values = random_values(dtype, s.rows * s.columns, 1);
        const Guarded in = upload(backend(), dtype, {s.rows, s.columns}, values);
        const Guarded out(backend(), dtype, {s.rows, s.columns});
        const Guarded state = upload(backend(), DType::u32, {4}, {4000000000.0, 5.0, 77.0, 0.0});
        const auto p = static_cast<float>(probability);
        const Dropout dropout{p, 3, state};
        backend().run(DropElements{.out = out, .in = in, .dropout = dropout});
        const ReferenceDropout reference{static_cast<double>(p), 4000000000u | (std::uint64_t{5} << 32), 77, 3};
        std::vector<double> expected = values;
        for (std::size_t i = 0; i < expected.size(); ++i) expected[i] *= reference.factor(i);
        expect_close(out.values(), expected, tolerance_of(dtype, 1e-7));
        backend().run(DropElements{.out = in, .in = in, .dropout = dropout});
        EXPECT_EQ(in.bytes(), out.bytes());
        EXPECT_TRUE(in.intact() && out.intact());
      }
    }
  }
}

TEST_P(DropoutTest, DropsWhatIsNotFinite) {
  const double infinity = std::numeric_limits<double>::infinity();
  const Guarded in = upload(backend(), DType::f32, {64}, std::vector<double>(64, infinity));
  const Guarded state = upload(backend(), DType::u32, {4}, {1.0, 0.0, 0.0, 0.0});
  backend().run(DropElements{.out = in, .in = in, .dropout = {0.5f, 0, state}});
  for (const double value : in.values()) EXPECT_TRUE(value == 0.0 || value == infinity);
}

TEST_P(DropoutTest, NamesWrongArguments) {
  Backend& b = backend();
  const Guarded in(b, DType::f32, {3, 8});
  const Guarded wide(b, DType::f32, {3, 9});
  const Guarded half(b, DType::bf16, {3, 8});
  const Guarded state(b, DType::u32, {4});
  const Guarded few(b, DType::u32, {3});
  const auto both = [&](std::string_view part, const Tensor& out, const Tensor& from, const Dropout& dropout) {
    refuses("dropout", part, [&] { b.run(DropElements{.out = out, .in = from, .dropout = dropout}); });
    refuses("dropout", part, [&] { b.run(DropElements{.out = out, .in = from, .dropout = dropout}); });
  };
  both("out is f32 [3, 9]", wide, in, {0.5f, 0, state});
  both("out is bf16", half, in, {0.5f, 0, state});
  both("in is absent", in, {}, {0.5f, 0, state});
  both("probability is -0.5", in, in, {-0.5f, 0, state});
  both("probability is 1", in, in, {1.0f, 0, state});
  both("dropout.random_state is u32 [3]", in, in, {0.5f, 0, few});
}

INSTANTIATE_TEST_SUITE_P(Backends, ActivationTest, testing::ValuesIn(test_backends()), test_backend_name);
INSTANTIATE_TEST_SUITE_P(Backends, DropoutTest, testing::ValuesIn(test_backends()), test_backend_name);

}  // namespace
}  // namespace mslt::test

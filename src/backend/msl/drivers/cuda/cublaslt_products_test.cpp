// Tests of the products by cuBLASLt: every kind against double precision, the same bits again, refusals and plans.
#include "backend/msl/drivers/cuda/cublaslt_products.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "backend/msl/drivers/cuda/library_test.h"
#include "tests/backend/reference_linear.h"

namespace mslt::msl::cuda {
namespace {

using mslt::test::activate;
using mslt::test::activation_derivative;
using mslt::test::reference_matmul;
using mslt::test::roundings_of;
using mslt::test::transposed;
using test::GuardedArray;
using test::random_values;
using test::relative_error;
using test::tolerance_of;

struct Size {
  std::int64_t rows, outputs, inputs;
};

const std::vector<Size>& sizes() {
  static const std::vector<Size> all = {
      {1, 1, 1},    {1, 70, 33},    {2, 5, 300},    {3, 7, 1},     {8, 64, 64},    {9, 3, 17},     {12, 130, 31},
      {33, 17, 65}, {64, 128, 96},  {100, 1, 40},   {300, 75, 9},  {5, 33, 100},   {600, 40, 24},  {31, 129, 257},
      {24, 40, 16}, {260, 261, 17}, {263, 10, 259}, {5, 264, 262}, {97, 768, 768}, {513, 64, 192}, {2048, 72, 56}};
  return all;
}

constexpr DType dtypes[] = {DType::f32, DType::bf16, DType::f16};
constexpr double f32_tolerance = 1e-6;

std::size_t count(std::int64_t n) {
  return static_cast<std::size_t>(n);
}

std::string describe(const Product& p) {
  return fmt::format("kind {} {} into {} rows {} outputs {} inputs {} bias {} gelu {} keeps {} accumulate {} dbias {}",
                     static_cast<int>(p.kind), name_of(p.activations), name_of(p.result), p.rows, p.outputs, p.inputs,
                     p.bias, p.gelu, p.keeps, p.accumulate, p.bias_gradient);
}

// What a product writes and what it should.
struct Outcome {
  std::vector<double> result, pre_activation, bias_gradient;
  double roundings = 1.0;  // that the relative error of the result may come to
};

Product make(ProductKind kind, DType dtype, const Size& s) {
  Product p;
  p.kind = kind;
  p.activations = p.weights = p.result = dtype;
  p.rows = s.rows;
  p.outputs = s.outputs;
  p.inputs = s.inputs;
  return p;
}

// The operands of one product, on the host and on the GPU; those that it has not are empty.
class Operands {
 public:
  Operands(const Product& p, std::size_t shift = 0)
      : p_(p),
        forward_(p.kind == ProductKind::forward),
        in_values_(random_values(p.activations, has_in() ? p.rows * p.inputs : 0, 1)),
        weight_values_(random_values(p.weights, has_weight() ? p.outputs * p.inputs : 0, 2)),
        dout_values_(random_values(p.activations, forward_ ? 0 : p.rows * p.outputs, 3)),
        bias_values_(random_values(p.weights, p.bias ? p.outputs : 0, 4)),
        pre_values_(random_values(p.result, has_pre() && !forward_ ? p.rows * p.inputs : 0, 5)),
        before_(random_values(p.result, p.accumulate ? result_count() : 0, 6)),
        in_(p.activations, in_values_, shift),
        weight_(p.weights, weight_values_, shift),
        dout_(p.activations, dout_values_, shift),
        bias_(p.weights, bias_values_, shift),
        pre_(forward_ ? GuardedArray(p.result, has_pre() ? p.rows * p.outputs : 0, shift)
                      : GuardedArray(p.result, pre_values_, shift)),
        bias_gradient_(p.result, p.bias_gradient ? p.outputs : 0, shift),
        result_(p.accumulate ? GuardedArray(p.result, before_, shift) : GuardedArray(p.result, result_count(), shift)) {
  }

  ProductOperands addresses() const {
    ProductOperands operands;
    if (has_in()) operands.in = in_.data();
    if (has_weight()) operands.weight = weight_.data();
    if (!forward_) operands.dout = dout_.data();
    if (p_.bias) operands.bias = bias_.data();
    if (has_pre()) operands.pre_activation = pre_.data();
    if (p_.bias_gradient) operands.bias_gradient = bias_gradient_.data();
    operands.result = result_.data();
    return operands;
  }

  Outcome outcome() const {
    Outcome outcome{result_.values(), {}, {}, 1.0};
    if (p_.keeps) outcome.pre_activation = pre_.values();
    if (p_.bias_gradient) outcome.bias_gradient = bias_gradient_.values();
    return outcome;
  }

  Outcome expected() const {
    Outcome expected;
    const std::size_t m = count(p_.rows);
    const std::size_t n = count(p_.outputs);
    const std::size_t k = count(p_.inputs);
    if (forward_) {
      expected.result =
          reference_matmul(in_values_, weight_values_, p_.bias ? bias_values_ : std::vector<double>(), m, n, k);
      if (p_.keeps) expected.pre_activation = expected.result;
      if (!p_.gelu) return expected;
      // Before an activation, the library rounds to 16 bits once more.
      if (p_.activations != DType::f32) expected.roundings = roundings_of(Activation::gelu, expected.result);
      for (double& value : expected.result) value = activate(Activation::gelu, value);
      return expected;
    }
    if (p_.kind == ProductKind::input_gradient) {
      expected.result = reference_matmul(dout_values_, transposed(weight_values_, n, k), {}, m, k, n);
      for (std::size_t i = 0; p_.gelu && i < expected.result.size(); ++i) {
        expected.result[i] *= activation_derivative(Activation::gelu, pre_values_[i]);
      }
      if (p_.gelu && p_.activations != DType::f32) expected.roundings = 2.0;
    } else {
      expected.result = reference_matmul(transposed(dout_values_, m, n), transposed(in_values_, m, k), {}, n, k, m);
      if (p_.bias_gradient) expected.bias_gradient.assign(n, 0.0);
      for (std::size_t i = 0; p_.bias_gradient && i < dout_values_.size(); ++i) {
        expected.bias_gradient[i % n] += dout_values_[i];
      }
    }
    for (std::size_t i = 0; p_.accumulate && i < expected.result.size(); ++i) expected.result[i] += before_[i];
    return expected;
  }

  // Nothing wrote where it should not, and what is only read is as it was.
  bool intact() const {
    for (const GuardedArray* each : {&in_, &weight_, &dout_, &bias_, &pre_, &bias_gradient_, &result_}) {
      if (!each->intact()) return false;
    }
    return in_.values() == in_values_ && weight_.values() == weight_values_ && dout_.values() == dout_values_ &&
           bias_.values() == bias_values_ && (forward_ || pre_.values() == pre_values_);
  }

 private:
  bool has_in() const { return p_.kind != ProductKind::input_gradient; }
  bool has_weight() const { return p_.kind != ProductKind::weight_gradient; }
  bool has_pre() const { return p_.gelu && (p_.keeps || !forward_); }
  std::int64_t result_count() const {
    if (forward_) return p_.rows * p_.outputs;
    return p_.kind == ProductKind::input_gradient ? p_.rows * p_.inputs : p_.outputs * p_.inputs;
  }

  Product p_;
  bool forward_;
  std::vector<double> in_values_, weight_values_, dout_values_, bias_values_, pre_values_, before_;
  GuardedArray in_, weight_, dout_, bias_, pre_, bias_gradient_, result_;
};

class CublasLtProductsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!CublasLtProducts::available()) GTEST_SKIP() << "this build has no cuBLASLt";
    if (!test::has_gpu()) GTEST_SKIP() << "there is no NVIDIA GPU";
    products_ = std::make_unique<CublasLtProducts>(options_);
    workspace_ = allocate_device(options_.workspace_bytes);
  }

  void run(const Product& p, const Operands& operands) {
    products_->run(p, operands.addresses(), workspace_.get(), nullptr);
  }

  // Whether the product is served; if so, that it is right and gives the same bits again.
  bool check_product(const Product& p) {
    SCOPED_TRACE(describe(p));
    if (!products_->refusal(p).empty()) return false;
    const Operands operands(p);
    const Operands again(p);
    run(p, operands);
    run(p, again);
    const Outcome outcome = operands.outcome();
    const Outcome expected = operands.expected();
    const double tolerance = tolerance_of(p.result, p.activations == DType::f32 ? f32_tolerance : 1e-5);
    EXPECT_LE(relative_error(outcome.result, expected.result), expected.roundings * tolerance);
    EXPECT_LE(relative_error(outcome.pre_activation, expected.pre_activation), tolerance);
    EXPECT_LE(relative_error(outcome.bias_gradient, expected.bias_gradient), tolerance);
    EXPECT_TRUE(operands.intact());
    const Outcome second = again.outcome();
    EXPECT_EQ(outcome.result, second.result);
    EXPECT_EQ(outcome.pre_activation, second.pre_activation);
    EXPECT_EQ(outcome.bias_gradient, second.bias_gradient);
    return true;
  }

  ProductOptions options_;
  std::unique_ptr<CublasLtProducts> products_;
  DeviceMemory workspace_;
};

TEST_F(CublasLtProductsTest, ForwardEqualsTheReference) {
  for (const DType dtype : dtypes) {
    for (const Size& s : sizes()) {
      for (const bool bias : {false, true}) {
        Product p = make(ProductKind::forward, dtype, s);
        p.bias = bias;
        EXPECT_TRUE(check_product(p)) << products_->refusal(p);
        const bool has_gelu = dtype != DType::f32;
        p.gelu = true;
        EXPECT_EQ(check_product(p), has_gelu) << describe(p) << ": " << products_->refusal(p);
        p.keeps = true;
        EXPECT_EQ(check_product(p), has_gelu && s.outputs % 8 == 0) << describe(p) << ": " << products_->refusal(p);
      }
    }
  }
}

TEST_F(CublasLtProductsTest, InputGradientEqualsTheReference) {
  for (const DType dtype : dtypes) {
    for (const Size& s : sizes()) {
      Product p = make(ProductKind::input_gradient, dtype, s);
      EXPECT_TRUE(check_product(p)) << products_->refusal(p);
      p.accumulate = true;
      EXPECT_TRUE(check_product(p)) << products_->refusal(p);
      p.accumulate = false;
      p.gelu = true;
      EXPECT_EQ(check_product(p), dtype != DType::f32 && s.inputs % 8 == 0)
          << describe(p) << ": " << products_->refusal(p);
    }
  }
}

TEST_F(CublasLtProductsTest, WeightGradientEqualsTheReference) {
  for (const DType dtype : dtypes) {
    for (const Size& s : sizes()) {
      for (const bool accumulate : {false, true}) {
        Product p = make(ProductKind::weight_gradient, dtype, s);
        p.accumulate = accumulate;
        EXPECT_TRUE(check_product(p)) << products_->refusal(p);
        p.result = DType::f32;
        EXPECT_TRUE(check_product(p)) << products_->refusal(p);
      }
    }
  }
}

TEST_F(CublasLtProductsTest, BiasGradientEqualsTheReferenceWhereItIsServed) {
  for (const DType dtype : dtypes) {
    int served = 0;
    for (const Size& s : sizes()) {
      Product p = make(ProductKind::weight_gradient, dtype, s);
      p.accumulate = true;
      p.bias_gradient = true;
      served += check_product(p) ? 1 : 0;
    }
    if (dtype != DType::f32) {
      EXPECT_GT(served, 0) << name_of(dtype);
    }
  }
}

TEST_F(CublasLtProductsTest, TakesOperandsThatAreNotAligned) {
  for (const DType dtype : dtypes) {
    Product p = make(ProductKind::forward, dtype, {33, 24, 40});
    const std::size_t shift = size_of(dtype);
    const Operands operands(p, shift);
    p.alignment = alignment_of(operands.addresses());
    ASSERT_EQ(p.alignment, static_cast<int>(shift));
    if (!products_->refusal(p).empty()) continue;
    run(p, operands);
    EXPECT_LE(relative_error(operands.outcome().result, operands.expected().result),
              tolerance_of(dtype, f32_tolerance));
    EXPECT_TRUE(operands.intact());
    p.alignment = 16;
    EXPECT_THROW(run(p, operands), Error);
  }
}

// Large enough to be split over the rows, which is where an order could be left to chance.
TEST_F(CublasLtProductsTest, LongSumsGiveTheSameBitsAgain) {
  for (const DType dtype : dtypes) {
    Product p = make(ProductKind::weight_gradient, dtype, {16384, 256, 192});
    p.accumulate = true;
    SCOPED_TRACE(describe(p));
    const Operands first(p);
    run(p, first);
    const Outcome expected = first.outcome();
    for (int i = 0; i < 8; ++i) {
      const Operands again(p);
      run(p, again);
      ASSERT_EQ(again.outcome().result, expected.result);
    }
  }
}

class TimedProductsTest : public CublasLtProductsTest {
 protected:
  TimedProductsTest() {
    options_.timed_flops = 0.0;
    options_.timed_rows = 0;
  }
};

TEST_F(TimedProductsTest, TimingLeavesOperandsAlone) {
  for (const DType dtype : dtypes) {
    for (const Size& s : {Size{97, 64, 72}, Size{1024, 256, 128}}) {
      for (const ProductKind kind : {ProductKind::forward, ProductKind::input_gradient, ProductKind::weight_gradient}) {
        Product p = make(kind, dtype, s);
        p.accumulate = kind != ProductKind::forward;
        SCOPED_TRACE(describe(p));
        const Operands operands(p);
        run(p, operands);
        EXPECT_LE(relative_error(operands.outcome().result, operands.expected().result),
                  tolerance_of(dtype, f32_tolerance));
        EXPECT_TRUE(operands.intact());
        const ProductPlan plan = products_->plan(p);
        EXPECT_LE(plan.alike, plan.candidates);
        EXPECT_LE(plan.fastest_microseconds, plan.microseconds);
        EXPECT_LE(plan.workspace_bytes, options_.workspace_bytes);
      }
    }
  }
}

TEST_F(TimedProductsTest, GivesTheBitsOfProductsThatWereNotTimed) {
  ProductOptions untimed_options;
  untimed_options.timed_flops = 1e30;
  CublasLtProducts untimed(untimed_options);
  for (const DType dtype : dtypes) {
    for (const Size& s : {Size{97, 64, 72}, Size{1024, 768, 256}, Size{2048, 192, 128}}) {
      for (const ProductKind kind : {ProductKind::forward, ProductKind::input_gradient, ProductKind::weight_gradient}) {
        const Product p = make(kind, dtype, s);
        SCOPED_TRACE(describe(p));
        const Operands timed_operands(p);
        const Operands untimed_operands(p);
        run(p, timed_operands);
        untimed.run(p, untimed_operands.addresses(), workspace_.get(), nullptr);
        EXPECT_EQ(timed_operands.outcome().result, untimed_operands.outcome().result);
      }
    }
  }
}

// Prompts have many lengths. What was timed already serves them, too, unless they have a plan.
TEST_F(TimedProductsTest, LeavesOutTheTimingWhereAsked) {
  Product p = make(ProductKind::forward, DType::bf16, {1024, 768, 256});
  for (const int candidates_before : {0, 1}) {
    p.rows += 256;
    p.timed = candidates_before > 0;
    EXPECT_EQ(products_->plan(p).candidates > 0, p.timed);
    p.timed = !p.timed;
    EXPECT_GT(products_->plan(p).candidates, 0);
    p.timed = false;
    EXPECT_EQ(products_->plan(p).candidates > 0, candidates_before > 0);
  }
}

// A step of decoding is short, and so are most texts.
TEST_F(CublasLtProductsTest, TimesNoProductsOfDecoding) {
  EXPECT_EQ(products_->plan(make(ProductKind::forward, DType::bf16, {256, 50304, 768})).candidates, 0);
  EXPECT_GT(products_->plan(make(ProductKind::forward, DType::bf16, {512, 50304, 768})).candidates, 0);
}

TEST_F(CublasLtProductsTest, SaysWhatItDoesNotServe) {
  const Product whole = make(ProductKind::forward, DType::bf16, {8, 16, 24});
  EXPECT_EQ(products_->refusal(whole), "");
  const auto refused = [&](auto&& change) {
    Product p = whole;
    change(p);
    EXPECT_NE(products_->refusal(p), "") << describe(p);
    EXPECT_THROW(products_->plan(p), Error);
    EXPECT_THROW(products_->run(p, {}, nullptr, nullptr), Error);
  };
  refused([](Product& p) { p.activations = p.result = DType::f32; });
  refused([](Product& p) { p.weights = DType::i8; });
  refused([](Product& p) { p.activations = p.weights = p.result = DType::i32; });
  refused([](Product& p) { p.result = DType::f16; });
  refused([](Product& p) { p.rows = 0; });
  refused([](Product& p) { p.accumulate = true; });
  refused([](Product& p) { p.keeps = true; });
  refused([](Product& p) {
    p.activations = p.weights = p.result = DType::f32;
    p.gelu = true;
  });
  refused([](Product& p) { p.bias_gradient = true; });
  refused([](Product& p) {
    p.kind = ProductKind::input_gradient;
    p.gelu = p.accumulate = true;
  });
  EXPECT_THROW(products_->run(whole, {}, workspace_.get(), nullptr), Error);
}

}  // namespace
}  // namespace mslt::msl::cuda

// Tests of products of few rows with a quantised weight against double precision: all numbers of rows, ends of rows and
// tiles, each division of the work, norms, and the same bits again.
#include "backend/msl/drivers/cuda/quantised_product.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "backend/msl/drivers/cuda/few_rows_product.h"
#include "backend/msl/drivers/cuda/library_test.h"
#include "tests/backend/reference_norm.h"

namespace mslt::msl::cuda {
namespace {

using test::GuardedArray;
using test::random_values;
using test::relative_error;
using test::tolerance_of;

class QuantisedProductOnGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::has_gpu()) GTEST_SKIP() << "there is no NVIDIA GPU";
    if (!runs_few_rows_products()) GTEST_SKIP() << "the GPU has no compute capability 9.0";
    check(prepare_quantised_products(), "preparing");
  }
};

struct Sizes {
  std::uint32_t rows;
  std::uint32_t outputs;
  std::uint32_t inner;
};

// A weight of all numbers that its bits hold, and what they mean.
struct QuantisedWeight {
  QuantisedWeight(unsigned bits, std::int64_t outputs, std::int64_t inner)
      : factors(random_values(DType::f16, outputs * inner / 32 * (bits == 4 ? 2 : 1), 3)) {
    const std::vector<double> random = random_values(DType::f32, outputs * inner, 2);
    std::vector<double> numbers;
    for (const double value : random) {
      numbers.push_back(bits == 8 ? std::clamp(std::nearbyint(value * 60.0), -128.0, 127.0)
                                  : std::clamp(std::nearbyint(value * 4.0 + 7.5), 0.0, 15.0));
    }
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      const std::size_t group = i / 32;
      meaning.push_back(bits == 8 ? numbers[i] * factors[group]
                                  : numbers[i] * factors[2 * group] + factors[2 * group + 1]);
    }
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      if (bits == 8) {
        bytes.push_back(static_cast<std::byte>(static_cast<std::int8_t>(numbers[i])));
      } else if (i % 32 < 16) {
        bytes.push_back(static_cast<std::byte>(static_cast<unsigned>(numbers[i] + 16.0 * numbers[i + 16])));
      }
    }
  }

  std::vector<double> factors;
  std::vector<double> meaning;
  std::vector<std::byte> bytes;
};

// All operands of a product on the GPU, and what it gives in double precision.
struct Case {
  Case(DType type, unsigned weight_bits, const Sizes& s, unsigned norm_kind, bool adds)
      : dtype(type),
        weight_values(weight_bits, s.outputs, s.inner),
        in_values(random_values(type, std::int64_t{s.rows} * s.inner, 1)),
        bias_values(random_values(type, s.outputs, 4)),
        gain_values(random_values(type, s.inner, 5)),
        offset_values(random_values(type, s.inner, 6)),
        before(random_values(type, std::int64_t{s.rows} * s.outputs, 7)),
        in(type, in_values),
        weight(DType::u8, static_cast<std::int64_t>(weight_values.bytes.size())),
        scales(DType::f16, weight_values.factors),
        bias(type, bias_values),
        gain(type, gain_values),
        offset(type, offset_values),
        out(type, before) {
    weight.set_bytes(weight_values.bytes);
    product = {.in = in.data(),
               .weight = weight.data(),
               .scales = scales.data(),
               .bias = bias.data(),
               .gain = norm_kind != 0 ? gain.data() : nullptr,
               .offset = norm_kind == 1 ? offset.data() : nullptr,
               .out = out.data(),
               .rows = s.rows,
               .inner = s.inner,
               .outputs = s.outputs,
               .bits = weight_bits,
               .activation = adds ? 2u : 0u,
               .norm = norm_kind,
               .accumulate = adds ? 1u : 0u,
               .epsilon = 1e-5f,
               .weight_offset = norm_kind == 2 ? 1.0f : 0.0f};
  }

  std::vector<double> expected() const {
    std::vector<double> x = in_values;
    if (product.norm != 0) {
      const NormKind kind{.rms = product.norm == 2, .epsilon = product.epsilon, .weight_offset = product.weight_offset};
      x = mslt::test::reference_norm(in_values, gain_values, product.norm == 1 ? offset_values : std::vector<double>(),
                                     kind)
              .out;
    }
    std::vector<double> result;
    for (std::size_t row = 0; row < product.rows; ++row) {
      for (std::size_t output = 0; output < product.outputs; ++output) {
        double sum = bias_values[output];
        for (std::size_t k = 0; k < product.inner; ++k) {
          sum += x[row * product.inner + k] * weight_values.meaning[output * product.inner + k];
        }
        if (product.activation == 2) sum = std::max(sum, 0.0);
        result.push_back(product.accumulate != 0 ? before[row * product.outputs + output] + sum : sum);
      }
    }
    return result;
  }

  std::vector<std::byte> run() const {
    out.set_bytes(test::encode(dtype, before));
    check(launch_quantised_product(product, dtype, nullptr), "launching");
    return out.bytes();
  }

  bool intact() const { return out.intact() && in.intact() && weight.intact(); }

  DType dtype;
  QuantisedWeight weight_values;
  std::vector<double> in_values;
  std::vector<double> bias_values;
  std::vector<double> gain_values;
  std::vector<double> offset_values;
  std::vector<double> before;
  GuardedArray in;
  GuardedArray weight;
  GuardedArray scales;
  GuardedArray bias;
  GuardedArray gain;
  GuardedArray offset;
  GuardedArray out;
  QuantisedProduct product;
};

void expect_right(Case& each) {
  const QuantisedProduct& p = each.product;
  SCOPED_TRACE(fmt::format("{} {} bits [{}, {}] of {} norm {} sharing {}", name_of(each.dtype), p.bits, p.rows,
                           p.outputs, p.inner, p.norm, p.sharing));
  const std::vector<std::byte> first = each.run();
  // The norm's results are rounded, too.
  const double tolerance = tolerance_of(each.dtype) * (p.norm == 0 ? 1.0 : 1.5);
  EXPECT_LT(relative_error(test::decode(each.dtype, first), each.expected()), tolerance);
  EXPECT_EQ(first, each.run());
  EXPECT_TRUE(each.intact());
}

TEST_F(QuantisedProductOnGpu, ProductsEqualTheReference) {
  // Every end of a tile of rows; parts of a stage and of a tile of outputs; several tiles a warp.
  const std::vector<Sizes> sizes = {{1, 16, 64},   {1, 35, 2112}, {2, 9000, 128}, {3, 17, 320},  {7, 40, 1024},
                                    {8, 4300, 64}, {9, 33, 576},  {16, 50, 1088}, {17, 18, 448}, {32, 70, 768}};
  for (const DType dtype : {DType::bf16, DType::f16}) {
    for (const unsigned bits : {4u, 8u}) {
      for (const Sizes& s : sizes) {
        for (const unsigned norm : {0u, 1u, 2u}) {
          Case each(dtype, bits, s, norm, norm == 1);
          ASSERT_TRUE(each.product.plan());
          expect_right(each);
        }
      }
    }
  }
}

TEST_F(QuantisedProductOnGpu, RowsThatDoNotFitIntoSharedMemoryComeInParts) {
  for (const DType dtype : {DType::bf16, DType::f16}) {
    for (const unsigned bits : {4u, 8u}) {
      for (const Sizes& s : {Sizes{32, 40, 4160}, Sizes{9, 100, 12352}, Sizes{8, 33, 14336}}) {
        Case each(dtype, bits, s, 0, true);
        ASSERT_TRUE(each.product.plan());
        EXPECT_LT(each.product.part, s.inner);
        expect_right(each);
        // As on a GPU with so few multiprocessors that they have several tiles.
        each.product.groups = 2;
        each.product.sharing = 2;
        expect_right(each);
      }
    }
  }
}

TEST_F(QuantisedProductOnGpu, EveryDivisionOfTheWorkGivesTheSame) {
  for (const unsigned bits : {4u, 8u}) {
    for (const std::uint32_t rows : {5u, 20u}) {
      Case each(DType::bf16, bits, {rows, 100, 1984}, 0, true);
      ASSERT_TRUE(each.product.plan());
      for (const std::uint32_t sharing : {1u, 2u, 4u, 8u}) {
        for (const std::uint32_t groups : {1u, 3u, 7u}) {
          each.product.sharing = sharing;
          each.product.groups = groups;
          expect_right(each);
        }
      }
    }
  }
}

TEST_F(QuantisedProductOnGpu, SizesThatTheKernelHasNotAreRefused) {
  const auto takes = [](std::uint32_t rows, std::uint32_t outputs, std::uint32_t inner, std::uint32_t norm = 0) {
    QuantisedProduct product{.rows = rows, .inner = inner, .outputs = outputs, .norm = norm};
    return product.plan();
  };
  EXPECT_TRUE(takes(1, 1, 64));
  EXPECT_TRUE(takes(32, 1, 1024));
  EXPECT_FALSE(takes(1, 1, 32));
  EXPECT_FALSE(takes(1, 1, 96));
  EXPECT_FALSE(takes(33, 1, 64));
  EXPECT_FALSE(takes(0, 1, 64));
  EXPECT_FALSE(takes(1, 0, 64));
  EXPECT_FALSE(takes(1, 1, 0));
  // Rows that do not fit into shared memory whole.
  EXPECT_TRUE(takes(32, 1, 16384));
  EXPECT_FALSE(takes(32, 1, 16384, 2));
  EXPECT_FALSE(takes(32, 1000000, 16384));
}

}  // namespace
}  // namespace mslt::msl::cuda

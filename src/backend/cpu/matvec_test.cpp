// Tests of products of few rows: every kind of weight on every instruction set that this processor has.
#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/operations/operations.h"
#include "backend/registry.h"
#include "base/parallel.h"
#include "base/philox.h"
#include "tensor/half.h"
#include "tensor/quantize.h"

namespace mslt {
namespace {

// A tensor of its own memory, which ends with the tensor: sanitizers see what lies beyond.
struct Owned {
  Owned(DType dtype, const Shape& shape, std::shared_ptr<std::vector<std::byte>> bytes, Backend& backend)
      : memory(std::move(bytes)), buffer(backend.wrap(*memory, "test", memory)), tensor(*buffer, 0, dtype, shape) {}
  template <class T>
  Owned(Backend& backend, DType dtype, const Shape& shape, const std::vector<T>& values)
      : Owned(dtype, shape, std::make_shared<std::vector<std::byte>>(values.size() * sizeof(T)), backend) {
    std::memcpy(memory->data(), values.data(), memory->size());
  }

  std::shared_ptr<std::vector<std::byte>> memory;
  std::unique_ptr<Buffer> buffer;
  Tensor tensor;
};

std::vector<float> normals(std::int64_t count, std::uint32_t number) {
  std::vector<float> values(static_cast<std::size_t>(count));
  PhiloxStream random(5, 0, number);
  for (float& value : values) value = random.normal();
  return values;
}

// A weight of `dtype` in memory, and what it means. Plain ones may be stored transposed.
struct StoredWeight {
  StoredWeight(Backend& backend, DType dtype, std::int64_t n, std::int64_t k, bool transposed = false)
      : meaning(normals(n * k, 1)), is_transposed(transposed) {
    const std::size_t size = meaning.size();
    if (dtype == DType::i8 || dtype == DType::u8) {
      const std::size_t groups = size / static_cast<std::size_t>(quantisation_group);
      std::vector<Float16> factors(dtype == DType::u8 ? 2 * groups : groups);
      if (dtype == DType::i8) {
        std::vector<std::int8_t> bytes(size);
        quantise_8_bit(meaning, bytes, factors);
        dequantise_8_bit(bytes, factors, meaning);
        values.emplace_back(backend, dtype, Shape{n, k}, bytes);
      } else {
        std::vector<std::uint8_t> bytes(size / 2);
        quantise_4_bit(meaning, bytes, factors);
        dequantise_4_bit(bytes, factors, meaning);
        values.emplace_back(backend, dtype, Shape{n, k / 2}, bytes);
      }
      const std::int64_t row_groups = k / quantisation_group;
      values.emplace_back(backend, DType::f16, dtype == DType::u8 ? Shape{n, row_groups, 2} : Shape{n, row_groups},
                          factors);
      return;
    }
    const Shape shape = transposed ? Shape{k, n} : Shape{n, k};
    if (dtype == DType::f32) {
      values.emplace_back(backend, dtype, shape, stored(meaning, n, k));
      return;
    }
    std::vector<BFloat16> halves(size);
    for (std::size_t i = 0; i < size; ++i) {
      const BFloat16 brain = to_bfloat16(meaning[i]);
      const Float16 half = to_float16(meaning[i]);
      halves[i] = dtype == DType::bf16 ? brain : BFloat16{half.bits};
      meaning[i] = dtype == DType::bf16 ? to_float(brain) : to_float(half);
    }
    values.emplace_back(backend, dtype, shape, stored(halves, n, k));
  }

  // Elements [n, k] in the order in which they are stored.
  template <class T>
  std::vector<T> stored(const std::vector<T>& rows, std::int64_t n, std::int64_t k) const {
    if (!is_transposed) return rows;
    std::vector<T> columns;
    for (std::int64_t e = 0; e < k; ++e) {
      for (std::int64_t j = 0; j < n; ++j) columns.push_back(rows[static_cast<std::size_t>(j * k + e)]);
    }
    return columns;
  }

  Weight weight() const {
    if (is_transposed) return Weight::by_columns(values[0].tensor);
    return values.size() == 2 ? Weight(values[0].tensor, values[1].tensor) : Weight(values[0].tensor);
  }

  std::vector<float> meaning;
  bool is_transposed = false;
  std::vector<Owned> values;
};

struct Kind {
  DType dtype;
  bool transposed = false;
};
constexpr Kind kinds[] = {{DType::f32}, {DType::bf16},      {DType::f16},        {DType::i8},
                          {DType::u8},  {DType::f32, true}, {DType::bf16, true}, {DType::f16, true}};

class MatvecTest : public testing::Test {
 protected:
  ~MatvecTest() override {
    set_parallel_threads(threads_);
    choose_target(0);
  }

  // Every compiled instruction set that this processor has.
  static std::vector<std::int64_t> targets() {
    choose_target(0);
    return hwy::SupportedAndGeneratedTargets();
  }
  static void choose_target(std::int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }

  std::vector<float> product(const std::vector<float>& in, const Weight& weight, std::int64_t n, std::int64_t k,
                             bool independent_rows = false) {
    const std::int64_t m = static_cast<std::int64_t>(in.size()) / k;
    const Owned from(*backend_, DType::f32, {m, k}, in);
    const Owned out(*backend_, DType::f32, {m, n}, std::vector<float>(static_cast<std::size_t>(m * n), NAN));
    backend_->run(
        MatmulForward{.out = out.tensor, .in = from.tensor, .weight = weight, .independent_rows = independent_rows});
    std::vector<float> result(static_cast<std::size_t>(m * n));
    std::memcpy(result.data(), out.memory->data(), out.memory->size());
    return result;
  }

  std::unique_ptr<Backend> backend_ = make_backend("cpu");
  int threads_ = parallel_threads();
};

// Rows of the input that fill tiles and do not, the last as many as the library multiplies; lengths of whole chunks of
// 4 bits and with each tail; columns that fill neither tiles nor tasks.
TEST_F(MatvecTest, EqualsTheReferenceOnEveryInstructionSet) {
  struct Size {
    std::int64_t n, k;
  };
  for (const Size size : {Size{1, 32}, Size{37, 64}, Size{66, 96}, Size{7, 160}, Size{35, 576}, Size{5, 768},
                          Size{3, 33}, Size{34, 47}, Size{2, 1}}) {
    for (const auto& [dtype, transposed] : kinds) {
      if ((dtype == DType::i8 || dtype == DType::u8) && size.k % quantisation_group != 0) continue;
      const StoredWeight weight(*backend_, dtype, size.n, size.k, transposed);
      for (const std::int64_t m : {1, 2, 3, 4, 5, 6, 7, 8, 31, 32, 64, 65}) {
        const std::vector<float> in = normals(m * size.k, 2);
        for (const std::int64_t target : targets()) {
          SCOPED_TRACE(std::string(name_of(dtype)) + (transposed ? " transposed rows " : " rows ") + std::to_string(m) +
                       " columns " + std::to_string(size.n) + " length " + std::to_string(size.k) + " " +
                       hwy::TargetName(target));
          choose_target(target);
          const std::vector<float> out = product(in, weight.weight(), size.n, size.k);
          double error = 0.0;
          double norm = 0.0;
          for (std::int64_t i = 0; i < m; ++i) {
            for (std::int64_t j = 0; j < size.n; ++j) {
              double sum = 0.0;
              for (std::int64_t e = 0; e < size.k; ++e) {
                sum += static_cast<double>(in[static_cast<std::size_t>(i * size.k + e)]) *
                       static_cast<double>(weight.meaning[static_cast<std::size_t>(j * size.k + e)]);
              }
              const double difference = static_cast<double>(out[static_cast<std::size_t>(i * size.n + j)]) - sum;
              error += difference * difference;
              norm += sum * sum;
            }
          }
          // The input of a quantised weight is rounded to 16 bits, with a scale for each 32 elements.
          EXPECT_LE(std::sqrt(error / norm), is_floating(dtype) ? 1e-6 : 3e-5);
        }
      }
    }
  }
}

// Sequences that are decoded together do not change each other; nor do threads.
TEST_F(MatvecTest, BitsDependOnNeitherThreadsNorTheOtherRows) {
  constexpr std::int64_t n = 1030;
  for (const auto& [dtype, transposed] : kinds) {
    SCOPED_TRACE(std::string(name_of(dtype)) + (transposed ? " transposed" : ""));
    const std::int64_t k = is_floating(dtype) ? 357 : 352;
    const std::vector<float> in = normals(35 * k, 2);
    const StoredWeight weight(*backend_, dtype, n, k, transposed);
    for (const std::int64_t m : {1, 2, 3, 5, 7, 8, 35}) {
      const std::vector<float> rows(in.begin(), in.begin() + m * k);
      set_parallel_threads(1);
      const std::vector<float> alone = product(rows, weight.weight(), n, k, true);
      for (const int threads : {2, 3}) {
        set_parallel_threads(threads);
        EXPECT_EQ(product(rows, weight.weight(), n, k, true), alone) << m << " rows, " << threads << " threads";
      }
      if (m < 2) continue;
      const std::vector<float> pair(in.begin() + (m - 2) * k, in.begin() + m * k);
      const std::vector<float> two = product(pair, weight.weight(), n, k, true);
      EXPECT_TRUE(std::equal(two.begin(), two.end(), alone.end() - 2 * n)) << m << " rows";
      const std::vector<float> one = product({in.begin(), in.begin() + k}, weight.weight(), n, k, true);
      EXPECT_TRUE(std::equal(one.begin(), one.end(), alone.begin())) << m << " rows";
    }
  }
}

// Weights in 8 and 4 bits are converted for products of many rows by kernels of their own.
TEST_F(MatvecTest, ManyRowsMultiplyByTheSameWeights) {
  constexpr std::int64_t n = 70;
  constexpr std::int64_t k = 160;
  const std::vector<float> in = normals(70 * k, 2);
  for (const DType dtype : {DType::i8, DType::u8}) {
    const StoredWeight weight(*backend_, dtype, n, k);
    const Owned plain(*backend_, DType::f32, {n, k}, weight.meaning);
    for (const std::int64_t target : targets()) {
      SCOPED_TRACE(std::string(name_of(dtype)) + " " + hwy::TargetName(target));
      choose_target(target);
      EXPECT_EQ(product(in, weight.weight(), n, k), product(in, plain.tensor, n, k));
    }
  }
}

// Vectors of a row's scales and minima also hold the next row's.
TEST_F(MatvecTest, DamagedFactorsSpoilTheirRowAlone) {
  constexpr std::int64_t n = 40;
  constexpr std::int64_t k = 96;
  constexpr std::int64_t damaged = 5;
  for (const DType dtype : {DType::i8, DType::u8}) {
    const StoredWeight weight(*backend_, dtype, n, k);
    const Tensor factors = weight.values[1].tensor.slice(damaged, 1);
    for (Float16& factor : factors.host<Float16>()) factor = to_float16(NAN);
    for (const std::int64_t target : targets()) {
      choose_target(target);
      for (const std::int64_t m : {1, 2, 5, 40}) {
        const std::vector<float> out = product(normals(m * k, 2), weight.weight(), n, k, true);
        for (std::int64_t i = 0; i < m * n; ++i) {
          // The baseline's loads of f16 know no NaN.
          if (i % n == damaged) continue;
          EXPECT_FALSE(std::isnan(out[static_cast<std::size_t>(i)]))
              << name_of(dtype) << " element " << i << " of " << m << " rows, " << hwy::TargetName(target);
        }
      }
    }
  }
}

// The input's scales follow its elements: groups of it may be zero, far larger than others, or as large and as small as
// floats are.
TEST_F(MatvecTest, QuantisedWeightsTakeInputsOfAnyMagnitude) {
  constexpr std::int64_t n = 37;
  constexpr std::int64_t k = 160;
  const std::vector<float> factors = {1.0f, 0.0f, 1e4f, 1e-30f, 1e33f};
  const std::vector<float> in = normals(k, 2);
  for (const DType dtype : {DType::i8, DType::u8}) {
    const StoredWeight weight(*backend_, dtype, n, k);
    for (const std::int64_t target : targets()) {
      SCOPED_TRACE(std::string(name_of(dtype)) + " " + hwy::TargetName(target));
      choose_target(target);
      for (std::size_t g = 0; g < factors.size(); ++g) {
        std::vector<float> scaled(in.size(), 0.0f);
        for (std::size_t e = g * 32; e < g * 32 + 32; ++e) scaled[e] = in[e] * factors[g];
        const std::vector<float> out = product(scaled, weight.weight(), n, k);
        double error = 0.0;
        double norm = 0.0;
        for (std::size_t j = 0; j < out.size(); ++j) {
          double sum = 0.0;
          for (std::size_t e = 0; e < scaled.size(); ++e) {
            sum += static_cast<double>(scaled[e]) * static_cast<double>(weight.meaning[j * scaled.size() + e]);
          }
          const double difference = static_cast<double>(out[j]) - sum;
          error += difference * difference;
          norm += sum * sum;
        }
        EXPECT_LE(std::sqrt(error), 5e-5 * std::sqrt(norm)) << "times " << factors[g];
      }
    }
  }
}

// What is not a number stays in its row, and is not lost there.
TEST_F(MatvecTest, QuantisedWeightsKeepWhatIsNotFinite) {
  constexpr std::int64_t n = 5;
  constexpr std::int64_t k = 96;
  for (const DType dtype : {DType::i8, DType::u8}) {
    const StoredWeight weight(*backend_, dtype, n, k);
    for (const std::int64_t target : targets()) {
      SCOPED_TRACE(std::string(name_of(dtype)) + " " + hwy::TargetName(target));
      choose_target(target);
      for (const float wrong : {NAN, INFINITY, -INFINITY}) {
        std::vector<float> in = normals(3 * k, 2);
        in[static_cast<std::size_t>(k + 70)] = wrong;
        const std::vector<float> out = product(in, weight.weight(), n, k);
        for (std::size_t j = 0; j < out.size(); ++j) {
          EXPECT_EQ(std::isfinite(out[j]), j / static_cast<std::size_t>(n) != 1) << wrong << " element " << j;
        }
      }
    }
  }
}

}  // namespace
}  // namespace mslt

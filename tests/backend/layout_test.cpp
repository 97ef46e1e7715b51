// Copies, casts and rearrangements, exact on every backend.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "tests/backend/backend_under_test.h"
#include "tests/backend/numeric_check.h"

namespace mslt::test {
namespace {

class LayoutTest : public BackendTest {};

const std::vector<std::int64_t>& counts() {
  static const std::vector<std::int64_t> all = {1, 2, 7, 33, 64, 2047, 2049, 70001};
  return all;
}

TEST_P(LayoutTest, CastRoundsToNearestEven) {
  const double infinity = std::numeric_limits<double>::infinity();
  for (const std::int64_t n : counts()) {
    // All exponents, including subnormals of f16, and ties.
    std::vector<double> values = random_values(DType::f32, n, 1);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::ldexp(values[i], static_cast<int>(i % 60) - 30);
    if (n > 60) {
      const std::vector<double> special = {0.0,
                                           -0.0,
                                           infinity,
                                           -infinity,
                                           65504.0,
                                           65519.9,
                                           65520.0,
                                           1.0 + 0x1p-11,
                                           1.0 + 0x1.8p-10,
                                           0x1p-25,
                                           0x1.8p-25,
                                           1.0 + 0x1p-8,
                                           1.0 + 0x1.8p-7,
                                           1e-40,
                                           3.4e38,
                                           1.0 + 0x1.0002p-8,
                                           0x1p-24};
      std::copy(special.begin(), special.end(), values.begin() + 5);
    }
    for (const DType from : floating_types()) {
      const std::vector<double> source = rounded(from, values);
      const Guarded in = upload(backend(), from, {n}, source);
      for (const DType to : floating_types()) {
        if (from != to && from != DType::f32 && to != DType::f32) continue;
        SCOPED_TRACE(std::to_string(n) + " " + std::string(name_of(from)) + " to " + std::string(name_of(to)));
        const Guarded out(backend(), to, {n});
        backend().run(Cast{.out = out, .in = in});
        EXPECT_EQ(out.values(), rounded(to, source));
        EXPECT_TRUE(out.intact() && in.intact());
      }
    }
  }
}

TEST_P(LayoutTest, CastKeepsNan) {
  const Guarded in = upload(backend(), DType::f32, {40}, std::vector<double>(40, std::nan("")));
  for (const DType to : floating_types()) {
    const Guarded out = upload(backend(), to, {40}, std::vector<double>(40, 1.0));
    backend().run(Cast{.out = out, .in = in});
    for (const double value : out.values()) EXPECT_TRUE(std::isnan(value));
  }
}

TEST_P(LayoutTest, FillsCopiesAndAdds) {
  for (const std::int64_t n : counts()) {
    for (const DType dtype : floating_types()) {
      SCOPED_TRACE(std::to_string(n) + " " + std::string(name_of(dtype)));
      const std::vector<double> values = random_values(dtype, n, 1);
      const std::vector<double> more = random_values(dtype, n, 2);
      const Guarded in = upload(backend(), dtype, {n}, values);
      const Guarded out(backend(), dtype, {n});
      backend().run(Copy{.out = out, .in = in});
      EXPECT_EQ(out.bytes(), in.bytes());
      backend().run(Add{.out = out, .in = upload(backend(), dtype, {n}, more)});
      std::vector<double> sum = values;
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += more[i];
      EXPECT_EQ(out.values(), rounded(dtype, rounded(DType::f32, sum)));
      backend().run(Add{.out = in, .in = in});
      EXPECT_EQ(in.values()[0], 2.0 * values[0]);
      backend().run(Fill{.out = out, .value = 0.1f});
      EXPECT_EQ(out.values(), rounded(dtype, std::vector<double>(size(n), static_cast<double>(0.1f))));
      EXPECT_TRUE(out.intact() && in.intact());
    }
  }
  // Sums in f32 of 16-bit numbers.
  for (const DType dtype : {DType::bf16, DType::f16}) {
    const std::vector<double> values = random_values(DType::f32, 77, 1);
    const std::vector<double> more = random_values(dtype, 77, 2);
    const Guarded sums = upload(backend(), DType::f32, {77}, values);
    backend().run(Add{.out = sums, .in = upload(backend(), dtype, {77}, more)});
    std::vector<double> sum = values;
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += more[i];
    EXPECT_EQ(sums.values(), rounded(DType::f32, sum));
    EXPECT_TRUE(sums.intact());
  }
  const Guarded integers = upload(backend(), DType::i32, {3}, {1, -2, 3});
  const Guarded out(backend(), DType::i32, {3});
  backend().run(Copy{.out = out, .in = integers});
  EXPECT_EQ(out.bytes(), integers.bytes());
}

TEST_P(LayoutTest, GathersRows) {
  for (const std::int64_t columns : {1, 7, 64, 3001}) {
    for (const DType dtype : floating_types()) {
      const std::vector<double> values = random_values(dtype, 9 * columns, 1);
      const std::vector<double> wanted = {3, 8, -1, 0, 9, 3, 2147483647};
      const Guarded in = upload(backend(), dtype, {9, columns}, values);
      const Guarded indices = upload(backend(), DType::i32, {7}, wanted);
      const Guarded out(backend(), dtype, {7, columns});
      backend().run(GatherRows{.out = out, .in = in, .indices = indices});
      std::vector<double> expected;
      for (const double row : wanted) {
        for (std::int64_t c = 0; c < columns; ++c) {
          const bool exists = row >= 0 && row < 9;
          expected.push_back(exists ? values[static_cast<std::size_t>(row) * size(columns) + size(c)] : 0.0);
        }
      }
      EXPECT_EQ(out.values(), expected);
      EXPECT_TRUE(out.intact() && in.intact());
    }
  }
}

TEST_P(LayoutTest, EmptyTensorsAreNoWork) {
  const Guarded empty(backend(), DType::f32, {0});
  const Guarded other(backend(), DType::f32, {0});
  backend().run(Copy{.out = empty, .in = other});
  backend().run(Fill{.out = empty, .value = 1.0f});
  backend().run(Add{.out = empty, .in = other});
  backend().run(Cast{.out = empty, .in = other});
  EXPECT_TRUE(empty.intact() && other.intact());
}

TEST_P(LayoutTest, NamesWrongArguments) {
  Backend& b = backend();
  const Guarded q(b, DType::f32, {3, 8});
  const Guarded k(b, DType::f32, {3, 4});
  const Guarded v(b, DType::f32, {3, 4});
  const Guarded half(b, DType::f16, {3, 4});
  const Guarded integers(b, DType::i32, {3});
  refuses("cast: ", "out is f32 [3, 8]", [&] { b.run(Cast{.out = q, .in = k}); });
  refuses("cast: ", "in is i32", [&] { b.run(Cast{.out = q, .in = integers}); });
  refuses("cast: ", "out is f16 [3, 4] of 'guarded' and in is bf16 [3, 4] of 'guarded', but one of them must be f32",
          [&] { b.run(Cast{.out = half, .in = Guarded(b, DType::bf16, {3, 4})}); });
  refuses("cast: ", "overlap", [&] { b.run(Cast{.out = q, .in = q}); });
  refuses("fill: ", "out is i32", [&] { b.run(Fill{.out = integers, .value = 1.0f}); });
  refuses("fill: ", "out is absent", [&] { b.run(Fill{.out = {}, .value = 1.0f}); });
  refuses("copy: ", "out is f32 [3, 8]", [&] { b.run(Copy{.out = q, .in = k}); });
  refuses("copy: ", "out is f32", [&] { b.run(Copy{.out = k, .in = half}); });
  refuses("copy: ", "in is absent", [&] { b.run(Copy{.out = k, .in = {}}); });
  refuses("add: ", "out is f32 [3, 8]", [&] { b.run(Add{.out = q, .in = k}); });
  refuses("add: ", "in is f32", [&] { b.run(Add{.out = half, .in = v}); });
  refuses("add: ", "in is i32", [&] { b.run(Add{.out = k, .in = integers}); });
  refuses("gather_rows: ", "out is f32 [3, 8]", [&] { b.run(GatherRows{.out = q, .in = k, .indices = integers}); });
  refuses("gather_rows: ", "indices is f32", [&] { b.run(GatherRows{.out = v, .in = k, .indices = q}); });
  refuses("gather_rows: ", "in is i32", [&] { b.run(GatherRows{.out = v, .in = integers, .indices = integers}); });
  refuses("gather_rows: ", "overlap", [&] { b.run(GatherRows{.out = k, .in = k, .indices = integers}); });
}

INSTANTIATE_TEST_SUITE_P(Backends, LayoutTest, testing::ValuesIn(test_backends()), test_backend_name);

}  // namespace
}  // namespace mslt::test

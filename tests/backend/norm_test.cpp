// The norm operations against the reference, on every backend.
#include <gtest/gtest.h>

#include <cmath>

#include "base/parallel.h"
#include "tests/backend/backend_under_test.h"
#include "tests/backend/numeric_check.h"
#include "tests/backend/reference_attention.h"
#include "tests/backend/reference_norm.h"

namespace mslt::test {
namespace {

struct NormSize {
  std::int64_t rows, columns;
};

const std::vector<NormSize>& norm_sizes() {
  // Rows of up to 1,024 columns, and longer ones, which the MSL kernels treat in three ways each.
  static const std::vector<NormSize> all = {{1, 1},    {1, 2},    {2, 7},    {3, 8},    {5, 33},   {17, 64}, {130, 100},
                                            {33, 257}, {2, 1000}, {9, 3001}, {7, 1032}, {3, 4104}, {2, 8200}};
  return all;
}

const NormKind layer{false, 1e-5f};
const NormKind root{true, 1e-6f, 0.75f};

class NormTest : public BackendTest {};

TEST(NormReference, GradientsAreFiniteDifferences) {
  const std::vector<double> sum = random_values(DType::f32, 21, 1);
  const std::vector<double> weight = random_values(DType::f32, 7, 2);
  const std::vector<double> bias = random_values(DType::f32, 7, 3);
  const std::vector<double> dout = random_values(DType::f32, 21, 4);
  for (const NormKind& kind : {layer, root}) {
    const ReferenceNormGradient gradient = reference_norm_backward(dout, sum, weight, kind);
    const auto loss = [&](const std::vector<double>& s, const std::vector<double>& w, const std::vector<double>& b) {
      return dot(dout, reference_norm(s, w, b, kind).out);
    };
    EXPECT_LT(gradient_error(sum, gradient.dsum, [&](const auto& v) { return loss(v, weight, bias); }), 1e-7);
    EXPECT_LT(gradient_error(weight, gradient.dweight, [&](const auto& v) { return loss(sum, v, bias); }), 1e-7);
    EXPECT_LT(gradient_error(bias, gradient.dbias, [&](const auto& v) { return loss(sum, weight, v); }), 1e-7);
  }
}

TEST_P(NormTest, ForwardEqualsTheReference) {
  for (const NormSize& s : norm_sizes()) {
    const Shape shape{s.rows, s.columns};
    const std::int64_t n = s.rows * s.columns;
    for (const DType dtype : last_under_tsan(floating_types())) {
      for (const DType weight_dtype : kept_types(dtype)) {
        for (const bool rms : {false, true}) {
          for (const bool added : {false, true}) {
            const NormKind kind = rms ? root : layer;
            SCOPED_TRACE(shape.to_string() + " " + std::string(name_of(dtype)) + " weight " +
                         std::string(name_of(weight_dtype)) + " rms " + std::to_string(rms) + " x " +
                         std::to_string(added));
            const std::vector<double> residual_values = random_values(dtype, n, 1);
            const std::vector<double> x_values = random_values(dtype, n, 2);
            const std::vector<double> weight_values = random_values(weight_dtype, s.columns, 3);
            const std::vector<double> bias_values = random_values(weight_dtype, s.columns, 4);
            const Guarded residual = upload(backend(), dtype, shape, residual_values);
            const Guarded x = upload(backend(), dtype, shape, x_values);
            const Guarded weight = upload(backend(), weight_dtype, {s.columns}, weight_values);
            const Guarded bias = upload(backend(), weight_dtype, {s.columns}, bias_values);
            const Guarded sum(backend(), dtype, shape);
            const Guarded out(backend(), dtype, shape);
            const Guarded mean(backend(), DType::f32, {s.rows});
            const Guarded rstd(backend(), DType::f32, {s.rows});
            backend().run(ResidualNormForward{.out = out,
                                              .sum = added ? sum.tensor() : Tensor(),
                                              .mean = rms ? Tensor() : mean.tensor(),
                                              .rstd = rstd,
                                              .residual = residual,
                                              .x = added ? x.tensor() : Tensor(),
                                              .weight = weight,
                                              .bias = rms ? Tensor() : bias.tensor(),
                                              .kind = kind});
            std::vector<double> total = residual_values;
            for (std::size_t i = 0; added && i < total.size(); ++i) total[i] += x_values[i];
            // The norm is of the sum as it is stored.
            if (added) total = rounded(dtype, total);
            const ReferenceNorm expected =
                reference_norm(total, weight_values, rms ? std::vector<double>() : bias_values, kind);
            // A row of two elements may lose nearly all digits in the subtraction of its mean.
            const double tolerance = tolerance_of(dtype, s.columns == 2 ? 1e-5 : 5e-7);
            if (added) {
              EXPECT_EQ(sum.values(), total);
            }
            expect_close(out.values(), expected.out, tolerance);
            if (!rms) expect_close(mean.values(), expected.mean, 1e-5);
            if (s.columns > 1) expect_close(rstd.values(), expected.rstd, 1e-5);
            EXPECT_TRUE(out.intact() && sum.intact() && mean.intact() && rstd.intact());
            EXPECT_TRUE(residual.intact() && x.intact());
          }
        }
      }
    }
  }
}

// Fused rows of queries and keys, of heads of C columns, and values.
struct Fused {
  std::int64_t rows, columns, query_heads, key_heads, values;
  std::int64_t stride() const { return (query_heads + key_heads) * columns + values; }
};

const std::vector<Fused>& fused_sizes() {
  static const std::vector<Fused> all = {{1, 1, 1, 1, 1},  {5, 8, 2, 1, 8},   {34, 64, 3, 2, 64},
                                         {7, 33, 4, 2, 5}, {6, 16, 2, 1, 12}, {3, 1032, 1, 1, 8}};
  return all;
}

// Columns [first, first + count) of each row, one row after the other.
std::vector<std::byte> columns_of(const std::vector<std::byte>& bytes, const Fused& s, std::int64_t first,
                                  std::int64_t count) {
  const auto element = static_cast<std::int64_t>(bytes.size()) / (s.rows * s.stride());
  std::vector<std::byte> result;
  for (std::int64_t row = 0; row < s.rows; ++row) {
    const auto begin = bytes.begin() + (row * s.stride() + first) * element;
    result.insert(result.end(), begin, begin + count * element);
  }
  return result;
}

// The norm of pieces gives the bits of the norm of whole rows, in place or not, and leaves all other columns alone.
TEST_P(NormTest, PiecesOfRowsEqualWholeRows) {
  for (const Fused& s : fused_sizes()) {
    const RowPieces queries{0, s.query_heads};
    const RowPieces keys{s.query_heads * s.columns, s.key_heads};
    const std::int64_t rest = (s.query_heads + s.key_heads) * s.columns;
    const Shape shape{s.rows, s.stride()};
    for (const DType dtype : last_under_tsan(activation_types(backend()))) {
      for (const bool rms : {false, true}) {
        for (const bool in_place : {false, true}) {
          SCOPED_TRACE(shape.to_string() + " " + std::string(name_of(dtype)) + " rms " + std::to_string(rms) +
                       " in place " + std::to_string(in_place));
          const NormKind kind = rms ? root : layer;
          const std::vector<double> values = random_values(dtype, s.rows * s.stride(), 1);
          const Guarded residual = upload(backend(), dtype, shape, values);
          const Guarded apart = upload(backend(), dtype, shape, random_values(dtype, s.rows * s.stride(), 2));
          const Guarded& out = in_place ? residual : apart;
          const Guarded dout = upload(backend(), dtype, shape, random_values(dtype, s.rows * s.stride(), 3));
          const Guarded dapart = upload(backend(), dtype, shape, random_values(dtype, s.rows * s.stride(), 4));
          const Guarded& dsum = in_place ? dout : dapart;
          const Guarded weight = upload(backend(), dtype, {s.columns}, random_values(dtype, s.columns, 5));
          const std::vector<std::byte> residual_bytes = residual.bytes();
          const std::vector<std::byte> out_before = out.bytes();
          const std::vector<std::byte> dout_bytes = dout.bytes();
          const std::vector<std::byte> dsum_before = dsum.bytes();
          for (const RowPieces& pieces : {queries, keys}) {
            const auto of_pieces = [&](const std::vector<std::byte>& bytes) {
              return columns_of(bytes, s, pieces.first, pieces.count * s.columns);
            };
            const Shape whole{s.rows * pieces.count, s.columns};
            const Guarded mean(backend(), DType::f32, {whole[0]});
            const Guarded rstd(backend(), DType::f32, {whole[0]});
            const Guarded sum(backend(), dtype, whole);
            const Guarded dweight = upload(backend(), dtype, {s.columns}, random_values(dtype, s.columns, 6));
            const Guarded whole_in(backend(), dtype, whole);
            const Guarded whole_mean(backend(), DType::f32, {whole[0]});
            const Guarded whole_rstd(backend(), DType::f32, {whole[0]});
            const Guarded whole_out(backend(), dtype, whole);
            const Guarded whole_dout(backend(), dtype, whole);
            const Guarded whole_dsum(backend(), dtype, whole);
            const Guarded whole_dweight = upload(backend(), dtype, {s.columns}, random_values(dtype, s.columns, 6));
            backend().upload(whole_in, of_pieces(residual_bytes));
            backend().upload(whole_dout, of_pieces(dout_bytes));
            backend().run(ResidualNormForward{.out = out,
                                              .sum = sum,
                                              .mean = rms ? Tensor() : mean.tensor(),
                                              .rstd = rstd,
                                              .residual = residual,
                                              .weight = weight,
                                              .kind = kind,
                                              .pieces = pieces});
            backend().run(ResidualNormForward{.out = whole_out,
                                              .mean = rms ? Tensor() : whole_mean.tensor(),
                                              .rstd = whole_rstd,
                                              .residual = whole_in,
                                              .weight = weight,
                                              .kind = kind});
            EXPECT_EQ(of_pieces(out.bytes()), whole_out.bytes());
            EXPECT_EQ(sum.bytes(), whole_in.bytes());
            EXPECT_EQ(rstd.bytes(), whole_rstd.bytes());
            if (!rms) {
              EXPECT_EQ(mean.bytes(), whole_mean.bytes());
            }
            backend().run(ResidualNormBackward{.dsum = dsum,
                                               .dweight = dweight,
                                               .dout = dout,
                                               .sum = sum,
                                               .mean = rms ? Tensor() : mean.tensor(),
                                               .rstd = rstd,
                                               .weight = weight,
                                               .kind = kind,
                                               .pieces = pieces});
            backend().run(ResidualNormBackward{.dsum = whole_dsum,
                                               .dweight = whole_dweight,
                                               .dout = whole_dout,
                                               .sum = whole_in,
                                               .mean = rms ? Tensor() : whole_mean.tensor(),
                                               .rstd = whole_rstd,
                                               .weight = weight,
                                               .kind = kind});
            EXPECT_EQ(of_pieces(dsum.bytes()), whole_dsum.bytes());
            EXPECT_EQ(dweight.bytes(), whole_dweight.bytes());
            EXPECT_TRUE(sum.intact() && mean.intact() && rstd.intact() && dweight.intact());
          }
          EXPECT_EQ(columns_of(out.bytes(), s, rest, s.values), columns_of(out_before, s, rest, s.values));
          EXPECT_EQ(columns_of(dsum.bytes(), s, rest, s.values), columns_of(dsum_before, s, rest, s.values));
          EXPECT_TRUE(out.intact() && residual.intact() && dout.intact() && dsum.intact());
        }
      }
    }
  }
}

TEST_P(NormTest, ForwardWorksInPlaceAndDrops) {
  for (const NormSize& s : norm_sizes()) {
    SCOPED_TRACE(std::to_string(s.rows) + " x " + std::to_string(s.columns));
    const Shape shape{s.rows, s.columns};
    const std::int64_t n = s.rows * s.columns;
    const std::vector<double> residual_values = random_values(DType::f32, n, 1);
    const std::vector<double> x_values = random_values(DType::f32, n, 2);
    const std::vector<double> weight_values = random_values(DType::f32, s.columns, 3);
    const Guarded residual = upload(backend(), DType::f32, shape, residual_values);
    const Guarded x = upload(backend(), DType::f32, shape, x_values);
    const Guarded weight = upload(backend(), DType::f32, {s.columns}, weight_values);
    const Guarded state = upload(backend(), DType::u32, {4}, {123456789.0, 7.0, 42.0, 0.0});
    const Dropout dropout{0.3f, 5, state};
    backend().run(ResidualNormForward{
        .out = x, .sum = residual, .residual = residual, .x = x, .weight = weight, .kind = root, .dropout = dropout});
    const ReferenceDropout reference{static_cast<double>(0.3f), 123456789u | (std::uint64_t{7} << 32), 42, 5};
    std::vector<double> total = residual_values;
    for (std::size_t i = 0; i < total.size(); ++i) total[i] += x_values[i] * reference.factor(i);
    expect_close(residual.values(), total, 2e-7);
    expect_close(x.values(), reference_norm(total, weight_values, {}, root).out, 5e-7);
    EXPECT_TRUE(x.intact() && residual.intact());
  }
}

TEST_P(NormTest, BackwardEqualsTheReference) {
  // The last two have so many rows that partial sums cover more than four, which are three steps of norm_backward.
  std::vector<NormSize> all = norm_sizes();
  all.insert(all.end(), {{2051, 3}, {2051, 8}});
  for (const NormSize& s : all) {
    const Shape shape{s.rows, s.columns};
    const std::int64_t n = s.rows * s.columns;
    for (const DType dtype : last_under_tsan(activation_types(backend()))) {
      const double tolerance = tolerance_of(dtype, 1e-6);
      for (const bool rms : {false, true}) {
        const NormKind kind = rms ? root : layer;
        const std::vector<double> sum_values = random_values(dtype, n, 1);
        const std::vector<double> dout_values = random_values(dtype, n, 2);
        const std::vector<double> direct_values = random_values(dtype, n, 3);
        const std::vector<double> weight_values = random_values(dtype, s.columns, 4);
        const std::vector<double> weight_before = random_values(dtype, s.columns, 5);
        const std::vector<double> bias_before = random_values(dtype, s.columns, 6);
        const std::vector<double> x_bias_before = random_values(dtype, s.columns, 7);
        const ReferenceNorm forward = reference_norm(sum_values, weight_values, {}, kind);
        const ReferenceNormGradient gradient = reference_norm_backward(dout_values, sum_values, weight_values, kind);
        std::vector<double> expected_weight = gradient.dweight;
        std::vector<double> expected_bias = gradient.dbias;
        for (std::size_t c = 0; c < expected_weight.size(); ++c) {
          expected_weight[c] += weight_before[c];
          expected_bias[c] += bias_before[c];
        }
        const Guarded sum = upload(backend(), dtype, shape, sum_values);
        const Guarded weight = upload(backend(), dtype, {s.columns}, weight_values);
        const Guarded mean = upload(backend(), DType::f32, {s.rows}, forward.mean);
        const Guarded rstd = upload(backend(), DType::f32, {s.rows}, forward.rstd);
        // dsum separate, in the memory of dsum_direct, or in that of dout.
        for (const int place : {0, 1, 2}) {
          for (const bool has_direct : {false, true}) {
            if (place == 1 && !has_direct) continue;
            // The smaller sizes cover these cases, in every kernel.
            if ((s.rows > 2048 || s.columns > 1032) && (place != 0 || has_direct)) continue;
            if (s.rows > 1000 && place != 0) continue;
            SCOPED_TRACE(shape.to_string() + " " + std::string(name_of(dtype)) + " rms " + std::to_string(rms) +
                         " place " + std::to_string(place) + " direct " + std::to_string(has_direct));
            const Guarded dout = upload(backend(), dtype, shape, dout_values);
            const Guarded direct = upload(backend(), dtype, shape, direct_values);
            const Guarded apart(backend(), dtype, shape);
            const Guarded& dsum = place == 0 ? apart : place == 1 ? direct : dout;
            const Guarded dweight = upload(backend(), dtype, {s.columns}, weight_before);
            const Guarded dbias = upload(backend(), dtype, {s.columns}, bias_before);
            const Guarded dx_bias = upload(backend(), dtype, {s.columns}, x_bias_before);
            const bool has_x_bias = place != 1;
            backend().run(ResidualNormBackward{.dsum = dsum,
                                               .dweight = dweight,
                                               .dbias = rms ? Tensor() : dbias.tensor(),
                                               .dx_bias = has_x_bias ? dx_bias.tensor() : Tensor(),
                                               .dout = dout,
                                               .dsum_direct = has_direct ? direct.tensor() : Tensor(),
                                               .sum = sum,
                                               .mean = rms ? Tensor() : mean.tensor(),
                                               .rstd = rstd,
                                               .weight = weight,
                                               .kind = kind});
            std::vector<double> expected = gradient.dsum;
            for (std::size_t i = 0; has_direct && i < expected.size(); ++i) expected[i] += direct_values[i];
            std::vector<double> expected_x_bias = x_bias_before;
            for (std::size_t i = 0; has_x_bias && i < expected.size(); ++i)
              expected_x_bias[i % size(s.columns)] += expected[i];
            // The gradient of rows of one or two elements cancels completely; only the direct part remains.
            const bool cancels = s.columns <= 2;
            if (!cancels) expect_close(dsum.values(), expected, tolerance);
            if (!cancels) expect_close(dweight.values(), expected_weight, tolerance);
            if (rms) {
              EXPECT_EQ(dbias.values(), bias_before);
            } else {
              expect_close(dbias.values(), expected_bias, tolerance);
            }
            if (!has_x_bias) {
              EXPECT_EQ(dx_bias.values(), x_bias_before);
            } else if (!cancels) {
              // Its terms are rounded, too, where they are read from dsum.
              expect_close(dx_bias.values(), expected_x_bias, 2 * tolerance);
            }
            EXPECT_TRUE(dsum.intact() && dweight.intact() && dbias.intact() && dout.intact() && direct.intact());
            EXPECT_TRUE(dx_bias.intact());
          }
        }
      }
    }
  }
}

// The divisor is zero if epsilon is zero and a row's elements are equal, or all zeros for RMSNorm.
TEST_P(NormTest, ConstantRowsAreFiniteWithoutEpsilon) {
  for (const std::int64_t columns : {1, 8, 33, 64, 1000, 1032, 3001, 4104}) {
    const Shape shape{3, columns};
    const std::int64_t n = 3 * columns;
    for (const DType dtype : last_under_tsan(activation_types(backend()))) {
      for (const bool rms : {false, true}) {
        SCOPED_TRACE(shape.to_string() + " " + std::string(name_of(dtype)) + " rms " + std::to_string(rms));
        const NormKind kind{rms, 0.0f};
        // Values with exact means.
        std::vector<double> values(size(n), 0.0);
        for (std::size_t i = size(columns); !rms && i < values.size(); ++i)
          values[i] = i < 2 * size(columns) ? 1.0 : -3.0;
        const std::vector<double> bias_values = random_values(dtype, columns, 4);
        const Guarded sum = upload(backend(), dtype, shape, values);
        const Guarded weight = upload(backend(), dtype, {columns}, random_values(dtype, columns, 3));
        const Guarded bias = upload(backend(), dtype, {columns}, bias_values);
        const Guarded out(backend(), dtype, shape);
        const Guarded mean(backend(), DType::f32, {3});
        const Guarded rstd(backend(), DType::f32, {3});
        backend().run(ResidualNormForward{.out = out,
                                          .mean = rms ? Tensor() : mean.tensor(),
                                          .rstd = rstd,
                                          .residual = sum,
                                          .weight = weight,
                                          .bias = rms ? Tensor() : bias.tensor(),
                                          .kind = kind});
        const std::vector<double> result = out.values();
        for (std::size_t i = 0; i < result.size(); ++i)
          ASSERT_EQ(result[i], rms ? 0.0 : bias_values[i % size(columns)]);
        EXPECT_EQ(rstd.values(), std::vector<double>(3, 0.0));

        const Guarded dout = upload(backend(), dtype, shape, random_values(dtype, n, 5));
        const Guarded dsum(backend(), dtype, shape);
        const Guarded dweight = upload(backend(), dtype, {columns}, std::vector<double>(size(columns), 0.0));
        const Guarded dbias = upload(backend(), dtype, {columns}, std::vector<double>(size(columns), 0.0));
        backend().run(ResidualNormBackward{.dsum = dsum,
                                           .dweight = dweight,
                                           .dbias = rms ? Tensor() : dbias.tensor(),
                                           .dout = dout,
                                           .sum = sum,
                                           .mean = rms ? Tensor() : mean.tensor(),
                                           .rstd = rstd,
                                           .weight = weight,
                                           .kind = kind});
        EXPECT_EQ(dsum.values(), std::vector<double>(size(n), 0.0));
        EXPECT_EQ(dweight.values(), std::vector<double>(size(columns), 0.0));
        for (const double value : dbias.values()) ASSERT_TRUE(std::isfinite(value));
      }
    }
    // A rounded mean leaves distances of the size of its error.
    const Guarded sum = upload(backend(), DType::f32, shape, std::vector<double>(size(n), 0.1f));
    const Guarded weight = upload(backend(), DType::f32, {columns}, std::vector<double>(size(columns), 1.0));
    const Guarded out(backend(), DType::f32, shape);
    backend().run(ResidualNormForward{.out = out, .residual = sum, .weight = weight, .kind = {false, 0.0f}});
    for (const double value : out.values()) ASSERT_LE(std::abs(value), 2.0 * std::sqrt(static_cast<double>(columns)));
  }
}

TEST_P(NormTest, RefusesDtypesThatDoNotMeet) {
  Backend& b = backend();
  for (const auto& [dtype, other] : refused_pairs()) {
    const Guarded rows(b, dtype, {3, 8});
    const Guarded out(b, dtype, {3, 8});
    const Guarded sum(b, dtype, {3, 8});
    const Guarded numbers(b, DType::f32, {3});
    const Guarded weight(b, dtype, {8});
    const Guarded gradient(b, dtype, {8});
    const Guarded other_weight(b, other, {8});
    refuses("residual_norm_forward: ", unkept("weight", other_weight, "residual", rows),
            [&] { b.run(ResidualNormForward{.out = out, .residual = rows, .weight = other_weight, .kind = layer}); });
    refuses("residual_norm_forward: ", unlike("bias", other_weight, "weight", weight), [&] {
      b.run(ResidualNormForward{.out = out, .residual = rows, .weight = weight, .bias = other_weight, .kind = layer});
    });
    const auto backward = [&](const Tensor& w, const Tensor& dweight, const Tensor& dbias) {
      b.run(ResidualNormBackward{.dsum = out,
                                 .dweight = dweight,
                                 .dbias = dbias,
                                 .dout = rows,
                                 .sum = sum,
                                 .mean = numbers,
                                 .rstd = numbers,
                                 .weight = w,
                                 .kind = layer});
    };
    refuses("residual_norm_backward: ", unlike("weight", other_weight, "dout", rows),
            [&] { backward(other_weight, gradient, {}); });
    refuses("residual_norm_backward: ", unlike("dweight", other_weight, "dout", rows),
            [&] { backward(weight, other_weight, {}); });
    refuses("residual_norm_backward: ", unlike("dbias", other_weight, "dout", rows),
            [&] { backward(weight, gradient, other_weight); });
  }
}

TEST_P(NormTest, BitsDoNotDependOnRunsOrThreads) {
  const Shape shape{700, 129};
  const Guarded sum = upload(backend(), DType::f32, shape, random_values(DType::f32, 700 * 129, 1));
  const Guarded dout = upload(backend(), DType::f32, shape, random_values(DType::f32, 700 * 129, 2));
  const Guarded weight = upload(backend(), DType::f32, {129}, random_values(DType::f32, 129, 3));
  std::vector<std::vector<std::byte>> first;
  const int threads = parallel_threads();
  for (const int count : {1, 1, 2, 3, 8}) {
    set_parallel_threads(count);
    const Guarded out(backend(), DType::f32, shape);
    const Guarded mean(backend(), DType::f32, {700});
    const Guarded rstd(backend(), DType::f32, {700});
    backend().run(
        ResidualNormForward{.out = out, .mean = mean, .rstd = rstd, .residual = sum, .weight = weight, .kind = layer});
    const Guarded dsum(backend(), DType::f32, shape);
    const Guarded dweight = upload(backend(), DType::f32, {129}, std::vector<double>(129, 1.0));
    const Guarded dbias = upload(backend(), DType::f32, {129}, std::vector<double>(129, 1.0));
    backend().run(ResidualNormBackward{.dsum = dsum,
                                       .dweight = dweight,
                                       .dbias = dbias,
                                       .dout = dout,
                                       .sum = sum,
                                       .mean = mean,
                                       .rstd = rstd,
                                       .weight = weight,
                                       .kind = layer});
    const std::vector<std::vector<std::byte>> now = {out.bytes(),  mean.bytes(),    rstd.bytes(),
                                                     dsum.bytes(), dweight.bytes(), dbias.bytes()};
    if (first.empty()) first = now;
    EXPECT_EQ(now, first) << count << " threads";
  }
  set_parallel_threads(threads);
}

TEST_P(NormTest, NamesWrongArguments) {
  Backend& b = backend();
  const Guarded rows(b, DType::f32, {3, 8});
  const Guarded other(b, DType::f32, {3, 8});
  const Guarded wide(b, DType::f32, {3, 9});
  const Guarded half(b, DType::bf16, {3, 8});
  const Guarded weight(b, DType::f32, {8});
  const Guarded gradient(b, DType::f32, {8});
  const Guarded numbers(b, DType::f32, {3});
  const Guarded integers(b, DType::i32, {3});
  const auto forward = [&](const Tensor& out, const Tensor& sum, const Tensor& mean, const Tensor& rstd,
                           const Tensor& residual, const Tensor& x, const Tensor& w, const Tensor& bias,
                           const NormKind& kind, const Dropout& dropout) {
    const std::string message = error_of(ErrorKind::input, [&] {
      b.run(ResidualNormForward{.out = out,
                                .sum = sum,
                                .mean = mean,
                                .rstd = rstd,
                                .residual = residual,
                                .x = x,
                                .weight = w,
                                .bias = bias,
                                .kind = kind,
                                .dropout = dropout});
    });
    EXPECT_NE(message.find("residual_norm_forward"), std::string::npos) << message;
    return message;
  };
  const auto names = [](const std::string& message, std::string_view argument) {
    EXPECT_NE(message.find(argument), std::string::npos) << message;
  };
  names(forward(wide, {}, {}, {}, rows, {}, weight, {}, layer, {}), "out");
  names(forward(half, {}, {}, {}, rows, {}, weight, {}, layer, {}), "out");
  names(forward(other, {}, {}, {}, rows, wide, weight, {}, layer, {}), "x");
  names(forward(half, rows, {}, {}, rows, other, weight, {}, layer, {}), "out");
  names(forward(wide, {}, {}, {}, {}, {}, weight, {}, layer, {}), "residual");
  names(forward(other, {}, {}, {}, rows, other, weight, {}, layer, {}), "sum");
  names(forward(other, {}, {}, {}, rows, {}, numbers, {}, layer, {}), "weight");
  names(forward(other, {}, {}, {}, rows, {}, {}, {}, layer, {}), "weight");
  names(forward(other, {}, {}, {}, rows, {}, weight, numbers, layer, {}), "bias");
  names(forward(other, {}, {}, {}, rows, {}, weight, weight, root, {}), "bias");
  names(forward(other, {}, weight, {}, rows, {}, weight, {}, layer, {}), "mean");
  names(forward(other, {}, numbers, {}, rows, {}, weight, {}, root, {}), "mean");
  names(forward(other, {}, {}, integers, rows, {}, weight, {}, layer, {}), "rstd");
  names(forward(other, {}, {}, {}, rows, {}, weight, {}, {false, -1.0f}, {}), "epsilon");
  names(forward(other, {}, {}, {}, rows, {}, weight, {}, layer, {1.0f, 0, {}}), "probability");
  names(forward(other, {}, {}, {}, rows, {}, weight, {}, layer, {0.5f, 0, {}}), "random_state");

  const auto backward = [&](const Tensor& dsum, const Tensor& dweight, const Tensor& dbias, const Tensor& dout,
                            const Tensor& direct, const Tensor& sum, const Tensor& mean, const Tensor& rstd,
                            const Tensor& w, const NormKind& kind) {
    const std::string message = error_of(ErrorKind::input, [&] {
      b.run(ResidualNormBackward{.dsum = dsum,
                                 .dweight = dweight,
                                 .dbias = dbias,
                                 .dout = dout,
                                 .dsum_direct = direct,
                                 .sum = sum,
                                 .mean = mean,
                                 .rstd = rstd,
                                 .weight = w,
                                 .kind = kind});
    });
    EXPECT_NE(message.find("residual_norm_backward"), std::string::npos) << message;
    return message;
  };
  names(backward(wide, gradient, {}, rows, {}, other, numbers, numbers, weight, layer), "dsum");
  names(backward(rows, {}, {}, rows, {}, other, numbers, numbers, weight, layer), "dweight");
  names(backward(rows, gradient, numbers, rows, {}, other, numbers, numbers, weight, layer), "dbias");
  names(backward(rows, gradient, gradient, rows, {}, other, {}, numbers, weight, root), "dbias");
  names(backward(rows, gradient, {}, {}, {}, other, numbers, numbers, weight, layer), "dout");
  names(backward(rows, gradient, {}, rows, half, other, numbers, numbers, weight, layer), "dsum_direct");
  names(backward(rows, gradient, {}, rows, {}, rows, numbers, numbers, weight, layer), "sum");
  names(backward(rows, gradient, {}, rows, {}, other, {}, numbers, weight, layer), "mean");
  names(backward(rows, gradient, {}, rows, {}, other, numbers, integers, weight, layer), "rstd");
  names(backward(rows, gradient, {}, rows, {}, other, numbers, numbers, numbers, layer), "weight");
}

TEST_P(NormTest, NamesWrongPieces) {
  Backend& b = backend();
  const Guarded wide(b, DType::f32, {3, 20});
  const Guarded rows(b, DType::f32, {6, 8});
  const Guarded numbers(b, DType::f32, {6});
  const Guarded weight(b, DType::f32, {8});
  const Guarded gradient(b, DType::f32, {8});
  const auto forward = [&](const Tensor& out, const Tensor& sum, const Tensor& x, const RowPieces& pieces) {
    b.run(ResidualNormForward{
        .out = out, .sum = sum, .residual = wide, .x = x, .weight = weight, .kind = root, .pieces = pieces});
  };
  const auto backward = [&](const Tensor& sum, const Tensor& direct, const RowPieces& pieces) {
    b.run(ResidualNormBackward{.dsum = wide,
                               .dweight = gradient,
                               .dout = wide,
                               .dsum_direct = direct,
                               .sum = sum,
                               .rstd = numbers,
                               .weight = weight,
                               .kind = root,
                               .pieces = pieces});
  };
  forward(wide, rows, {}, {4, 2});
  backward(rows, {}, {4, 2});
  refuses("residual_norm_forward: ", "no room for 2 pieces", [&] { forward(wide, {}, {}, {5, 2}); });
  refuses("residual_norm_forward: ", "no room for 3 pieces", [&] { forward(wide, {}, {}, {0, 3}); });
  refuses("residual_norm_forward: ", "from column -1", [&] { forward(wide, {}, {}, {-1, 1}); });
  refuses("residual_norm_forward: ", "out is", [&] { forward(rows, {}, {}, {0, 2}); });
  refuses("residual_norm_forward: ", "sum is", [&] { forward(wide, wide, {}, {0, 1}); });
  refuses("residual_norm_forward: ", "x is", [&] { forward(wide, {}, rows, {0, 2}); });
  refuses("residual_norm_backward: ", "no room for 2 pieces", [&] { backward(rows, {}, {5, 2}); });
  refuses("residual_norm_backward: ", "dsum_direct is", [&] { backward(rows, rows, {0, 2}); });
  refuses("residual_norm_backward: ", "sum is", [&] { backward(wide, {}, {0, 2}); });
}

INSTANTIATE_TEST_SUITE_P(Backends, NormTest, testing::ValuesIn(test_backends()), test_backend_name);

}  // namespace
}  // namespace mslt::test

// Embedding and rotary positions against the reference, on every backend.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/parallel.h"
#include "base/philox.h"
#include "tests/backend/backend_under_test.h"
#include "tests/backend/numeric_check.h"
#include "tests/backend/reference_embedding.h"
#include "tests/backend/test_weight.h"

namespace mslt::test {
namespace {

const std::vector<EmbeddingSize>& embedding_sizes() {
  static const std::vector<EmbeddingSize> all = {{1, 1, 1, 1, 1},    {1, 5, 3, 2, 5},        {2, 7, 33, 11, 40},
                                                 {3, 64, 8, 5, 64},  {2, 100, 100, 50, 130}, {4, 33, 768, 1000, 40},
                                                 {1, 9, 2500, 70, 9}};
  return all;
}

Shape shape_of(std::size_t a, std::size_t b) {
  return {static_cast<std::int64_t>(a), static_cast<std::int64_t>(b)};
}

Shape shape_of(std::size_t a, std::size_t b, std::size_t c) {
  return {static_cast<std::int64_t>(a), static_cast<std::int64_t>(b), static_cast<std::int64_t>(c)};
}

// Many repeats, and occasionally an id outside every table.
std::vector<double> random_tokens(const EmbeddingSize& size) {
  PhiloxStream stream(9, 0, 0);
  std::vector<double> tokens(size.batch * size.length);
  for (double& token : tokens) {
    token = static_cast<double>(stream.below(size.vocab + 2)) - 1.0;
    if (stream.below(4) == 0) token = 0.0;
  }
  return tokens;
}

class EmbeddingTest : public BackendTest {};
class RopeTest : public BackendTest {};

TEST_P(EmbeddingTest, ForwardEqualsTheReference) {
  for (const EmbeddingSize& s : embedding_sizes()) {
    const std::vector<double> token_values = random_tokens(s);
    const Guarded tokens = upload(backend(), DType::i32, shape_of(s.batch, s.length), token_values);
    // The last sequence extends past the table of positions, the first begins before it.
    std::vector<double> first_values(s.batch, static_cast<double>(s.places) - static_cast<double>(s.length) + 2.0);
    first_values[0] = -1.0;
    const Guarded first = upload(backend(), DType::i32, {static_cast<std::int64_t>(s.batch)}, first_values);
    for (const DType dtype : floating_types()) {
      for (const DType weight_dtype : kept_types(dtype)) {
        const auto token_weights = random_values(weight_dtype, static_cast<std::int64_t>(s.vocab * s.columns), 1);
        const auto place_weights = random_values(weight_dtype, static_cast<std::int64_t>(s.places * s.columns), 2);
        const Guarded token_weight = upload(backend(), weight_dtype, shape_of(s.vocab, s.columns), token_weights);
        const Guarded place_weight = upload(backend(), weight_dtype, shape_of(s.places, s.columns), place_weights);
        for (const bool positioned : {false, true}) {
          for (const bool shifted : {false, true}) {
            SCOPED_TRACE(std::to_string(s.columns) + " columns " + std::string(name_of(dtype)) + " weight " +
                         std::string(name_of(weight_dtype)) + " positions " + std::to_string(positioned) + " first " +
                         std::to_string(shifted));
            const Guarded out(backend(), dtype, shape_of(s.batch, s.length, s.columns));
            backend().run(EmbeddingForward{.out = out,
                                           .tokens = tokens,
                                           .token_weight = token_weight,
                                           .position_weight = positioned ? place_weight.tensor() : Tensor(),
                                           .positions = {shifted ? first.tensor() : Tensor()},
                                           .scale = 1.5f});
            const std::vector<double> expected =
                reference_embedding(s, token_values, token_weights, positioned ? place_weights : std::vector<double>(),
                                    shifted ? first_values : std::vector<double>(s.batch, 0.0), 1.5);
            expect_close(out.values(), expected, tolerance_of(dtype, 1e-7));
            EXPECT_TRUE(out.intact() && tokens.intact() && token_weight.intact() && place_weight.intact());
          }
        }
      }
    }
  }
}

TEST_P(EmbeddingTest, ForwardOfQuantisedWeightsEqualsTheReference) {
  // One group; rows of odd numbers of them; more columns than are read at a time.
  const std::vector<EmbeddingSize> quantised = {{1, 5, 32, 3, 5}, {2, 7, 96, 11, 40}, {3, 20, 608, 50, 20}};
  for (const EmbeddingSize& s : quantised) {
    const std::vector<double> token_values = random_tokens(s);
    const Guarded tokens = upload(backend(), DType::i32, shape_of(s.batch, s.length), token_values);
    std::vector<double> first_values(s.batch, 2.0);
    const Guarded first = upload(backend(), DType::i32, {static_cast<std::int64_t>(s.batch)}, first_values);
    for (const DType dtype : floating_types()) {
      const auto place_weights = random_values(dtype, static_cast<std::int64_t>(s.places * s.columns), 2);
      const Guarded place_weight = upload(backend(), dtype, shape_of(s.places, s.columns), place_weights);
      for (const DType values : {DType::i8, DType::u8}) {
        const TestWeight weight(backend(), values, static_cast<std::int64_t>(s.vocab),
                                static_cast<std::int64_t>(s.columns));
        for (const bool positioned : {false, true}) {
          SCOPED_TRACE(std::to_string(s.columns) + " columns " + std::string(name_of(dtype)) + " weight " +
                       std::string(name_of(values)) + " positions " + std::to_string(positioned));
          const Guarded out(backend(), dtype, shape_of(s.batch, s.length, s.columns));
          backend().run(EmbeddingForward{.out = out,
                                         .tokens = tokens,
                                         .token_weight = weight.values,
                                         .token_scales = weight.scales,
                                         .position_weight = positioned ? place_weight.tensor() : Tensor(),
                                         .positions = {positioned ? first.tensor() : Tensor()},
                                         .scale = 1.5f});
          const std::vector<double> expected =
              reference_embedding(s, token_values, weight.meaning, positioned ? place_weights : std::vector<double>(),
                                  positioned ? first_values : std::vector<double>(s.batch, 0.0), 1.5);
          expect_close(out.values(), expected, tolerance_of(dtype, 1e-7));
          EXPECT_TRUE(out.intact());
        }
      }
    }
  }
}

TEST(EmbeddingReference, GradientsAreFiniteDifferences) {
  const EmbeddingSize s{2, 4, 3, 3, 4};
  const std::vector<double> tokens = {0, 2, 2, 1, 2, 0, 3, 2};
  const std::vector<double> token_weight = random_values(DType::f32, 9, 1);
  const std::vector<double> place_weight = random_values(DType::f32, 12, 2);
  const std::vector<double> dout = random_values(DType::f32, 24, 3);
  std::vector<double> dtoken(9, 0.0);
  std::vector<double> dplace(12, 0.0);
  // An unknown token's row is zeros, so none of it reaches the position either.
  std::vector<double> seen = dout;
  for (std::size_t c = 18; c < 21; ++c) seen[c] = 0.0;
  reference_embedding_backward(s, tokens, seen, 1.5, dtoken, dplace);
  const auto loss = [&](const std::vector<double>& a, const std::vector<double>& b) {
    return dot(dout, reference_embedding(s, tokens, a, b, {0.0, 0.0}, 1.5));
  };
  EXPECT_LT(gradient_error(token_weight, dtoken, [&](const auto& v) { return loss(v, place_weight); }), 1e-8);
  EXPECT_LT(gradient_error(place_weight, dplace, [&](const auto& v) { return loss(token_weight, v); }), 1e-8);
}

TEST_P(EmbeddingTest, BackwardEqualsTheReference) {
  // Rows sorted in one block with a short last run, in two and in nine blocks.
  std::vector<EmbeddingSize> all = embedding_sizes();
  all.push_back({3, 100, 3, 20, 100});
  all.push_back({9, 130, 24, 20, 131});
  all.push_back({65, 130, 3, 700, 130});
  for (const EmbeddingSize& s : all) {
    const std::vector<double> token_values = random_tokens(s);
    const Guarded tokens = upload(backend(), DType::i32, shape_of(s.batch, s.length), token_values);
    for (const DType dtype : activation_types(backend())) {
      SCOPED_TRACE(std::to_string(token_values.size()) + " rows of " + std::to_string(s.columns) + " columns " +
                   std::string(name_of(dtype)));
      const std::vector<double> gradients =
          random_values(dtype, static_cast<std::int64_t>(s.batch * s.length * s.columns), 1);
      std::vector<double> dtoken = random_values(dtype, static_cast<std::int64_t>(s.vocab * s.columns), 2);
      std::vector<double> dplace = random_values(dtype, static_cast<std::int64_t>(s.places * s.columns), 3);
      const Guarded dout = upload(backend(), dtype, shape_of(s.batch, s.length, s.columns), gradients);
      const Guarded dtoken_weight = upload(backend(), dtype, shape_of(s.vocab, s.columns), dtoken);
      const Guarded dplace_weight = upload(backend(), dtype, shape_of(s.places, s.columns), dplace);
      reference_embedding_backward(s, token_values, gradients, 0.5, dtoken, dplace);
      backend().run(EmbeddingBackward{.dtoken_weight = dtoken_weight, .dout = dout, .tokens = tokens, .scale = 0.5f});
      backend().run(
          EmbeddingBackward{.dposition_weight = dplace_weight, .dout = dout, .tokens = tokens, .scale = 0.5f});
      expect_close(dtoken_weight.values(), dtoken, tolerance_of(dtype, 1e-6));
      expect_close(dplace_weight.values(), dplace, tolerance_of(dtype, 1e-6));
      EXPECT_TRUE(dtoken_weight.intact() && dplace_weight.intact() && dout.intact());
    }
  }
}

// A token may have the rows of several chunks, or of the last one, up to its last row, and not be in the table.
TEST_P(EmbeddingTest, BackwardOfFewTokens) {
  for (const std::size_t length : {32, 64, 77, 96, 2100}) {
    const EmbeddingSize s{1, length, 8, 3, length};
    const auto rows = static_cast<std::int64_t>(length);
    for (const DType dtype : activation_types(backend())) {
      const std::vector<double> gradients = random_values(dtype, rows * 8, 1);
      const Guarded dout = upload(backend(), dtype, {1, rows, 8}, gradients);
      for (const double token : {-1.0, 0.0, 2.0, 3.0}) {
        for (const std::size_t others : {0, 32}) {
          SCOPED_TRACE(std::to_string(length) + " rows of " + std::string(name_of(dtype)) + " token " +
                       std::to_string(token) + " after " + std::to_string(others) + " others");
          std::vector<double> token_values(length, token);
          std::fill_n(token_values.begin(), others, 1.0);
          std::vector<double> dtoken = random_values(dtype, 3 * 8, 2);
          std::vector<double> dplace(length * 8, 0.0);
          const Guarded tokens = upload(backend(), DType::i32, {1, rows}, token_values);
          const Guarded dtoken_weight = upload(backend(), dtype, {3, 8}, dtoken);
          reference_embedding_backward(s, token_values, gradients, 0.5, dtoken, dplace);
          backend().run(
              EmbeddingBackward{.dtoken_weight = dtoken_weight, .dout = dout, .tokens = tokens, .scale = 0.5f});
          expect_close(dtoken_weight.values(), dtoken, tolerance_of(dtype, 1e-6));
          EXPECT_TRUE(dtoken_weight.intact() && dout.intact());
        }
      }
    }
  }
}

// 32 rows of each token, so that the GPU sums each in one chunk; their magnitudes differ so much that another order
// gives another sum. They are sorted in one simdgroup, in runs of 32 and of 256, and in blocks: in two; in five, which
// are merged at once; in 35, which are merged twice. The last block is not full.
TEST_P(EmbeddingTest, RowsOfATokenAreAddedInOrder) {
  for (const std::size_t vocab : {1, 10, 32, 35, 129, 1089}) {
    SCOPED_TRACE(std::to_string(vocab) + " tokens");
    const std::size_t rows = 32 * vocab;
    PhiloxStream stream(3, 0, 0);
    std::vector<double> tokens(rows);
    for (std::size_t row = 0; row < rows; ++row) tokens[row] = static_cast<double>(row % vocab);
    for (std::size_t row = rows - 1; row > 0; --row) std::swap(tokens[row], tokens[stream.below(row + 1)]);
    std::vector<double> gradients(rows);
    std::vector<float> sums(vocab, 0.0f);
    for (std::size_t row = 0; row < rows; ++row) {
      const auto magnitude = static_cast<int>(stream.below(30));
      const auto gradient = static_cast<float>(std::ldexp(static_cast<double>(stream.below(2001)) - 1000.0, magnitude));
      gradients[row] = gradient;
      sums[static_cast<std::size_t>(tokens[row])] += gradient;
    }
    const auto count = static_cast<std::int64_t>(rows);
    const auto words = static_cast<std::int64_t>(vocab);
    const Guarded token_ids = upload(backend(), DType::i32, {1, count}, tokens);
    const Guarded dout = upload(backend(), DType::f32, {1, count, 1}, gradients);
    const Guarded dtoken_weight = upload(backend(), DType::f32, {words, 1}, std::vector<double>(vocab, 0.0));
    backend().run(EmbeddingBackward{.dtoken_weight = dtoken_weight, .dout = dout, .tokens = token_ids, .scale = 1.0f});
    EXPECT_EQ(dtoken_weight.values(), std::vector<double>(sums.begin(), sums.end()));
    EXPECT_TRUE(dtoken_weight.intact());
  }
}

TEST_P(EmbeddingTest, RefusesDtypesThatDoNotMeet) {
  Backend& b = backend();
  const Guarded tokens(b, DType::i32, {2, 3});
  for (const auto& [dtype, other] : refused_pairs()) {
    const Guarded out(b, dtype, {2, 3, 8});
    const Guarded weight(b, dtype, {5, 8});
    const Guarded other_weight(b, other, {5, 8});
    refuses("embedding_forward: ", unkept("token_weight", other_weight, "out", out),
            [&] { b.run(EmbeddingForward{.out = out, .tokens = tokens, .token_weight = other_weight}); });
    refuses("embedding_forward: ", unlike("position_weight", other_weight, "token_weight", weight), [&] {
      b.run(EmbeddingForward{.out = out, .tokens = tokens, .token_weight = weight, .position_weight = other_weight});
    });
    refuses("embedding_backward: ", unlike("dtoken_weight", other_weight, "dout", out),
            [&] { b.run(EmbeddingBackward{.dtoken_weight = other_weight, .dout = out, .tokens = tokens}); });
    refuses("embedding_backward: ", unlike("dposition_weight", other_weight, "dout", out),
            [&] { b.run(EmbeddingBackward{.dposition_weight = other_weight, .dout = out, .tokens = tokens}); });
  }
}

TEST_P(EmbeddingTest, BackwardBitsDoNotDependOnRunsOrThreads) {
  const EmbeddingSize s{4, 300, 1030, 20, 300};
  const Guarded tokens = upload(backend(), DType::i32, shape_of(s.batch, s.length), random_tokens(s));
  const Guarded dout = upload(backend(), DType::f32, shape_of(s.batch, s.length, s.columns),
                              random_values(DType::f32, 4 * 300 * 1030, 1));
  std::vector<std::vector<std::byte>> first;
  const int threads = parallel_threads();
  for (const int count : {1, 2, 2, 7}) {
    set_parallel_threads(count);
    const Guarded dtoken =
        upload(backend(), DType::f32, shape_of(s.vocab, s.columns), std::vector<double>(s.vocab * s.columns, 0.5));
    const Guarded dplace =
        upload(backend(), DType::f32, shape_of(s.places, s.columns), std::vector<double>(s.places * s.columns, 0.5));
    backend().run(EmbeddingBackward{
        .dtoken_weight = dtoken, .dposition_weight = dplace, .dout = dout, .tokens = tokens, .scale = 0.7f});
    const std::vector<std::vector<std::byte>> now = {dtoken.bytes(), dplace.bytes()};
    if (first.empty()) first = now;
    EXPECT_EQ(now, first) << count << " threads";
  }
  set_parallel_threads(threads);
}

TEST_P(EmbeddingTest, NamesWrongArguments) {
  Backend& b = backend();
  const Guarded out(b, DType::f32, {2, 3, 8});
  const Guarded tokens(b, DType::i32, {2, 3});
  const Guarded flat(b, DType::i32, {6});
  const Guarded weight(b, DType::f32, {5, 8});
  const Guarded wide(b, DType::f32, {5, 9});
  const Guarded few(b, DType::f32, {2, 8});
  const auto forward = [&](std::string_view part, const Tensor& o, const Tensor& t, const Tensor& w, const Tensor& p,
                           const Positions& positions) {
    refuses("embedding_forward: ", part, [&] {
      b.run(EmbeddingForward{.out = o, .tokens = t, .token_weight = w, .position_weight = p, .positions = positions});
    });
  };
  forward("out is absent", {}, tokens, weight, {}, {});
  forward("out is f32 [2, 3, 8]", out, tokens, wide, {}, {});
  forward("tokens is i32 [6]", out, flat, weight, {}, {});
  forward("tokens is f32", out, weight, weight, {}, {});
  forward("token_weight is f32 [2, 3, 8]", out, tokens, out, {}, {});
  forward("token_weight is i32", out, tokens, tokens, {}, {});
  forward("position_weight is f32 [5, 9]", out, tokens, weight, wide, {});
  const Guarded bytes(b, DType::i8, {5, 8});
  const Guarded scales(b, DType::f16, {5, 1});
  forward("token_weight is i8 [5, 8] of 'guarded', rows of 8 weights", out, tokens, bytes, {}, {});
  const Guarded group(b, DType::i8, {5, 32});
  forward("token_scales is absent", out, tokens, group, {}, {});
  refuses("embedding_forward: ", "token_scales is f16 [5, 1] of 'guarded', but must be absent", [&] {
    b.run(EmbeddingForward{.out = out, .tokens = tokens, .token_weight = weight, .token_scales = scales});
  });
  forward("positions.first is i32 [2, 3]", out, tokens, weight, {}, {tokens});
  const auto backward = [&](std::string_view part, const Tensor& w, const Tensor& p, const Tensor& o, const Tensor& t) {
    refuses("embedding_backward: ", part,
            [&] { b.run(EmbeddingBackward{.dtoken_weight = w, .dposition_weight = p, .dout = o, .tokens = t}); });
  };
  backward("dtoken_weight is f32 [5, 9]", wide, {}, out, tokens);
  backward("dposition_weight is f32 [2, 8]", weight, few, out, tokens);
  backward("dposition_weight", {}, wide, out, tokens);
  backward("dout is f32 [5, 8]", few, {}, weight, tokens);
  backward("dout is absent", few, {}, {}, tokens);
  backward("tokens is absent", weight, {}, out, {});
}

TEST_P(RopeTest, BothDirectionsEqualTheReference) {
  struct Case {
    std::int64_t batch, length;
    AttentionShape shape;
    double first;
    int pairs = 0;  // all where it is 0
    float scale = 1.0f;
  };
  const std::vector<Case> cases = {{1, 1, {1, 1, 2}, 0},
                                   {2, 5, {3, 1, 6}, 3},
                                   {3, 17, {4, 2, 34}, 100},
                                   {2, 40, {4, 4, 64}, 0},
                                   {5, 1, {6, 2, 128}, 1000},
                                   {1, 33, {2, 1, 32}, 100000},
                                   {2, 3, {1, 1, 256}, 70},
                                   {2, 9, {3, 1, 10}, 3, 3, 1.25f},
                                   {3, 17, {4, 2, 64}, 100, 24, 1.25f},
                                   {1, 5, {2, 1, 24}, 7, 8},
                                   {2, 4, {2, 2, 7}, 2, 2, 0.5f}};
  for (const Case& c : cases) {
    const int pairs = c.pairs > 0 ? c.pairs : c.shape.head_size / 2;
    const std::int64_t columns = (c.shape.heads + 2 * c.shape.kv_heads) * c.shape.head_size;
    const Shape shape{c.batch, c.length, columns};
    std::vector<double> frequencies;
    for (int i = 0; i < pairs; ++i) frequencies.push_back(std::pow(10000.0, -1.0 * i / pairs));
    frequencies = rounded(DType::f32, frequencies);
    std::vector<double> first_values;
    for (std::int64_t b = 0; b < c.batch; ++b) first_values.push_back(c.first + 7.0 * static_cast<double>(b));
    const Guarded inverse = upload(backend(), DType::f32, {pairs}, frequencies);
    const Guarded first = upload(backend(), DType::i32, {c.batch}, first_values);
    for (const DType dtype : floating_types()) {
      for (const bool shifted : {false, true}) {
        SCOPED_TRACE(shape.to_string() + " " + std::string(name_of(dtype)) + " first " + std::to_string(shifted));
        const std::vector<double> values = random_values(dtype, shape.elements(), 1);
        const std::vector<double> starts = shifted ? first_values : std::vector<double>(size(c.batch), 0.0);
        const Guarded forward = upload(backend(), dtype, shape, values);
        const Guarded backward = upload(backend(), dtype, shape, values);
        const Positions positions{shifted ? first.tensor() : Tensor()};
        backend().run(Rope{.qkv = forward,
                           .inverse_frequencies = inverse,
                           .positions = positions,
                           .shape = c.shape,
                           .scale = c.scale});
        backend().run(Rope{.qkv = backward,
                           .inverse_frequencies = inverse,
                           .positions = positions,
                           .shape = c.shape,
                           .scale = c.scale,
                           .backward = true});
        const double tolerance = tolerance_of(dtype, 2e-7);
        expect_close(forward.values(),
                     reference_rope(values, frequencies, starts, size(c.length), c.shape, 1.0, c.scale), tolerance);
        expect_close(backward.values(),
                     reference_rope(values, frequencies, starts, size(c.length), c.shape, -1.0, c.scale), tolerance);
        // The values are unchanged.
        for (std::int64_t row = 0; row < c.batch * c.length; ++row) {
          const std::int64_t at = (row + 1) * columns - 1;
          EXPECT_EQ(forward.values()[size(at)], values[size(at)]);
        }
        EXPECT_TRUE(forward.intact() && backward.intact() && inverse.intact());
      }
    }
  }
}

TEST(RopeReference, BackwardIsTheTranspose) {
  const AttentionShape shape{2, 1, 4};
  const std::vector<double> x = random_values(DType::f32, 3 * 16, 1);
  const std::vector<double> dout = random_values(DType::f32, 3 * 16, 2);
  const std::vector<double> frequencies = {1.0, 0.01};
  const std::vector<double> gradient = reference_rope(dout, frequencies, {5.0}, 3, shape, -1.0);
  EXPECT_LT(
      gradient_error(x, gradient,
                     [&](const auto& v) { return dot(dout, reference_rope(v, frequencies, {5.0}, 3, shape, 1.0)); }),
      1e-8);
}

TEST_P(RopeTest, NamesWrongArguments) {
  Backend& b = backend();
  const AttentionShape shape{2, 1, 4};
  const Guarded qkv(b, DType::f32, {2, 3, 16});
  const Guarded wide(b, DType::f32, {2, 3, 17});
  const Guarded flat(b, DType::f32, {6, 16});
  const Guarded inverse(b, DType::f32, {2});
  const Guarded too_many(b, DType::f32, {3});
  const Guarded integers(b, DType::i32, {3});
  const auto both = [&](std::string_view part, const Tensor& x, const Tensor& f, const Positions& p,
                        const AttentionShape& s) {
    refuses("rope", part, [&] { b.run(Rope{.qkv = x, .inverse_frequencies = f, .positions = p, .shape = s}); });
    refuses("rope", part,
            [&] { b.run(Rope{.qkv = x, .inverse_frequencies = f, .positions = p, .shape = s, .backward = true}); });
  };
  both("qkv is absent", {}, inverse, {}, shape);
  both("qkv is f32 [2, 3, 17]", wide, inverse, {}, shape);
  both("qkv is f32 [6, 16]", flat, inverse, {}, shape);
  both("inverse_frequencies is i32", qkv, integers, {}, shape);
  both("inverse_frequencies is f32 [2, 3, 16]", qkv, qkv, {}, shape);
  both("positions.first is i32 [3]", qkv, inverse, {integers}, shape);
  both("must be f32 with 1 to 2 elements", qkv, too_many, {}, shape);
  both("key/value heads", qkv, inverse, {}, {3, 2, 4});
}

INSTANTIATE_TEST_SUITE_P(Backends, EmbeddingTest, testing::ValuesIn(test_backends()), test_backend_name);
INSTANTIATE_TEST_SUITE_P(Backends, RopeTest, testing::ValuesIn(test_backends()), test_backend_name);

}  // namespace
}  // namespace mslt::test

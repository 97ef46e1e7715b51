// The largest logits and the key/value cache, on every backend.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "tests/backend/backend_under_test.h"
#include "tests/backend/numeric_check.h"

namespace mslt::test {
namespace {

class SamplingTest : public BackendTest {};
class KvCacheTest : public BackendTest {};

// Indices in descending order of the row's values, ties by the smaller index.
std::vector<std::size_t> sorted_indices(const double* row, std::size_t vocab) {
  std::vector<std::size_t> order(vocab);
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return row[a] > row[b]; });
  return order;
}

TEST_P(SamplingTest, FindsTheLargest) {
  struct Case {
    std::int64_t rows, columns, vocab, k;
    bool ties = true;
  };
  const std::vector<Case> cases = {{1, 1, 1, 1},
                                   {3, 8, 5, 5},
                                   {2, 33, 33, 7},
                                   {2, 136, 128, 1},
                                   {2, 328, 320, 1},
                                   {2, 329, 320, 1},
                                   {4, 100, 97, 40},
                                   {5, 128, 128, 128},
                                   {2, 3000, 2999, 50},
                                   {1, 50304, 50257, 64},
                                   {2, 50304, 50257, 50, false},
                                   {1, 50257, 50257, 3, false},
                                   {257, 2056, 2053, 20, false},
                                   {257, 2056, 2053, 64, true},
                                   {2, 1600, 1530, 1, false},
                                   {1, 4096, 4095, 700, false},
                                   {1, 140000, 139999, 10, false}};
  for (const Case& c : cases) {
    for (const DType dtype : last_under_tsan(floating_types())) {
      SCOPED_TRACE(std::to_string(c.columns) + " columns " + std::string(name_of(dtype)));
      // Rounding to quarters causes many ties; padding is larger than everything.
      std::vector<double> values = random_values(dtype, c.rows * c.columns, 1);
      for (std::size_t i = 0; i < values.size(); ++i) {
        const bool padding = static_cast<std::int64_t>(i) % c.columns >= c.vocab;
        values[i] = padding ? 1e4 : c.ties ? std::round(values[i] * 4.0) / 4.0 : values[i];
        if (i % 7 == 3 && !padding) values[i] = -0.0;
      }
      values = rounded(dtype, values);
      const Guarded logits = upload(backend(), dtype, {c.rows, c.columns}, values);
      const Guarded largest(backend(), DType::f32, {c.rows});
      const Guarded best(backend(), DType::i32, {c.rows});
      const Guarded top(backend(), DType::f32, {c.rows, c.k});
      const Guarded indices(backend(), DType::i32, {c.rows, c.k});
      backend().run(Argmax{.values = largest, .indices = best, .logits = logits, .vocab = c.vocab});
      backend().run(TopK{.values = top, .indices = indices, .logits = logits, .vocab = c.vocab});
      std::vector<double> expected_best;
      std::vector<double> expected_largest;
      std::vector<double> expected_values;
      std::vector<double> expected_indices;
      for (std::int64_t row = 0; row < c.rows; ++row) {
        const double* begin = values.data() + row * c.columns;
        const std::vector<std::size_t> order = sorted_indices(begin, size(c.vocab));
        expected_best.push_back(static_cast<double>(order[0]));
        expected_largest.push_back(begin[order[0]]);
        for (std::int64_t i = 0; i < c.k; ++i) {
          expected_indices.push_back(static_cast<double>(order[size(i)]));
          expected_values.push_back(begin[order[size(i)]]);
        }
      }
      EXPECT_EQ(best.values(), expected_best);
      EXPECT_EQ(largest.values(), expected_largest);
      EXPECT_EQ(top.values(), expected_values);
      EXPECT_EQ(indices.values(), expected_indices);
      EXPECT_TRUE(best.intact() && largest.intact() && top.intact() && indices.intact() && logits.intact());
    }
  }
}

TEST_P(SamplingTest, InfinitiesAreOrderedAndNanComesLast) {
  const double infinity = std::numeric_limits<double>::infinity();
  const double nan = std::nan("");
  std::vector<double> row(40, -infinity);
  row[20] = nan;
  row[31] = infinity;
  row[35] = 2.0;
  const Guarded logits = upload(backend(), DType::f32, {1, 40}, row);
  const Guarded largest(backend(), DType::f32, {1});
  const Guarded best(backend(), DType::i32, {1});
  const Guarded top(backend(), DType::f32, {1, 4});
  const Guarded indices(backend(), DType::i32, {1, 4});
  backend().run(Argmax{.values = largest, .indices = best, .logits = logits, .vocab = 40});
  backend().run(TopK{.values = top, .indices = indices, .logits = logits, .vocab = 40});
  EXPECT_EQ(best.values(), (std::vector<double>{31}));
  EXPECT_EQ(largest.values(), (std::vector<double>{infinity}));
  EXPECT_EQ(indices.values(), (std::vector<double>{31, 35, 0, 1}));
  EXPECT_EQ(top.values(), (std::vector<double>{infinity, 2.0, -infinity, -infinity}));
  const Guarded none = upload(backend(), DType::f32, {1, 40}, std::vector<double>(40, nan));
  backend().run(Argmax{.values = largest, .indices = best, .logits = none, .vocab = 40});
  backend().run(TopK{.values = top, .indices = indices, .logits = none, .vocab = 40});
  EXPECT_EQ(best.values(), (std::vector<double>{0}));
  EXPECT_TRUE(std::isnan(largest.values()[0]));
  EXPECT_EQ(indices.values(), (std::vector<double>{0, 1, 2, 3}));
}

// Threads, and whole batches of spans, may see no number, or numbers only after NaN of both signs.
TEST_P(SamplingTest, FindsFewNumbersAmongNan) {
  const std::size_t vocab = 5003;
  for (const DType dtype : floating_types()) {
    for (const std::size_t distance : {3, 97, 1500}) {
      SCOPED_TRACE(std::string(name_of(dtype)) + " every " + std::to_string(distance));
      std::vector<double> row = random_values(dtype, static_cast<std::int64_t>(vocab), 1);
      std::vector<std::size_t> order;
      for (std::size_t i = 0; i < vocab; ++i) {
        if (i % distance != 2) row[i] = std::copysign(std::nan(""), i % 2 == 0 ? 1.0 : -1.0);
        if (!std::isnan(row[i])) order.push_back(i);
      }
      std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return row[a] > row[b]; });
      for (std::size_t i = 0; i < vocab; ++i) {
        if (std::isnan(row[i])) order.push_back(i);
      }
      const Guarded logits = upload(backend(), dtype, {1, static_cast<std::int64_t>(vocab)}, row);
      const Guarded largest(backend(), DType::f32, {1});
      const Guarded best(backend(), DType::i32, {1});
      backend().run(
          Argmax{.values = largest, .indices = best, .logits = logits, .vocab = static_cast<std::int64_t>(vocab)});
      EXPECT_EQ(best.values(), (std::vector<double>{static_cast<double>(order[0])}));
      EXPECT_EQ(largest.values(), (std::vector<double>{row[order[0]]}));
      for (const std::size_t k : {1, 4, 60}) {
        const Guarded top(backend(), DType::f32, {1, static_cast<std::int64_t>(k)});
        const Guarded indices(backend(), DType::i32, {1, static_cast<std::int64_t>(k)});
        backend().run(
            TopK{.values = top, .indices = indices, .logits = logits, .vocab = static_cast<std::int64_t>(vocab)});
        EXPECT_EQ(indices.values(), std::vector<double>(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(k)));
        const std::vector<double> values = top.values();
        for (std::size_t i = 0; i < k; ++i) {
          EXPECT_TRUE(values[i] == row[order[i]] || (std::isnan(values[i]) && std::isnan(row[order[i]])));
        }
      }
    }
  }
}

// Also on devices whose arithmetic flushes them to zero.
TEST_P(SamplingTest, SubnormalsAreTold) {
  for (const DType dtype : floating_types()) {
    SCOPED_TRACE(name_of(dtype));
    // Ascending, from negative ones over zeros of both signs; all the rest is below them.
    const double least = dtype == DType::f32 ? 0x1p-149 : dtype == DType::bf16 ? 0x1p-133 : 0x1p-24;
    std::vector<double> row(77, -1.0);
    for (std::size_t i = 0; i < 40; ++i) row[i + 30] = least * (static_cast<double>(i) - 20.0);
    row[5] = -0.0;
    const Guarded logits = upload(backend(), dtype, {1, 77}, row);
    const Guarded largest(backend(), DType::f32, {1});
    const Guarded best(backend(), DType::i32, {1});
    const Guarded top(backend(), DType::f32, {1, 41});
    const Guarded indices(backend(), DType::i32, {1, 41});
    backend().run(Argmax{.values = largest, .indices = best, .logits = logits, .vocab = 77});
    backend().run(TopK{.values = top, .indices = indices, .logits = logits, .vocab = 77});
    const std::vector<std::size_t> order = sorted_indices(row.data(), row.size());
    std::vector<double> expected_values;
    std::vector<double> expected_indices;
    for (std::size_t i = 0; i < 41; ++i) {
      expected_indices.push_back(static_cast<double>(order[i]));
      expected_values.push_back(row[order[i]]);
    }
    EXPECT_EQ(best.values(), (std::vector<double>{69}));
    EXPECT_EQ(largest.values(), (std::vector<double>{row[69]}));
    EXPECT_EQ(indices.values(), expected_indices);
    EXPECT_EQ(top.values(), expected_values);
  }
}

TEST_P(SamplingTest, NamesWrongArguments) {
  Backend& b = backend();
  const Guarded logits(b, DType::f32, {3, 8});
  const Guarded out(b, DType::i32, {3});
  const Guarded four(b, DType::i32, {4});
  const Guarded values(b, DType::f32, {3, 2});
  const Guarded indices(b, DType::i32, {3, 2});
  const Guarded nine(b, DType::f32, {3, 9});
  const Guarded largest(b, DType::f32, {3});
  refuses("argmax: ", "logits is absent",
          [&] { b.run(Argmax{.values = largest, .indices = out, .logits = {}, .vocab = 8}); });
  refuses("argmax: ", "logits is i32",
          [&] { b.run(Argmax{.values = largest, .indices = out, .logits = out, .vocab = 3}); });
  refuses("argmax: ", "vocab is 9",
          [&] { b.run(Argmax{.values = largest, .indices = out, .logits = logits, .vocab = 9}); });
  refuses("argmax: ", "vocab is 0",
          [&] { b.run(Argmax{.values = largest, .indices = out, .logits = logits, .vocab = 0}); });
  refuses("argmax: ", "indices is i32 [4]",
          [&] { b.run(Argmax{.values = largest, .indices = four, .logits = logits, .vocab = 8}); });
  refuses("argmax: ", "values is f32 [3, 2]",
          [&] { b.run(Argmax{.values = values, .indices = out, .logits = logits, .vocab = 8}); });
  refuses("top_k: ", "values is f32 [3, 9]",
          [&] { b.run(TopK{.values = nine, .indices = indices, .logits = logits, .vocab = 8}); });
  refuses("top_k: ", "values is i32",
          [&] { b.run(TopK{.values = indices, .indices = indices, .logits = logits, .vocab = 8}); });
  refuses("top_k: ", "indices is f32",
          [&] { b.run(TopK{.values = values, .indices = values, .logits = logits, .vocab = 8}); });
  refuses("top_k: ", "vocab is 9",
          [&] { b.run(TopK{.values = values, .indices = indices, .logits = logits, .vocab = 9}); });
}

TEST_P(KvCacheTest, AppendsWhereTheTableSays) {
  const AttentionShape shape{4, 2, 6};
  const std::int64_t width = 12;
  const std::int64_t columns = (4 + 4) * 6;
  const std::int64_t length = 21;
  const std::vector<double> table_values = {5, 0, 3, 2, 6, 1};
  const std::vector<double> starts = {3, 20};
  const std::vector<double> count_values = {21, 9};
  for (const DType dtype : floating_types()) {
    for (const DType cache_dtype : kept_types(dtype)) {
      for (const bool counted : {false, true}) {
        for (const bool shifted : {false, true}) {
          SCOPED_TRACE(std::string(name_of(dtype)) + " into " + std::string(name_of(cache_dtype)) + " counts " +
                       std::to_string(counted) + " first " + std::to_string(shifted));
          const std::vector<double> values = random_values(dtype, 2 * length * columns, 1);
          std::vector<double> keys = random_values(cache_dtype, 7 * 16 * width, 2);
          std::vector<double> contents = random_values(cache_dtype, 7 * 16 * width, 3);
          const Guarded qkv = upload(backend(), dtype, {2, length, columns}, values);
          const Guarded cached_keys = upload(backend(), cache_dtype, {7, 16, width}, keys);
          const Guarded cached_values = upload(backend(), cache_dtype, {7, 16, width}, contents);
          const Guarded table = upload(backend(), DType::i32, {2, 3}, table_values);
          const Guarded first = upload(backend(), DType::i32, {2}, starts);
          const Guarded counts = upload(backend(), DType::i32, {2}, count_values);
          backend().run(KvCacheAppend{.cache = {cached_keys, cached_values, table},
                                      .qkv = qkv,
                                      .positions = {shifted ? first.tensor() : Tensor()},
                                      .counts = counted ? counts.tensor() : Tensor(),
                                      .shape = shape});
          for (std::size_t b = 0; b < 2; ++b) {
            const auto count = static_cast<std::size_t>(counted ? count_values[b] : static_cast<double>(length));
            for (std::size_t t = 0; t < count; ++t) {
              const std::size_t place = t + static_cast<std::size_t>(shifted ? starts[b] : 0.0);
              const std::size_t row = static_cast<std::size_t>(table_values[b * 3 + place / 16]) * 16 + place % 16;
              const std::size_t from = (b * size(length) + t) * size(columns) + 24;
              for (std::size_t i = 0; i < 12; ++i) {
                keys[row * 12 + i] = values[from + i];
                contents[row * 12 + i] = values[from + 12 + i];
              }
            }
          }
          EXPECT_EQ(cached_keys.values(), rounded(cache_dtype, keys));
          EXPECT_EQ(cached_values.values(), rounded(cache_dtype, contents));
          EXPECT_TRUE(cached_keys.intact() && cached_values.intact() && qkv.intact());
        }
      }
    }
  }
}

// Positions before and beyond the table, and blocks outside the cache: the CPU refuses them before it writes anything,
// other devices skip only those rows.
TEST_P(KvCacheTest, StoresNoRowThatHasNoPlace) {
  const AttentionShape shape{1, 1, 8};
  const std::vector<double> values = random_values(DType::f32, std::int64_t{2} * 20 * 24, 1);
  const Guarded qkv = upload(backend(), DType::f32, {2, 20, 24}, values);
  struct Case {
    std::vector<double> first;  // [2]
    std::vector<double> table;  // [2, 2]
    std::string_view part;
  };
  // After the first sequence's row of the table comes the second's, which fills none of those places itself.
  const std::vector<Case> cases = {{{0, -3}, {0, 1, 2, 3}, "position -3 of sequence 1"},
                                   {{20, 12}, {0, 1, 2, 3}, "position 32 of sequence 0"},
                                   {{0, 20}, {0, 1, 2, 3}, "position 32 of sequence 1"},
                                   {{0, 0}, {0, 1, 2, 4}, "block 4 for sequence 1"},
                                   {{0, 0}, {0, 1, 2, -1}, "block -1 for sequence 1"}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.part);
    std::vector<double> expected = random_values(DType::f32, 4 * 16 * 8, 2);
    const Guarded keys = upload(backend(), DType::f32, {4, 16, 8}, expected);
    const Guarded contents = upload(backend(), DType::f32, {4, 16, 8}, expected);
    const Guarded table = upload(backend(), DType::i32, {2, 2}, c.table);
    const Guarded first = upload(backend(), DType::i32, {2}, c.first);
    const auto append = [&] {
      backend().run(
          KvCacheAppend{.cache = {keys, contents, table}, .qkv = qkv, .positions = {first.tensor()}, .shape = shape});
    };
    if (backend().device().backend == "cpu") {
      refuses("kv_cache_append: ", c.part, append);
    } else {
      append();
      for (std::int64_t row = 0; row < 40; ++row) {
        const std::int64_t place = row % 20 + static_cast<std::int64_t>(c.first[size(row / 20)]);
        if (place < 0 || place >= 32) continue;
        const double block = c.table[size(row / 20 * 2 + place / 16)];
        if (block < 0 || block >= 4) continue;
        const std::int64_t to = static_cast<std::int64_t>(block) * 16 + place % 16;
        for (std::int64_t i = 0; i < 8; ++i) expected[size(to * 8 + i)] = values[size(row * 24 + 8 + i)];
      }
    }
    EXPECT_EQ(keys.values(), expected);
    EXPECT_TRUE(keys.intact() && contents.intact());
  }
}

TEST_P(KvCacheTest, RefusesDtypesThatDoNotMeet) {
  Backend& b = backend();
  const Guarded table(b, DType::i32, {2, 2});
  for (const auto& [dtype, other] : refused_pairs()) {
    const Guarded qkv(b, dtype, {2, 3, 16});
    const Guarded keys(b, other, {5, 16, 4});
    const Guarded values(b, other, {5, 16, 4});
    refuses("kv_cache_append: ", unkept("cache.keys", keys, "qkv", qkv),
            [&] { b.run(KvCacheAppend{.cache = {keys, values, table}, .qkv = qkv, .shape = {2, 1, 4}}); });
  }
}

TEST_P(KvCacheTest, NamesWrongArguments) {
  Backend& b = backend();
  const AttentionShape shape{2, 1, 4};
  const Guarded qkv(b, DType::f32, {2, 3, 16});
  const Guarded wide(b, DType::f32, {2, 3, 17});
  const Guarded keys(b, DType::f32, {5, 16, 4});
  const Guarded values(b, DType::f32, {5, 16, 4});
  const Guarded half(b, DType::f16, {5, 16, 4});
  const Guarded shallow(b, DType::f32, {5, 8, 4});
  const Guarded table(b, DType::i32, {2, 2});
  const Guarded three(b, DType::i32, {3});
  const auto append = [&](std::string_view part, const KvCacheView& cache, const Tensor& x, const Positions& positions,
                          const Tensor& counts, const AttentionShape& s) {
    refuses("kv_cache_append: ", part, [&] {
      b.run(KvCacheAppend{.cache = cache, .qkv = x, .positions = positions, .counts = counts, .shape = s});
    });
  };
  append("qkv is f32 [2, 3, 17]", {keys, values, table}, wide, {}, {}, shape);
  append("cache.keys is absent", {{}, values, table}, qkv, {}, {}, shape);
  append("cache.keys is f32 [5, 8, 4]", {shallow, values, table}, qkv, {}, {}, shape);
  append("cache.values is f16", {keys, half, table}, qkv, {}, {}, shape);
  append("overlap", {keys, keys, table}, qkv, {}, {}, shape);
  append("cache.block_table is i32 [3]", {keys, values, three}, qkv, {}, {}, shape);
  append("positions.first is i32 [3]", {keys, values, table}, qkv, {three}, {}, shape);
  append("counts is i32 [3]", {keys, values, table}, qkv, {}, three, shape);
  append("key/value heads", {keys, values, table}, qkv, {}, {}, {3, 2, 4});
}

INSTANTIATE_TEST_SUITE_P(Backends, SamplingTest, testing::ValuesIn(test_backends()), test_backend_name);
INSTANTIATE_TEST_SUITE_P(Backends, KvCacheTest, testing::ValuesIn(test_backends()), test_backend_name);

}  // namespace
}  // namespace mslt::test

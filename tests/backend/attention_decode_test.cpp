// attention_decode against the reference over whole sequences, on every backend.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "backend/registry.h"
#include "tests/backend/backend_under_test.h"
#include "tests/backend/numeric_check.h"
#include "tests/backend/reference_attention.h"

namespace mslt::test {
namespace {

constexpr std::int64_t page = KvCacheView::block_size;

struct DecodeCase {
  std::vector<std::int64_t> first;  // each sequence's position of its first query
  std::int64_t length;              // queries per sequence
  int heads;
  int kv_heads;
  int head_size;
  int window = 0;
  float softcap = 0.0f;
};

std::vector<DecodeCase> decode_cases() {
  return {{{0}, 1, 1, 1, 1},
          {{0, 5}, 1, 2, 2, 5},
          {{15, 16, 17}, 1, 4, 2, 16},
          {{300}, 1, 6, 2, 64},
          {{600, 3}, 1, 2, 1, 40},
          {{255, 256}, 2, 2, 2, 24},
          {{510, 0}, 7, 3, 1, 33},
          {{0}, 8, 2, 1, 8},
          {{13, 100}, 40, 4, 2, 32},
          {{0, 20}, 300, 2, 1, 16},
          {{1}, 63, 1, 1, 256},
          {{70, 2}, 3, 2, 1, 80},
          {{2500}, 1, 1, 1, 8},
          {{40, 3}, 1, 4, 2, 16, 1},
          {{300, 70}, 2, 4, 2, 24, 33},
          {{20, 500}, 20, 2, 1, 16, 70, 0.8f},
          {{1000}, 1, 2, 1, 40, 100, 1.5f},
          {{3, 200}, 3, 2, 2, 8, 0, 0.5f},
          {{0, 31, 32}, 1, 4, 2, 32, 32, 2.0f},
          {{5, 1040}, 1, 2, 1, 8, 70, 0.5f},
          {std::vector<std::int64_t>(64, 37), 1, 6, 2, 8},
          {std::vector<std::int64_t>(64, 37), 1, 6, 2, 8, 20}};
}

// Sequences of queries, keys and values, their cache, and the call's arguments.
struct DecodePass {
  DecodePass(Backend& backend, const DecodeCase& c, DType dtype, DType cache_dtype)
      : shape{c.heads, c.kv_heads, c.head_size, 1.0f / std::sqrt(static_cast<float>(c.head_size)),
              true,    c.window,   c.softcap},
        width((c.heads + 2 * c.kv_heads) * c.head_size),
        kv_width(std::int64_t{c.kv_heads} * c.head_size) {
    const auto batch = static_cast<std::int64_t>(c.first.size());
    std::int64_t longest = 0;
    for (const std::int64_t first : c.first) longest = std::max(longest, first + c.length);
    const std::int64_t pages = (longest + page - 1) / page + 1;
    // Blocks are assigned in scattered order; unassigned ones contain NaN, and unused entries of the table are invalid.
    const std::int64_t blocks = batch * pages + 2;
    std::vector<double> table(static_cast<std::size_t>(batch * pages), 123456789.0);
    std::vector<double> keys(static_cast<std::size_t>(blocks * page * kv_width), std::nan(""));
    std::vector<double> values = keys;
    kept_keys = kept_values = keys;
    std::vector<double> queries;
    for (std::int64_t b = 0; b < batch; ++b) {
      const std::int64_t first = c.first[static_cast<std::size_t>(b)];
      const std::int64_t end = first + c.length;
      // Keys and values, rounded like the cache.
      std::vector<double> qkv = random_values(dtype, end * width, static_cast<std::uint64_t>(b) + 1);
      const std::vector<double> stored = rounded(cache_dtype, qkv);
      for (std::int64_t p = 0; p < end; ++p) {
        const std::int64_t block = (b + batch * (pages - 1 - p / page)) + 1;
        table[static_cast<std::size_t>(b * pages + p / page)] = static_cast<double>(block);
        for (std::int64_t i = 0; i < kv_width; ++i) {
          const auto key = static_cast<std::size_t>(p * width + c.heads * c.head_size + i);
          const auto value = key + static_cast<std::size_t>(kv_width);
          const auto slot = static_cast<std::size_t>((block * page + p % page) * kv_width + i);
          kept_keys[slot] = qkv[key] = stored[key];
          kept_values[slot] = qkv[value] = stored[value];
          if (p >= first) continue;  // the call stores it
          keys[slot] = stored[key];
          values[slot] = stored[value];
        }
      }
      const auto tail = static_cast<std::ptrdiff_t>(first * width);
      queries.insert(queries.end(), qkv.begin() + tail, qkv.end());
      const ReferenceAttention all =
          reference_attention(qkv, {}, 1, static_cast<std::size_t>(end), shape, {}, static_cast<std::size_t>(first));
      expected.insert(expected.end(), all.out.begin() + static_cast<std::ptrdiff_t>(first * c.heads * c.head_size),
                      all.out.end());
    }
    qkv_tensor = upload(backend, dtype, {batch, c.length, width}, queries);
    out = Guarded(backend, dtype, {batch, c.length, std::int64_t{c.heads} * c.head_size});
    key_tensor = upload(backend, cache_dtype, {blocks, page, kv_width}, keys);
    value_tensor = upload(backend, cache_dtype, {blocks, page, kv_width}, values);
    table_tensor = upload(backend, DType::i32, {batch, pages}, table);
    first_tensor = upload(backend, DType::i32, {batch}, std::vector<double>(c.first.begin(), c.first.end()));
  }

  KvCacheView cache() const { return {key_tensor.tensor(), value_tensor.tensor(), table_tensor.tensor()}; }
  Positions positions() const { return {first_tensor.tensor()}; }
  void decode(Backend& backend, const Tensor& inverse_frequencies = {}, float rotary_scale = 1.0f) {
    backend.run(AttentionDecode{.out = out,
                                .qkv = qkv_tensor,
                                .cache = cache(),
                                .positions = positions(),
                                .shape = shape,
                                .inverse_frequencies = inverse_frequencies,
                                .rotary_scale = rotary_scale});
  }
  // Whether the cache holds what it held and the keys and values of qkv, and nothing else.
  bool has_stored() const {
    const auto alike = [](double a, double b) {
      return a == b || (std::isnan(a) && std::isnan(b));
    };
    return std::ranges::equal(key_tensor.values(), kept_keys, alike) &&
           std::ranges::equal(value_tensor.values(), kept_values, alike) && key_tensor.intact() &&
           value_tensor.intact();
  }

  AttentionShape shape;
  std::int64_t width;
  std::int64_t kv_width;
  std::vector<double> expected;
  std::vector<double> kept_keys, kept_values;  // of the cache afterwards
  Guarded qkv_tensor, out, key_tensor, value_tensor, table_tensor, first_tensor;
};

class AttentionDecodeTest : public BackendTest {};

TEST_P(AttentionDecodeTest, EqualsTheReference) {
  for (const DecodeCase& c : decode_cases()) {
    // The reference reads the cache's contents, so 16-bit storage adds no error of its own.
    for (const DType dtype : activation_types(backend())) {
      for (const DType cache_dtype : kept_types(dtype)) {
        if (c.length > 100 && cache_dtype != DType::f32) continue;  // like any other length, but slow
        SCOPED_TRACE(testing::Message() << "B " << c.first.size() << " first " << c.first[0] << " T " << c.length
                                        << " H " << c.heads << " K " << c.kv_heads << " D " << c.head_size << " window "
                                        << c.window << " soft cap " << c.softcap << " " << name_of(dtype) << " with "
                                        << name_of(cache_dtype));
        DecodePass pass(backend(), c, dtype, cache_dtype);
        pass.decode(backend());
        expect_close(pass.out.values(), pass.expected, tolerance_of(dtype, 5e-7));
        EXPECT_TRUE(pass.out.intact());
        EXPECT_TRUE(pass.has_stored());
      }
    }
  }
}

TEST_P(AttentionDecodeTest, RotatesAsRopeDoes) {
  struct Rotation {
    int pairs = 0;  // all where it is 0
    float scale = 1.0f;
  };
  const auto check = [&](const DecodeCase& c, const Rotation& rotation) {
    SCOPED_TRACE(testing::Message() << "first " << c.first[0] << " T " << c.length << " D " << c.head_size);
    const int pairs = rotation.pairs > 0 ? rotation.pairs : c.head_size / 2;
    std::vector<double> frequencies;
    for (int i = 0; i < pairs; ++i) frequencies.push_back(std::pow(1000.0, -1.0 * i / pairs));
    const Guarded inverse = upload(backend(), DType::f32, {pairs}, frequencies);
    DecodePass apart(backend(), c, DType::f32, DType::f32);
    backend().run(Rope{.qkv = apart.qkv_tensor,
                       .inverse_frequencies = inverse,
                       .positions = apart.positions(),
                       .shape = apart.shape,
                       .scale = rotation.scale});
    apart.decode(backend());
    DecodePass together(backend(), c, DType::f32, DType::f32);
    together.decode(backend(), inverse, rotation.scale);
    expect_close(together.out.values(), apart.out.values(), 1e-6);
    const auto stored = [](const Guarded& tensor) {
      std::vector<double> values = tensor.values();
      std::erase_if(values, [](double value) { return std::isnan(value); });
      return values;
    };
    expect_close(stored(together.key_tensor), stored(apart.key_tensor), 1e-6);
    EXPECT_EQ(stored(together.value_tensor), stored(apart.value_tensor));
    EXPECT_TRUE(together.out.intact() && together.key_tensor.intact() && together.value_tensor.intact());
  };
  for (const DecodeCase& c : std::vector<DecodeCase>{{{15, 16, 17}, 1, 4, 2, 16},
                                                     {{300, 0}, 1, 6, 2, 64},
                                                     {{70}, 1, 2, 1, 80},
                                                     {{5, 1030}, 1, 2, 2, 24},
                                                     {{9}, 1, 1, 1, 256},
                                                     {{300, 0}, 1, 6, 2, 64, 70, 2.0f},
                                                     {{40, 3}, 3, 4, 2, 32}})
    check(c, {});
  check({{15, 16, 17}, 1, 4, 2, 32}, {.pairs = 8, .scale = 1.5f});
  check({{40, 3}, 3, 4, 2, 32}, {.pairs = 12});
  check({{9}, 1, 2, 1, 64}, {.scale = 0.75f});
}

TEST_P(AttentionDecodeTest, GivesTheSameBitsAgain) {
  for (const std::int64_t length : {1, 20}) {
    const DecodeCase c = {{700, 20}, length, 4, 2, 48};
    DecodePass once(backend(), c, DType::f32, DType::f32);
    once.decode(backend());
    DecodePass again(backend(), c, DType::f32, DType::f32);
    again.decode(backend());
    EXPECT_EQ(once.out.bytes(), again.out.bytes());
  }
}

TEST_P(AttentionDecodeTest, RefusesWrongArguments) {
  DecodePass pass(backend(), {{3, 4}, 2, 4, 2, 8}, DType::f32, DType::f32);
  const auto refuses = [&](const Tensor& out, const Tensor& qkv, const KvCacheView& cache, const Positions& positions,
                           const AttentionShape& shape, std::string_view part) {
    const std::string message = error_of(ErrorKind::input, [&] {
      backend().run(AttentionDecode{.out = out, .qkv = qkv, .cache = cache, .positions = positions, .shape = shape});
    });
    EXPECT_TRUE(message.starts_with("attention_decode: ")) << message;
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  const KvCacheView cache = pass.cache();
  refuses({}, pass.qkv_tensor, cache, pass.positions(), pass.shape, "out is absent");
  refuses(pass.out, {}, cache, pass.positions(), pass.shape, "qkv is absent");
  refuses(pass.out, pass.out, cache, pass.positions(), pass.shape, "qkv is f32");
  refuses(pass.out, pass.qkv_tensor, {{}, cache.values, cache.block_table}, pass.positions(), pass.shape,
          "cache.keys is absent");
  refuses(pass.out, pass.qkv_tensor, {cache.keys, pass.qkv_tensor, cache.block_table}, pass.positions(), pass.shape,
          "cache.values is f32");
  refuses(pass.out, pass.qkv_tensor, {cache.keys, cache.values, pass.first_tensor}, pass.positions(), pass.shape,
          "cache.block_table is i32");
  refuses(pass.out, pass.qkv_tensor, cache, {pass.table_tensor.tensor()}, pass.shape, "positions.first is i32");
  AttentionShape bidirectional = pass.shape;
  bidirectional.causal = false;
  refuses(pass.out, pass.qkv_tensor, cache, pass.positions(), bidirectional, "not causal");
}

TEST_P(AttentionDecodeTest, RefusesDtypesThatDoNotMeet) {
  for (const auto& [dtype, other] : refused_pairs()) {
    DecodePass pass(backend(), {{3, 4}, 2, 4, 2, 8}, dtype, other);
    refuses("attention_decode: ", unkept("cache.keys", pass.key_tensor, "qkv", pass.qkv_tensor),
            [&] { pass.decode(backend()); });
  }
}

// Invalid positions and blocks: the CPU refuses them, below; other devices skip them.
TEST_P(AttentionDecodeTest, ReadsNothingOutsideTheCache) {
  if (backend().device().backend == "cpu") return;
  // One row a sequence and two, in caches that are read at once and in several parts.
  for (const auto& [length, longest] :
       std::vector<std::pair<std::int64_t, std::int64_t>>{{1, 40}, {2, 40}, {1, 1100}, {2, 1100}}) {
    DecodePass pass(backend(), {{longest, 40}, length, 4, 2, 8}, DType::f32, DType::f32);
    pass.decode(backend());
    const std::vector<double> before = pass.out.values();
    const auto half = static_cast<std::ptrdiff_t>(before.size() / 2);
    // The first sequence stays unchanged; the second begins at -5 or beyond its table, or loses its blocks.
    std::vector<double> table = pass.table_tensor.values();
    const std::size_t width = table.size() / 2;
    const std::vector<double> none = {-1.0, 1e9, static_cast<double>(pass.key_tensor.tensor().shape()[0])};
    for (std::size_t i = 0; i < width; ++i) table[width + i] = none[i % none.size()];
    const Guarded lost = upload(backend(), DType::i32, pass.table_tensor.tensor().shape(), table);
    for (const double first : {-5.0, 5000.0, 40.0}) {
      const Guarded starts = upload(backend(), DType::i32, {2}, {static_cast<double>(longest), first});
      const KvCacheView cache = {pass.cache().keys, pass.cache().values, lost};
      backend().run(AttentionDecode{.out = pass.out,
                                    .qkv = pass.qkv_tensor,
                                    .cache = cache,
                                    .positions = {starts.tensor()},
                                    .shape = pass.shape});
      const std::vector<double> after = pass.out.values();
      EXPECT_TRUE(std::equal(before.begin(), before.begin() + half, after.begin()));
      for (auto value = after.begin() + half; value != after.end(); ++value) EXPECT_EQ(*value, 0.0);
      EXPECT_TRUE(pass.out.intact());
      EXPECT_TRUE(pass.has_stored());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, AttentionDecodeTest, testing::ValuesIn(test_backends()), test_backend_name);

// The CPU can read device memory and refuses these; a GPU would have to read it back.
TEST(CpuAttentionDecodeTest, RefusesPositionsAndBlocksThatDoNotExist) {
  const std::unique_ptr<Backend> backend = make_backend("cpu");
  DecodePass pass(*backend, {{3, 4}, 2, 4, 2, 8}, DType::f32, DType::f32);
  const auto refuses = [&](const KvCacheView& cache, const Positions& positions, std::string_view part) {
    const std::string message = error_of(ErrorKind::input, [&] {
      backend->run(AttentionDecode{
          .out = pass.out, .qkv = pass.qkv_tensor, .cache = cache, .positions = positions, .shape = pass.shape});
    });
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  const Guarded beyond = upload(*backend, DType::i32, {2}, {3, 31});
  refuses(pass.cache(), {beyond.tensor()}, "sequence 1 has positions 31…32, but");
  const Guarded negative = upload(*backend, DType::i32, {2}, {-1, 0});
  refuses(pass.cache(), {negative.tensor()}, "sequence 0 has positions -1");
  const Guarded table = upload(*backend, DType::i32, {2, 2}, {0, 0, 6, 0});
  refuses({pass.cache().keys, pass.cache().values, table.tensor()}, pass.positions(), "sequence 1 uses block 6");
}

}  // namespace
}  // namespace mslt::test

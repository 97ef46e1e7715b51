// Drawing tokens, on every backend, against sorting in float64.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/philox.h"
#include "tests/backend/backend_under_test.h"
#include "tests/backend/numeric_check.h"

namespace mslt::test {
namespace {

class DrawTokensTest : public BackendTest {};

// Sums of weights may be rounded by so much of the whole.
constexpr double rounding = 1e-5;

struct Row {
  std::vector<double> logits;      // of the vocabulary; -infinity for what cannot be drawn
  std::vector<std::int32_t> seen;  // words
  DrawSettings settings;
  std::uint32_t draws = 0;
};

bool has_bit(std::span<const std::int32_t> words, std::size_t token) {
  return !words.empty() && ((static_cast<std::uint32_t>(words[token / 32]) >> (token % 32)) & 1u) != 0;
}

// Whether `token` is the one that is drawn from the row, but for rounding.
bool is_drawn(const Row& row, std::size_t token) {
  const DrawSettings& set = row.settings;
  std::vector<double> logits = row.logits;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const auto penalty = static_cast<double>(set.repetition_penalty);
    if (has_bit(row.seen, i)) logits[i] *= logits[i] > 0.0 ? 1.0 / penalty : penalty;
  }
  std::vector<std::size_t> order(logits.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(
      order, [&](std::size_t a, std::size_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  if (set.temperature == 0.0f) return order[0] == token;
  std::vector<double> down_to;  // the sum of weights down to each
  for (const std::size_t i : order) {
    const double weight = std::exp((logits[i] - logits[order[0]]) / static_cast<double>(set.temperature));
    down_to.push_back((down_to.empty() ? 0.0 : down_to.back()) + weight);
  }
  std::size_t kept = order.size();
  if (set.top_k > 0) kept = std::min<std::size_t>(kept, set.top_k);
  const double share_of = static_cast<double>(set.top_p) * down_to[kept - 1];
  if (set.top_p < 1.0f) {
    kept =
        static_cast<std::size_t>(std::ranges::lower_bound(down_to, share_of - rounding * 1e-3) - down_to.begin()) + 1;
  }
  const auto weight_of = [&](std::size_t place) {
    return down_to[place] - (place == 0 ? 0.0 : down_to[place - 1]);
  };
  while (kept > 1 && weight_of(kept - 1) < static_cast<double>(set.min_p)) --kept;
  const std::uint64_t seed = (std::uint64_t{set.seed_high} << 32) | set.seed_low;
  const double target = PhiloxStream(seed, row.draws, set.sample).uniform_double() * down_to[kept - 1];
  const double slack = rounding * down_to[kept - 1];
  const auto place = static_cast<std::size_t>(std::ranges::find(order, token) - order.begin());
  return place < kept && target < down_to[place] + slack && (place == 0 || target > down_to[place - 1] - slack);
}

// What the rows draw `times` times in a row, with the padding larger than all. `excluded` has the words for all rows,
// or of each.
void expect_draws(Backend& backend, DType dtype, std::vector<Row>& rows, std::int64_t columns,
                  const std::vector<std::int32_t>& excluded, int times) {
  const auto vocab = static_cast<std::int64_t>(rows[0].logits.size());
  const auto count = static_cast<std::int64_t>(rows.size());
  const std::size_t words = size(token_words(vocab));
  std::vector<double> logits;
  std::vector<double> settings;
  std::vector<double> draws;
  std::vector<double> seen;
  for (std::size_t n = 0; n < rows.size(); ++n) {
    Row& row = rows[n];
    row.logits = rounded(dtype, row.logits);
    logits.insert(logits.end(), row.logits.begin(), row.logits.end());
    logits.resize(logits.size() + static_cast<std::size_t>(columns - vocab), 1e4);
    const auto packed = row.settings.packed();
    settings.insert(settings.end(), packed.begin(), packed.end());
    draws.push_back(row.draws);
    seen.insert(seen.end(), row.seen.begin(), row.seen.end());
    const std::size_t own = excluded.size() == words ? 0 : n * words;
    for (std::size_t i = 0; i < row.logits.size() && !excluded.empty(); ++i) {
      if (has_bit(std::span(excluded).subspan(own, words), i)) row.logits[i] = -std::numeric_limits<double>::infinity();
    }
  }
  const Guarded in = upload(backend, dtype, {count, columns}, logits);
  const Guarded set = upload(backend, DType::i32, {count, DrawSettings::words}, settings);
  const Guarded drawn_before = upload(backend, DType::i32, {count}, draws);
  const bool penalizes = !seen.empty();
  const Guarded bits = penalizes ? upload(backend, DType::i32, {count, token_words(vocab)}, seen) : Guarded();
  const Shape of_all = {token_words(vocab)};
  const Shape of_each = {count, token_words(vocab)};
  const Guarded without = excluded.empty() ? Guarded()
                                           : upload(backend, DType::i32, excluded.size() == words ? of_all : of_each,
                                                    std::vector<double>(excluded.begin(), excluded.end()));
  const Guarded tokens(backend, DType::i32, {count});
  const Guarded values(backend, DType::f32, {count});
  for (int time = 0; time < times; ++time) {
    backend.run(DrawTokens{.tokens = tokens,
                           .values = values,
                           .draws = drawn_before,
                           .seen = penalizes ? bits.tensor() : Tensor(),
                           .logits = in,
                           .settings = set,
                           .excluded = excluded.empty() ? Tensor() : without.tensor(),
                           .vocab = vocab});
    const std::vector<double> drawn = tokens.values();
    for (std::size_t n = 0; n < rows.size(); ++n) {
      Row& row = rows[n];
      const auto token = static_cast<std::size_t>(drawn[n]);
      EXPECT_TRUE(token < row.logits.size() && is_drawn(row, token)) << "row " << n << " token " << drawn[n];
      EXPECT_EQ(values.values()[n], *std::ranges::max_element(row.logits));
      row.draws += row.settings.temperature > 0.0f ? 1 : 0;
      EXPECT_EQ(drawn_before.values()[n], row.draws);
      if (!penalizes) continue;
      row.seen[token / 32] =
          static_cast<std::int32_t>(static_cast<std::uint32_t>(row.seen[token / 32]) | (1u << (token % 32)));
    }
  }
  if (penalizes) {
    std::vector<double> expected;
    for (const Row& row : rows) expected.insert(expected.end(), row.seen.begin(), row.seen.end());
    EXPECT_EQ(bits.values(), expected);
    EXPECT_TRUE(bits.intact());
  }
  EXPECT_TRUE(tokens.intact() && values.intact() && drawn_before.intact());
}

TEST_P(DrawTokensTest, DrawsByTheOrderOfWeights) {
  struct Case {
    std::int64_t columns, vocab;
    double spread;   // of the logits
    double quantum;  // they are multiples of it: 0 for no ties
    DrawSettings settings;
  };
  const std::vector<Case> cases = {
      {1, 1, 1, 0, {}},
      {40, 37, 3, 0, {}},
      {328, 320, 2, 0.25, {.temperature = 0.8f}},
      {328, 321, 2, 0.25, {.temperature = 0.8f, .top_k = 40}},
      {300, 300, 4, 0, {.temperature = 1.5f, .top_p = 0.7f}},
      {300, 300, 4, 0.5, {.temperature = 1.5f, .top_p = 0.7f, .top_k = 100}},
      {2056, 2053, 3, 0, {.min_p = 0.05f}},
      {2056, 2053, 3, 0.125, {.temperature = 0.7f, .top_p = 0.9f, .min_p = 0.02f, .top_k = 700}},
      {5000, 4999, 0, 0, {}},  // all alike: the place decides
      {300, 300, 2, 0.25, {.temperature = 0.0f}},
      {300, 300, 2, 0, {.temperature = 1.0f, .repetition_penalty = 1.7f}},
      {300, 299, 2, 0, {.temperature = 0.0f, .repetition_penalty = 1.7f}},
      {300, 300, 60, 0, {.temperature = 1.0f, .top_k = 299}},  // most weigh nothing
  };
  for (const Case& c : cases) {
    for (const DType dtype : floating_types()) {
      for (const std::size_t excludes : {0u, 1u, 3u}) {  // rows of what is excluded
        if (c.vocab < 2 && excludes > 0) continue;
        SCOPED_TRACE(fmt::format("{} of {} columns, {}, temperature {}, top_k {}, top_p {}, min_p {}, penalty {}{}",
                                 c.vocab, c.columns, name_of(dtype), c.settings.temperature, c.settings.top_k,
                                 c.settings.top_p, c.settings.min_p, c.settings.repetition_penalty,
                                 excludes > 0 ? fmt::format(", {} rows exclude some", excludes) : ""));
        std::vector<std::int32_t> excluded;
        for (std::size_t n = 0; n < excludes; ++n) {
          std::vector<std::int32_t> words(size(token_words(c.vocab)));
          for (std::size_t i = n; i < size(c.vocab); i += 3) words[i / 32] |= static_cast<std::int32_t>(1u << (i % 32));
          excluded.insert(excluded.end(), words.begin(), words.end());
        }
        std::vector<Row> rows(3);
        for (std::size_t n = 0; n < rows.size(); ++n) {
          Row& row = rows[n];
          row.settings = c.settings;
          row.settings.seed_low = 77;
          row.settings.seed_high = 5;
          row.settings.sample = static_cast<std::uint32_t>(n);
          row.draws = static_cast<std::uint32_t>(10 * n);
          PhiloxStream random(3, static_cast<std::uint32_t>(n), 1);
          for (std::int64_t i = 0; i < c.vocab; ++i) {
            const double logit = c.spread * static_cast<double>(random.normal());
            row.logits.push_back(c.quantum > 0.0 ? std::round(logit / c.quantum) * c.quantum : logit);
          }
          if (c.settings.repetition_penalty == 1.0f) continue;
          row.seen.resize(size(token_words(c.vocab)));
          for (std::size_t i = 0; i < size(c.vocab); i += 4)
            row.seen[i / 32] |= static_cast<std::int32_t>(1u << (i % 32));
        }
        expect_draws(backend(), dtype, rows, c.columns, excluded, 4);
      }
    }
  }
}

// Every token is drawn as often as its weight says: the uniform numbers reach all of the sum.
TEST_P(DrawTokensTest, DrawsInProportion) {
  constexpr std::int64_t rows = 64;
  constexpr std::int64_t vocab = 4;
  const std::vector<double> shares = {0.1, 0.4, 0.2, 0.3};
  std::vector<double> logits;
  std::vector<double> settings;
  for (std::int64_t n = 0; n < rows; ++n) {
    for (const double share : shares) logits.push_back(std::log(share));
    const auto packed = DrawSettings{.seed_low = 9, .sample = static_cast<std::uint32_t>(n)}.packed();
    settings.insert(settings.end(), packed.begin(), packed.end());
  }
  const Guarded in = upload(backend(), DType::f32, {rows, vocab}, logits);
  const Guarded set = upload(backend(), DType::i32, {rows, DrawSettings::words}, settings);
  const Guarded draws = upload(backend(), DType::i32, {rows}, std::vector<double>(rows, 0.0));
  const Guarded tokens(backend(), DType::i32, {rows});
  const Guarded values(backend(), DType::f32, {rows});
  std::array<double, vocab> counts{};
  constexpr int times = 32;
  for (int time = 0; time < times; ++time) {
    backend().run(
        DrawTokens{.tokens = tokens, .values = values, .draws = draws, .logits = in, .settings = set, .vocab = vocab});
    for (const double token : tokens.values()) counts[static_cast<std::size_t>(token)] += 1.0;
  }
  // Five standard deviations of 2,048 draws are 0.055.
  for (std::size_t i = 0; i < counts.size(); ++i) EXPECT_NEAR(counts[i] / (rows * times), shares[i], 0.055);
}

TEST_P(DrawTokensTest, LogitsThatAreNotFiniteAreToldAndNotDrawn) {
  const double infinity = std::numeric_limits<double>::infinity();
  const double nan = std::nan("");
  const std::vector<double> logits = {1.0, nan, 1.0, -infinity, nan, nan, infinity, infinity, 0.0};
  for (const float temperature : {0.0f, 1.0f}) {
    std::vector<double> settings;
    for (std::uint32_t n = 0; n < 3; ++n) {
      const auto packed = DrawSettings{.temperature = temperature, .sample = n}.packed();
      settings.insert(settings.end(), packed.begin(), packed.end());
    }
    const Guarded in = upload(backend(), DType::f32, {3, 3}, logits);
    const Guarded set = upload(backend(), DType::i32, {3, DrawSettings::words}, settings);
    const Guarded draws = upload(backend(), DType::i32, {3}, {0, 0, 0});
    const Guarded tokens(backend(), DType::i32, {3});
    const Guarded values(backend(), DType::f32, {3});
    backend().run(
        DrawTokens{.tokens = tokens, .values = values, .draws = draws, .logits = in, .settings = set, .vocab = 3});
    for (const double value : values.values()) EXPECT_TRUE(std::isnan(value));
    EXPECT_NE(tokens.values()[0], 1.0);
    EXPECT_EQ(tokens.values()[1], 0.0);
    EXPECT_EQ(tokens.values()[2], 2.0);
  }
}

TEST_P(DrawTokensTest, NamesWrongArguments) {
  Backend& b = backend();
  const Guarded logits(b, DType::f32, {2, 40});
  const Guarded tokens(b, DType::i32, {2});
  const Guarded values(b, DType::f32, {2});
  const Guarded draws(b, DType::i32, {2});
  const Guarded settings(b, DType::i32, {2, DrawSettings::words});
  const Guarded words(b, DType::i32, {2, 2});
  const Guarded one(b, DType::i32, {1});
  const auto refused = [&](std::string_view part, auto&& change) {
    DrawTokens op{
        .tokens = tokens, .values = values, .draws = draws, .logits = logits, .settings = settings, .vocab = 40};
    change(op);
    refuses("draw_tokens: ", part, [&] { b.run(op); });
  };
  refused("vocab is 41", [](DrawTokens& op) { op.vocab = 41; });
  refused("tokens is i32 [1]", [&](DrawTokens& op) { op.tokens = one; });
  refused("values is absent", [](DrawTokens& op) { op.values = {}; });
  refused("draws is i32 [1]", [&](DrawTokens& op) { op.draws = one; });
  refused("settings is i32 [2, 2]", [&](DrawTokens& op) { op.settings = words; });
  refused("seen is i32 [1]", [&](DrawTokens& op) { op.seen = one; });
  refused("excluded is i32 [1]", [&](DrawTokens& op) { op.excluded = one; });
  refused("tokens", [&](DrawTokens& op) { op.draws = tokens; });
}

INSTANTIATE_TEST_SUITE_P(Backends, DrawTokensTest, testing::ValuesIn(test_backends()), test_backend_name);

}  // namespace
}  // namespace mslt::test

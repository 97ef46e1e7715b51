// Tests of drawing by weight: ties, and many candidates on several threads.
#include "base/weighted_draw.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <vector>

#include "base/parallel.h"
#include "base/philox.h"

namespace mslt {
namespace {

std::size_t draw_at(std::vector<float> logits, float temperature, double share) {
  WeightedDraw draw;
  return draw.draw(logits, *std::max_element(logits.begin(), logits.end()), temperature, {}, share);
}

// The same by sorting.
std::size_t expected_at(const std::vector<float>& logits, double share) {
  std::vector<std::size_t> order(logits.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return logits[a] > logits[b]; });
  std::vector<double> sums;
  for (const std::size_t i : order) {
    const auto weight = std::exp(static_cast<double>(logits[i]) - static_cast<double>(logits[order[0]]));
    sums.push_back(weight + (sums.empty() ? 0.0 : sums.back()));
  }
  const auto place = std::upper_bound(sums.begin(), sums.end(), share * sums.back());
  return order[static_cast<std::size_t>(place - sums.begin())];
}

TEST(WeightedDraw, CandidatesOfAllPartsAreDrawnByTheirWeights) {
  const int threads_before = parallel_threads();
  for (const std::size_t count : {1UL, 8191UL, 8192UL, 16384UL, 40001UL}) {
    PhiloxStream stream(3, 0, 0);
    std::vector<float> logits(count);
    // Whole numbers, so that many are alike and no rounding decides.
    for (float& logit : logits) logit = std::round(2.0f * stream.normal());
    for (const int threads : {1, 3}) {
      set_parallel_threads(threads);
      for (int i = 0; i < 5; ++i) {
        const double share = (i + 0.37) / 5.0;
        EXPECT_EQ(draw_at(logits, 1.0f, share), expected_at(logits, share)) << count << " candidates, share " << share;
      }
    }
  }
  set_parallel_threads(threads_before);
}

TEST(WeightedDraw, EqualLogitsShareTheDrawEvenly) {
  const std::vector<float> logits(30000, 1.5f);
  for (const std::size_t wanted : {0UL, 1UL, 7499UL, 7500UL, 14999UL, 29999UL}) {
    EXPECT_EQ(draw_at(logits, 0.7f, (static_cast<double>(wanted) + 0.5) / 30000.0), wanted);
  }
}

TEST(WeightedDraw, ZerosOfBothSignsAreAlikeAtAnyTemperature) {
  for (const float temperature : {1.0f, 1e-3f, std::numeric_limits<float>::denorm_min()}) {
    EXPECT_EQ(draw_at({0.0f, -0.0f, -0.0f, -0.0f}, temperature, 0.99), 3U) << temperature;
    EXPECT_EQ(draw_at({-0.0f, 0.0f, -1.0f, -0.0f}, temperature, 0.99), temperature == 1.0f ? 2U : 3U) << temperature;
  }
}

}  // namespace
}  // namespace mslt

// Tests of medians, intervals and comparisons on samples whose distribution is known.
#include "profile/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "base/philox.h"

namespace mslt {
namespace {

// Normal, of relative deviation `noise`, with now and then a sample that something delayed by half.
std::vector<double> noisy_samples(double mean, double noise, std::size_t count, std::uint32_t number) {
  PhiloxStream stream(7, number, 0);
  const auto uniform = [&] {
    return (static_cast<double>(stream.below(1u << 30)) + 0.5) / static_cast<double>(1u << 30);
  };
  std::vector<double> samples(count);
  for (double& sample : samples) {
    const double normal = std::sqrt(-2.0 * std::log(uniform())) * std::cos(2.0 * std::numbers::pi * uniform());
    sample = mean * (1.0 + noise * normal);
    if (uniform() < 0.05) sample *= 1.5;
  }
  return samples;
}

constexpr double confidence = 1.0 - 0.01 / 30.0;  // as with thirty operations

TEST(StatisticsTest, MedianIsTheMiddle) {
  EXPECT_EQ(median_of(std::vector<double>{}), 0.0);
  EXPECT_EQ(median_of(std::vector<double>{3.0, 1.0, 2.0}), 2.0);
  EXPECT_EQ(median_of(std::vector<double>{4.0, 1.0, 2.0, 3.0}), 2.5);
}

// From tables of the binomial distribution: the 95 % interval of ten samples goes from the second to the ninth, that of
// twenty from the sixth to the fifteenth.
TEST(StatisticsTest, IntervalsAreThoseOfOrderStatistics) {
  std::vector<double> ten;
  for (int i = 1; i <= 10; ++i) ten.push_back(i);
  EXPECT_EQ(median_interval(ten, 0.95).low, 2.0);
  EXPECT_EQ(median_interval(ten, 0.95).high, 9.0);
  std::vector<double> twenty;
  for (int i = 1; i <= 20; ++i) twenty.push_back(i);
  EXPECT_EQ(median_interval(twenty, 0.95).low, 6.0);
  EXPECT_EQ(median_interval(twenty, 0.95).high, 15.0);
}

TEST(StatisticsTest, IntervalsHoldTheMedianAsOftenAsTheySay) {
  int misses = 0;
  constexpr int trials = 2000;
  for (std::uint32_t i = 0; i < trials; ++i) {
    const MedianInterval interval = median_interval(noisy_samples(1.0, 0.03, 30, i), 0.95);
    // A twentieth is delayed, so the median lies where 10/19 of the normal samples are below: 0.066 deviations up.
    const double median = 1.0 + 0.03 * 0.066;
    if (median < interval.low || median > interval.high) ++misses;
  }
  EXPECT_LE(misses, trials * 6 / 100);
  EXPECT_GE(misses, trials * 2 / 100);
}

TEST(StatisticsTest, FindsATenthMoreAndRaisesNoAlarmWithoutAChange) {
  constexpr double tolerance = 0.05;
  int found = 0;
  int alarms = 0;
  constexpr std::uint32_t trials = 300;
  for (std::uint32_t i = 0; i < trials; ++i) {
    const std::vector<double> before = noisy_samples(1e-3, 0.02, 30, 3 * i);
    if (compare_samples(before, noisy_samples(1.1e-3, 0.02, 30, 3 * i + 1), tolerance, confidence).change ==
        Change::slower) {
      ++found;
    }
    if (compare_samples(before, noisy_samples(1e-3, 0.02, 30, 3 * i + 2), tolerance, confidence).change !=
        Change::none) {
      ++alarms;
    }
  }
  EXPECT_GE(found, 290);
  EXPECT_EQ(alarms, 0);
}

TEST(StatisticsTest, SaysFasterTheOtherWayRound) {
  const std::vector<double> before = noisy_samples(1.2, 0.01, 30, 1);
  const std::vector<double> after = noisy_samples(1.0, 0.01, 30, 2);
  EXPECT_EQ(compare_samples(before, after, 0.05, confidence).change, Change::faster);
  EXPECT_EQ(compare_samples(after, before, 0.05, confidence).change, Change::slower);
}

// Two samples say little: their interval is as wide as they are.
TEST(StatisticsTest, FewSamplesHaveWideIntervals) {
  const MedianInterval interval = median_interval(std::vector<double>{1.0, 2.0}, 0.95);
  EXPECT_EQ(interval.low, 1.0);
  EXPECT_EQ(interval.high, 2.0);
}

}  // namespace
}  // namespace mslt

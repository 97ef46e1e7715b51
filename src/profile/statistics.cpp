// Order statistics.
#include "profile/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numbers>

namespace mslt {
namespace {

// How many samples from each end the interval begins: the largest r for which
// P(fewer than r of n fall below the median) = sum over i < r of (n over i) / 2^n is at most (1 - confidence) / 2.
std::size_t first_rank(std::size_t n, double confidence) {
  const double most = (1.0 - confidence) / 2.0;
  double log_term = -static_cast<double>(n) * std::log(2.0);  // of i = 0
  double sum = 0.0;
  std::size_t rank = 0;
  while (rank < n / 2) {
    sum += std::exp(log_term);
    if (sum > most) break;
    log_term += std::log(static_cast<double>(n - rank) / static_cast<double>(rank + 1));
    ++rank;
  }
  return rank;
}

std::vector<double> in_order(std::span<const double> values) {
  std::vector<double> sorted(values.begin(), values.end());
  std::ranges::sort(sorted);
  return sorted;
}

double middle_of(const std::vector<double>& sorted) {
  const std::size_t n = sorted.size();
  if (n == 0) return 0.0;
  return n % 2 == 1 ? sorted[n / 2] : 0.5 * (sorted[n / 2 - 1] + sorted[n / 2]);
}

double quotient(double after, double before) {
  if (before > 0.0) return after / before;
  return after > 0.0 ? std::numeric_limits<double>::infinity() : 1.0;
}

// How many deviations from its mean a normal variable stays within with this probability, found by halving.
double normal_quantile(double confidence) {
  double low = 0.0;
  double high = 40.0;
  for (int i = 0; i < 100; ++i) {
    const double middle = 0.5 * (low + high);
    (std::erfc(middle / std::numbers::sqrt2) > 1.0 - confidence ? low : high) = middle;
  }
  return high;
}

std::vector<double> thinned(std::span<const double> samples) {
  constexpr std::size_t most = 512;
  if (samples.size() <= most) return {samples.begin(), samples.end()};
  std::vector<double> chosen(most);
  for (std::size_t i = 0; i < most; ++i) chosen[i] = samples[i * samples.size() / most];
  return chosen;
}

}  // namespace

double median_of(std::span<const double> values) {
  return middle_of(in_order(values));
}

MedianInterval median_interval(std::span<const double> samples, double confidence) {
  if (samples.empty()) return {};
  const std::vector<double> sorted = in_order(samples);
  const std::size_t rank = std::max<std::size_t>(first_rank(sorted.size(), confidence), 1);
  return {.median = middle_of(sorted), .low = sorted[rank - 1], .high = sorted[sorted.size() - rank]};
}

Comparison compare_samples(std::span<const double> before, std::span<const double> after, double tolerance,
                           double confidence) {
  Comparison result;
  if (before.empty() || after.empty()) return result;
  const std::vector<double> first = thinned(before);
  const std::vector<double> second = thinned(after);
  std::vector<double> quotients;
  quotients.reserve(first.size() * second.size());
  for (const double a : second) {
    for (const double b : first) quotients.push_back(quotient(a, b));
  }
  std::ranges::sort(quotients);
  const auto n = static_cast<double>(first.size());
  const auto m = static_cast<double>(second.size());
  const double from_end = n * m / 2.0 - normal_quantile(confidence) * std::sqrt(n * m * (n + m + 1.0) / 12.0);
  const auto skipped = static_cast<std::size_t>(std::max(0.0, std::floor(from_end)));
  result.ratio = middle_of(quotients);
  result.low = quotients[skipped];
  result.high = quotients[quotients.size() - 1 - skipped];
  if (result.low > 1.0 + tolerance) result.change = Change::slower;
  if (result.high < 1.0 / (1.0 + tolerance)) result.change = Change::faster;
  return result;
}

}  // namespace mslt

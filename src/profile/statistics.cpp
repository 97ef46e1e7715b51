// Order statistics.
#include "profile/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

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
  const double each = std::sqrt(confidence);
  const MedianInterval first = median_interval(before, each);
  const MedianInterval second = median_interval(after, each);
  Comparison result = {.ratio = quotient(second.median, first.median),
                       .low = quotient(second.low, first.high),
                       .high = quotient(second.high, first.low)};
  if (result.low > 1.0 + tolerance) result.change = Change::slower;
  if (result.high < 1.0 / (1.0 + tolerance)) result.change = Change::faster;
  return result;
}

}  // namespace mslt

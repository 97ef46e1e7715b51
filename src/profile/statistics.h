// Medians with the interval that they lie in, and comparisons of two sets of samples.
#pragma once

#include <span>
#include <vector>

namespace mslt {

// The median of repeated measurements, and where the median of all that could be made lies.
struct MedianInterval {
  double median = 0.0;
  double low = 0.0;
  double high = 0.0;
};

// The middle value; the mean of the middle two of an even number; 0 without values.
double median_of(std::span<const double> values);

// The interval has its ends at two of the samples, by order (David and Nagaraja, Order Statistics, 2003, 7.1): no
// distribution is assumed. The median of all lies outside of it with a probability of at most 1 - confidence; with
// fewer samples than that needs, the ends are the least and the largest sample. Samples must be independent.
MedianInterval median_interval(std::span<const double> samples, double confidence = 0.95);

enum class Change : unsigned char { none, slower, faster };

// How many times longer something takes than before.
struct Comparison {
  double ratio = 1.0;  // the median of all quotients of a sample after and one before
  double low = 1.0;    // the interval of the ratio
  double high = 1.0;
  Change change = Change::none;
};

// The ratio is the estimate of Hodges and Lehmann (1963) of a factor between two distributions of any form; its
// interval has its ends at two of the quotients, by the normal approximation of Mann and Whitney's statistic. It holds
// the true factor with a probability of `confidence` if the samples are independent. `change` says slower only where
// the whole interval lies above 1 + tolerance, and faster where it lies below 1 / (1 + tolerance). Without samples on
// both sides nothing has changed; more than 512 on a side are thinned evenly.
Comparison compare_samples(std::span<const double> before, std::span<const double> after, double tolerance,
                           double confidence);

}  // namespace mslt

// Loops over arrays of floats in vectors, compiled once per target. Include it after foreach_target.h.
#if defined(MSLT_BACKEND_CPU_LANES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MSLT_BACKEND_CPU_LANES_INL_H
#undef MSLT_BACKEND_CPU_LANES_INL_H
#else
#define MSLT_BACKEND_CPU_LANES_INL_H
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using LastTag = hn::CappedTag<float, 1>;  // for the elements that do not fill a vector

// Calls body(d, i) for the elements of one vector of tag d starting at i, until all of [0, n) are covered.
template <class Body>
HWY_INLINE void for_lanes(std::int64_t n, const Body& body) {
  const FloatTag d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) body(d, i);
  for (; i < n; ++i) body(LastTag(), i);
}

// The sum of the results of body(d, i) over all of [0, n), called as by for_lanes. Four running sums hide the adder's
// latency; their number and order are fixed, so a target always gives the same bits.
template <class Body>
HWY_INLINE float sum_lanes(std::int64_t n, const Body& body) {
  const FloatTag d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  auto sum0 = hn::Zero(d);
  auto sum1 = hn::Zero(d);
  auto sum2 = hn::Zero(d);
  auto sum3 = hn::Zero(d);
  std::int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    sum0 = hn::Add(sum0, body(d, i));
    sum1 = hn::Add(sum1, body(d, i + lanes));
    sum2 = hn::Add(sum2, body(d, i + 2 * lanes));
    sum3 = hn::Add(sum3, body(d, i + 3 * lanes));
  }
  for (; i + lanes <= n; i += lanes) sum0 = hn::Add(sum0, body(d, i));
  float total = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3))));
  for (; i < n; ++i) total += hn::GetLane(body(LastTag(), i));
  return total;
}

}  // namespace HWY_NAMESPACE
}  // namespace mslt
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard

// Cross entropy, soft caps of logits and sums on the CPU.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "backend/cpu/blocks.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/float_data.h"
#include "backend/cpu/float_ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/loss.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/lanes-inl.h"
#include "backend/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace {

// The largest of x[0, n), at least -infinity; ignores NaN.
float maximum(const float* x, std::int64_t n) {
  const FloatTag d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const float least = -std::numeric_limits<float>::infinity();
  auto largest0 = hn::Set(d, least);
  auto largest1 = largest0;
  std::int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    const auto value0 = hn::LoadU(d, x + i);
    const auto value1 = hn::LoadU(d, x + i + lanes);
    largest0 = hn::IfThenElse(hn::Gt(value0, largest0), value0, largest0);
    largest1 = hn::IfThenElse(hn::Gt(value1, largest1), value1, largest1);
  }
  float result = hn::GetLane(hn::MaxOfLanes(d, hn::Max(largest0, largest1)));
  for (; i < n; ++i) result = x[i] > result ? x[i] : result;
  return result;
}

// The sum of exp(x[i] - shift).
float sum_exponentials(const float* x, float shift, std::int64_t n) {
  return sum_lanes(
      n, [=](auto d, std::int64_t i) HWY_ATTR { return exp(d, hn::Sub(hn::LoadU(d, x + i), hn::Set(d, shift))); });
}

// The same, and replaces x[i] by its term.
float take_exponentials(float* x, float shift, std::int64_t n) {
  return sum_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR {
    const auto value = exp(d, hn::Sub(hn::LoadU(d, x + i), hn::Set(d, shift)));
    hn::StoreU(value, d, x + i);
    return value;
  });
}

void cap_floats(const float* x, float cap, std::int64_t n, float* out) {
  for_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR { hn::StoreU(soft_cap(d, hn::LoadU(d, x + i), cap), d, out + i); });
}

// gradient[i] *= 1 - (capped[i] / cap)².
void slope_of_cap(const float* capped, float cap, std::int64_t n, float* gradient) {
  for_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR {
    const auto slope = soft_cap_slope(d, hn::LoadU(d, capped + i), cap);
    hn::StoreU(hn::Mul(hn::LoadU(d, gradient + i), slope), d, gradient + i);
  });
}

// The sum in double, whose rounding no float sum can show.
double sum_doubles(const float* x, std::int64_t n) {
  const hn::ScalableTag<double> dd;
  const hn::Rebind<float, decltype(dd)> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(dd));
  auto sum0 = hn::Zero(dd);
  auto sum1 = hn::Zero(dd);
  std::int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    sum0 = hn::Add(sum0, hn::PromoteTo(dd, hn::LoadU(d, x + i)));
    sum1 = hn::Add(sum1, hn::PromoteTo(dd, hn::LoadU(d, x + i + lanes)));
  }
  double total = hn::GetLane(hn::SumOfLanes(dd, hn::Add(sum0, sum1)));
  for (; i < n; ++i) total += static_cast<double>(x[i]);
  return total;
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mslt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mslt {
namespace {

HWY_EXPORT(maximum);
HWY_EXPORT(sum_exponentials);
HWY_EXPORT(take_exponentials);
HWY_EXPORT(sum_doubles);
HWY_EXPORT(cap_floats);
HWY_EXPORT(slope_of_cap);

}  // namespace

void CpuBackend::execute(const SoftCap& op) {
  const FloatData from(op.in);
  const FloatData to(op.out);
  for_blocks(op.in.elements(), element_block, {.flops = 32, .bytes = 8}, [&](std::int64_t first, std::int64_t n) {
    alignas(64) std::array<float, element_block> buffer;
    const float* x = from.read(first, n, buffer.data());
    float* target = to.target(first, buffer.data());
    HWY_DYNAMIC_DISPATCH(cap_floats)(x, op.cap, n, target);
    to.commit(first, n, target);
  });
}

void CpuBackend::execute(const CrossEntropy& op) {
  const std::int64_t columns = op.logits.shape()[-1];
  const FloatData data(op.logits);
  float* loss = op.losses.host<float>().data();
  const std::int32_t* target = op.targets.host<std::int32_t>().data();
  const bool backward = static_cast<bool>(op.loss_scale);
  const float scale = backward ? op.loss_scale.host<float>()[0] : 0.0f;
  for_blocks(op.logits.shape().rows(), rows_for(columns, 8 * element_block), Cost{.flops = 32, .bytes = 8} * columns,
             [&](std::int64_t begin, std::int64_t rows) {
               std::vector<float> buffer(data.dtype() == DType::f32 ? 0 : static_cast<std::size_t>(columns));
               std::vector<float> capped;
               for (std::int64_t row = begin; row < begin + rows; ++row) {
                 const std::int64_t at = row * columns;
                 const std::int64_t wanted = target[row];
                 const bool ignored = wanted < 0 || wanted >= op.vocab;
                 if (ignored) {
                   loss[row] = 0.0f;
                   if (!backward) continue;
                   float* gradient = data.target(at, buffer.data());
                   std::fill_n(gradient, columns, 0.0f);
                   data.commit(at, columns, gradient);
                   continue;
                 }
                 const float* x = data.read(at, columns, buffer.data());
                 const float largest = HWY_DYNAMIC_DISPATCH(maximum)(x, op.vocab);
                 const float wanted_logit = x[wanted];
                 if (backward && op.softcap > 0.0f) capped.assign(x, x + op.vocab);
                 // Backward: a 16-bit row has been copied; an f32 row is overwritten in place.
                 float* gradient = data.target(at, buffer.data());
                 const float total = backward ? HWY_DYNAMIC_DISPATCH(take_exponentials)(gradient, largest, op.vocab)
                                              : HWY_DYNAMIC_DISPATCH(sum_exponentials)(x, largest, op.vocab);
                 // Both differences are of similar numbers, so small losses stay accurate.
                 loss[row] = std::log(total) + (largest - wanted_logit);
                 if (!backward) continue;
                 scale_floats(gradient, gradient, scale / total, op.vocab);
                 gradient[wanted] -= scale;
                 if (!capped.empty()) HWY_DYNAMIC_DISPATCH(slope_of_cap)(capped.data(), op.softcap, op.vocab, gradient);
                 std::fill(gradient + op.vocab, gradient + columns, 0.0f);
                 data.commit(at, columns, gradient);
               }
             });
}

void CpuBackend::execute(const Sum& op) {
  const std::int64_t n = op.in.elements();
  const float* values = op.in.host<float>().data();
  constexpr std::int64_t block = 4 * element_block;
  std::vector<double> partial(static_cast<std::size_t>((n + block - 1) / block));
  for_blocks(n, block, {.flops = 2, .bytes = 4}, [&](std::int64_t first, std::int64_t count) {
    partial[static_cast<std::size_t>(first / block)] = HWY_DYNAMIC_DISPATCH(sum_doubles)(values + first, count);
  });
  float& result = op.out.host<float>()[0];
  double total = op.accumulate ? result : 0.0;
  for (const double part : partial) total += part;
  result = static_cast<float>(total);
}

}  // namespace mslt
#endif

// The gradients' norm and AdamW on the CPU.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <span>
#include <vector>

#include "backend/cpu/blocks.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/float_data.h"
#include "base/philox.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/optimizer.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/lanes-inl.h"

#ifndef MSLT_BACKEND_CPU_OPTIMIZER_ONCE
#define MSLT_BACKEND_CPU_OPTIMIZER_ONCE
namespace mslt {

// One step's factors.
struct AdamWStep {
  float gradient_scale;
  float beta1;
  float beta2;
  float learning_rate;
  float correction1;
  float correction2;
  float epsilon;
  float weight_decay;
};

}  // namespace mslt
#endif

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace {

// Squares are computed in double, where no float's square overflows or underflows.
double sum_squares(const float* x, std::int64_t n) {
  const hn::ScalableTag<double> dd;
  const hn::Rebind<float, decltype(dd)> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(dd));
  auto sum0 = hn::Zero(dd);
  auto sum1 = hn::Zero(dd);
  std::int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    const auto value0 = hn::PromoteTo(dd, hn::LoadU(d, x + i));
    const auto value1 = hn::PromoteTo(dd, hn::LoadU(d, x + i + lanes));
    sum0 = hn::MulAdd(value0, value0, sum0);
    sum1 = hn::MulAdd(value1, value1, sum1);
  }
  double total = hn::GetLane(hn::SumOfLanes(dd, hn::Add(sum0, sum1)));
  for (; i < n; ++i) total += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return total;
}

// Every product and sum is rounded separately, in the order of the formula, so all processors agree.
void adamw_step(float* p, const float* gradient, float* m, float* v, std::int64_t n, const AdamWStep& step) {
  const float rate1 = 1.0f - step.beta1;
  const float rate2 = 1.0f - step.beta2;
  for_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR {
    const auto g = hn::Mul(hn::LoadU(d, gradient + i), hn::Set(d, step.gradient_scale));
    const auto first = hn::Add(hn::Mul(hn::Set(d, step.beta1), hn::LoadU(d, m + i)), hn::Mul(hn::Set(d, rate1), g));
    const auto second =
        hn::Add(hn::Mul(hn::Set(d, step.beta2), hn::LoadU(d, v + i)), hn::Mul(hn::Set(d, rate2), hn::Mul(g, g)));
    const auto root = hn::Sqrt(hn::Mul(second, hn::Set(d, step.correction2)));
    const auto divisor = hn::Add(root, hn::Set(d, step.epsilon));
    // Without an epsilon, parameters that never had a gradient do not move.
    const auto update = hn::IfThenZeroElse(hn::Eq(divisor, hn::Zero(d)),
                                           hn::Div(hn::Mul(first, hn::Set(d, step.correction1)), divisor));
    const auto old = hn::LoadU(d, p + i);
    const auto decayed = hn::Add(update, hn::Mul(hn::Set(d, step.weight_decay), old));
    hn::StoreU(first, d, m + i);
    hn::StoreU(second, d, v + i);
    hn::StoreU(hn::Sub(old, hn::Mul(hn::Set(d, step.learning_rate), decayed)), d, p + i);
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mslt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mslt {
namespace {

HWY_EXPORT(sum_squares);
HWY_EXPORT(adamw_step);

using Block = std::array<float, element_block>;

// Rounds `count` elements from `first` on to bf16 at random, as AdamWUpdate says.
void round_at_random(float* p, std::int64_t first, std::int64_t count, std::span<const std::uint32_t> random_state,
                     std::uint32_t operation) {
  constexpr std::int64_t a_block = 8;
  static_assert(element_block % a_block == 0);
  const std::uint64_t seed = random_state[0] | std::uint64_t{random_state[1]} << 32;
  for (std::int64_t i = 0; i < count; i += a_block) {
    const PhiloxBlock words =
        philox_block(seed, random_state[2], operation, static_cast<std::uint64_t>((first + i) / a_block));
    for (std::int64_t k = 0; k < std::min(a_block, count - i); ++k) {
      const auto bits = std::bit_cast<std::uint32_t>(p[i + k]);
      if ((bits & 0x7f800000u) == 0x7f800000u) continue;
      const std::uint32_t random = words[static_cast<std::size_t>(k / 2)] >> (16 * (k % 2)) & 0xffffu;
      p[i + k] = std::bit_cast<float>((bits + random) & 0xffff0000u);
    }
  }
}

}  // namespace

void CpuBackend::execute(const GlobalNorm& op) {
  const std::int64_t n = op.gradients.elements();
  const FloatData data(op.gradients);
  constexpr std::int64_t block = 8 * element_block;
  std::vector<double> partial(static_cast<std::size_t>((n + block - 1) / block));
  for_blocks(n, block, {.flops = 2, .bytes = 4}, [&](std::int64_t first, std::int64_t count) {
    alignas(64) Block buffer;
    double total = 0.0;
    for (std::int64_t i = first; i < first + count; i += element_block) {
      const std::int64_t piece = std::min(element_block, first + count - i);
      total += HWY_DYNAMIC_DISPATCH(sum_squares)(data.read(i, piece, buffer.data()), piece);
    }
    partial[static_cast<std::size_t>(first / block)] = total;
  });
  float& result = op.out.host<float>()[0];
  double total = op.accumulate ? static_cast<double>(result) * static_cast<double>(result) : 0.0;
  for (const double part : partial) total += part;
  result = static_cast<float>(std::sqrt(total));
}

void CpuBackend::execute(const AdamWUpdate& op) {
  const float length = op.norm.host<float>()[0];
  if (!std::isfinite(length)) return;
  const auto values = op.state.host<float>();
  float clip = values[adamw_gradient_scale];
  if (values[adamw_max_norm] > 0.0f) {
    clip *= std::min(1.0f, values[adamw_max_norm] / (length * values[adamw_gradient_scale] + 1e-6f));
  }
  const AdamWStep step{clip,
                       op.config.beta1,
                       op.config.beta2,
                       values[adamw_learning_rate],
                       values[adamw_inverse_correction1],
                       values[adamw_inverse_correction2],
                       op.config.epsilon,
                       op.config.weight_decay};
  const FloatData stored(op.parameters);
  const FloatData updated(op.master ? op.master : op.parameters);
  const FloatData gradient(op.gradients);
  float* m = op.first_moment.host<float>().data();
  float* v = op.second_moment.host<float>().data();
  const Cost cost = {.flops = op.random_state ? 32.0 : 16.0, .bytes = 28};
  for_blocks(op.parameters.elements(), element_block, cost, [&](std::int64_t first, std::int64_t n) {
    alignas(64) Block parameter_buffer;
    alignas(64) Block gradient_buffer;
    updated.read(first, n, parameter_buffer.data());
    float* p = updated.target(first, parameter_buffer.data());
    HWY_DYNAMIC_DISPATCH(adamw_step)(p, gradient.read(first, n, gradient_buffer.data()), m + first, v + first, n, step);
    if (op.random_state) round_at_random(p, op.first + first, n, op.random_state.host<std::uint32_t>(), op.operation);
    if (op.master) {
      narrow(stored.at(first), stored.dtype(), p, n);
    } else {
      stored.commit(first, n, p);
    }
  });
}

}  // namespace mslt
#endif

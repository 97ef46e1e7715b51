// Rotary position embedding on the CPU.
#include <algorithm>
#include <vector>

#include "backend/cpu/blocks.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/float_data.h"
#include "backend/cpu/views.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/rope.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/lanes-inl.h"
#include "backend/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace {

// scale · cosine[i] and direction · scale · sine[i] of the angle place · frequencies[i].
void fill_table(float place, const float* frequencies, float direction, float scale, std::int64_t n, float* cosine,
                float* sine) {
  const auto body = [=](auto d, std::int64_t i) HWY_ATTR {
    auto c = hn::Zero(d);
    auto s = c;
    cos_sin(d, hn::Mul(hn::Set(d, place), hn::LoadU(d, frequencies + i)), c, s);
    hn::StoreU(hn::Mul(c, hn::Set(d, scale)), d, cosine + i);
    hn::StoreU(hn::Mul(s, hn::Set(d, direction * scale)), d, sine + i);
  };
  // As many floats as fit a vector after widening to double.
  const hn::Rebind<float, hn::ScalableTag<double>> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) body(d, i);
  for (; i < n; ++i) body(LastTag(), i);
}

// Rotates the `pairs` of each of `heads` heads of `size` channels, in place.
void rotate(float* x, const float* cosine, const float* sine, std::int64_t heads, std::int64_t size,
            std::int64_t pairs) {
  for (std::int64_t head = 0; head < heads; ++head) {
    float* low = x + size * head;
    float* high = low + pairs;
    for_lanes(pairs, [=](auto d, std::int64_t i) HWY_ATTR {
      const auto a = hn::LoadU(d, low + i);
      const auto b = hn::LoadU(d, high + i);
      const auto c = hn::LoadU(d, cosine + i);
      const auto s = hn::LoadU(d, sine + i);
      hn::StoreU(hn::NegMulAdd(b, s, hn::Mul(a, c)), d, low + i);
      hn::StoreU(hn::MulAdd(a, s, hn::Mul(b, c)), d, high + i);
    });
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mslt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mslt {
namespace {

HWY_EXPORT(fill_table);
HWY_EXPORT(rotate);

}  // namespace

void CpuBackend::execute(const Rope& op) {
  const std::int64_t sequences = op.qkv.shape()[0];
  const std::int64_t steps = op.qkv.shape()[1];
  const std::int64_t columns = op.qkv.shape()[2];
  const std::int64_t heads = op.shape.heads + op.shape.kv_heads;
  const std::int64_t pairs = op.inverse_frequencies.elements();
  const float* frequencies = data_of<float>(op.inverse_frequencies);
  const auto* first = data_of<std::int32_t>(op.positions.first);
  const FloatData data(op.qkv);
  // Without `first`, the rows of one step in all sequences share one table.
  const std::int64_t sharing = first == nullptr ? sequences : 1;
  const std::int64_t tables = sequences * steps / std::max<std::int64_t>(1, sharing);
  const std::int64_t block = rows_for(sharing * columns, 4 * element_block);
  const Cost cost = Cost{.flops = 100} * pairs + Cost{.bytes = 8} * (sharing * columns);
  for_blocks(tables, block, cost, [&](std::int64_t begin, std::int64_t count) {
    std::vector<float> scratch(static_cast<std::size_t>(2 * pairs + heads * op.shape.head_size));
    float* cosine = scratch.data();
    float* sine = cosine + pairs;
    float* buffer = sine + pairs;
    for (std::int64_t table = begin; table < begin + count; ++table) {
      const std::int64_t place = table % steps + (first == nullptr ? 0 : first[table / steps]);
      HWY_DYNAMIC_DISPATCH(fill_table)(static_cast<float>(place), frequencies, op.backward ? -1.0f : 1.0f, op.scale,
                                       pairs, cosine, sine);
      for (std::int64_t sharer = 0; sharer < sharing; ++sharer) {
        const std::int64_t at = (sharer * steps + table) * columns;
        data.read(at, heads * op.shape.head_size, buffer);
        float* target = data.target(at, buffer);
        HWY_DYNAMIC_DISPATCH(rotate)(target, cosine, sine, heads, op.shape.head_size, pairs);
        data.commit(at, heads * op.shape.head_size, target);
      }
    }
  });
}

}  // namespace mslt
#endif

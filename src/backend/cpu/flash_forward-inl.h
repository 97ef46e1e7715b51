// Attention of one head over one block of queries, key block by key block, with a running softmax (Dao et al., 2022).
// Include it after foreach_target.h.
#if defined(MSLT_BACKEND_CPU_FLASH_FORWARD_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MSLT_BACKEND_CPU_FLASH_FORWARD_INL_H
#undef MSLT_BACKEND_CPU_FLASH_FORWARD_INL_H
#else
#define MSLT_BACKEND_CPU_FLASH_FORWARD_INL_H
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "backend/cpu/attention_blocks.h"
#include "backend/cpu/math-inl.h"
#include "backend/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace {

// Floats of workspace for flash_forward per thread.
HWY_INLINE std::int64_t forward_workspace(std::int64_t head_size) {
  const std::int64_t width = round_to_panels(head_size);
  return head_size * key_block + width * key_block + query_tile * key_block + query_block * width + 2 * query_block;
}

// Products of queries and keys become softcap · tanh(scale · product / softcap), if there is a soft cap.
HWY_INLINE void cap_row(float* HWY_RESTRICT products, std::int64_t columns, float scale, float softcap) {
  if (!(softcap > 0.0f)) return;
  const FloatTag d;
  for (std::int64_t j = 0; j < columns; j += lanes) {
    hn::Store(soft_cap(d, hn::Mul(hn::Load(d, products + j), hn::Set(d, scale)), softcap), d, products + j);
  }
}

// What a row is multiplied by in the exponents of 2 after cap_row, which has scaled it if there is a soft cap.
HWY_INLINE float exponent_factor(float scale, float softcap) {
  return (softcap > 0.0f ? 1.0f : scale) * log2_e;
}

// scores[j] becomes 2^(scores[j] · factor - shift) for j < valid and 0 for valid <= j < columns, where shift is the
// larger of `largest` and the row's largest scores[j] · factor. Returns the sum, and sets `largest` to shift.
HWY_INLINE float exponentiate_row(float* HWY_RESTRICT scores, std::int64_t valid, std::int64_t columns, float factor,
                                  float& largest) {
  const FloatTag d;
  const Floats lowest = hn::Set(d, -std::numeric_limits<float>::infinity());
  const Floats f = hn::Set(d, factor);
  Floats maximum = lowest;
  for (std::int64_t j = 0; j < columns; j += lanes) {
    Floats s = hn::Mul(hn::Load(d, scores + j), f);
    if (j + lanes > valid)
      s = hn::IfThenElse(hn::Lt(hn::Iota(d, static_cast<float>(j)), hn::Set(d, static_cast<float>(valid))), s, lowest);
    maximum = hn::Max(maximum, s);
    hn::Store(s, d, scores + j);
  }
  largest = std::max(largest, hn::GetLane(hn::MaxOfLanes(d, maximum)));
  const Floats shift = hn::Set(d, largest);
  Floats sum = hn::Zero(d);
  for (std::int64_t j = 0; j < columns; j += lanes) {
    const Floats p = exp2(d, hn::Sub(hn::Load(d, scores + j), shift));
    sum = hn::Add(sum, p);
    hn::Store(p, d, scores + j);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

HWY_INLINE void scale_row(float* row, std::int64_t width, float factor) {
  const FloatTag d;
  for (std::int64_t j = 0; j < width; j += lanes) {
    hn::Store(hn::Mul(hn::Load(d, row + j), hn::Set(d, factor)), d, row + j);
  }
}

// Runs one QueryBlock. pack(begin, count, keys, values) packs keys [begin, begin + count) transposed and values as
// rows, with key_block as the panels' capacity. drop(probabilities, row, first_key, count) applies dropout to the
// probabilities of query `row` of the block.
template <class Pack, class Drop>
HWY_INLINE void flash_forward(const QueryBlock& block, float* workspace, const Pack& pack, const Drop& drop) {
  const std::int64_t width = round_to_panels(block.head_size);
  float* const keys = workspace;
  float* const values = keys + block.head_size * key_block;
  float* const scores = values + width * key_block;
  float* const sums = scores + query_tile * key_block;  // unnormalised output [query_block, width]
  float* const largest = sums + query_block * width;
  float* const denominators = largest + query_block;
  const float factor = exponent_factor(block.scale, block.softcap);
  const Visibility& visibility = block.visibility;
  const auto position_of = [&](std::int64_t row) {
    return block.one_position ? block.position : block.position + row;
  };
  const std::int64_t end = visibility.causal ? std::min(block.keys, position_of(block.rows - 1) + 1) : block.keys;
  std::fill_n(sums, block.rows * width, 0.0f);
  std::fill_n(largest, block.rows, -std::numeric_limits<float>::infinity());
  std::fill_n(denominators, block.rows, 0.0f);

  for (std::int64_t j = visibility.first_key(block.position) / key_block * key_block; j < end; j += key_block) {
    const std::int64_t count = std::min(key_block, end - j);
    pack(j, count, keys, values);
    // The first rows that see any of these keys.
    const bool steps = !block.one_position;
    const std::int64_t skipped = visibility.causal && steps ? std::max<std::int64_t>(0, j - block.position) : 0;
    const std::int64_t rows_end =
        steps
            ? std::min(block.rows, visibility.queries_end(j + count - 1, block.position + block.rows) - block.position)
            : block.rows;
    for (std::int64_t i = skipped / query_tile * query_tile; i < rows_end; i += query_tile) {
      const std::int64_t rows = std::min(query_tile, block.rows - i);
      const auto seen_by = [&](std::int64_t r) {
        return visibility.seen(position_of(i + r), j, count);
      };
      const std::int64_t last = seen_by(rows - 1).last;
      const std::int64_t columns = round_to_panels(last);
      multiply_tile(rows, columns, block.head_size, {block.queries + i * block.query_stride, block.query_stride, 1},
                    keys, block.head_size, scores, key_block, false);
      for (std::int64_t r = 0; r < rows; ++r) {
        float* const row = scores + r * key_block;
        const SeenKeys seen = seen_by(r);
        if (seen.none()) {
          std::fill_n(row, columns, 0.0f);
          continue;
        }
        cap_row(row, columns, block.scale, block.softcap);
        std::fill_n(row, seen.first, -std::numeric_limits<float>::infinity());
        float& shift = largest[i + r];
        const float before = shift;
        const float sum = exponentiate_row(row, seen.last, columns, factor, shift);
        const float decay = before == shift ? 1.0f : std::exp2(before - shift);
        denominators[i + r] = denominators[i + r] * decay + sum;
        if (decay != 1.0f) scale_row(sums + (i + r) * width, width, decay);
        drop(row, i + r, j, seen.last);
      }
      multiply_tile(rows, width, last, {scores, key_block, 1}, values, key_block, sums + i * width, width, true);
    }
  }
  for (std::int64_t i = 0; i < block.rows; ++i) {
    scale_row(sums + i * width, width, 1.0f / denominators[i]);
    std::copy_n(sums + i * width, block.head_size, block.out + i * block.out_stride);
    if (block.log_sum_exp != nullptr) {
      block.log_sum_exp[i] =
          static_cast<float>((double{largest[i]} + std::log2(double{denominators[i]})) / 1.4426950408889634);
    }
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mslt
HWY_AFTER_NAMESPACE();
#endif

// Forward attention on NVIDIA's tensor cores, in place of kernels/target/attention_forward.h. Included inside a unit's
// namespace.
#pragma once

#include "backend/msl/drivers/cuda/target/attention_tiles.cuh"

// The forward pass of the attention_tile queries of block `group` (Dao, 2023): while their scores with 64 keys become
// probabilities, the values of these and the next keys arrive.
template <typename T, uint depth>
__device__ __forceinline__ void attend_tile(T* out, float* log_sum_exp, const T* qkv, const uint* random_state,
                                            const AttentionArgs& args, uint group, uint position) {
  constexpr uint reach = 64;
  constexpr uint blocks = reach / 8;
  __shared__ uint4 query_tile[attention_tile * depth];
  __shared__ uint4 key_tile[reach * depth];
  __shared__ uint4 value_tile[reach * depth];
  const uint lane = position % 32;
  const ulong plane = group / args.blocks;  // b · H + h
  const uint sequence = uint(plane / args.heads);
  const uint head = uint(plane % args.heads);
  const uint kv_head = head / (args.heads / args.kv_heads);
  const uint row = (args.blocks - 1 - group % args.blocks) * attention_tile;
  const uint simdgroup_row = position / 32 * 16;
  const uint end = args.causal != 0 ? min(args.steps, row + attention_tile) : args.steps;
  const T* keys = qkv + key_at(args, sequence, kv_head);
  const T* values = qkv + value_at(args, sequence, kv_head);
  const DropoutStream dropout =
      dropout_stream(random_state, args.dropout_operation, args.dropout_probability, args.dropout_scale);
  const float scale = args.softcap == 0.0f ? args.scale * M_LOG2E_F : M_LOG2E_F;

  uint first = first_step(args, row);
  stage_head<attention_tile, depth>(query_tile, qkv + query_at(args, sequence, head), args.columns, row, args,
                                    position);
  stage_head<reach, depth>(key_tile, keys, args.columns, first, args, position);
  tensor_core::end_batch();
  stage_head<reach, depth>(value_tile, values, args.columns, first, args, position);
  tensor_core::end_batch();
  RowSums<depth> sums;
  clear_rows(sums);
  // Scores and their maxima are in units of log 2; a lane sums its own columns only until the end.
  float largest[2] = {-FLT_MAX, -FLT_MAX};
  float total[2] = {0.0f, 0.0f};
  for (; first < end; first += reach) {
    RowSums<blocks> scores;
    tensor_core::wait_for_batches<1>();
    __syncthreads();
    multiply_by_rows<T, depth>(scores, query_tile, simdgroup_row, key_tile, lane);
    __syncthreads();
    if (first + reach < end) {
      stage_head<reach, depth>(key_tile, keys, args.columns, first + reach, args, position);
    }
    tensor_core::end_batch();

    if (args.softcap != 0.0f) {
      for_each_element<blocks>(
          [&](uint half, uint n, uint e) { scores.values[half][n][e] = score_of(args, scores.values[half][n][e]); });
    }
    for_each_element<blocks>([&](uint half, uint n, uint e) { scores.values[half][n][e] *= scale; });
    const bool whole =
        first + reach <= args.steps &&
        (args.causal == 0 || (first + reach <= row + 1 && row + attention_tile - 1 - first < args.window));
    if (!whole) {
      for_each_element<blocks>([&](uint half, uint n, uint e) {
        const uint query = row + simdgroup_row + lane / 4 + 8 * half;
        const uint key = first + 8 * n + lane % 4 * 2 + e;
        scores.values[half][n][e] = is_visible(args, query, key) ? scores.values[half][n][e] : -FLT_MAX;
      });
    }
    float next[2] = {largest[0], largest[1]};
    for_each_element<blocks>(
        [&](uint half, uint n, uint e) { next[half] = max(next[half], scores.values[half][n][e]); });
#pragma unroll
    for (uint half = 0; half < 2; ++half) {
      next[half] = max(next[half], simd_shuffle_xor(next[half], 1));
      next[half] = max(next[half], simd_shuffle_xor(next[half], 2));
      const float shrink = power_of_two(largest[half] - next[half]);
      largest[half] = next[half];
      total[half] *= shrink;
#pragma unroll
      for (uint d = 0; d < depth; ++d) {
        sums.values[half][d][0] *= shrink;
        sums.values[half][d][1] *= shrink;
      }
    }
    for_each_element<blocks>([&](uint half, uint n, uint e) {
      const float score = scores.values[half][n][e];
      const float p = score == -FLT_MAX ? 0.0f : power_of_two(score - largest[half]);
      total[half] += p;
      scores.values[half][n][e] = p;
    });
    if (dropout.dropped != 0) {
#pragma unroll
      for (uint n = 0; n < blocks; ++n) {
        const ulong query = plane * args.steps + row + simdgroup_row + lane / 4;
        float factors[2][2];
        query_factors(dropout, query * args.steps + first + 8 * n, args.steps, args.steps % 4 == 0, lane, factors);
#pragma unroll
        for (uint i = 0; i < 4; ++i) {
          scores.values[i / 2][n][i % 2] *= factors[i / 2][i % 2];
        }
      }
    }
    tensor_core::wait_for_batches<1>();
    __syncthreads();
    add_weighted_tile<T, depth>(sums, scores, value_tile, lane);
    __syncthreads();
    if (first + reach < end) {
      stage_head<reach, depth>(value_tile, values, args.columns, first + reach, args, position);
    }
    tensor_core::end_batch();
  }

  float inverse[2];
#pragma unroll
  for (uint half = 0; half < 2; ++half) {
    total[half] += simd_shuffle_xor(total[half], 1);
    total[half] += simd_shuffle_xor(total[half], 2);
    inverse[half] = 1.0f / total[half];
    const uint query = row + simdgroup_row + lane / 4 + 8 * half;
    if (args.has_statistics != 0 && lane % 4 == 0 && query < args.steps) {
      log_sum_exp[plane * args.steps + query] = (largest[half] + log2(total[half])) * M_LN2_F;
    }
  }
  store_tile_rows<T>(sums, inverse, out + out_at(args, sequence, head), args.out_columns, row + simdgroup_row, args,
                     lane);
}

// As in kernels/target/attention_forward.h.
template <typename T, uint depth, uint parts>
__device__ __forceinline__ bool attention_forward_tile(T* out, float* log_sum_exp, const T* qkv,
                                                       const uint* random_state, const AttentionArgs& args, uint group,
                                                       uint position) {
  if constexpr (has_attention_tiles<T, parts>) {
    attend_tile<T, depth>(out, log_sum_exp, qkv, random_state, args, group, position);
  }
  return has_attention_tiles<T, parts>;
}

// Backward attention on NVIDIA's tensor cores, in place of kernels/target/attention_backward.h. Included inside a
// unit's namespace.
#pragma once

#include "backend/msl/drivers/cuda/target/attention_tiles.cuh"

// Rows of the other side at a time, and stages of them: as many as 48 KiB hold.
template <uint depth>
constexpr uint attention_stages = depth == 16 ? 1 : 2;
constexpr uint attention_reach = 32;
constexpr uint attention_blocks = attention_reach / 8;

// Calls compute(step, slot) for all steps; stage(step, slot) begins to fill a slot before, the first together with what
// was staged so far.
template <uint stages, typename Stage, typename Compute>
__device__ __forceinline__ void for_each_stage(uint steps, Stage stage, Compute compute) {
  stage(0, 0);
  tensor_core::end_batch();
  for (uint step = 0; step < steps; ++step) {
    const uint slot = stages == 1 ? 0 : step % 2;
    if (stages == 2) {
      if (step + 1 < steps) {
        stage(step + 1, 1 - slot);
      }
      tensor_core::end_batch();
    }
    tensor_core::wait_for_batches<stages - 1>();
    __syncthreads();
    compute(step, slot);
    __syncthreads();
    if (stages == 1 && step + 1 < steps) {
      stage(step + 1, 0);
      tensor_core::end_batch();
    }
  }
}

// A probability and the gradient of its product, from the product and the gradient of the probability.
struct PairGradient {
  float p;
  float ds;
};

__device__ __forceinline__ PairGradient pair_gradient(const AttentionArgs& args, float product, float slope,
                                                      float factor, float logarithm, float row_product) {
  PairGradient pair;
  const float score = score_of(args, product);
  const float p = power_of_two((score - logarithm) * M_LOG2E_F);
  pair.ds = p * (slope * factor - row_product) * score_slope(args, score);
  pair.p = p * factor;
  return pair;
}

// dQ of the attention_tile queries of block `group`.
template <typename T, uint depth>
__device__ __forceinline__ void query_gradient_tile(T* dqkv, const T* dout, const T* qkv, const float* log_sum_exp,
                                                    const float* products, const uint* random_state,
                                                    const AttentionArgs& args, uint group, uint position) {
  constexpr uint stages = attention_stages<depth>;
  __shared__ uint4 query_tile[attention_tile * depth];
  __shared__ uint4 gradient_tile[attention_tile * depth];
  __shared__ uint4 key_tile[stages][attention_reach * depth];
  __shared__ uint4 value_tile[stages][attention_reach * depth];
  const uint lane = position % 32;
  const ulong plane = group / args.blocks;  // b · H + h
  const uint sequence = uint(plane / args.heads);
  const uint head = uint(plane % args.heads);
  const uint kv_head = head / (args.heads / args.kv_heads);
  const uint row = (args.blocks - 1 - group % args.blocks) * attention_tile;
  const uint simdgroup_row = position / 32 * 16;
  const uint begin = first_step(args, row);
  const uint end = args.causal != 0 ? min(args.steps, row + attention_tile) : args.steps;
  const T* keys = qkv + key_at(args, sequence, kv_head);
  const T* values = qkv + value_at(args, sequence, kv_head);
  const DropoutStream dropout =
      dropout_stream(random_state, args.dropout_operation, args.dropout_probability, args.dropout_scale);
  float logarithm[2];
  float row_product[2];
#pragma unroll
  for (uint half = 0; half < 2; ++half) {
    const uint query = row + simdgroup_row + lane / 4 + 8 * half;
    logarithm[half] = query < args.steps ? log_sum_exp[plane * args.steps + query] : 0.0f;
    row_product[half] = query < args.steps ? products[plane * args.steps + query] : 0.0f;
  }
  stage_head<attention_tile, depth>(query_tile, qkv + query_at(args, sequence, head), args.columns, row, args,
                                    position);
  stage_head<attention_tile, depth>(gradient_tile, dout + out_at(args, sequence, head), args.out_columns, row, args,
                                    position);
  RowSums<depth> sums;
  clear_rows(sums);
  const auto stage = [&](uint step, uint slot) {
    const uint first = begin + step * attention_reach;
    stage_head<attention_reach, depth>(key_tile[slot], keys, args.columns, first, args, position);
    stage_head<attention_reach, depth>(value_tile[slot], values, args.columns, first, args, position);
  };
  const auto compute = [&](uint step, uint slot) {
    const uint first = begin + step * attention_reach;
    RowSums<attention_blocks> scores;
    RowSums<attention_blocks> slopes;
    multiply_by_rows<T, depth>(scores, query_tile, simdgroup_row, key_tile[slot], lane);
    multiply_by_rows<T, depth>(slopes, gradient_tile, simdgroup_row, value_tile[slot], lane);
#pragma unroll
    for (uint n = 0; n < attention_blocks; ++n) {
      float factors[2][2] = {{1.0f, 1.0f}, {1.0f, 1.0f}};
      if (dropout.dropped != 0) {
        const ulong query = plane * args.steps + row + simdgroup_row + lane / 4;
        query_factors(dropout, query * args.steps + first + 8 * n, args.steps, args.steps % 4 == 0, lane, factors);
      }
#pragma unroll
      for (uint i = 0; i < 4; ++i) {
        const uint half = i / 2;
        const uint e = i % 2;
        const uint query = row + simdgroup_row + lane / 4 + 8 * half;
        const uint key = first + 8 * n + lane % 4 * 2 + e;
        const PairGradient pair = pair_gradient(args, scores.values[half][n][e], slopes.values[half][n][e],
                                                factors[half][e], logarithm[half], row_product[half]);
        scores.values[half][n][e] = is_visible(args, query, key) ? pair.ds : 0.0f;
      }
    }
    add_weighted_tile<T, depth>(sums, scores, key_tile[slot], lane);
  };
  for_each_stage<stages>((end - begin + attention_reach - 1) / attention_reach, stage, compute);
  const float one[2] = {1.0f, 1.0f};
  store_tile_rows<T>(sums, one, dqkv + query_at(args, sequence, head), args.columns, row + simdgroup_row, args, lane);
}

// dK and dV of the attention_tile keys of block `group`: rows are keys, columns queries, whose heads come in order.
template <typename T, uint depth>
__device__ __forceinline__ void key_gradient_tile(T* dqkv, const T* dout, const T* qkv, const float* log_sum_exp,
                                                  const float* products, const uint* random_state,
                                                  const AttentionArgs& args, uint group, uint position) {
  constexpr uint stages = attention_stages<depth>;
  __shared__ uint4 key_tile[attention_tile * depth];
  __shared__ uint4 value_tile[attention_tile * depth];
  __shared__ uint4 query_tile[stages][attention_reach * depth];
  __shared__ uint4 gradient_tile[stages][attention_reach * depth];
  const uint lane = position % 32;
  const uint kv_plane = group / args.blocks;  // b · K + kv_head
  const uint sequence = kv_plane / args.kv_heads;
  const uint kv_head = kv_plane % args.kv_heads;
  const uint row = group % args.blocks * attention_tile;
  const uint simdgroup_row = position / 32 * 16;
  const uint readers = args.heads / args.kv_heads;
  const uint begin = args.causal != 0 ? row : 0;
  const bool all = args.causal == 0 || args.window >= args.steps;
  const uint end = all ? args.steps : min(args.steps, row + attention_tile - 1 + args.window);
  const uint steps_a_reader = (end - begin + attention_reach - 1) / attention_reach;
  const DropoutStream dropout =
      dropout_stream(random_state, args.dropout_operation, args.dropout_probability, args.dropout_scale);
  stage_head<attention_tile, depth>(key_tile, qkv + key_at(args, sequence, kv_head), args.columns, row, args, position);
  stage_head<attention_tile, depth>(value_tile, qkv + value_at(args, sequence, kv_head), args.columns, row, args,
                                    position);
  RowSums<depth> key_sums;
  RowSums<depth> value_sums;
  clear_rows(key_sums);
  clear_rows(value_sums);
  const auto stage = [&](uint step, uint slot) {
    const uint head = kv_head * readers + step / steps_a_reader;
    const uint first = begin + step % steps_a_reader * attention_reach;
    stage_head<attention_reach, depth>(query_tile[slot], qkv + query_at(args, sequence, head), args.columns, first,
                                       args, position);
    stage_head<attention_reach, depth>(gradient_tile[slot], dout + out_at(args, sequence, head), args.out_columns,
                                       first, args, position);
  };
  const auto compute = [&](uint step, uint slot) {
    const uint head = kv_head * readers + step / steps_a_reader;
    const uint first = begin + step % steps_a_reader * attention_reach;
    const ulong plane_row = (ulong(sequence) * args.heads + head) * args.steps;
    RowSums<attention_blocks> scores;
    RowSums<attention_blocks> slopes;
    multiply_by_rows<T, depth>(scores, key_tile, simdgroup_row, query_tile[slot], lane);
    multiply_by_rows<T, depth>(slopes, value_tile, simdgroup_row, gradient_tile[slot], lane);
#pragma unroll
    for (uint n = 0; n < attention_blocks; ++n) {
      float factors[2][2] = {{1.0f, 1.0f}, {1.0f, 1.0f}};
      if (dropout.dropped != 0) {
        key_factors(dropout, (plane_row + first + 8 * n) * args.steps + row + simdgroup_row, args.steps,
                    args.steps % 4 == 0, lane, factors);
      }
#pragma unroll
      for (uint e = 0; e < 2; ++e) {
        const uint query = first + 8 * n + lane % 4 * 2 + e;
        const ulong at = plane_row + query;
        const float logarithm = query < args.steps ? log_sum_exp[at] : 0.0f;
        const float row_product = query < args.steps ? products[at] : 0.0f;
#pragma unroll
        for (uint half = 0; half < 2; ++half) {
          const uint key = row + simdgroup_row + lane / 4 + 8 * half;
          const PairGradient pair = pair_gradient(args, scores.values[half][n][e], slopes.values[half][n][e],
                                                  factors[half][e], logarithm, row_product);
          const bool visible = is_visible(args, query, key);
          scores.values[half][n][e] = visible ? pair.p : 0.0f;
          slopes.values[half][n][e] = visible ? pair.ds : 0.0f;
        }
      }
    }
    add_weighted_tile<T, depth>(value_sums, scores, gradient_tile[slot], lane);
    add_weighted_tile<T, depth>(key_sums, slopes, query_tile[slot], lane);
  };
  for_each_stage<stages>(readers * steps_a_reader, stage, compute);
  const float one[2] = {1.0f, 1.0f};
  store_tile_rows<T>(key_sums, one, dqkv + key_at(args, sequence, kv_head), args.columns, row + simdgroup_row, args,
                     lane);
  store_tile_rows<T>(value_sums, one, dqkv + value_at(args, sequence, kv_head), args.columns, row + simdgroup_row, args,
                     lane);
}

// As in kernels/target/attention_backward.h.
template <typename T, uint depth, uint parts>
__device__ __forceinline__ bool attention_query_tile(T* dqkv, const T* dout, const T* qkv, const float* log_sum_exp,
                                                     const float* products, const uint* random_state,
                                                     const AttentionArgs& args, uint group, uint position) {
  if constexpr (has_attention_tiles<T, parts>) {
    query_gradient_tile<T, depth>(dqkv, dout, qkv, log_sum_exp, products, random_state, args, group, position);
  }
  return has_attention_tiles<T, parts>;
}

template <typename T, uint depth, uint parts>
__device__ __forceinline__ bool attention_key_tile(T* dqkv, const T* dout, const T* qkv, const float* log_sum_exp,
                                                   const float* products, const uint* random_state,
                                                   const AttentionArgs& args, uint group, uint position) {
  if constexpr (has_attention_tiles<T, parts>) {
    key_gradient_tile<T, depth>(dqkv, dout, qkv, log_sum_exp, products, random_state, args, group, position);
  }
  return has_attention_tiles<T, parts>;
}

// Backward attention: separate kernels for dQ and dK/dV, each sum in one simdgroup and one order.
//
// Probabilities are recomputed from the scores and the saved log-sum-exp:
//   s = cap(scale q·k), p = exp(s - L), dp = dO·v, ds = scale cap' p (factor dp - D), D = rowsum(dO · O)
//   dQ = ds K, dK = dsᵀ Q, dV = (factor p)ᵀ dO, where factor is dropout's
#include <metal_stdlib>

#include "attention_args.h"
#include "lib/attention_tile.h"
#include "lib/instantiate.h"
#include "target/attention_backward.h"

using namespace metal;

// products[b, h, t] = the sum over the head of dout · out. Threadgroups of whole simdgroups, one per row.
template <typename T>
[[max_total_threads_per_threadgroup(128)]]
kernel void attention_row_products(device float* products [[buffer(0)]], device const T* dout [[buffer(1)]],
                                   device const T* out [[buffer(2)]], constant AttentionArgs& args [[buffer(3)]],
                                   uint group [[threadgroup_position_in_grid]],
                                   uint simdgroup [[simdgroup_index_in_threadgroup]],
                                   uint simdgroups [[simdgroups_per_threadgroup]],
                                   uint lane [[thread_index_in_simdgroup]]) {
  const ulong unit = ulong(group) * simdgroups + simdgroup;  // (b · T + t) · H + h
  if (unit >= ulong(args.batch) * args.steps * args.heads) {
    return;
  }
  const ulong begin = unit * args.head_size;
  float sum = 0.0f;
  for (uint d = lane; d < args.head_size; d += 32) {
    sum += float(dout[begin + d]) * float(out[begin + d]);
  }
  sum = simd_sum(sum);
  if (lane == 0) {
    const ulong head = unit % args.heads;
    const ulong place = unit / args.heads;
    products[(place / args.steps * args.heads + head) * args.steps + place % args.steps] = sum;
  }
}

MSLT_INSTANTIATE(attention_row_products_f32, attention_row_products, float)
MSLT_INSTANTIATE(attention_row_products_bf16, attention_row_products, bfloat)
MSLT_INSTANTIATE(attention_row_products_f16, attention_row_products, half)

// dQ of eight queries of a head. Launched like attention_forward.
template <typename T, uint depth, uint parts>
[[max_total_threads_per_threadgroup(128)]]
kernel void attention_query_gradient(
    device T* dqkv [[buffer(0)]], device const T* dout [[buffer(1)]], device const T* qkv [[buffer(2)]],
    device const float* log_sum_exp [[buffer(3)]], device const float* products [[buffer(4)]],
    device const uint* random_state [[buffer(5)]], constant AttentionArgs& args [[buffer(6)]],
    uint group [[threadgroup_position_in_grid]], uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint simdgroups [[simdgroups_per_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  threadgroup float exchange[parts == 1 ? 1 : 4 * parts * exchange_size];
  if (attention_query_tile<T, depth, parts>(dqkv, dout, qkv, log_sum_exp, products, random_state, args, group,
                                            simdgroup * 32 + lane)) {
    return;
  }
  const ulong unit = parts == 1 ? ulong(group) * simdgroups + simdgroup : ulong(group);
  const uint part = parts == 1 ? 0 : simdgroup;
  const HeadPart own = head_part<parts>(args, part);
  const ulong plane = unit / args.blocks;  // b · H + h
  if (plane >= ulong(args.batch) * args.heads) {
    return;
  }
  const uint sequence = uint(plane / args.heads);
  const uint head = uint(plane % args.heads);
  const uint kv_head = head / (args.heads / args.kv_heads);
  const uint row = (args.blocks - 1 - uint(unit % args.blocks)) * fragment_width;
  const uint end = args.causal != 0 ? min(args.steps, row + fragment_width) : args.steps;
  device const T* queries = qkv + query_at(args, sequence, head) + own.begin;
  device const T* keys = qkv + key_at(args, sequence, kv_head) + own.begin;
  device const T* values = qkv + value_at(args, sequence, kv_head) + own.begin;
  device const T* gradients = dout + out_at(args, sequence, head) + own.begin;
  const DropoutStream dropout =
      dropout_stream(random_state, args.dropout_operation, args.dropout_probability, args.dropout_scale);
  const uint own_row = row + fragment_row(lane);
  const bool inside = own_row < args.steps;
  const ulong own_element = (plane * args.steps + own_row) * args.steps;
  const float own_logarithm = inside ? log_sum_exp[plane * args.steps + own_row] : 0.0f;
  const float own_product = inside ? products[plane * args.steps + own_row] : 0.0f;

  uint turn = 0;
  simdgroup_float8x8 sums[depth];
  clear_fragments<depth>(sums);
  for (uint first = first_step(args, row); first < end; first += attention_step) {
    simdgroup_float8x8 scores[attention_fragments];
    simdgroup_float8x8 slopes[attention_fragments];
    multiply_rows(scores, queries, args.columns, row, keys, args.columns, first, end, own.width, args, lane);
    multiply_rows(slopes, gradients, args.out_columns, row, values, args.columns, first, end, own.width, args, lane);
    join_both<parts>(scores, slopes, exchange, turn, part, lane);
    turn = 1 - turn;
#pragma unroll
    for (uint i = 0; i < 2 * attention_fragments; ++i) {
      const uint key = first + i / 2 * fragment_width + fragment_column(lane) + i % 2;
      float ds = 0.0f;
      if (is_visible(args, own_row, key)) {
        const float score = score_of(args, scores[i / 2].thread_elements()[i % 2]);
        const float p = exp(score - own_logarithm);
        const float dp = slopes[i / 2].thread_elements()[i % 2] * dropout_factor(dropout, own_element + key);
        ds = p * (dp - own_product) * score_slope(args, score);
      }
      scores[i / 2].thread_elements()[i % 2] = ds;
    }
    add_weighted_rows<depth>(sums, scores, keys, args.columns, first, end, own.width, args, lane);
  }
  device T* target = dqkv + query_at(args, sequence, head) + own.begin;
  store_rows<depth>(sums, 1.0f, target, args.columns, row, own.width, args, lane);
}

MSLT_INSTANTIATE(attention_query_gradient_32_f32, attention_query_gradient, float, 4, 1)
MSLT_INSTANTIATE(attention_query_gradient_32_bf16, attention_query_gradient, bfloat, 4, 1)
MSLT_INSTANTIATE(attention_query_gradient_32_f16, attention_query_gradient, half, 4, 1)
MSLT_INSTANTIATE(attention_query_gradient_64_f32, attention_query_gradient, float, 8, 1)
MSLT_INSTANTIATE(attention_query_gradient_64_bf16, attention_query_gradient, bfloat, 8, 1)
MSLT_INSTANTIATE(attention_query_gradient_64_f16, attention_query_gradient, half, 8, 1)
MSLT_INSTANTIATE(attention_query_gradient_128_f32, attention_query_gradient, float, 16, 1)
MSLT_INSTANTIATE(attention_query_gradient_128_bf16, attention_query_gradient, bfloat, 16, 1)
MSLT_INSTANTIATE(attention_query_gradient_128_f16, attention_query_gradient, half, 16, 1)
MSLT_INSTANTIATE(attention_query_gradient_256_f32, attention_query_gradient, float, 8, 4)
MSLT_INSTANTIATE(attention_query_gradient_256_bf16, attention_query_gradient, bfloat, 8, 4)
MSLT_INSTANTIATE(attention_query_gradient_256_f16, attention_query_gradient, half, 8, 4)

// dK and dV of eight keys of a key/value head: rows of the fragments are keys, columns queries. The query heads that
// read it are visited in order. Threadgroups of whole simdgroups; early keys, which the most queries see, come first.
template <typename T, uint depth, uint parts>
[[max_total_threads_per_threadgroup(128)]]
kernel void attention_key_gradient(
    device T* dqkv [[buffer(0)]], device const T* dout [[buffer(1)]], device const T* qkv [[buffer(2)]],
    device const float* log_sum_exp [[buffer(3)]], device const float* products [[buffer(4)]],
    device const uint* random_state [[buffer(5)]], constant AttentionArgs& args [[buffer(6)]],
    uint group [[threadgroup_position_in_grid]], uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint simdgroups [[simdgroups_per_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  threadgroup float exchange[parts == 1 ? 1 : 4 * parts * exchange_size];
  if (attention_key_tile<T, depth, parts>(dqkv, dout, qkv, log_sum_exp, products, random_state, args, group,
                                          simdgroup * 32 + lane)) {
    return;
  }
  const ulong unit = parts == 1 ? ulong(group) * simdgroups + simdgroup : ulong(group);
  const uint part = parts == 1 ? 0 : simdgroup;
  const HeadPart own = head_part<parts>(args, part);
  const ulong kv_plane = unit / args.blocks;  // b · K + kv_head
  if (kv_plane >= ulong(args.batch) * args.kv_heads) {
    return;
  }
  const uint sequence = uint(kv_plane / args.kv_heads);
  const uint kv_head = uint(kv_plane % args.kv_heads);
  const uint row = uint(unit % args.blocks) * fragment_width;
  const uint readers = args.heads / args.kv_heads;
  const uint end = queries_end(args, row);
  device const T* keys = qkv + key_at(args, sequence, kv_head) + own.begin;
  device const T* values = qkv + value_at(args, sequence, kv_head) + own.begin;
  const DropoutStream dropout =
      dropout_stream(random_state, args.dropout_operation, args.dropout_probability, args.dropout_scale);
  const uint own_key = row + fragment_row(lane);

  uint turn = 0;
  simdgroup_float8x8 key_sums[depth];
  simdgroup_float8x8 value_sums[depth];
  clear_fragments<depth>(key_sums);
  clear_fragments<depth>(value_sums);
  for (uint reader = 0; reader < readers; ++reader) {
    const uint head = kv_head * readers + reader;
    const ulong plane = ulong(sequence) * args.heads + head;
    device const T* queries = qkv + query_at(args, sequence, head) + own.begin;
    device const T* gradients = dout + out_at(args, sequence, head) + own.begin;
    for (uint first = args.causal != 0 ? row : 0; first < end; first += attention_step) {
      simdgroup_float8x8 scores[attention_fragments];
      simdgroup_float8x8 slopes[attention_fragments];
      multiply_rows(scores, keys, args.columns, row, queries, args.columns, first, end, own.width, args, lane);
      multiply_rows(slopes, values, args.columns, row, gradients, args.out_columns, first, end, own.width, args, lane);
      join_both<parts>(scores, slopes, exchange, turn, part, lane);
      turn = 1 - turn;
#pragma unroll
      for (uint i = 0; i < 2 * attention_fragments; ++i) {
        const uint query = first + i / 2 * fragment_width + fragment_column(lane) + i % 2;
        float p = 0.0f;
        float ds = 0.0f;
        if (is_visible(args, query, own_key)) {
          const ulong at = plane * args.steps + query;
          const float factor = dropout_factor(dropout, at * args.steps + own_key);
          const float score = score_of(args, scores[i / 2].thread_elements()[i % 2]);
          p = exp(score - log_sum_exp[at]);
          ds = p * (slopes[i / 2].thread_elements()[i % 2] * factor - products[at]) * score_slope(args, score);
          p *= factor;
        }
        scores[i / 2].thread_elements()[i % 2] = p;
        slopes[i / 2].thread_elements()[i % 2] = ds;
      }
      add_weighted_rows<depth>(value_sums, scores, gradients, args.out_columns, first, end, own.width, args, lane);
      add_weighted_rows<depth>(key_sums, slopes, queries, args.columns, first, end, own.width, args, lane);
    }
  }
  device T* key_target = dqkv + key_at(args, sequence, kv_head) + own.begin;
  device T* value_target = dqkv + value_at(args, sequence, kv_head) + own.begin;
  store_rows<depth>(key_sums, 1.0f, key_target, args.columns, row, own.width, args, lane);
  store_rows<depth>(value_sums, 1.0f, value_target, args.columns, row, own.width, args, lane);
}

MSLT_INSTANTIATE(attention_key_gradient_32_f32, attention_key_gradient, float, 4, 1)
MSLT_INSTANTIATE(attention_key_gradient_32_bf16, attention_key_gradient, bfloat, 4, 1)
MSLT_INSTANTIATE(attention_key_gradient_32_f16, attention_key_gradient, half, 4, 1)
MSLT_INSTANTIATE(attention_key_gradient_64_f32, attention_key_gradient, float, 8, 1)
MSLT_INSTANTIATE(attention_key_gradient_64_bf16, attention_key_gradient, bfloat, 8, 1)
MSLT_INSTANTIATE(attention_key_gradient_64_f16, attention_key_gradient, half, 8, 1)
MSLT_INSTANTIATE(attention_key_gradient_128_f32, attention_key_gradient, float, 16, 1)
MSLT_INSTANTIATE(attention_key_gradient_128_bf16, attention_key_gradient, bfloat, 16, 1)
MSLT_INSTANTIATE(attention_key_gradient_128_f16, attention_key_gradient, half, 16, 1)
MSLT_INSTANTIATE(attention_key_gradient_256_f32, attention_key_gradient, float, 8, 4)
MSLT_INSTANTIATE(attention_key_gradient_256_bf16, attention_key_gradient, bfloat, 8, 4)
MSLT_INSTANTIATE(attention_key_gradient_256_f16, attention_key_gradient, half, 8, 4)

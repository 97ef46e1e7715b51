// Forward attention over whole sequences in one pass that never stores T×T (Dao et al., 2022).
//
// A simdgroup has eight queries of one head and visits their keys 32 at a time. Simdgroups of a threadgroup meet only
// if they share a head. Scores, probabilities and sums are floats in registers.
#include <metal_stdlib>

#include "attention_args.h"
#include "lib/attention_tile.h"
#include "lib/instantiate.h"
#include "target/attention_forward.h"

using namespace metal;

// out and log_sum_exp of eight rows, for head sizes up to 8 · depth · parts. Threadgroups of whole simdgroups; late
// rows, which have the most keys, come first. With parts > 1, a threadgroup has that many simdgroups, which share the
// eight rows: each multiplies queries and keys and sums values for its own columns of the head.
template <typename T, uint depth, uint parts>
[[max_total_threads_per_threadgroup(128)]]
kernel void attention_forward(device T* out [[buffer(0)]], device float* log_sum_exp [[buffer(1)]],
                              device const T* qkv [[buffer(2)]], device const uint* random_state [[buffer(3)]],
                              constant AttentionArgs& args [[buffer(4)]], uint group [[threadgroup_position_in_grid]],
                              uint simdgroup [[simdgroup_index_in_threadgroup]],
                              uint simdgroups [[simdgroups_per_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  threadgroup float exchange[parts == 1 ? 1 : 2 * parts * exchange_size];
  if (attention_forward_tile<T, depth, parts>(out, log_sum_exp, qkv, random_state, args, group,
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
  const DropoutStream dropout =
      dropout_stream(random_state, args.dropout_operation, args.dropout_probability, args.dropout_scale);
  const uint own_row = row + fragment_row(lane);
  const ulong own_element = (plane * args.steps + own_row) * args.steps;

  simdgroup_float8x8 sums[depth];
  clear_fragments<depth>(sums);
  float largest = -FLT_MAX;
  float total = 0.0f;
  uint turn = 0;
  for (uint first = first_step(args, row); first < end; first += attention_step) {
    simdgroup_float8x8 scores[attention_fragments];
    multiply_rows(scores, queries, args.columns, row, keys, args.columns, first, end, own.width, args, lane);
    join_products<parts>(scores, exchange, turn, part, lane);
    turn = 1 - turn;
    float lane_largest = -FLT_MAX;
#pragma unroll
    for (uint i = 0; i < 2 * attention_fragments; ++i) {
      const uint key = first + i / 2 * fragment_width + fragment_column(lane) + i % 2;
      if (is_visible(args, own_row, key)) {
        const float score = score_of(args, scores[i / 2].thread_elements()[i % 2]);
        scores[i / 2].thread_elements()[i % 2] = score;
        lane_largest = max(lane_largest, score);
      }
    }
    const float next = max(largest, fragment_row_max(lane_largest));
    const float shrink = exp(largest - next);
    largest = next;
    float lane_total = 0.0f;
#pragma unroll
    for (uint i = 0; i < 2 * attention_fragments; ++i) {
      const uint key = first + i / 2 * fragment_width + fragment_column(lane) + i % 2;
      float p = 0.0f;
      if (is_visible(args, own_row, key)) {
        p = exp(scores[i / 2].thread_elements()[i % 2] - largest);
        lane_total += p;
        p *= dropout_factor(dropout, own_element + key);
      }
      scores[i / 2].thread_elements()[i % 2] = p;
    }
    total = total * shrink + fragment_row_sum(lane_total);
#pragma unroll
    for (uint d = 0; d < depth; ++d) {
      sums[d].thread_elements()[0] *= shrink;
      sums[d].thread_elements()[1] *= shrink;
    }
    add_weighted_rows<depth>(sums, scores, values, args.columns, first, end, own.width, args, lane);
  }

  const float inverse = 1.0f / total;
  device T* target = out + out_at(args, sequence, head) + own.begin;
  store_rows<depth>(sums, inverse, target, args.out_columns, row, own.width, args, lane);
  if (args.has_statistics != 0 && part == 0 && fragment_column(lane) == 0 && own_row < args.steps) {
    log_sum_exp[plane * args.steps + own_row] = largest + log(total);
  }
}

MSLT_INSTANTIATE(attention_forward_32_f32, attention_forward, float, 4, 1)
MSLT_INSTANTIATE(attention_forward_32_bf16, attention_forward, bfloat, 4, 1)
MSLT_INSTANTIATE(attention_forward_32_f16, attention_forward, half, 4, 1)
MSLT_INSTANTIATE(attention_forward_64_f32, attention_forward, float, 8, 1)
MSLT_INSTANTIATE(attention_forward_64_bf16, attention_forward, bfloat, 8, 1)
MSLT_INSTANTIATE(attention_forward_64_f16, attention_forward, half, 8, 1)
MSLT_INSTANTIATE(attention_forward_128_f32, attention_forward, float, 16, 1)
MSLT_INSTANTIATE(attention_forward_128_bf16, attention_forward, bfloat, 16, 1)
MSLT_INSTANTIATE(attention_forward_128_f16, attention_forward, half, 16, 1)
MSLT_INSTANTIATE(attention_forward_256_f32, attention_forward, float, 8, 4)
MSLT_INSTANTIATE(attention_forward_256_bf16, attention_forward, bfloat, 8, 4)
MSLT_INSTANTIATE(attention_forward_256_f16, attention_forward, half, 8, 4)

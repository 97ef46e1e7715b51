// Token and position embedding.
//
// The backward pass sorts the rows by token (blocks by counting, then merging eight runs at a time), sums each token's
// rows in that order in chunks, and joins the sums of tokens that span several chunks.
#include <metal_stdlib>

#include "embedding_args.h"
#include "lib/instantiate.h"
#include "lib/span.h"

using namespace metal;

// out = scale · token_weight[token] + position_weight[position], zeros where either does not exist. Threadgroups of any
// width, spans along x and rows along y; groups have rows along x.
template <typename T, typename W>
kernel void embedding_rows(device T* out [[buffer(0)]], device const int* tokens [[buffer(1)]],
                           device const W* token_weight [[buffer(2)]], device const W* position_weight [[buffer(3)]],
                           device const int* first [[buffer(4)]], constant EmbeddingForwardArgs& args [[buffer(5)]],
                           uint2 group [[threadgroup_position_in_grid]],
                           uint2 position [[thread_position_in_threadgroup]],
                           uint2 threads [[threads_per_threadgroup]]) {
  const ulong row = ulong(group.x) * threads.y + position.y;
  const ulong column = (ulong(group.y) * threads.x + position.x) * span_width;
  if (row >= args.rows || column >= args.columns) {
    return;
  }
  const uint sequence = uint(row) / args.steps;
  const long start = args.has_first != 0 ? long(first[sequence]) : 0;
  const long place = long(uint(row) % args.steps) + start;
  const int token = tokens[row];
  const bool has_place = args.has_position == 0 || (place >= 0 && place < long(args.places));
  const bool valid = token >= 0 && uint(token) < args.vocab && has_place;
  float values[span_width];
  for (uint k = 0; k < span_width; ++k) {
    values[k] = 0.0f;
  }
  if (valid) {
    const ulong from = ulong(token) * args.columns;
    load_span(token_weight, from + column, from + args.columns, args.aligned, values);
    for (uint k = 0; k < span_width; ++k) {
      values[k] *= args.scale;
    }
    if (args.has_position != 0) {
      const ulong at = ulong(place) * args.columns;
      float offsets[span_width];
      load_span(position_weight, at + column, at + args.columns, args.aligned, offsets);
      for (uint k = 0; k < span_width; ++k) {
        values[k] += offsets[k];
      }
    }
  }
  const ulong to = row * args.columns;
  store_span(out, to + column, to + args.columns, args.aligned, values);
}

MSLT_INSTANTIATE(embedding_f32_f32, embedding_rows, float, float)
MSLT_INSTANTIATE(embedding_f32_bf16, embedding_rows, float, bfloat)
MSLT_INSTANTIATE(embedding_f32_f16, embedding_rows, float, half)
MSLT_INSTANTIATE(embedding_bf16_bf16, embedding_rows, bfloat, bfloat)
MSLT_INSTANTIATE(embedding_f16_f16, embedding_rows, half, half)

// Rows that one threadgroup sorts at most.
constant constexpr uint sort_block = 1024;

// Runs that are merged at a time.
constant constexpr uint merged_runs = 8;

// Rows, in the order of tokens, that one thread sums at a time.
constant constexpr uint gradient_chunk = 32;

// The token of rows without one: behind all others.
constant constexpr uint no_token = 0xffffffffu;

// A key is (token, row); no two are equal.
inline bool comes_before(uint2 a, uint2 b) {
  return a.x < b.x || (a.x == b.x && a.y < b.y);
}

// keys[block] = the block's rows in order, each placed by counting those before it. A threadgroup sorts as many rows as
// it has threads, at most sort_block.
[[max_total_threads_per_threadgroup(1024)]] kernel void embedding_sort(
    device uint2* keys [[buffer(0)]], device const int* tokens [[buffer(1)]],
    constant EmbeddingSortArgs& args [[buffer(2)]], uint group [[threadgroup_position_in_grid]],
    uint position [[thread_position_in_threadgroup]], uint threads [[threads_per_threadgroup]]) {
  threadgroup uint2 block[sort_block];
  const ulong begin = ulong(group) * threads;
  const ulong row = begin + position;
  const uint count = uint(min(ulong(threads), ulong(args.rows) - begin));
  uint2 key = uint2(no_token, 0u);
  if (position < count) {
    const int token = tokens[row];
    const bool valid = token >= 0 && uint(token) < args.vocab;
    key = uint2(valid ? uint(token) : no_token, uint(row));
    block[position] = key;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (position < count) {
    uint before = 0;
    for (uint i = 0; i < count; ++i) {
      before += comes_before(block[i], key) ? 1 : 0;
    }
    keys[begin + before] = key;
  }
}

// Merges eight neighbouring runs of args.run sorted keys: a key's place is its own rank and its ranks in the others.
kernel void embedding_merge(device uint2* merged [[buffer(0)]], device const uint2* keys [[buffer(1)]],
                            constant EmbeddingSortArgs& args [[buffer(2)]],
                            uint group [[threadgroup_position_in_grid]],
                            uint position [[thread_position_in_threadgroup]],
                            uint threads [[threads_per_threadgroup]]) {
  const ulong index = ulong(group) * threads + position;
  if (index >= args.rows) {
    return;
  }
  const ulong run = args.run;
  const ulong own_run = index / run;
  const ulong first_run = own_run / merged_runs * merged_runs;
  const uint2 key = keys[index];
  ulong place = first_run * run + (index - own_run * run);
  for (ulong other = first_run; other < first_run + merged_runs; ++other) {
    const ulong begin = other * run;
    if (other != own_run && begin < args.rows) {
      ulong low = begin;
      ulong high = min(begin + run, ulong(args.rows));
      while (low < high) {
        const ulong middle = low + (high - low) / 2;
        if (comes_before(keys[middle], key)) {
          low = middle + 1;
        } else {
          high = middle;
        }
      }
      place += low - begin;
    }
  }
  merged[place] = key;
}

// dtoken_weight[token] += scale · Σ dout of the token's rows, for tokens whose rows lie in one chunk. Of the others,
// the sum of a token's first chunk goes to tails[chunk], those of its later chunks to heads[chunk]. Shapes as in
// embedding_rows, with chunks for rows.
template <typename T>
kernel void embedding_gradient(device T* dtoken_weight [[buffer(0)]], device float* heads [[buffer(1)]],
                               device float* tails [[buffer(2)]], device const uint2* keys [[buffer(3)]],
                               device const T* dout [[buffer(4)]], constant EmbeddingGradientArgs& args [[buffer(5)]],
                               uint2 group [[threadgroup_position_in_grid]],
                               uint2 position [[thread_position_in_threadgroup]],
                               uint2 threads [[threads_per_threadgroup]]) {
  const ulong chunk = ulong(group.x) * threads.y + position.y;
  const ulong column = (ulong(group.y) * threads.x + position.x) * span_width;
  const ulong begin = chunk * gradient_chunk;
  if (begin >= args.rows || column >= args.columns) {
    return;
  }
  const ulong end = min(begin + gradient_chunk, ulong(args.rows));
  const uint token_before = begin > 0 ? keys[begin - 1].x : no_token;
  float total[span_width];
  float values[span_width];
  for (uint k = 0; k < span_width; ++k) {
    total[k] = 0.0f;
  }
  for (ulong i = begin; i < end; ++i) {
    const uint2 key = keys[i];
    if (key.x >= args.vocab) {
      return;
    }
    const ulong from = ulong(key.y) * args.columns;
    load_span(dout, from + column, from + args.columns, args.aligned, values);
    for (uint k = 0; k < span_width; ++k) {
      total[k] += values[k];
    }
    const bool ends = i + 1 == args.rows || keys[min(i + 1, ulong(args.rows) - 1)].x != key.x;
    if (ends || i + 1 == end) {
      const ulong part = chunk * args.columns;
      const ulong to = ulong(key.x) * args.columns;
      if (key.x == token_before) {
        store_span(heads, part + column, part + args.columns, args.aligned, total);
      } else if (!ends) {
        store_span(tails, part + column, part + args.columns, args.aligned, total);
      } else {
        load_span(dtoken_weight, to + column, to + args.columns, args.aligned, values);
        for (uint k = 0; k < span_width; ++k) {
          values[k] += args.scale * total[k];
        }
        store_span(dtoken_weight, to + column, to + args.columns, args.aligned, values);
      }
      for (uint k = 0; k < span_width; ++k) {
        total[k] = 0.0f;
      }
    }
  }
}

MSLT_INSTANTIATE(embedding_gradient_f32, embedding_gradient, float)
MSLT_INSTANTIATE(embedding_gradient_bf16, embedding_gradient, bfloat)
MSLT_INSTANTIATE(embedding_gradient_f16, embedding_gradient, half)

// The tokens that begin in a chunk and go on in later ones: dtoken_weight[token] += scale · (tail + heads in order).
// Shapes as above.
template <typename T>
kernel void embedding_join(device T* dtoken_weight [[buffer(0)]], device const float* heads [[buffer(1)]],
                           device const float* tails [[buffer(2)]], device const uint2* keys [[buffer(3)]],
                           constant EmbeddingGradientArgs& args [[buffer(4)]],
                           uint2 group [[threadgroup_position_in_grid]],
                           uint2 position [[thread_position_in_threadgroup]],
                           uint2 threads [[threads_per_threadgroup]]) {
  const ulong chunk = ulong(group.x) * threads.y + position.y;
  const ulong column = (ulong(group.y) * threads.x + position.x) * span_width;
  const ulong begin = chunk * gradient_chunk;
  ulong end = begin + gradient_chunk;
  if (end >= args.rows || column >= args.columns) {
    return;
  }
  const uint token = keys[end - 1].x;
  const bool began_before = begin > 0 && keys[begin - 1].x == token;
  if (token >= args.vocab || began_before || keys[end].x != token) {
    return;
  }
  float total[span_width];
  float values[span_width];
  load_span(tails, chunk * args.columns + column, (chunk + 1) * args.columns, args.aligned, total);
  ulong later = chunk;
  bool goes_on = true;
  while (goes_on) {
    ++later;
    end += gradient_chunk;
    load_span(heads, later * args.columns + column, (later + 1) * args.columns, args.aligned, values);
    for (uint k = 0; k < span_width; ++k) {
      total[k] += values[k];
    }
    goes_on = end < args.rows && keys[min(end, ulong(args.rows) - 1)].x == token;
  }
  const ulong to = ulong(token) * args.columns;
  load_span(dtoken_weight, to + column, to + args.columns, args.aligned, values);
  for (uint k = 0; k < span_width; ++k) {
    values[k] += args.scale * total[k];
  }
  store_span(dtoken_weight, to + column, to + args.columns, args.aligned, values);
}

MSLT_INSTANTIATE(embedding_join_f32, embedding_join, float)
MSLT_INSTANTIATE(embedding_join_bf16, embedding_join, bfloat)
MSLT_INSTANTIATE(embedding_join_f16, embedding_join, half)

// dposition_weight[step] += Σ dout over sequences, in their order. Shapes as above, with steps for rows.
template <typename T>
kernel void position_gradient(device T* dposition_weight [[buffer(0)]], device const T* dout [[buffer(1)]],
                              constant PositionGradientArgs& args [[buffer(2)]],
                              uint2 group [[threadgroup_position_in_grid]],
                              uint2 position [[thread_position_in_threadgroup]],
                              uint2 threads [[threads_per_threadgroup]]) {
  const ulong step = ulong(group.x) * threads.y + position.y;
  const ulong column = (ulong(group.y) * threads.x + position.x) * span_width;
  if (step >= args.steps || column >= args.columns) {
    return;
  }
  float total[span_width];
  float values[span_width];
  const ulong to = step * args.columns;
  load_span(dposition_weight, to + column, to + args.columns, args.aligned, total);
  for (ulong sequence = 0; sequence < args.sequences; ++sequence) {
    const ulong from = (sequence * args.steps + step) * args.columns;
    load_span(dout, from + column, from + args.columns, args.aligned, values);
    for (uint k = 0; k < span_width; ++k) {
      total[k] += values[k];
    }
  }
  store_span(dposition_weight, to + column, to + args.columns, args.aligned, total);
}

MSLT_INSTANTIATE(position_gradient_f32, position_gradient, float)
MSLT_INSTANTIATE(position_gradient_bf16, position_gradient, bfloat)
MSLT_INSTANTIATE(position_gradient_f16, position_gradient, half)

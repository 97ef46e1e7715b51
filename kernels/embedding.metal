// Token and position embedding.
//
// The backward pass sorts the rows by token (blocks of up to 1,024, of which up to 32 are merged at a time), sums each
// token's rows in that order in chunks, and joins the sums of tokens that span several chunks.
#include <metal_stdlib>

#include "embedding_args.h"
#include "lib/any_float.h"
#include "lib/instantiate.h"
#include "lib/raw_span.h"
#include "lib/weight_chunk.h"

using namespace metal;

// out = scale · token_weight[token] + position_weight[position], zeros if either does not exist. Threadgroups of any
// width, spans along x and rows along y; in the grid, rows are along x.
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
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    values[k] = 0.0f;
  }
  if (valid) {
    const ulong from = ulong(token) * args.columns;
    load_span(token_weight, from + column, from + args.columns, args.aligned, values);
#pragma unroll
    for (uint k = 0; k < span_width; ++k) {
      values[k] *= args.scale;
    }
    if (args.has_position != 0) {
      const ulong at = ulong(place) * args.columns;
      float offsets[span_width];
      load_span(position_weight, at + column, at + args.columns, args.aligned, offsets);
#pragma unroll
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

// The same with token weights in groups with a scale each, and with 4 bits a minimum.
template <typename T, typename W>
kernel void embedding_groups(device T* out [[buffer(0)]], device const int* tokens [[buffer(1)]],
                             device const W* token_weight [[buffer(2)]], device const half* token_scales [[buffer(3)]],
                             device const uchar* position_weight [[buffer(4)]], device const int* first [[buffer(5)]],
                             constant EmbeddingForwardArgs& args [[buffer(6)]],
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
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    values[k] = 0.0f;
    // A row is whole groups, so whole spans.
    if (valid) {
      values[k] = args.scale * weight_element(token_weight, token_scales, ulong(token) * args.columns + column + k);
      if (args.has_position != 0) {
        values[k] += load_any(position_weight, args.position_type, ulong(place) * args.columns + column + k);
      }
    }
  }
  const ulong to = row * args.columns;
  store_span(out, to + column, to + args.columns, args.aligned, values);
}

MSLT_INSTANTIATE(embedding_groups_f32_i8, embedding_groups, float, char)
MSLT_INSTANTIATE(embedding_groups_f32_u8, embedding_groups, float, uchar)
MSLT_INSTANTIATE(embedding_groups_bf16_i8, embedding_groups, bfloat, char)
MSLT_INSTANTIATE(embedding_groups_bf16_u8, embedding_groups, bfloat, uchar)
MSLT_INSTANTIATE(embedding_groups_f16_i8, embedding_groups, half, char)
MSLT_INSTANTIATE(embedding_groups_f16_u8, embedding_groups, half, uchar)

// Most rows that one threadgroup sorts.
constant constexpr uint sort_block = 1024;

// Rows that one simdgroup sorts, and those of eight, which are merged first.
constant constexpr uint sort_run = 32;
constant constexpr uint sort_middle_run = 256;

// Runs that one simdgroup searches, and the most simdgroups that share the search.
constant constexpr uint searched_runs = 4;
constant constexpr uint most_searchers = 8;

// Sorted rows, neighbours of one run, that a threadgroup places.
constant constexpr uint placed_rows = 32;

// Rows, ordered by token, that one thread sums at a time.
constant constexpr uint gradient_chunk = 32;

// The token of a missing row: none is larger. Tokens outside the vocabulary come after those inside it: negative ones
// count as large numbers, the two largest as one, so that a token plus one is a number, too.
constant constexpr uint no_token = 0xfffffffeu;

// The place of the thread's row among all of `runs` neighbouring sorted runs, which begin at a multiple of their common
// length: its place in its own run, and the number of tokens before it in each other one. These are found together, by
// bisections that depend on nothing but their own last step.
template <uint run, uint runs>
inline uint place_in_runs(threadgroup const uint* tokens, uint position, uint token) {
  const uint own_run = position / run % runs;
  const uint begin = position / (run * runs) * (run * runs);
  uint places[runs - 1];
  uint bounds[runs - 1];
  uint place = begin + position % run;
#pragma unroll
  for (uint i = 0; i < runs - 1; ++i) {
    const uint other = (own_run + 1 + i) % runs;
    places[i] = begin + other * run;
    place -= places[i];
    // Rows of one token stay in order because those of an earlier run go first.
    bounds[i] = other < own_run ? token + 1 : token;
  }
#pragma unroll
  for (uint step = run / 2; step > 0; step /= 2) {
#pragma unroll
    for (uint i = 0; i < runs - 1; ++i) {
      places[i] += tokens[places[i] + step - 1] < bounds[i] ? step : 0;
    }
  }
#pragma unroll
  for (uint i = 0; i < runs - 1; ++i) {
    place += places[i] + (tokens[places[i]] < bounds[i] ? 1 : 0);
  }
  return place;
}

// keys[block] = the block's rows, sorted: 32 are placed by counting those before each, then eight runs of 32 are
// merged, and four of 256. A threadgroup of whole simdgroups sorts as many rows as it has threads, at most sort_block;
// missing rows of the last one come at the end.
[[max_total_threads_per_threadgroup(1024)]] kernel void embedding_sort(device uint2* keys [[buffer(0)]],
                                                                       device const int* tokens [[buffer(1)]],
                                                                       constant EmbeddingSortArgs& args [[buffer(2)]],
                                                                       uint group [[threadgroup_position_in_grid]],
                                                                       uint position [[thread_position_in_threadgroup]],
                                                                       uint threads [[threads_per_threadgroup]]) {
  threadgroup uint small_runs[sort_block];
  threadgroup uint small_rows[sort_block];
  threadgroup uint large_runs[sort_block];
  threadgroup uint large_rows[sort_block];
  const ulong begin = ulong(group) * threads;
  const uint lane = position % sort_run;
  uint token = no_token;
  if (begin + position < args.rows) {
    token = min(uint(tokens[begin + position]), no_token);
  }
  // Merges read whole runs.
  for (uint i = position + threads; i < sort_block; i += threads) {
    small_runs[i] = no_token;
    large_runs[i] = no_token;
  }
  // A lane before this one has not the highest of the bits in which they differ.
  uint before = 0;
#pragma unroll
  for (uint i = 1; i < sort_run; ++i) {
    const uint highest = i < 2 ? 1 : i < 4 ? 2 : i < 8 ? 4 : i < 16 ? 8 : 16;
    const uint bound = (lane & highest) != 0 ? token + 1 : token;
    before += simd_shuffle_xor(token, ushort(i)) < bound ? 1 : 0;
  }
  small_runs[position - lane + before] = token;
  small_rows[position - lane + before] = position;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  uint row = position;
  if (threads > sort_run) {
    constexpr uint runs = sort_middle_run / sort_run;
    const uint own = small_runs[position];
    const uint place = place_in_runs<sort_run, runs>(small_runs, position, own);
    large_runs[place] = own;
    large_rows[place] = small_rows[position];
    threadgroup_barrier(mem_flags::mem_threadgroup);
    token = large_runs[position];
    row = large_rows[position];
  } else {
    token = small_runs[position];
    row = small_rows[position];
  }
  uint place = position;
  if (threads > sort_middle_run) {
    place = place_in_runs<sort_middle_run, sort_block / sort_middle_run>(large_runs, position, token);
  }
  if (begin + place < args.rows) {
    keys[begin + place] = uint2(token, uint(begin) + row);
  }
}

// Moves each place by `step` if the keys up to there have tokens below the run's bound.
inline void search_step(device const uint2* keys, uint step, thread const uint* bounds, thread uint* places) {
  uint others[searched_runs];
#pragma unroll
  for (uint i = 0; i < searched_runs; ++i) {
    others[i] = (keys + places[i])[step - 1].x;
  }
#pragma unroll
  for (uint i = 0; i < searched_runs; ++i) {
    places[i] += others[i] < bounds[i] ? step : 0;
  }
}

// The same for runs that end at ends[i].
inline void search_step_before(device const uint2* keys, uint step, thread const uint* bounds, thread const uint* ends,
                               thread uint* places) {
#pragma unroll
  for (uint i = 0; i < searched_runs; ++i) {
    const bool inside = step <= ends[i] - places[i];
    const uint other = keys[inside ? places[i] + step - 1 : 0].x;
    places[i] += inside && other < bounds[i] ? step : 0;
  }
}

// Merges neighbouring runs of 2^run_bits sorted keys, four for each simdgroup of a threadgroup: a key's place is its
// own rank plus its ranks in the others. A threadgroup places 32 keys of one run, and each simdgroup searches four runs
// for all of them: so neighbouring keys read neighbouring places. Runs are as long as a sorted block at least, the last
// one of all excepted; simdgroups are a power of two.
[[max_total_threads_per_threadgroup(256)]]
kernel void embedding_merge(device uint2* merged [[buffer(0)]], device const uint2* keys [[buffer(1)]],
                            constant EmbeddingSortArgs& args [[buffer(2)]], uint group [[threadgroup_position_in_grid]],
                            uint simdgroup [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
                            uint simdgroups [[simdgroups_per_threadgroup]]) {
  threadgroup uint ranks[most_searchers * placed_rows];
  const uint run = 1u << args.run_bits;
  const uint begin = group * placed_rows;
  const uint own_run = begin >> args.run_bits;
  const uint first_run = own_run & ~(simdgroups * searched_runs - 1);
  const uint first = first_run + simdgroup * searched_runs;
  const uint2 key = keys[min(ulong(begin) + lane, ulong(args.rows) - 1)];
  // Rows of one token are in the order of their runs.
  uint bounds[searched_runs];
  uint begins[searched_runs];
  uint places[searched_runs];
#pragma unroll
  for (uint i = 0; i < searched_runs; ++i) {
    bounds[i] = first + i < own_run ? key.x + 1 : key.x;
  }
  if (ulong(first + searched_runs) * run <= args.rows) {
#pragma unroll
    for (uint i = 0; i < searched_runs; ++i) {
      begins[i] = (first + i) * run;
      places[i] = begins[i];
    }
    for (uint step = run / 2; step >= sort_block; step /= 2) {
      search_step(keys, step, bounds, places);
    }
#pragma unroll
    for (uint step = sort_block / 2; step > 0; step /= 2) {
      search_step(keys, step, bounds, places);
    }
    search_step(keys, 1, bounds, places);
  } else {
    uint ends[searched_runs];
#pragma unroll
    for (uint i = 0; i < searched_runs; ++i) {
      begins[i] = uint(min(ulong(first + i) * run, ulong(args.rows)));
      ends[i] = uint(min(ulong(first + i + 1) * run, ulong(args.rows)));
      places[i] = begins[i];
    }
    for (uint step = begins[0] < args.rows ? run : 0; step > 0; step /= 2) {
      search_step_before(keys, step, bounds, ends, places);
    }
  }
  uint rank = 0;
#pragma unroll
  for (uint i = 0; i < searched_runs; ++i) {
    rank += first + i == own_run ? begin + lane - own_run * run : places[i] - begins[i];
  }
  ranks[simdgroup * placed_rows + lane] = rank;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (simdgroup == 0 && ulong(begin) + lane < args.rows) {
    uint place = first_run * run;
    for (uint i = 0; i < simdgroups; ++i) {
      place += ranks[i * placed_rows + lane];
    }
    merged[place] = key;
  }
}

// Rows in flight per thread, each with its token's gradient.
template <typename T>
struct GradientBatch {
  static constant constexpr uint size = 8 / sizeof(T);
};

// embedding_gradient for one chunk and the span that begins at `column`.
template <bool whole, typename T>
inline void add_chunk(device T* dtoken_weight, device float* heads, device float* tails, device const uint2* keys,
                      device const T* dout, constant EmbeddingGradientArgs& args, uint chunk, ulong column) {
  const uint begin = chunk * gradient_chunk;
  const uint last = args.rows - 1;
  const uint count = min(gradient_chunk, args.rows - begin);
  const uint token_before = begin > 0 ? keys[begin - 1].x : no_token;
  constexpr uint batch = GradientBatch<T>::size;
  float total[span_width];
  float values[span_width];
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    total[k] = 0.0f;
  }
  for (uint i = 0; i < count; i += batch) {
    // Past the end, the last key is read and does not count.
    uint2 batch_keys[batch + 1];
#pragma unroll
    for (uint j = 0; j <= batch; ++j) {
      batch_keys[j] = keys[begin + min(i + j, last - begin)];
    }
    Run<T, span_width> rows[batch];
    Run<T, span_width> sums[batch];
    bool ends[batch];
    bool complete[batch];
#pragma unroll
    for (uint j = 0; j < batch; ++j) {
      const uint token = batch_keys[j].x;
      const bool counts = i + j < count && token < args.vocab;
      ends[j] = counts && (i + j == last - begin || batch_keys[j + 1].x != token);
      complete[j] = ends[j] && token != token_before;
      const ulong from = ulong(counts ? batch_keys[j].y : batch_keys[0].y) * args.columns;
      const ulong to = ulong(complete[j] ? batch_keys[j].x : batch_keys[0].x) * args.columns;
      fetch_known<whole>(dout, from + column, from + args.columns, rows[j]);
      if (complete[j]) {
        fetch_known<whole>(dtoken_weight, to + column, to + args.columns, sums[j]);
      }
    }
#pragma unroll
    for (uint j = 0; j < batch; ++j) {
      // Sums of tokens outside the vocabulary end in the chunk's head or tail, which nothing reads.
      if (i + j < count) {
        unpack_raw(rows[j], values);
#pragma unroll
        for (uint k = 0; k < span_width; ++k) {
          total[k] += values[k];
        }
        if (ends[j] || i + j + 1 == count) {
          const ulong part = ulong(chunk) * args.columns;
          const ulong to = ulong(batch_keys[j].x) * args.columns;
          if (batch_keys[j].x == token_before) {
            store_known<whole>(heads, part + column, part + args.columns, total);
          } else if (!ends[j]) {
            store_known<whole>(tails, part + column, part + args.columns, total);
          } else {
            unpack_raw(sums[j], values);
#pragma unroll
            for (uint k = 0; k < span_width; ++k) {
              values[k] += args.scale * total[k];
            }
            store_known<whole>(dtoken_weight, to + column, to + args.columns, values);
          }
#pragma unroll
          for (uint k = 0; k < span_width; ++k) {
            total[k] = 0.0f;
          }
        }
      }
    }
  }
}

// dtoken_weight[token] += scale · Σ dout of the token's rows, for tokens whose rows are all in one chunk. For other
// tokens, the sum over the first chunk goes to tails[chunk], those over later chunks to heads[chunk]. Shapes as in
// embedding_rows, with chunks as rows.
template <typename T>
[[max_total_threads_per_threadgroup(768)]] kernel void embedding_gradient(
    device T* dtoken_weight [[buffer(0)]], device float* heads [[buffer(1)]], device float* tails [[buffer(2)]],
    device const uint2* keys [[buffer(3)]], device const T* dout [[buffer(4)]],
    constant EmbeddingGradientArgs& args [[buffer(5)]], uint2 group [[threadgroup_position_in_grid]],
    uint2 position [[thread_position_in_threadgroup]], uint2 threads [[threads_per_threadgroup]]) {
  const ulong chunk = ulong(group.x) * threads.y + position.y;
  const ulong column = (ulong(group.y) * threads.x + position.x) * span_width;
  if (chunk * gradient_chunk >= args.rows || column >= args.columns) {
    return;
  }
  if (args.aligned != 0) {
    add_chunk<true>(dtoken_weight, heads, tails, keys, dout, args, uint(chunk), column);
  } else {
    add_chunk<false>(dtoken_weight, heads, tails, keys, dout, args, uint(chunk), column);
  }
}

MSLT_INSTANTIATE(embedding_gradient_f32, embedding_gradient, float)
MSLT_INSTANTIATE(embedding_gradient_bf16, embedding_gradient, bfloat)
MSLT_INSTANTIATE(embedding_gradient_f16, embedding_gradient, half)

// For tokens that begin in a chunk and continue in later ones: dtoken_weight[token] += scale · (tail + heads in order).
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
#pragma unroll
    for (uint k = 0; k < span_width; ++k) {
      total[k] += values[k];
    }
    goes_on = end < args.rows && keys[min(end, ulong(args.rows) - 1)].x == token;
  }
  const ulong to = ulong(token) * args.columns;
  load_span(dtoken_weight, to + column, to + args.columns, args.aligned, values);
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    values[k] += args.scale * total[k];
  }
  store_span(dtoken_weight, to + column, to + args.columns, args.aligned, values);
}

MSLT_INSTANTIATE(embedding_join_f32, embedding_join, float)
MSLT_INSTANTIATE(embedding_join_bf16, embedding_join, bfloat)
MSLT_INSTANTIATE(embedding_join_f16, embedding_join, half)

// dposition_weight[step] += Σ dout over sequences, in order. Shapes as above, with steps as rows.
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
  const ulong stride = ulong(args.steps) * args.columns;
  load_span(dposition_weight, to + column, to + args.columns, args.aligned, total);
  ulong sequence = 0;
  if (args.aligned != 0) {
    constexpr uint batch = GradientBatch<T>::size;
    for (; sequence + batch <= args.sequences; sequence += batch) {
      Run<T, span_width> rows[batch];
#pragma unroll
      for (uint j = 0; j < batch; ++j) {
        fetch_run(dout + (sequence + j) * stride + to + column, rows[j]);
      }
#pragma unroll
      for (uint j = 0; j < batch; ++j) {
        unpack_raw(rows[j], values);
#pragma unroll
        for (uint k = 0; k < span_width; ++k) {
          total[k] += values[k];
        }
      }
    }
  }
  for (; sequence < args.sequences; ++sequence) {
    const ulong from = sequence * stride + to;
    load_span(dout, from + column, from + args.columns, args.aligned, values);
#pragma unroll
    for (uint k = 0; k < span_width; ++k) {
      total[k] += values[k];
    }
  }
  store_span(dposition_weight, to + column, to + args.columns, args.aligned, total);
}

MSLT_INSTANTIATE(position_gradient_f32, position_gradient, float)
MSLT_INSTANTIATE(position_gradient_bf16, position_gradient, bfloat)
MSLT_INSTANTIATE(position_gradient_f16, position_gradient, half)

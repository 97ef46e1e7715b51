// Token and position embedding.
//
// The backward pass sorts the rows by token (blocks by counting and merging, then merging many runs at a time), sums each token's
// rows in that order in chunks, and joins the sums of tokens that span several chunks.
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

// Rows that one simdgroup sorts.
constant constexpr uint sort_run = 32;

// Runs that a thread searches at once, so that its reads do not wait for each other.
constant constexpr uint searched_runs = 4;

// Runs of a block that are merged at a time.
constant constexpr uint block_runs = 8;

// Runs that embedding_merge merges, and the lanes that search them for a key together.
constant constexpr uint merged_runs = 32;
constant constexpr uint lanes_a_key = merged_runs / searched_runs;

// Rows, ordered by token, that one thread sums at a time.
constant constexpr uint gradient_chunk = 32;

// The token of a missing row: sorts after all others. Tokens outside the vocabulary come after those inside it: negative
// ones count as large numbers.
constant constexpr uint no_token = 0xffffffffu;

// Whether a token of run `run` precedes the same or another of run `own_run`.
inline bool precedes(uint other, uint run, uint token, uint own_run) {
  return other < token || (other == token && run < own_run);
}

// How many of a block's tokens in the runs first_run to first_run + searched_runs - 1, but for `own_run`, precede a
// token of that. A run has `run` sorted tokens, a power of two, the last perhaps fewer, and the block `count`.
inline uint rank_in_block(threadgroup const uint* tokens, uint count, uint first_run, uint run, uint token,
                          uint own_run) {
  uint begins[searched_runs];
  uint lengths[searched_runs];
  uint places[searched_runs];
#pragma unroll
  for (uint i = 0; i < searched_runs; ++i) {
    const uint begin = (first_run + i) * run;
    const bool is_searched = begin < count && first_run + i != own_run;
    begins[i] = is_searched ? begin : 0;
    lengths[i] = is_searched ? min(run, count - begin) : 0;
    places[i] = 0;
  }
  for (uint step = run; step > 0; step /= 2) {
#pragma unroll
    for (uint i = 0; i < searched_runs; ++i) {
      const uint next = places[i] + step;
      const bool exists = next <= lengths[i];
      const uint other = tokens[begins[i] + (exists ? next - 1 : 0)];
      places[i] = exists && precedes(other, first_run + i, token, own_run) ? next : places[i];
    }
  }
  uint sum = 0;
#pragma unroll
  for (uint i = 0; i < searched_runs; ++i) {
    sum += places[i];
  }
  return sum;
}

// keys[block] = the block's rows, sorted: 32 are placed by counting those before each, then eight neighbouring runs are
// merged at a time. Rows of one token stay in order because those of an earlier run go first. A threadgroup of whole
// simdgroups sorts as many rows as it has threads, at most sort_block; missing rows of the last one come at
// the end.
[[max_total_threads_per_threadgroup(1024)]] kernel void embedding_sort(
    device uint2* keys [[buffer(0)]], device const int* tokens [[buffer(1)]],
    constant EmbeddingSortArgs& args [[buffer(2)]], uint group [[threadgroup_position_in_grid]],
    uint position [[thread_position_in_threadgroup]], uint threads [[threads_per_threadgroup]]) {
  threadgroup uint sorted[2][sort_block];
  threadgroup uint sorted_rows[2][sort_block];
  const ulong begin = ulong(group) * threads;
  const uint lane = position % sort_run;
  uint token = no_token;
  if (begin + position < args.rows) {
    token = uint(tokens[begin + position]);
  }
  uint before = 0;
  for (uint i = 0; i < sort_run; ++i) {
    const uint other = simd_shuffle(token, ushort(i));
    before += other < token || (other == token && i < lane) ? 1 : 0;
  }
  sorted[0][position - lane + before] = token;
  sorted_rows[0][position - lane + before] = position;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  uint from = 0;
  for (uint run = sort_run; run < threads; run *= block_runs) {
    const uint own_run = position / run;
    const uint first_run = own_run / block_runs * block_runs;
    const uint own = sorted[from][position];
    uint place = first_run * run + position % run;
    for (uint i = 0; i < block_runs && (first_run + i) * run < threads; i += searched_runs) {
      place += rank_in_block(sorted[from], threads, first_run + i, run, own, own_run);
    }
    sorted[1 - from][place] = own;
    sorted_rows[1 - from][place] = sorted_rows[from][position];
    from = 1 - from;
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  if (begin + position < args.rows) {
    keys[begin + position] = uint2(sorted[from][position], uint(begin) + sorted_rows[from][position]);
  }
}

// Merges merged_runs neighbouring runs of args.run sorted keys: a key's place is its own rank plus its ranks in the
// others, found by parallel bisections of lanes_a_key lanes. Rows of one token are in the order of their runs.
[[max_total_threads_per_threadgroup(256)]]
kernel void embedding_merge(device uint2* merged [[buffer(0)]], device const uint2* keys [[buffer(1)]],
                            constant EmbeddingSortArgs& args [[buffer(2)]],
                            uint group [[threadgroup_position_in_grid]],
                            uint position [[thread_position_in_threadgroup]],
                            uint threads [[threads_per_threadgroup]]) {
  const ulong number = (ulong(group) * threads + position) / lanes_a_key;
  // Lanes without a key search for the last one, so that all lanes of a simdgroup go on together.
  const uint index = uint(min(number, ulong(args.rows) - 1));
  const uint own_run = index / args.run;
  const uint first_run = own_run / merged_runs * merged_runs;
  const uint lane_run = first_run + position % lanes_a_key * searched_runs;
  const uint2 key = keys[index];
  uint begins[searched_runs];
  uint lengths[searched_runs];
  uint places[searched_runs];
#pragma unroll
  for (uint i = 0; i < searched_runs; ++i) {
    const ulong begin = ulong(lane_run + i) * args.run;
    const bool is_searched = begin < args.rows && lane_run + i != own_run;
    begins[i] = is_searched ? uint(begin) : 0;
    lengths[i] = is_searched ? min(args.run, args.rows - uint(begin)) : 0;
    places[i] = 0;
  }
  for (uint step = args.first_step; step > 0; step /= 2) {
    uint others[searched_runs];
#pragma unroll
    for (uint i = 0; i < searched_runs; ++i) {
      // Of a run that has not so many, some key that does not count.
      const uint next = places[i] + step;
      others[i] = keys[begins[i] + (next <= lengths[i] ? next - 1 : 0)].x;
    }
#pragma unroll
    for (uint i = 0; i < searched_runs; ++i) {
      const uint next = places[i] + step;
      places[i] = next <= lengths[i] && precedes(others[i], lane_run + i, key.x, own_run) ? next : places[i];
    }
  }
  uint place = 0;
#pragma unroll
  for (uint i = 0; i < searched_runs; ++i) {
    place += places[i];
  }
#pragma unroll
  for (uint step = 1; step < lanes_a_key; step *= 2) {
    place += simd_shuffle_xor(place, ushort(step));
  }
  if (position % lanes_a_key == 0 && number < args.rows) {
    merged[ulong(first_run) * args.run + index % args.run + place] = key;
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

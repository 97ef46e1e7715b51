// Sums of partial results that earlier threadgroups left, one row each.
#pragma once

// Threads of each column of join_parts, and what each fetches before it adds.
constant constexpr uint join_rows = 32;
constant constexpr uint join_ahead = 8;

// The sum of rows first, first + stride, ... below `rows` of column `column` of a matrix of so many columns, in this
// order. `ahead` of them are fetched before they are added.
template <uint stride, uint ahead>
inline float sum_of_parts(device const float* partial, ulong column, ulong columns, uint first, uint rows) {
  float total = 0.0f;
  for (; first < rows; first += ahead * stride) {
    float values[ahead];
#pragma unroll
    for (uint k = 0; k < ahead; ++k) {
      values[k] = partial[ulong(min(first + k * stride, rows - 1)) * columns + column];
    }
#pragma unroll
    for (uint k = 0; k < ahead; ++k) {
      total += first + k * stride < rows ? values[k] : 0.0f;
    }
  }
  return total;
}

// The same of all `parts` rows, by a threadgroup of 32 columns by join_rows threads, which all call it: the sum of a
// column that is `inside`, in its thread with position.y 0. `sums` has 32 · join_rows elements.
inline float join_parts(device const float* partial, ulong column, ulong columns, uint parts, bool inside,
                        threadgroup float* sums, uint2 position) {
  sums[position.y * 32 + position.x] =
      inside ? sum_of_parts<join_rows, join_ahead>(partial, column, columns, position.y, parts) : 0.0f;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  float total = 0.0f;
  if (position.y == 0) {
    for (uint k = 0; k < join_rows; ++k) {
      total += sums[k * 32 + position.x];
    }
  }
  return total;
}

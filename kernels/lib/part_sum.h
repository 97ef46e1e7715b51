// Sums of partial results that earlier threadgroups left, one row each.
#pragma once

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

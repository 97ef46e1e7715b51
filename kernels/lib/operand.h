// Operands of products of fragments, fetched from device memory by runs.
#pragma once

#include "lib/run.h"

// Fragments behind one another along the inner length that a lane loads together: so many that runs have 16 bytes.
template <typename S>
struct RunStep {
  static constant constexpr uint each = 8 / sizeof(S);
};

// The longest sides for which a tile's offsets have 32 bits.
constant constexpr uint operand_reach = 1u << 26;

// The run that begins offset elements behind `corner`; where not `whole`, zeros for those from number `left` on.
template <bool whole, typename T, uint count>
inline void fetch_operand(device const T* corner, uint row, uint stride, uint at, uint left,
                          thread Run<T, count>& run) {
  if (whole) {
    fetch_run(corner + (row * stride + at), run);
  } else {
    fetch_run_before(corner + (left > 0 ? ulong(row) * stride + at : 0), left, run);
  }
}

// How many of the elements from (row, column) on lie before the end of that row, if there is such a row.
inline uint left_in_row(uint row, uint rows, uint column, uint columns) {
  return row < rows && column < columns ? columns - column : 0u;
}

template <typename S>
inline void put_operand(thread S& element, S value) {
  element = value;
}

template <typename S, typename T>
inline void put_operand(thread S& element, T value) {
  element = S(float(value));
}

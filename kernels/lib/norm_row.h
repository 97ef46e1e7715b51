// Rows of norms: where they begin, and how a simdgroup covers one.
#pragma once

#include "lib/span.h"

// Columns that a simdgroup covers at a time, one span per lane.
constant constexpr uint norm_step = 32 * span_width;

// Where a row begins that may be a piece of a wider one.
template <typename Args>
inline ulong norm_row(constant Args& args, uint row) {
  const uint wide = args.pieces == 1 ? row : row / args.pieces;
  return ulong(wide) * args.stride + (row - wide * args.pieces) * args.columns;
}

// What a product of few rows is given.
#pragma once

#include <cstdint>

#include "tensor/half.h"

namespace mslt {

// One call's arguments with the dtypes taken off: values of T, or quantised with scales.
template <class T>
struct MatvecTask {
  float* out;
  const float* in;  // to multiply in integers, rows as quantise_row makes them, each `in_stride` floats
  std::int64_t in_stride;
  const T* values;
  const Float16* factors;  // null for plain weights
  bool as_floats;          // a quantised weight, which is unpacked
  std::int64_t rows;       // of in and out
  std::int64_t inner;
  std::int64_t columns;  // of out: rows of the weight
};

// A part of a product with a transposed weight: some rows of the weight, and some of its columns.
template <class T>
struct MatvecPart {
  const float* in;  // `count` rows, in_stride apart
  std::int64_t in_stride;
  std::int64_t count;
  const T* weight;  // `inner` rows, weight_stride apart
  std::int64_t weight_stride;
  std::int64_t inner;
  float* sums;  // [count, width]
  std::int64_t width;
};

}  // namespace mslt

// Encoding a product of few rows or with a quantised weight.
#pragma once

#include <cstdint>

#include "backend/backend.h"
#include "backend/msl/recorder.h"
#include "backend/msl/tuning.h"

namespace mslt::msl {

// Whether the kernels normalise the rows of `op` where it asks for that, which must be aligned.
bool matvec_takes(const FusedProduct& op);

// The operation was checked, its output is not empty, and matvec_takes it.
void encode_matvec(Recorder& recorder, const Tuning& tuning, const FusedProduct& op);

// Simdgroups of a threadgroup of the matvec whose weight has so many rows of that dtype, for one row of input or more.
std::int64_t matvec_simdgroups(const Tuning& tuning, std::int64_t columns, DType weight, bool one_row);

}  // namespace mslt::msl

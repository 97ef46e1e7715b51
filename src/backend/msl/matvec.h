// Encoding a product of few rows or with a quantised weight.
#pragma once

#include <cstdint>

#include "backend/backend.h"
#include "backend/msl/recorder.h"
#include "backend/msl/tuning.h"

namespace mslt::msl {

// The operation was checked, its output is not empty, and it keeps no argument of the activation.
void encode_matvec(Recorder& recorder, const Tuning& tuning, const MatmulForward& op);

// Simdgroups of a threadgroup of the matvec whose weight has so many rows of that dtype, for one row of input or more.
std::int64_t matvec_simdgroups(const Tuning& tuning, std::int64_t columns, DType weight, bool one_row);

}  // namespace mslt::msl

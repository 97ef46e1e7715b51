// Encoding a product of few rows, which matmul_forward shares with matvec.
#pragma once

#include <cstdint>

#include "backend/backend.h"
#include "backend/msl/recorder.h"
#include "backend/msl/tuning.h"

namespace mslt::msl {

// out = activation(in · weightᵀ + bias) for arguments that were checked; out is not empty. bias may be absent.
void encode_matvec(Recorder& recorder, const Tuning& tuning, const Tensor& out, const Tensor& in, const Weight& weight,
                   const Tensor& bias, Activation activation);

// Simdgroups of a threadgroup of the matvec whose weight has so many rows of that dtype, for one row of input or more.
std::int64_t matvec_simdgroups(const Tuning& tuning, std::int64_t columns, DType weight, bool one_row);

}  // namespace mslt::msl

// Encoding a product of few rows, which matmul_forward shares with matvec.
#pragma once

#include "backend/backend.h"
#include "backend/msl/recorder.h"
#include "backend/msl/tuning.h"

namespace mslt::msl {

// out = activation(in · weightᵀ + bias) for arguments that were checked; out is not empty. bias may be absent.
void encode_matvec(Recorder& recorder, const Tuning& tuning, const Tensor& out, const Tensor& in, const Weight& weight,
                   const Tensor& bias, Activation activation);

}  // namespace mslt::msl

// Builds without oneDNN have no products of bf16 on the CPU.
#include "backend/cpu/gemm_bf16.h"
#include "base/fail.h"

namespace mslt {

struct Bf16Gemm::State {};

bool Bf16Gemm::available() {
  return false;
}

Bf16Gemm::Bf16Gemm() {
  fail(ErrorKind::device, "This build of mslt has no products of bf16 on the CPU; it would need oneDNN.");
}

Bf16Gemm::~Bf16Gemm() = default;

void Bf16Gemm::multiply(std::int64_t /*m*/, std::int64_t /*n*/, std::int64_t /*k*/, const GemmMatrix& /*a*/,
                        const GemmMatrix& /*b*/, float* /*c*/, std::int64_t /*c_stride*/, bool /*accumulate*/) {}

std::size_t Bf16Gemm::bytes() const {
  return 0;
}

}  // namespace mslt

// Matrix products by a library with the CBLAS interface: Accelerate on macOS, OpenBLAS and others elsewhere.
#include MSLT_CBLAS_HEADER

#include <limits>

#include "backend/cpu/gemm.h"
#include "base/fail.h"

namespace mslt {
namespace {

// The interface takes sizes as int.
int checked(std::int64_t size) {
  if (size > std::numeric_limits<int>::max()) {
    fail(ErrorKind::input, "A matrix of {} rows or columns is too large for a product; up to {} are possible.", size,
         std::numeric_limits<int>::max());
  }
  return static_cast<int>(size);
}

}  // namespace

void gemm(std::int64_t m, std::int64_t n, std::int64_t k, const GemmMatrix& a, const GemmMatrix& b, float* c,
          std::int64_t c_stride, bool accumulate) {
  cblas_sgemm(CblasRowMajor, a.transposed ? CblasTrans : CblasNoTrans, b.transposed ? CblasTrans : CblasNoTrans,
              checked(m), checked(n), checked(k), 1.0f, a.data, checked(a.stride), b.data, checked(b.stride),
              accumulate ? 1.0f : 0.0f, c, checked(c_stride));
}

// The interface tells no version.
std::string gemm_library() {
  return "BLAS";
}

}  // namespace mslt

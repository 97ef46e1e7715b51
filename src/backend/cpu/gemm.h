// The matrix product that the CPU backend leaves to a library, which the build chooses: oneDNN (gemm_onednn.cpp) or a
// BLAS (gemm_blas.cpp), such as macOS's Accelerate.
#pragma once

#include <cstdint>

namespace mslt {

// A row-major matrix whose rows are `stride` floats apart, or the transpose of one.
struct GemmMatrix {
  const float* data = nullptr;
  std::int64_t stride = 0;
  bool transposed = false;
};

// C [m, n] = A [m, k] · B [k, n] + (accumulate ? C : 0). C is row-major with rows `c_stride` apart and is not read
// unless accumulated to; none of m, n, k is 0. oneDNN and OpenBLAS give the same bits for the same thread count;
// Accelerate does not promise it. Throws Error(memory) where the library has none left, Error(device) where it refuses.
void gemm(std::int64_t m, std::int64_t n, std::int64_t k, const GemmMatrix& a, const GemmMatrix& b, float* c,
          std::int64_t c_stride, bool accumulate);

}  // namespace mslt

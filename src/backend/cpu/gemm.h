// The matrix product that the CPU backend delegates to a library, chosen by the build: oneDNN (gemm_onednn.cpp) or a
// BLAS (gemm_blas.cpp), such as macOS's Accelerate.
#pragma once

#include <cstdint>
#include <string>

namespace mslt {

// A row-major matrix with rows `stride` floats apart, or the transpose of one.
struct GemmMatrix {
  const float* data = nullptr;
  std::int64_t stride = 0;
  bool transposed = false;
};

// C [m, n] = A [m, k] · B [k, n] + (accumulate ? C : 0). C is row-major with rows `c_stride` apart and is read only if
// accumulated to; none of m, n, k is 0. oneDNN gives the same bits for any thread count, OpenBLAS for the same;
// Accelerate does not guarantee it. Throws Error(memory) if the library has no memory left, Error(device) if it
// refuses.
void gemm(std::int64_t m, std::int64_t n, std::int64_t k, const GemmMatrix& a, const GemmMatrix& b, float* c,
          std::int64_t c_stride, bool accumulate);

// The library and its version, such as "oneDNN 2.7.3".
std::string gemm_library();

}  // namespace mslt

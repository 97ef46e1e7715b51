// Products of floats whose operands are rounded to bf16, on CPUs that multiply such numbers: by oneDNN
// (gemm_bf16_onednn.cpp), or not at all where the build has another library (gemm_bf16_blas.cpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "backend/cpu/gemm.h"

namespace mslt {

// Keeps the kernels that it made. Used by one thread at a time; a product runs on the threads of base/parallel.h.
class Bf16Gemm {
 public:
  // Whether this CPU has the instructions (AVX512-BF16 or AMX), and the build what uses them.
  static bool available();

  Bf16Gemm();
  ~Bf16Gemm();
  Bf16Gemm(const Bf16Gemm&) = delete;
  Bf16Gemm& operator=(const Bf16Gemm&) = delete;

  // As gemm(), of A and B rounded to bf16, to nearest and to even; sums are f32. The same bits for any thread count.
  // Throws Error(memory) where there is none left, Error(device) where the library refuses.
  void multiply(std::int64_t m, std::int64_t n, std::int64_t k, const GemmMatrix& a, const GemmMatrix& b, float* c,
                std::int64_t c_stride, bool accumulate);
  // Of its memory for operands.
  std::size_t bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mslt

// Products of few rows of 16-bit elements on tensor cores, with the norm before them and the addition behind them.
//
// A quantised weight is rounded to the elements' type, and a norm's weight is multiplied into the product's, as the .cu
// file says; results differ from those of operations of their own by rounding.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "tensor/dtype.h"

namespace mslt::msl::cuda {

// out [rows, outputs] (+)= activation(norm(in) · weightᵀ + bias), as FusedProduct. Addresses are on the GPU and begin
// at multiples of 16 bytes; all elements but those of a quantised weight are of one dtype, bf16 or f16. `outputs` is
// even.
struct FewRowsProduct {
  const void* in = nullptr;      // [rows, inner]
  const void* weight = nullptr;  // [outputs, inner]
  const void* scales = nullptr;  // of a quantised weight, as Weight has them
  const void* bias = nullptr;    // [outputs], or null
  const void* gain = nullptr;    // [inner] of the norm, or null
  const void* offset = nullptr;  // [inner] of the norm, or null
  void* out = nullptr;
  std::uint32_t rows = 0;
  std::uint32_t inner = 0;
  std::uint32_t outputs = 0;
  std::uint32_t bits = 16;       // of an element of the weight: 16, or quantised 8 or 4
  std::uint32_t activation = 0;  // as kernels/lib/activate.h numbers them: none, tanh GELU, or ReLU for any other
  std::uint32_t norm = 0;        // 0 none, 1 LayerNorm, 2 RMSNorm
  std::uint32_t accumulate = 0;
  std::uint32_t early = 0;  // whether the weight, gain and offset may be read before earlier kernels have ended
  float epsilon = 0.0f;
  float weight_offset = 0.0f;
  // How it is divided, which plan() sets: the threadgroups that share the inner length, and a threadgroup's columns of
  // results, an even number.
  std::uint32_t parts = 0;
  std::uint32_t columns = 0;

  // The columns in eights.
  std::uint32_t column_tiles() const { return (columns + 7) / 8; }

  // Divides it for the current GPU, which runs_few_rows_products(). False if it is too large for that.
  bool plan();
};

// Rows at most.
constexpr std::uint32_t few_rows_most = 32;

// Whether the current GPU runs them: it needs compute capability 9.0.
bool runs_few_rows_products();
// Prepares launches on the current GPU.
cudaError_t prepare_few_rows_products();
// Puts a planned product into the stream. An early one begins beside the kernel in front of it where the stream is
// being captured, since a graph begins when all work before it has ended. Sums have one order: the same bits each time.
// Returns what the launch returns.
cudaError_t launch_few_rows_product(const FewRowsProduct& product, DType dtype, cudaStream_t stream);

}  // namespace mslt::msl::cuda

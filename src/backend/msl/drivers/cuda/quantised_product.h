// Products of up to few_rows_most rows with a quantised weight on tensor cores, with the norm before them and the
// addition behind them.
//
// The weight's whole numbers are exact as 16-bit elements; each group's sum is multiplied by its scale in f32. A norm's
// results are rounded to the elements' type, as an operation of its own rounds them.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace mslt::msl::cuda {

// out [rows, outputs] (+)= activation(norm(in) · weightᵀ + bias), as FusedProduct. Addresses are on the GPU and begin
// at multiples of 16 bytes; elements but those of the weight and its scales are of one dtype, bf16 or f16.
struct QuantisedProduct {
  const void* in = nullptr;      // [rows, inner]
  const void* weight = nullptr;  // [outputs, inner] in 8 bits or 4, as Weight has them
  const void* scales = nullptr;  // as Weight has them
  const void* bias = nullptr;    // [outputs], or null
  const void* gain = nullptr;    // [inner] of the norm, or null
  const void* offset = nullptr;  // [inner] of the norm, or null
  void* out = nullptr;
  std::uint32_t rows = 0;
  std::uint32_t inner = 0;
  std::uint32_t outputs = 0;
  std::uint32_t bits = 8;        // of an element of the weight: 8 or 4
  std::uint32_t activation = 0;  // as kernels/lib/activate.h numbers them: none, tanh GELU, or ReLU for any other
  std::uint32_t norm = 0;        // 0 none, 1 LayerNorm, 2 RMSNorm
  std::uint32_t accumulate = 0;
  std::uint32_t early = 0;  // whether the weight, gain and offset may be read before earlier kernels have ended
  float epsilon = 0.0f;
  float weight_offset = 0.0f;
  // How it is divided, which plan() sets: threadgroups, how many warps share the inner length of a tile of outputs, and
  // how much of the inner length of the input lies in shared memory at once.
  std::uint32_t groups = 0;
  std::uint32_t sharing = 0;
  std::uint32_t part = 0;

  // Divides it for the current GPU, which runs_few_rows_products(). False if its sizes are not those of the kernel:
  // an inner length of whole pairs of groups of 32, and rows that fit into shared memory; in parts, if there is no norm
  // and the multiprocessors have few outputs each.
  bool plan();
};

// Prepares launches on the current GPU.
cudaError_t prepare_quantised_products();
// Puts a planned product into the stream. An early one begins beside the kernel in front of it where the stream is
// being captured, since a graph begins when all work before it has ended. Sums have one order: the same bits each time.
// Returns what the launch returns.
cudaError_t launch_quantised_product(const QuantisedProduct& product, DType dtype, cudaStream_t stream);

}  // namespace mslt::msl::cuda

// Chains of operations of one row, which decoding consists of, in one launch whose threadgroups wait for each other.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace mslt::msl::cuda {

// out [outputs] (+)= activation(norm(in) · weightᵀ + bias), as FusedProduct for one row. Addresses are on the GPU and
// begin at multiples of 16 bytes; all elements are of the chain's dtype. `outputs` is even.
struct ChainProduct {
  const void* in = nullptr;      // [inner]
  const void* weight = nullptr;  // [outputs, inner]
  const void* bias = nullptr;    // [outputs], or null
  const void* gain = nullptr;    // [inner] of the norm, or null
  const void* offset = nullptr;  // [inner] of the norm, or null
  void* out = nullptr;
  std::uint32_t inner = 0;  // a multiple of 8, at most chain_most_inner
  std::uint32_t outputs = 0;
  std::uint32_t activation = 0;  // as kernels/lib/activate.h numbers them: none, tanh GELU, or ReLU for any other
  std::uint32_t norm = 0;        // 0 none, 1 LayerNorm, 2 RMSNorm
  std::uint32_t accumulate = 0;
  float epsilon = 0.0f;
  float weight_offset = 0.0f;
};

// Attention of one row over the paged cache, whose row for its position it stores, as AttentionDecode without rotation,
// window and soft cap. Heads have chain_head_size elements.
struct ChainAttention {
  const void* qkv = nullptr;  // [(heads + 2 · kv_heads) · chain_head_size]
  void* keys = nullptr;       // [blocks, 16, kv_heads · chain_head_size]
  void* values = nullptr;
  void* out = nullptr;  // [heads · chain_head_size]
  std::uint32_t heads = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t blocks = 0;
  float scale = 0.0f;
};

// Where the row is in its sequence, and the sequence in the caches of all layers.
struct ChainPlace {
  const std::int32_t* first = nullptr;  // [1], the row's position, or null for 0
  const std::int32_t* table = nullptr;  // [positions / 16]
  std::uint32_t positions = 0;          // at most chain_most_positions
};

constexpr std::uint32_t chain_head_size = 64;
// A head's positions are read by one threadgroup; of more, several read better.
constexpr std::uint32_t chain_most_positions = 2048;
// Elements of a product's input at most.
constexpr std::uint32_t chain_most_inner = 4096;

// out [columns] = scale · token_weight[token] + position_weight[position of the row], as EmbeddingForward for one row.
// `columns` is even.
struct ChainEmbedding {
  const std::int32_t* token = nullptr;
  const void* token_weight = nullptr;     // [vocab, columns]
  const void* position_weight = nullptr;  // [places, columns], or null
  void* out = nullptr;
  std::uint32_t vocab = 0;
  std::uint32_t places = 0;
  std::uint32_t columns = 0;
  float scale = 1.0f;
};

// The largest of the last product's first results and its index, as Argmax for one row.
struct ChainLargest {
  float* value = nullptr;
  std::int32_t* index = nullptr;  // null where it is not wanted
  std::uint32_t choices = 0;      // from 1 to the product's outputs
};

struct ChainStep {
  enum class Kind : std::uint32_t { product, attention, embedding };
  Kind kind = Kind::product;
  union {
    ChainProduct product;
    ChainAttention attention;
    ChainEmbedding embedding;  // only as the first
  };
  // How it is divided, which Chain::plan sets. Of products and the embedding: pairs of results a threadgroup, and how
  // many threadgroups have one more. Of products: rows in a tile; parts of a row and a lane's spans in each. Of
  // attention: threadgroups between two with a head.
  std::uint32_t pairs = 0;
  std::uint32_t more = 0;
  std::uint32_t tile_rows = 0;
  std::uint32_t parts = 0;
  std::uint32_t inverse_parts = 0;  // of 65,536
  std::uint32_t rows_at_once = 0;
  std::uint32_t spans = 0;
  std::uint32_t stride = 0;
  // Where its input comes from and its result goes, for other threadgroups: in 8 bytes two elements and the launch's
  // number.
  const std::uint64_t* from = nullptr;  // null in the first step, which reads `in` or `qkv`
  std::uint64_t* to = nullptr;
  // Of attention: the cache of the next one, for asking ahead; null in the last.
  const void* next_keys = nullptr;
  const void* next_values = nullptr;

  ChainStep() : product() {}
};

// Steps of which each reads what the one before it writes. The argument of a launch, which holds 32,764 bytes at most.
struct Chain {
  static constexpr std::size_t most_steps = 192;
  ChainStep steps[most_steps];
  std::uint32_t count = 0;
  ChainPlace place;
  ChainLargest largest;
  // state_bytes() of memory, zeros before the first launch, and for one launch at a time.
  std::uint32_t* state = nullptr;

  // That its results take between threadgroups.
  std::size_t state_bytes() const;
  // Divides the steps for the current GPU, which runs_chains(). `state` is set.
  void plan();
};
static_assert(sizeof(Chain) <= 32764);

// Whether the current GPU runs chains: it needs compute capability 9.0.
bool runs_chains();
// Puts a planned chain into the stream. The result of a step is seen by later ones. Sums have one order, whatever the
// GPU does: the same bits each time. Returns what the launch returns.
cudaError_t launch_chain(const Chain& chain, DType dtype, cudaStream_t stream);
// Prepares launches on the current GPU.
cudaError_t prepare_chains();

}  // namespace mslt::msl::cuda

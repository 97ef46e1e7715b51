// Attention over whole sequences and over the paged cache, and the cache.
#pragma once

#include "backend/operations/argument.h"
#include "backend/operations/parameters.h"

namespace mslt {

// One layer's paged cache of keys and values. Position p of sequence b is in block block_table[b][p / block_size] at
// row p % block_size. No two sequences store in one block; the table's unused entries are never read.
struct KvCacheView {
  static constexpr int block_size = 16;
  Tensor keys;         // kept [blocks, block_size, K·D]
  Tensor values;       // kept [blocks, block_size, K·D]
  Tensor block_table;  // i32 [B, blocks a sequence]
};

// out[b,i,h] = sum_j p_ij v_j, p = softmax(cap(scale · q_i·k_j) over i - window < j <= i), in one pass that never
// stores T×T (Dao et al., 2022). Without a window it is over all j <= i; cap is AttentionShape's soft cap. Dropout acts
// on p; its element number is ((b·H + h)·T + i)·T + j. Right-padded rows need no mask: causality hides them from the
// rows before them.
struct AttentionForward {
  static constexpr std::string_view name = "attention_forward";
  Tensor out;               // f [B, T, H·D]
  Tensor log_sum_exp = {};  // f32 [B, H, T]: the natural logarithm of the softmax's denominator
  Tensor qkv;               // f [B, T, (H+2K)·D]: queries, keys, values along the last dimension
  AttentionShape shape;
  Dropout dropout = {};

  auto arguments() const {
    return std::array{writes("out", out), writes("log_sum_exp", log_sum_exp, Elements::f32), reads("qkv", qkv),
                      reads("dropout.random_state", dropout.random_state, Elements::u32)};
  }
  void check(const Arguments& given) const;
  double flops() const { return 2.0 * shape.pair_flops(qkv.shape()[0], qkv.shape()[1]); }
};

// dqkv from dout, recomputing p from qkv and log_sum_exp. Overwrites dqkv. No two threads add to one address.
struct AttentionBackward {
  static constexpr std::string_view name = "attention_backward";
  Tensor dqkv;         // f, as qkv
  Tensor dout;         // f, as out
  Tensor qkv;          // of the forward pass, like out, log_sum_exp, shape and dropout
  Tensor out;          // f [B, T, H·D]
  Tensor log_sum_exp;  // f32 [B, H, T]
  AttentionShape shape;
  Dropout dropout = {};

  auto arguments() const {
    return std::array{writes("dqkv", dqkv),
                      reads("dout", dout),
                      reads("qkv", qkv),
                      reads("out", out),
                      reads("log_sum_exp", log_sum_exp, Elements::f32),
                      reads("dropout.random_state", dropout.random_state, Elements::u32)};
  }
  void check(const Arguments& given) const;
  double flops() const { return 5.0 * shape.pair_flops(qkv.shape()[0], qkv.shape()[1]); }
};

// Positions, counts and block tables are in device memory, which only some devices can check in time. Rows at positions
// outside the block table, or in blocks outside the cache, are errors of the caller. A device whose memory the host can
// read while recording (the CPU) throws Error(input) before anything is written. Other devices store no such row,
// attend to no such position, and never access memory outside the tensors.

// Stores the already rotated keys and values of qkv at their positions in the cache.
struct KvCacheAppend {
  static constexpr std::string_view name = "kv_cache_append";
  KvCacheView cache;
  Tensor qkv;  // f [B, T, (H+2K)·D]
  Positions positions = {};
  Tensor counts = {};  // i32 [B]: stores the first counts[b] rows of sequence b, none if below 1; absent: all rows
  AttentionShape shape;

  auto arguments() const {
    return std::array{writes("cache.keys", cache.keys, Elements::kept),
                      writes("cache.values", cache.values, Elements::kept),
                      reads("cache.block_table", cache.block_table, Elements::i32),
                      reads("qkv", qkv),
                      reads("positions.first", positions.first, Elements::i32),
                      reads("counts", counts, Elements::i32)};
  }
  void check(const Arguments& given) const;
  // Reads and writes the keys and values of qkv.
  double bytes() const {
    return 2.0 * static_cast<double>(qkv.shape().rows() * shape.key_columns()) *
           static_cast<double>(size_of(qkv.dtype()) + size_of(cache.keys.dtype()));
  }
};

// Attention of the queries in qkv over the cache: row (b, t) sees cache positions 0 to position(b, t), of these the
// last `window` if there is one. T is 1 for decode, more when a prompt is continued. With inverse_frequencies, the
// queries and keys of qkv are rotated first, as Rope does it; qkv is then undefined. Then the keys and values are
// stored, as KvCacheAppend does it.
struct AttentionDecode {
  static constexpr std::string_view name = "attention_decode";
  Tensor out;  // f [B, T, H·D]
  Tensor qkv;  // f [B, T, (H+2K)·D]
  KvCacheView cache;
  Positions positions = {};
  AttentionShape shape;
  Tensor inverse_frequencies = {};  // f32 [P], as Rope's
  float rotary_scale = 1.0f;        // Rope's scale
  // Whether the bits of a row of out may depend on its query and the keys and values up to its position alone, not on
  // how many rows there are. Only the CPU keeps to it.
  bool independent_rows = false;

  auto arguments() const {
    return std::array{writes("out", out),
                      inverse_frequencies ? updates("qkv", qkv) : reads("qkv", qkv),
                      updates("cache.keys", cache.keys, Elements::kept),
                      updates("cache.values", cache.values, Elements::kept),
                      reads("cache.block_table", cache.block_table, Elements::i32),
                      reads("positions.first", positions.first, Elements::i32),
                      reads("inverse_frequencies", inverse_frequencies, Elements::f32)};
  }
  void check(const Arguments& given) const;
  // The cache is read once, whatever little is stored.
  double bytes() const {
    return static_cast<double>(out.bytes() + qkv.bytes() + cache.keys.bytes() + cache.values.bytes() +
                               cache.block_table.bytes());
  }
};

}  // namespace mslt

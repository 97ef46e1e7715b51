// Token and position embedding as MSL kernels.
#include <algorithm>

#include "backend/checks.h"
#include "backend/msl/launch.h"
#include "backend/msl/msl_backend.h"
#include "kernels/embedding_args.h"

namespace mslt {
namespace {

// As in kernels/embedding.metal: rows that a threadgroup sorts, runs merged at a time, sorted rows summed by a thread.
constexpr std::int64_t sort_block = 1024;
constexpr std::int64_t merged_runs = 8;
constexpr std::int64_t gradient_chunk = 32;

// Threads of a group that merges.
constexpr std::uint32_t merge_threads = 256;

constexpr std::string_view backward = "embedding_backward";

}  // namespace

void MslBackend::embedding_forward(const Tensor& out, const Tensor& tokens, const Tensor& token_weight,
                                   const Tensor& position_weight, const Positions& positions, float scale) {
  check_embedding_forward(out, tokens, token_weight, position_weight, positions);
  if (out.elements() == 0) return;
  constexpr std::string_view operation = "embedding_forward";
  const std::int64_t columns = token_weight.shape()[1];
  const std::int64_t places = position_weight ? position_weight.shape()[0] : 0;
  const EmbeddingForwardArgs args = {.rows = msl::count32(tokens.elements(), operation),
                                     .steps = msl::count32(tokens.shape()[1], operation),
                                     .columns = msl::count32(columns, operation),
                                     .vocab = msl::count32(token_weight.shape()[0], operation),
                                     .places = msl::count32(places, operation),
                                     .aligned = msl::aligned_rows(columns, out, token_weight, position_weight),
                                     .has_position = position_weight ? 1u : 0u,
                                     .has_first = positions.first ? 1u : 0u,
                                     .scale = scale};
  encode(msl::kernel_name("embedding", out.dtype(), token_weight.dtype()))
      .buffer(0, out)
      .buffer(1, tokens)
      .optional(2, token_weight.elements() == 0 ? Tensor() : token_weight)
      .optional(3, places == 0 ? Tensor() : position_weight)
      .optional(4, positions.first)
      .bytes(5, args)
      .work(2.0 * static_cast<double>(out.elements()))
      .moves(2 * out.bytes() + tokens.bytes())
      .dispatch_tiles(args.rows, columns, tuning_.tile_threads);
}

void MslBackend::embedding_backward(const Tensor& dtoken_weight, const Tensor& dposition_weight, const Tensor& dout,
                                    const Tensor& tokens, float scale) {
  check_embedding_backward(dtoken_weight, dposition_weight, dout, tokens);
  if (dout.elements() == 0) return;
  const std::int64_t rows = tokens.elements();
  const std::int64_t columns = dout.shape()[-1];
  if (dposition_weight) {
    const PositionGradientArgs args = {.sequences = msl::count32(tokens.shape()[0], backward),
                                       .steps = msl::count32(tokens.shape()[1], backward),
                                       .columns = msl::count32(columns, backward),
                                       .aligned = msl::aligned_rows(columns, dposition_weight, dout)};
    encode(msl::kernel_name("position_gradient", dout.dtype()))
        .buffer(0, dposition_weight)
        .buffer(1, dout)
        .bytes(2, args)
        .dispatch_tiles(args.steps, columns, tuning_.tile_threads);
  }
  if (!dtoken_weight || dtoken_weight.elements() == 0) return;

  const std::int64_t block = msl::row_threads(rows, 1, sort_block);
  EmbeddingSortArgs sort_args = {.rows = msl::count32(rows, backward),
                                 .vocab = msl::count32(dtoken_weight.shape()[0], backward),
                                 .run = static_cast<std::uint32_t>(block)};
  const msl::Scratch first_keys = scratch(DType::u32, {rows, 2});
  const msl::Scratch second_keys = scratch(DType::u32, {rows, 2});
  const Tensor* keys = &first_keys.tensor();
  const Tensor* merged = &second_keys.tensor();
  encode("embedding_sort")
      .buffer(0, *keys)
      .buffer(1, tokens)
      .bytes(2, sort_args)
      .dispatch({msl::group_count(rows, block)}, {sort_args.run});
  for (std::int64_t run = block; run < rows; run *= merged_runs) {
    sort_args.run = static_cast<std::uint32_t>(run);
    encode("embedding_merge")
        .buffer(0, *merged)
        .buffer(1, *keys)
        .bytes(2, sort_args)
        .dispatch({msl::group_count(rows, merge_threads)}, {merge_threads});
    std::swap(keys, merged);
  }

  const std::int64_t chunks = (rows + gradient_chunk - 1) / gradient_chunk;
  const msl::Scratch heads = scratch(DType::f32, {chunks, columns});
  const msl::Scratch tails = scratch(DType::f32, {chunks, columns});
  const EmbeddingGradientArgs args = {.rows = sort_args.rows,
                                      .columns = msl::count32(columns, backward),
                                      .vocab = sort_args.vocab,
                                      .aligned = msl::aligned_rows(columns, dtoken_weight, dout),
                                      .scale = scale};
  encode(msl::kernel_name("embedding_gradient", dout.dtype()))
      .buffer(0, dtoken_weight)
      .buffer(1, heads)
      .buffer(2, tails)
      .buffer(3, *keys)
      .buffer(4, dout)
      .bytes(5, args)
      .work(static_cast<double>(dout.elements()))
      .moves(3 * dout.bytes())  // where all tokens differ
      .dispatch_tiles(chunks, columns, tuning_.tile_threads);
  if (chunks == 1) return;
  encode(msl::kernel_name("embedding_join", dout.dtype()))
      .buffer(0, dtoken_weight)
      .buffer(1, heads)
      .buffer(2, tails)
      .buffer(3, *keys)
      .bytes(4, args)
      .moves(tails.tensor().bytes())
      .dispatch_tiles(chunks, columns, tuning_.tile_threads);
}

}  // namespace mslt

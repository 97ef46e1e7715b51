// Token and position embedding as MSL kernels.
#include <algorithm>
#include <bit>

#include "backend/msl/any_float.h"
#include "backend/msl/launch.h"
#include "backend/msl/msl_backend.h"
#include "kernels/embedding_args.h"

namespace mslt {
namespace {

// As in kernels/embedding.metal: rows sorted per threadgroup; runs that a simdgroup of a merge searches, simdgroups of
// a merge's threadgroup and rows that it places; sorted rows summed per thread.
constexpr std::int64_t sort_block = 1024;
constexpr std::int64_t searched_runs = 4;
constexpr std::int64_t most_searchers = 8;
constexpr std::int64_t placed_rows = 32;
constexpr std::int64_t gradient_chunk = 32;

constexpr std::string_view backward = "embedding_backward";

// The simdgroups that share each of the fewest merges that join that many runs: as few as will do, since a key is
// searched in all runs of its merge. A power of two.
std::int64_t merge_searchers(std::int64_t runs) {
  constexpr std::int64_t most_runs = most_searchers * searched_runs;
  int merges = 1;
  for (std::int64_t reach = most_runs; reach < runs; reach *= most_runs) ++merges;
  std::int64_t searchers = 1;
  const auto reach = [&] {
    std::int64_t joined = 1;
    for (int merge = 0; merge < merges; ++merge) joined *= searchers * searched_runs;
    return joined;
  };
  while (reach() < runs) searchers *= 2;
  return searchers;
}

}  // namespace

void MslBackend::execute(const EmbeddingForward& op) {
  if (op.out.elements() == 0) return;
  constexpr std::string_view operation = "embedding_forward";
  const std::int64_t columns = op.out.shape()[-1];
  const std::int64_t places = op.position_weight ? op.position_weight.shape()[0] : 0;
  const EmbeddingForwardArgs args = {.rows = msl::count32(op.tokens.elements(), operation),
                                     .steps = msl::count32(op.tokens.shape()[1], operation),
                                     .columns = msl::count32(columns, operation),
                                     .vocab = msl::count32(op.token_weight.shape()[0], operation),
                                     .places = msl::count32(places, operation),
                                     .aligned = msl::aligned_rows(columns, op.out, op.token_weight, op.position_weight),
                                     .has_position = op.position_weight ? 1u : 0u,
                                     .has_first = op.positions.first ? 1u : 0u,
                                     .scale = op.scale,
                                     .position_type = msl::any_float_type(op.position_weight)};
  if (op.token_scales) {
    msl::Encoder encoder = encode(msl::kernel_name("embedding_groups", op.out.dtype(), op.token_weight.dtype()));
    encoder.buffer(0, op.out).buffer(1, op.tokens).buffer(2, op.token_weight).buffer(3, op.token_scales);
    msl::bind_any_float(encoder, 4, op.position_weight)
        .optional(5, op.positions.first)
        .bytes(6, args)
        .work(2.0 * static_cast<double>(op.out.elements()))
        .moves(2 * op.out.bytes() + op.tokens.bytes())
        .dispatch_tiles(args.rows, columns, tuning_.tile_threads);
    return;
  }
  encode(msl::kernel_name("embedding", op.out.dtype(), op.token_weight.dtype()))
      .buffer(0, op.out)
      .buffer(1, op.tokens)
      .optional(2, op.token_weight.elements() == 0 ? Tensor() : op.token_weight)
      .optional(3, places == 0 ? Tensor() : op.position_weight)
      .optional(4, op.positions.first)
      .bytes(5, args)
      .work(2.0 * static_cast<double>(op.out.elements()))
      .moves(2 * op.out.bytes() + op.tokens.bytes())
      .dispatch_tiles(args.rows, columns, tuning_.tile_threads);
}

void MslBackend::execute(const EmbeddingBackward& op) {
  if (op.dout.elements() == 0) return;
  const std::int64_t rows = op.tokens.elements();
  const std::int64_t columns = op.dout.shape()[-1];
  if (op.dposition_weight) {
    const PositionGradientArgs args = {.sequences = msl::count32(op.tokens.shape()[0], backward),
                                       .steps = msl::count32(op.tokens.shape()[1], backward),
                                       .columns = msl::count32(columns, backward),
                                       .aligned = msl::aligned_rows(columns, op.dposition_weight, op.dout)};
    encode(msl::kernel_name("position_gradient", op.dout.dtype()))
        .buffer(0, op.dposition_weight)
        .buffer(1, op.dout)
        .bytes(2, args)
        .dispatch_tiles(args.steps, columns, tuning_.tile_threads);
  }
  if (!op.dtoken_weight || op.dtoken_weight.elements() == 0) return;

  const std::int64_t block = msl::row_threads(rows, 1, sort_block);
  EmbeddingSortArgs sort_args = {.rows = msl::count32(rows, backward), .run_bits = 0};
  const msl::Scratch first_keys = scratch(DType::u32, {rows, 2});
  const msl::Scratch second_keys = scratch(DType::u32, {rows, 2});
  const Tensor* keys = &first_keys.tensor();
  const Tensor* merged = &second_keys.tensor();
  encode("embedding_sort")
      .buffer(0, *keys)
      .buffer(1, op.tokens)
      .bytes(2, sort_args)
      .dispatch({msl::group_count(rows, block)}, {static_cast<std::uint32_t>(block)});
  const std::int64_t searchers = merge_searchers((rows + block - 1) / block);
  // If there is more than one block, its length is a power of two.
  for (std::int64_t run = block; run < rows; run *= searchers * searched_runs) {
    sort_args.run_bits = static_cast<std::uint32_t>(std::bit_width(static_cast<std::uint64_t>(run)) - 1);
    encode("embedding_merge")
        .buffer(0, *merged)
        .buffer(1, *keys)
        .bytes(2, sort_args)
        .dispatch({msl::group_count(rows, placed_rows)},
                  {static_cast<std::uint32_t>(searchers * msl::simdgroup_width)});
    std::swap(keys, merged);
  }

  const std::int64_t chunks = (rows + gradient_chunk - 1) / gradient_chunk;
  const msl::Scratch heads = scratch(DType::f32, {chunks, columns});
  const msl::Scratch tails = scratch(DType::f32, {chunks, columns});
  const EmbeddingGradientArgs args = {.rows = sort_args.rows,
                                      .columns = msl::count32(columns, backward),
                                      .vocab = msl::count32(op.dtoken_weight.shape()[0], backward),
                                      .aligned = msl::aligned_rows(columns, op.dtoken_weight, op.dout),
                                      .scale = op.scale};
  encode(msl::kernel_name("embedding_gradient", op.dout.dtype()))
      .buffer(0, op.dtoken_weight)
      .buffer(1, heads)
      .buffer(2, tails)
      .buffer(3, *keys)
      .buffer(4, op.dout)
      .bytes(5, args)
      .work(static_cast<double>(op.dout.elements()))
      .moves(3 * op.dout.bytes())  // if all tokens differ
      .dispatch_tiles(chunks, columns, tuning_.tile_threads);
  if (chunks == 1) return;
  encode(msl::kernel_name("embedding_join", op.dout.dtype()))
      .buffer(0, op.dtoken_weight)
      .buffer(1, heads)
      .buffer(2, tails)
      .buffer(3, *keys)
      .bytes(4, args)
      .moves(tails.tensor().bytes())
      .dispatch_tiles(chunks, columns, tuning_.tile_threads);
}

}  // namespace mslt

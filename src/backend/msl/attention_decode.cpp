// Attention over the paged cache as MSL kernels.
//
// Positions are in device memory, so the cache is split by the capacity of the block tables. Splits beyond a sequence's
// end cost next to nothing.
#include <algorithm>
#include <string>

#include "backend/msl/launch.h"
#include "backend/msl/msl_backend.h"
#include "backend/operations/limits.h"
#include "kernels/attention_decode_args.h"

namespace mslt {
namespace {

// As in kernels/attention_decode.metal: the most simdgroups that share a split. Where there are many heads, fewer do.
constexpr std::int64_t most_simdgroups = 8;
constexpr std::int64_t simdgroups_of_many = 4;
// The heads per group of the join.
constexpr std::int64_t join_simdgroups = 4;
// Threadgroups that fill any device, and the fewest positions worth a threadgroup. A cache of few positions is not
// split at all, which saves the join.
constexpr std::int64_t enough_splits = 384;
constexpr std::int64_t least_positions = 64;
constexpr std::int64_t few_positions = 1024;

// As in kernels/attention_decode.metal: a step of a simdgroup lies in one block.
static_assert(KvCacheView::block_size == 16);

std::string head_kernel(const Tensor& qkv, const Tensor& keys, const AttentionShape& shape) {
  for (const int size : {64, 128, 256}) {
    if (shape.head_size <= size) {
      return msl::kernel_name(fmt::format("attention_decode_{}", size), qkv.dtype(), keys.dtype());
    }
  }
  fail(ErrorKind::input, "attention_decode: the head size is {}, but the kernels have room for heads of up to {}.",
       shape.head_size, max_head_size);
}

}  // namespace

void MslBackend::execute(const AttentionDecode& op) {
  const std::string kernel = head_kernel(op.qkv, op.cache.keys, op.shape);
  if (op.qkv.elements() == 0) return;
  const std::int64_t capacity = op.cache.block_table.shape()[1] * KvCacheView::block_size;
  if (capacity == 0 || op.cache.keys.elements() == 0) {
    fail(ErrorKind::input, "attention_decode: the cache is {} with blocks {}, but must hold at least one position.",
         op.cache.keys.describe(), op.cache.block_table.describe());
  }
  const std::int64_t rows = op.qkv.shape().rows();
  const std::int64_t heads = rows * op.shape.heads;
  const bool whole = op.shape.head_size % msl::span_width == 0;
  const std::uint32_t aligned =
      whole ? msl::aligned_rows(op.shape.head_size, op.qkv, op.cache.keys, op.cache.values) : 0u;
  // One kernel does it all for one row a sequence, if it rotates whole heads. Its spans must not straddle their halves.
  const bool rotates_halves = op.inverse_frequencies && 2 * op.inverse_frequencies.elements() == op.shape.head_size &&
                              op.shape.head_size % (2 * msl::span_width) == 0 && op.rotary_scale == 1.0f;
  const bool appends = op.qkv.shape()[1] == 1 && (!op.inverse_frequencies || rotates_halves);
  const bool rotates = appends && op.inverse_frequencies;
  if (!appends) {
    if (op.inverse_frequencies) {
      execute(Rope{.qkv = op.qkv,
                   .inverse_frequencies = op.inverse_frequencies,
                   .positions = op.positions,
                   .shape = op.shape,
                   .scale = op.rotary_scale});
    }
    execute(
        KvCacheAppend{.cache = op.cache, .qkv = op.qkv, .positions = op.positions, .counts = {}, .shape = op.shape});
  }
  const std::int64_t wanted =
      capacity <= few_positions
          ? 1
          : std::clamp<std::int64_t>(enough_splits / heads, 1, (capacity + least_positions - 1) / least_positions);
  const std::int64_t simdgroups = heads < enough_splits ? most_simdgroups : simdgroups_of_many;
  // Whole blocks, so no two splits read the same page.
  const std::int64_t split_blocks = (capacity / KvCacheView::block_size + wanted - 1) / wanted;
  const std::int64_t split_positions = split_blocks * KvCacheView::block_size;
  const std::int64_t splits = (capacity + split_positions - 1) / split_positions;
  const AttentionDecodeArgs args = {.rows = msl::count32(rows, "attention_decode"),
                                    .steps = msl::count32(op.qkv.shape()[1], "attention_decode"),
                                    .heads = static_cast<std::uint32_t>(op.shape.heads),
                                    .kv_heads = static_cast<std::uint32_t>(op.shape.kv_heads),
                                    .head_size = static_cast<std::uint32_t>(op.shape.head_size),
                                    .columns = msl::count32(op.qkv.shape()[2], "attention_decode"),
                                    .blocks = msl::count32(op.cache.keys.shape()[0], "attention_decode"),
                                    .positions = msl::count32(capacity, "attention_decode"),
                                    .splits = msl::count32(splits, "attention_decode"),
                                    .split_positions = msl::count32(split_positions, "attention_decode"),
                                    .aligned = aligned,
                                    .has_first = op.positions.first ? 1u : 0u,
                                    .window = msl::window_of(op.shape),
                                    .scale = op.shape.scale,
                                    .softcap = op.shape.softcap,
                                    .appends = appends ? 1u : 0u,
                                    .rotates = rotates ? 1u : 0u};
  msl::count32(heads * splits, "attention_decode");
  const msl::Scratch partial =
      scratch(DType::f32, {splits == 1 ? 0 : heads, splits, std::int64_t{op.shape.head_size} + 2});
  encode(kernel)
      .buffer(0, op.out)
      .optional(1, splits == 1 ? Tensor() : Tensor(partial))
      .buffer(2, op.qkv)
      .buffer(3, op.cache.keys)
      .buffer(4, op.cache.values)
      .buffer(5, op.cache.block_table)
      .optional(6, op.positions.first)
      .bytes(7, args)
      .optional(8, op.inverse_frequencies)
      .dispatch({msl::group_count(heads * splits, 1), 1, 1},
                {static_cast<std::uint32_t>(simdgroups * msl::simdgroup_width), 1, 1});
  if (splits == 1) return;
  encode(msl::kernel_name("attention_decode_join", op.out.dtype()))
      .buffer(0, op.out)
      .buffer(1, partial)
      .bytes(2, args)
      .dispatch({msl::group_count(heads, join_simdgroups), 1, 1},
                {static_cast<std::uint32_t>(join_simdgroups * msl::simdgroup_width), 1, 1});
}

}  // namespace mslt

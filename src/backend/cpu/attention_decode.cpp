// Attention of new queries over the paged cache: few queries are split over the cache, many run as in
// attention_forward.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/attention_decode.cpp"
#include <hwy/foreach_target.h>
// Above: compiles this file once per target.
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "backend/backend.h"
#include "backend/cpu/flash_forward-inl.h"

#ifndef MSLT_BACKEND_CPU_ATTENTION_DECODE_ONCE
#define MSLT_BACKEND_CPU_ATTENTION_DECODE_ONCE
namespace mslt {

// Cache positions per task of the split: a constant, so results do not depend on the thread count.
inline constexpr std::int64_t split_length = 256;

// One key/value head of one sequence's cache.
struct CachePages {
  const void* keys;  // elements of T, for this head in block 0 row 0
  const void* values;
  const std::int32_t* table;
  std::int64_t row_stride;  // K·D

  // The offset of position p from `keys` and from `values`, in elements.
  std::int64_t offset(std::int64_t p) const {
    constexpr std::int64_t size = KvCacheView::block_size;
    return (table[p / size] * size + p % size) * row_stride;
  }
};

// The rows (t, g) of T queries in each of G heads over cache positions [begin, end), at most split_length, for some
// neighbouring key/value heads, so that memory is read from end to end.
struct SplitTask {
  CachePages pages;  // of the first of them
  std::int64_t kv_heads;
  const float* queries;  // of the first head at t = 0
  std::int64_t query_stride;
  std::int64_t queries_a_head;  // T
  std::int64_t heads;           // G
  std::int64_t head_size;
  std::int64_t position;  // of t = 0
  std::int64_t begin;
  std::int64_t end;
  float scale;
  float softcap;
  Visibility visibility;
  // For each row: the unnormalised output [D], the largest exponent, the denominator; rows are ordered by t · G + g,
  // those of the key/value heads partial_stride apart.
  float* partial;
  std::int64_t partial_stride;
  float* scores;  // aligned room for kv_heads · T · G rows of split_length

  // The cache positions that the queries at t see of these: [first, last).
  std::int64_t first(std::int64_t t) const { return std::max(begin, visibility.first_key(position + t)); }
  std::int64_t last(std::int64_t t) const { return std::min(end, position + t + 1); }
};

}  // namespace mslt
#endif

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace {

template <class T>
HWY_INLINE float dot(const float* a, const T* b, std::int64_t count) {
  const FloatTag d;
  Floats sum0 = hn::Zero(d);
  Floats sum1 = hn::Zero(d);
  std::int64_t i = 0;
  for (; i + 2 * lanes <= count; i += 2 * lanes) {
    sum0 = hn::MulAdd(hn::LoadU(d, a + i), load_floats(d, b + i), sum0);
    sum1 = hn::MulAdd(hn::LoadU(d, a + i + lanes), load_floats(d, b + i + lanes), sum1);
  }
  for (; i + lanes <= count; i += lanes) sum0 = hn::MulAdd(hn::LoadU(d, a + i), load_floats(d, b + i), sum0);
  float total = hn::GetLane(hn::SumOfLanes(d, hn::Add(sum0, sum1)));
  for (; i < count; ++i) total += a[i] * to_float(b[i]);
  return total;
}

// sums += Σ_k weights[k] · rows[k] over `keys` rows.
template <class T>
HWY_INLINE void add_weighted(float* HWY_RESTRICT sums, const float* weights, const T* const* rows, std::int64_t keys,
                             std::int64_t count) {
  const FloatTag d;
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    Floats sum = hn::LoadU(d, sums + i);
    for (std::int64_t k = 0; k < keys; ++k) {
      sum = hn::MulAdd(hn::Set(d, weights[k]), load_floats(d, rows[k] + i), sum);
    }
    hn::StoreU(sum, d, sums + i);
  }
  for (; i < count; ++i) {
    for (std::int64_t k = 0; k < keys; ++k) sums[i] += weights[k] * to_float(rows[k][i]);
  }
}

// Fetches a part of a row into the second-level cache.
template <class T>
HWY_INLINE void ask_for(const T* row, std::int64_t count) {
  constexpr auto line = static_cast<std::int64_t>(64 / sizeof(T));
  for (std::int64_t i = 0; i < count; i += line) prefetch(row + i, 0);
}

// Calls visit(h, r, t, first, count) for each key/value head and row, for the cache positions that the row sees of each
// page. Asks for the next page of `data`.
template <class T, class Visit>
HWY_INLINE void visit_pages(const SplitTask& task, const T* data, const Visit& visit) {
  constexpr std::int64_t page = KvCacheView::block_size;
  const std::int64_t width = task.kv_heads * task.head_size;
  for (std::int64_t p = task.first(0) / page * page; p < task.end; p += page) {
    for (std::int64_t k = p + page; k < std::min(p + 2 * page, task.end); ++k) {
      ask_for(data + task.pages.offset(k), width);
    }
    for (std::int64_t h = 0; h < task.kv_heads; ++h) {
      for (std::int64_t r = 0; r < task.queries_a_head * task.heads; ++r) {
        const std::int64_t t = r / task.heads;
        const std::int64_t first = std::max(p, task.first(t));
        const std::int64_t count = std::min(p + page, task.last(t)) - first;
        if (count > 0) visit(h, r, t, first, count);
      }
    }
  }
}

template <class T>
HWY_INLINE void split(const SplitTask& task) {
  const auto* const keys = static_cast<const T*>(task.pages.keys);
  const auto* const values = static_cast<const T*>(task.pages.values);
  const std::int64_t rows = task.queries_a_head * task.heads;
  const std::int64_t size = task.head_size;
  const auto scores_of = [&](std::int64_t h, std::int64_t r) {
    return task.scores + (h * rows + r) * split_length;
  };
  const auto partial_of = [&](std::int64_t h, std::int64_t r) {
    return task.partial + h * task.partial_stride + r * (size + 2);
  };
  visit_pages(
      task, keys, [&](std::int64_t h, std::int64_t r, std::int64_t t, std::int64_t first, std::int64_t count) HWY_ATTR {
        const float* const query = task.queries + t * task.query_stride + (h * task.heads + r % task.heads) * size;
        float* const scores = scores_of(h, r) + (first - task.first(t));
        for (std::int64_t k = 0; k < count; ++k) {
          scores[k] = dot(query, keys + task.pages.offset(first + k) + h * size, size);
        }
      });
  for (std::int64_t h = 0; h < task.kv_heads; ++h) {
    for (std::int64_t r = 0; r < rows; ++r) {
      float* const scores = scores_of(h, r);
      float* const partial = partial_of(h, r);
      std::fill_n(partial, size, 0.0f);
      float largest = -std::numeric_limits<float>::infinity();
      const std::int64_t visible = task.last(r / task.heads) - task.first(r / task.heads);
      partial[size] = largest;
      partial[size + 1] = 0.0f;
      if (visible <= 0) continue;
      const std::int64_t columns = (visible + lanes - 1) / lanes * lanes;
      std::fill(scores + visible, scores + columns, 0.0f);
      cap_row(scores, columns, task.scale, task.softcap);
      const float factor = exponent_factor(task.scale, task.softcap);
      partial[size + 1] = exponentiate_row(scores, visible, columns, factor, largest);
      partial[size] = largest;
    }
  }
  visit_pages(task, values,
              [&](std::int64_t h, std::int64_t r, std::int64_t t, std::int64_t first, std::int64_t count) HWY_ATTR {
                const T* value_rows[KvCacheView::block_size];
                for (std::int64_t k = 0; k < count; ++k)
                  value_rows[k] = values + task.pages.offset(first + k) + h * size;
                add_weighted(partial_of(h, r), scores_of(h, r) + (first - task.first(t)), value_rows, count, size);
              });
}

void split_f32(const SplitTask& task) {
  split<float>(task);
}
void split_bf16(const SplitTask& task) {
  split<BFloat16>(task);
}
void split_f16(const SplitTask& task) {
  split<Float16>(task);
}

// out [size] from the partial results of `splits` tasks, split_stride apart.
void join_splits(const float* partial, std::int64_t split_stride, std::int64_t splits, std::int64_t size, float* out) {
  float largest = -std::numeric_limits<float>::infinity();
  for (std::int64_t s = 0; s < splits; ++s) largest = std::max(largest, partial[s * split_stride + size]);
  std::fill_n(out, size, 0.0f);
  float denominator = 0.0f;
  for (std::int64_t s = 0; s < splits; ++s) {
    const float* const from = partial + s * split_stride;
    const float weight = std::exp2(from[size] - largest);
    denominator += weight * from[size + 1];
    for (std::int64_t i = 0; i < size; ++i) out[i] += weight * from[i];
  }
  for (std::int64_t i = 0; i < size; ++i) out[i] /= denominator;
}

template <class T>
HWY_INLINE void decode_block(const QueryBlock& block, const CachePages& pages, float* workspace) {
  constexpr std::int64_t page = KvCacheView::block_size;
  const auto* const key_data = static_cast<const T*>(pages.keys);
  const auto* const value_data = static_cast<const T*>(pages.values);
  const auto pack = [&](std::int64_t begin, std::int64_t count, float* keys, float* values) HWY_ATTR {
    for (std::int64_t j = 0; j < count; j += page) {
      const std::int64_t rows = std::min(page, count - j);
      const std::int64_t offset = pages.offset(begin + j);
      pack_transposed(key_data + offset, pages.row_stride, j, rows, block.head_size, j + page >= count, keys);
      pack_rows(value_data + offset, pages.row_stride, rows, block.head_size, key_block, values + j * panel_columns);
    }
  };
  const auto drop = [](float*, std::int64_t, std::int64_t, std::int64_t) {
  };
  flash_forward(block, workspace, pack, drop);
}

void decode_block_f32(const QueryBlock& block, const CachePages& pages, float* workspace) {
  decode_block<float>(block, pages, workspace);
}
void decode_block_bf16(const QueryBlock& block, const CachePages& pages, float* workspace) {
  decode_block<BFloat16>(block, pages, workspace);
}
void decode_block_f16(const QueryBlock& block, const CachePages& pages, float* workspace) {
  decode_block<Float16>(block, pages, workspace);
}

std::int64_t decode_floats(std::int64_t head_size) {
  return forward_workspace(head_size);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mslt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/scratch.h"
#include "backend/cpu/views.h"
#include "base/parallel.h"

namespace mslt {
namespace {

HWY_EXPORT(split_f32);
HWY_EXPORT(split_bf16);
HWY_EXPORT(split_f16);
HWY_EXPORT(join_splits);
HWY_EXPORT(decode_block_f32);
HWY_EXPORT(decode_block_bf16);
HWY_EXPORT(decode_block_f16);
HWY_EXPORT(decode_floats);

// From this many queries per head on, packing the keys for tiles of queries pays off.
constexpr std::int64_t many_queries = 8;

void split(DType dtype, const SplitTask& task) {
  switch (dtype) {
    case DType::bf16:
      return HWY_DYNAMIC_DISPATCH(split_bf16)(task);
    case DType::f16:
      return HWY_DYNAMIC_DISPATCH(split_f16)(task);
    default:
      return HWY_DYNAMIC_DISPATCH(split_f32)(task);
  }
}

void decode_block(DType dtype, const QueryBlock& block, const CachePages& pages, float* workspace) {
  switch (dtype) {
    case DType::bf16:
      return HWY_DYNAMIC_DISPATCH(decode_block_bf16)(block, pages, workspace);
    case DType::f16:
      return HWY_DYNAMIC_DISPATCH(decode_block_f16)(block, pages, workspace);
    default:
      return HWY_DYNAMIC_DISPATCH(decode_block_f32)(block, pages, workspace);
  }
}

// The call's arguments; positions are checked against the cache.
class Decoding {
 public:
  Decoding(const Tensor& out, const Tensor& qkv, const KvCacheView& cache, const Positions& positions,
           const AttentionShape& shape)
      : shape_(shape),
        cache_(cache),
        queries_(data_of<float>(qkv)),
        out_(data_of<float>(out)),
        table_(data_of<std::int32_t>(cache.block_table)),
        first_(data_of<std::int32_t>(positions.first)),
        length_(qkv.shape()[1]),
        stride_(qkv.shape()[2]),
        blocks_(cache.block_table.shape()[1]) {
    const std::int64_t capacity = blocks_ * KvCacheView::block_size;
    for (std::int64_t b = 0; b < qkv.shape()[0]; ++b) {
      if (position(b) < 0 || position(b) + length_ > capacity) {
        fail(ErrorKind::input,
             "attention_decode: sequence {} has positions {}…{}, but its blocks of the cache hold positions 0…{}.", b,
             position(b), position(b) + length_ - 1, capacity - 1);
      }
      longest_ = std::max(longest_, position(b) + length_);
      for (std::int64_t p = 0; p < position(b) + length_; p += KvCacheView::block_size) {
        const std::int32_t block = table_[b * blocks_ + p / KvCacheView::block_size];
        if (block < 0 || block >= cache.keys.shape()[0]) {
          fail(ErrorKind::input, "attention_decode: sequence {} uses block {} of the cache, but blocks are 0…{}.", b,
               block, cache.keys.shape()[0] - 1);
        }
      }
    }
  }

  std::int64_t position(std::int64_t b) const { return first_ == nullptr ? 0 : first_[b]; }
  std::int64_t end(std::int64_t b) const { return position(b) + length_; }
  std::int64_t longest() const { return longest_; }
  std::int64_t length() const { return length_; }
  std::int64_t stride() const { return stride_; }
  std::int64_t out_stride() const { return std::int64_t{shape_.heads} * shape_.head_size; }

  const float* query(std::int64_t b, std::int64_t t, std::int64_t head) const {
    return queries_ + (b * length_ + t) * stride_ + head * shape_.head_size;
  }
  float* out(std::int64_t b, std::int64_t t, std::int64_t head) const {
    return out_ + (b * length_ + t) * out_stride() + head * shape_.head_size;
  }
  CachePages pages(std::int64_t b, std::int64_t kv_head) const {
    const auto offset = static_cast<std::size_t>(kv_head * shape_.head_size) * size_of(cache_.keys.dtype());
    return {bytes_of(cache_.keys) + offset, bytes_of(cache_.values) + offset, table_ + b * blocks_,
            std::int64_t{shape_.kv_heads} * shape_.head_size};
  }

 private:
  const AttentionShape& shape_;
  const KvCacheView& cache_;
  const float* queries_;
  float* out_;
  const std::int32_t* table_;
  const std::int32_t* first_;
  std::int64_t length_;
  std::int64_t stride_;
  std::int64_t blocks_;
  std::int64_t longest_ = 0;
};

}  // namespace

void CpuBackend::execute(const AttentionDecode& op) {
  require_f32(op);
  if (op.qkv.elements() == 0) return;
  const Decoding decoding(op.out, op.qkv, op.cache, op.positions, op.shape);
  if (op.inverse_frequencies) {
    execute(Rope{.qkv = op.qkv,
                 .inverse_frequencies = op.inverse_frequencies,
                 .positions = op.positions,
                 .shape = op.shape,
                 .scale = op.rotary_scale});
  }
  execute(KvCacheAppend{.cache = op.cache, .qkv = op.qkv, .positions = op.positions, .counts = {}, .shape = op.shape});
  const DType dtype = op.cache.keys.dtype();
  const std::int64_t batch = op.qkv.shape()[0];
  const std::int64_t length = decoding.length();
  const std::int64_t size = op.shape.head_size;
  const std::int64_t heads = op.shape.heads;
  const std::int64_t kv_heads = op.shape.kv_heads;
  const std::int64_t group = heads / kv_heads;

  if (length >= many_queries || op.independent_rows) {
    // The heads of one row share what is packed of the keys.
    const bool by_group = length == 1;
    const std::int64_t units = by_group ? kv_heads : heads;
    const std::int64_t blocks = (length + query_block - 1) / query_block;
    const std::int64_t floats = HWY_DYNAMIC_DISPATCH(decode_floats)(size);
    float* const workspace = scratch_->floats(static_cast<std::size_t>(floats * parallel_threads()));
    const Cost cost = Cost{.flops = 2} * (std::min(query_block, length + 8) * decoding.longest() * size);
    parallel_for_slots(batch * units * blocks, cost, [&](std::int64_t unit, int slot) {
      const std::int64_t row = (blocks - 1 - unit / (batch * units)) * query_block;
      const std::int64_t b = unit % (batch * units) / units;
      const std::int64_t h = by_group ? unit % units * group : unit % units;
      QueryBlock block = {};
      block.queries = decoding.query(b, row, h);
      block.out = decoding.out(b, row, h);
      block.query_stride = by_group ? size : decoding.stride();
      block.out_stride = by_group ? size : decoding.out_stride();
      block.rows = by_group ? group : std::min(query_block, length - row);
      block.position = decoding.position(b) + row;
      block.one_position = by_group;
      block.keys = decoding.end(b);
      block.head_size = size;
      block.scale = op.shape.scale;
      block.softcap = op.shape.softcap;
      block.visibility = {true, op.shape.window};
      decode_block(dtype, block, decoding.pages(b, h / group), workspace + slot * floats);
    });
    return;
  }

  const std::int64_t splits = (decoding.longest() + split_length - 1) / split_length;
  const std::int64_t rows = length * group;
  const std::int64_t split_stride = rows * (size + 2);
  // Neighbouring heads together, as long as each thread finds two tasks.
  const std::int64_t parts =
      std::clamp<std::int64_t>((2 * parallel_threads() + batch * splits - 1) / (batch * splits), 1, kv_heads);
  const std::int64_t heads_a_task = (kv_heads + parts - 1) / parts;
  const std::int64_t tasks = (kv_heads + heads_a_task - 1) / heads_a_task;
  const std::int64_t partial_floats = round_to_line(batch * kv_heads * splits * split_stride);
  const std::int64_t scores_floats = heads_a_task * rows * split_length;
  float* const partial =
      scratch_->floats(static_cast<std::size_t>(partial_floats + scores_floats * parallel_threads()));
  const std::int64_t keys = std::min(decoding.longest(), split_length);
  const Cost cost = Cost{.flops = 4} * (rows * keys * size) + Cost{.bytes = 8} * (keys * size);
  parallel_for_slots(batch * tasks * splits, cost * heads_a_task, [&](std::int64_t unit, int slot) {
    const std::int64_t b = unit / (tasks * splits);
    const std::int64_t part = unit % splits;
    const std::int64_t kv_head = unit / splits % tasks * heads_a_task;
    SplitTask task = {};
    task.begin = part * split_length;
    task.end = std::min(decoding.end(b), task.begin + split_length);
    task.pages = decoding.pages(b, kv_head);
    task.kv_heads = std::min(heads_a_task, kv_heads - kv_head);
    task.queries = decoding.query(b, 0, kv_head * group);
    task.query_stride = decoding.stride();
    task.queries_a_head = length;
    task.heads = group;
    task.head_size = size;
    task.position = decoding.position(b);
    task.scale = op.shape.scale;
    task.softcap = op.shape.softcap;
    task.visibility = {true, op.shape.window};
    task.partial = partial + ((b * kv_heads + kv_head) * splits + part) * split_stride;
    task.partial_stride = splits * split_stride;
    task.scores = partial + partial_floats + slot * scores_floats;
    split(dtype, task);
  });
  const auto join = [&](std::int64_t unit) {
    const std::int64_t b = unit / (kv_heads * rows);
    const std::int64_t kv_head = unit / rows % kv_heads;
    const std::int64_t r = unit % rows;
    HWY_DYNAMIC_DISPATCH(join_splits)
    (partial + (b * kv_heads + kv_head) * splits * split_stride + r * (size + 2), split_stride, splits, size,
     decoding.out(b, r / group, kv_head * group + r % group));
  };
  parallel_for(batch * kv_heads * rows, Cost{.flops = 2, .bytes = 4} * (splits * size), join);
}

}  // namespace mslt
#endif

// Attention over whole sequences, forward and backward.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/attention.cpp"
#include <hwy/foreach_target.h>
// Above: compiles this file once per target.
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "backend/backend.h"
#include "backend/cpu/dropout.h"
#include "backend/cpu/flash_forward-inl.h"

#ifndef MSLT_BACKEND_CPU_ATTENTION_ONCE
#define MSLT_BACKEND_CPU_ATTENTION_ONCE
namespace mslt {

// A QueryBlock whose keys and values are stored as in qkv.
struct ForwardTask {
  QueryBlock block;
  const float* keys;
  const float* values;
  std::int64_t stride;
  const DropoutState* dropout;
  std::int64_t first_element;  // dropout's element number of row 0's first probability; rows are `keys` apart
};

// One key/value head of one sequence, with the query heads that read it.
struct BackwardTask {
  const float* queries;  // of the first query head; the others follow, head_size apart
  const float* keys;
  const float* values;
  float* dqueries;
  float* dkeys;
  float* dvalues;
  const float* out;
  const float* dout;
  const float* log_sum_exp;  // [heads, length]
  std::int64_t stride;       // of queries, keys, values and their gradients
  std::int64_t out_stride;
  std::int64_t heads;
  std::int64_t length;
  std::int64_t head_size;
  float scale;
  float softcap;
  Visibility visibility;
  const DropoutState* dropout;
  std::int64_t first_element;  // of the first query head's row 0
};

}  // namespace mslt
#endif

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace {

std::int64_t forward_floats(std::int64_t head_size) {
  return forward_workspace(head_size);
}

void forward_block(const ForwardTask& task, float* workspace) {
  const std::int64_t head_size = task.block.head_size;
  const auto pack = [&](std::int64_t begin, std::int64_t count, float* keys, float* values) HWY_ATTR {
    pack_transposed(task.keys + begin * task.stride, task.stride, 0, count, head_size, true, keys);
    pack_rows(task.values + begin * task.stride, task.stride, count, head_size, key_block, values);
  };
  const auto drop = [&](float* probabilities, std::int64_t row, std::int64_t key, std::int64_t count) HWY_ATTR {
    if (task.dropout->probability <= 0.0f) return;
    const std::int64_t element = task.first_element + row * task.block.keys + key;
    apply_dropout(*task.dropout, element, count, probabilities, probabilities);
  };
  flash_forward(task.block, workspace, pack, drop);
}

HWY_INLINE std::int64_t backward_tiles(std::int64_t head_size) {
  const std::int64_t width = round_to_panels(head_size);
  return 2 * head_size * key_block + width * key_block + 2 * width * query_tile + 2 * query_tile * key_block;
}

std::int64_t backward_floats(std::int64_t head_size, std::int64_t heads, std::int64_t length) {
  return backward_tiles(head_size) + (heads * length + 15) / 16 * 16;
}

HWY_INLINE float dot(const float* a, const float* b, std::int64_t count) {
  const FloatTag d;
  Floats sum = hn::Zero(d);
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) sum = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), sum);
  float total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; i < count; ++i) total += a[i] * b[i];
  return total;
}

// One row of a tile. In: scores q·k and products dout·v. Out: scores become probabilities (with dropout), products
// become the gradients of q·k, p · (product - mean) · scale, and the soft cap's slope; both 0 where not seen. `factors`
// is dropout's, or null.
HWY_INLINE void differentiate_row(float* HWY_RESTRICT scores, float* HWY_RESTRICT products, const float* factors,
                                  const SeenKeys& seen, std::int64_t columns, float scale, float softcap,
                                  float log_sum_exp, float mean) {
  const FloatTag d;
  const Floats f = hn::Set(d, exponent_factor(scale, softcap));
  const Floats shift = hn::Set(d, log_sum_exp * log2_e);
  cap_row(scores, columns, scale, softcap);
  for (std::int64_t j = 0; j < columns; j += lanes) {
    const Floats score = hn::Load(d, scores + j);
    Floats p = exp2(d, hn::MulSub(score, f, shift));
    if (j + lanes > seen.last || j < seen.first) {
      const Floats key = hn::Iota(d, static_cast<float>(j));
      p = hn::IfThenElseZero(hn::And(hn::Ge(key, hn::Set(d, static_cast<float>(seen.first))),
                                     hn::Lt(key, hn::Set(d, static_cast<float>(seen.last)))),
                             p);
    }
    Floats product = hn::Load(d, products + j);
    Floats dropped = p;
    if (factors != nullptr) {
      const Floats factor = hn::Load(d, factors + j);
      product = hn::Mul(product, factor);
      dropped = hn::Mul(p, factor);
    }
    hn::Store(dropped, d, scores + j);
    Floats slope = hn::Set(d, scale);
    if (softcap > 0.0f) slope = hn::Mul(slope, soft_cap_slope(d, score, softcap));
    hn::Store(hn::Mul(hn::Mul(p, hn::Sub(product, hn::Set(d, mean))), slope), d, products + j);
  }
}

// Outer loop over key blocks, inner loop over queries. dkeys and dvalues of a block are summed over all its queries,
// dqueries over the key blocks in order; only this task writes them.
void backward_task(const BackwardTask& task, float* workspace) {
  const std::int64_t size = task.head_size;
  const std::int64_t width = round_to_panels(size);
  float* const keys_transposed = workspace;
  float* const values_transposed = keys_transposed + size * key_block;
  float* const keys = values_transposed + size * key_block;
  float* const queries = keys + width * key_block;
  float* const dout = queries + width * query_tile;
  float* const scores = dout + width * query_tile;
  float* const products = scores + query_tile * key_block;
  float* const means = products + query_tile * key_block;  // rowsum(dout · out) [heads, length]
  const bool drops = task.dropout->probability > 0.0f;

  for (std::int64_t h = 0; h < task.heads; ++h) {
    for (std::int64_t i = 0; i < task.length; ++i) {
      const std::int64_t at = i * task.out_stride + h * size;
      means[h * task.length + i] = dot(task.dout + at, task.out + at, size);
      std::fill_n(task.dqueries + i * task.stride + h * size, size, 0.0f);
    }
  }
  for (std::int64_t j = 0; j < task.length; j += key_block) {
    const std::int64_t count = std::min(key_block, task.length - j);
    const std::int64_t offset = j * task.stride;
    pack_transposed(task.keys + offset, task.stride, 0, count, size, true, keys_transposed);
    pack_transposed(task.values + offset, task.stride, 0, count, size, true, values_transposed);
    pack_rows(task.keys + offset, task.stride, count, size, key_block, keys);
    for (std::int64_t r = 0; r < count; ++r) {
      std::fill_n(task.dkeys + offset + r * task.stride, size, 0.0f);
      std::fill_n(task.dvalues + offset + r * task.stride, size, 0.0f);
    }
    for (std::int64_t h = 0; h < task.heads; ++h) {
      const std::int64_t rows_end = task.visibility.queries_end(j + count - 1, task.length);
      for (std::int64_t i = task.visibility.causal ? j : 0; i < rows_end; i += query_tile) {
        const std::int64_t rows = std::min(query_tile, task.length - i);
        const auto seen_by = [&](std::int64_t r) {
          return task.visibility.seen(i + r, j, count);
        };
        const std::int64_t last = seen_by(rows - 1).last;
        const std::int64_t columns = round_to_panels(last);
        const float* const query_rows = task.queries + i * task.stride + h * size;
        const float* const dout_rows = task.dout + i * task.out_stride + h * size;
        multiply_tile(rows, columns, size, {query_rows, task.stride, 1}, keys_transposed, size, scores, key_block,
                      false);
        multiply_tile(rows, columns, size, {dout_rows, task.out_stride, 1}, values_transposed, size, products,
                      key_block, false);
        for (std::int64_t r = 0; r < rows; ++r) {
          HWY_ALIGN float factors[key_block];
          const std::int64_t row = h * task.length + i + r;
          if (drops) {
            std::fill_n(factors, key_block, 1.0f);
            const std::int64_t element = task.first_element + row * task.length + j;
            apply_dropout(*task.dropout, element, seen_by(r).last, factors, factors);
          }
          differentiate_row(scores + r * key_block, products + r * key_block, drops ? factors : nullptr, seen_by(r),
                            columns, task.scale, task.softcap, task.log_sum_exp[row], means[row]);
        }
        pack_rows(query_rows, task.stride, rows, size, query_tile, queries);
        pack_rows(dout_rows, task.out_stride, rows, size, query_tile, dout);
        multiply_tile(last, size, rows, {scores, 1, key_block}, dout, query_tile, task.dvalues + offset, task.stride,
                      true);
        multiply_tile(last, size, rows, {products, 1, key_block}, queries, query_tile, task.dkeys + offset, task.stride,
                      true);
        multiply_tile(rows, size, last, {products, key_block, 1}, keys, key_block,
                      task.dqueries + i * task.stride + h * size, task.stride, true);
      }
    }
  }
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

HWY_EXPORT(forward_floats);
HWY_EXPORT(forward_block);
HWY_EXPORT(backward_floats);
HWY_EXPORT(backward_task);

}  // namespace

std::size_t scratch_floats(const AttentionForward& op) {
  return static_cast<std::size_t>(HWY_DYNAMIC_DISPATCH(forward_floats)(op.shape.head_size) * parallel_threads());
}

std::size_t scratch_floats(const AttentionBackward& op) {
  const std::int64_t floats =
      HWY_DYNAMIC_DISPATCH(backward_floats)(op.shape.head_size, op.shape.heads / op.shape.kv_heads, op.qkv.shape()[1]);
  return static_cast<std::size_t>(floats * parallel_threads());
}

void CpuBackend::execute(const AttentionForward& op) {
  require_f32(op);
  const std::int64_t batch = op.qkv.shape()[0];
  const std::int64_t length = op.qkv.shape()[1];
  const std::int64_t stride = op.qkv.shape()[2];
  const std::int64_t size = op.shape.head_size;
  const std::int64_t group = op.shape.heads / op.shape.kv_heads;
  const std::int64_t blocks = (length + query_block - 1) / query_block;
  const DropoutState state(op.dropout);
  const auto* const qkv_data = data_of<float>(op.qkv);
  auto* const out_data = data_of<float>(op.out);
  auto* const log_sum_exp_data = data_of<float>(op.log_sum_exp);
  const std::int64_t floats = HWY_DYNAMIC_DISPATCH(forward_floats)(size);
  float* const workspace = scratch_->floats(scratch_floats(op));

  // Half of the keys are seen on average; two products of them.
  const Cost cost = Cost{.flops = 2} * (query_block * length * size);
  parallel_for_slots(batch * op.shape.heads * blocks, cost, [&](std::int64_t unit, int slot) {
    // The longest blocks first, so that the last ones to finish are short.
    const std::int64_t row = (blocks - 1 - unit / (batch * op.shape.heads)) * query_block;
    const std::int64_t b = unit % (batch * op.shape.heads) / op.shape.heads;
    const std::int64_t h = unit % op.shape.heads;
    const std::int64_t statistics = (b * op.shape.heads + h) * length;
    const float* const rows = qkv_data + b * length * stride;
    ForwardTask task = {};
    task.block.queries = rows + row * stride + h * size;
    task.block.query_stride = stride;
    task.block.out_stride = op.shape.heads * size;
    task.block.out = out_data + (b * length + row) * task.block.out_stride + h * size;
    task.block.log_sum_exp = log_sum_exp_data == nullptr ? nullptr : log_sum_exp_data + statistics + row;
    task.block.rows = std::min(query_block, length - row);
    task.block.position = row;
    task.block.keys = length;
    task.block.head_size = size;
    task.block.scale = op.shape.scale;
    task.block.softcap = op.shape.softcap;
    task.block.visibility = {op.shape.causal, op.shape.window};
    task.keys = rows + (op.shape.heads + h / group) * size;
    task.values = task.keys + op.shape.kv_heads * size;
    task.stride = stride;
    task.dropout = &state;
    task.first_element = (statistics + row) * length;
    HWY_DYNAMIC_DISPATCH(forward_block)(task, workspace + slot * floats);
  });
}

void CpuBackend::execute(const AttentionBackward& op) {
  require_f32(op);
  const std::int64_t batch = op.qkv.shape()[0];
  const std::int64_t length = op.qkv.shape()[1];
  const std::int64_t stride = op.qkv.shape()[2];
  const std::int64_t size = op.shape.head_size;
  const std::int64_t group = op.shape.heads / op.shape.kv_heads;
  const DropoutState state(op.dropout);
  const auto* const qkv_data = data_of<float>(op.qkv);
  auto* const dqkv_data = data_of<float>(op.dqkv);
  const auto* const out_data = data_of<float>(op.out);
  const auto* const dout_data = data_of<float>(op.dout);
  const auto* const log_sum_exp_data = data_of<float>(op.log_sum_exp);
  const std::int64_t floats = HWY_DYNAMIC_DISPATCH(backward_floats)(size, group, length);
  float* const workspace = scratch_->floats(scratch_floats(op));

  const Cost cost = Cost{.flops = 5} * (group * length * length * size);
  parallel_for_slots(batch * op.shape.kv_heads, cost, [&](std::int64_t unit, int slot) {
    const std::int64_t b = unit / op.shape.kv_heads;
    const std::int64_t kv_head = unit % op.shape.kv_heads;
    const std::int64_t first_head = kv_head * group;
    const std::int64_t key_offset = b * length * stride + (op.shape.heads + kv_head) * size;
    const std::int64_t value_offset = key_offset + op.shape.kv_heads * size;
    const std::int64_t query_offset = b * length * stride + first_head * size;
    const std::int64_t statistics = (b * op.shape.heads + first_head) * length;
    BackwardTask task = {};
    task.queries = qkv_data + query_offset;
    task.keys = qkv_data + key_offset;
    task.values = qkv_data + value_offset;
    task.dqueries = dqkv_data + query_offset;
    task.dkeys = dqkv_data + key_offset;
    task.dvalues = dqkv_data + value_offset;
    task.stride = stride;
    task.out_stride = op.shape.heads * size;
    task.out = out_data + b * length * task.out_stride + first_head * size;
    task.dout = dout_data + b * length * task.out_stride + first_head * size;
    task.log_sum_exp = log_sum_exp_data + statistics;
    task.heads = group;
    task.length = length;
    task.head_size = size;
    task.scale = op.shape.scale;
    task.softcap = op.shape.softcap;
    task.visibility = {op.shape.causal, op.shape.window};
    task.dropout = &state;
    task.first_element = statistics * length;
    HWY_DYNAMIC_DISPATCH(backward_task)(task, workspace + slot * floats);
  });
}

}  // namespace mslt
#endif

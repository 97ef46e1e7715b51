// Token and position embedding on the CPU.
#include <algorithm>
#include <array>
#include <numeric>
#include <span>
#include <vector>

#include "backend/cpu/blocks.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/float_data.h"
#include "backend/cpu/float_ops.h"
#include "tensor/quantize.h"

namespace mslt {
namespace {

// Columns handled at a time: a buffer of this size stays in L1.
constexpr std::int64_t column_block = 512;
using Columns = std::array<float, column_block>;

// Rows of a weight as floats.
class TokenRows {
 public:
  TokenRows(const Tensor& values, const Tensor& scales)
      : dtype_(values.dtype()), columns_(values.shape()[1] * (dtype_ == DType::u8 ? 2 : 1)) {
    if (!scales) {
      plain_ = FloatData(values);
      return;
    }
    scales_ = scales.host<Float16>();
    if (dtype_ == DType::u8) {
      nibbles_ = values.host<std::uint8_t>();
    } else {
      bytes_ = values.host<std::int8_t>();
    }
  }

  std::int64_t columns() const { return columns_; }

  // Columns [first, first + n) of a row, from the start of a group: in place, or in `buffer` of at least n floats.
  const float* read(std::int64_t row, std::int64_t first, std::int64_t n, float* buffer) const {
    if (plain_) return plain_.read(row * columns_ + first, n, buffer);
    const auto at = static_cast<std::size_t>(row * columns_ + first);
    const auto count = static_cast<std::size_t>(n);
    constexpr auto group = static_cast<std::size_t>(quantisation_group);
    const std::span<float> to(buffer, count);
    if (dtype_ == DType::u8) {
      dequantise_4_bit(nibbles_.subspan(at / 2, count / 2), scales_.subspan(at / group * 2, count / group * 2), to);
    } else {
      dequantise_8_bit(bytes_.subspan(at, count), scales_.subspan(at / group, count / group), to);
    }
    return buffer;
  }

 private:
  DType dtype_;
  std::int64_t columns_;
  FloatData plain_;
  std::span<const std::uint8_t> nibbles_;
  std::span<const std::int8_t> bytes_;
  std::span<const Float16> scales_;
};

void add_columns(const FloatData& from, std::int64_t first, std::int64_t n, float scale, float* sum) {
  alignas(64) Columns buffer;
  const float* values = from.read(first, n, buffer.data());
  add_scaled_floats(sum, sum, scale, values, n);
}

// gradient[row] += scale · sum of the rows of dout in `sources`, for columns [first, first + n), summed in order.
void accumulate_rows(const FloatData& gradient, std::int64_t row, const FloatData& dout,
                     std::span<const std::int32_t> sources, std::int64_t columns, std::int64_t first, std::int64_t n,
                     float scale) {
  alignas(64) Columns buffer;
  const std::int64_t at = row * columns + first;
  const float* old = gradient.read(at, n, buffer.data());
  alignas(64) Columns sum;
  std::copy_n(old, n, sum.data());
  for (const std::int32_t source : sources) {
    add_columns(dout, std::int64_t{source} * columns + first, n, scale, sum.data());
  }
  float* target = gradient.target(at, buffer.data());
  std::copy_n(sum.data(), n, target);
  gradient.commit(at, n, target);
}

}  // namespace

void CpuBackend::execute(const EmbeddingForward& op) {
  const std::int64_t rows = op.tokens.elements();
  const std::int64_t steps = op.tokens.shape()[1];
  const std::int64_t vocab = op.token_weight.shape()[0];
  const std::int64_t places = op.position_weight ? op.position_weight.shape()[0] : 0;
  const auto ids = op.tokens.host<std::int32_t>();
  const auto first = op.positions.first ? op.positions.first.host<std::int32_t>() : std::span<std::int32_t>();
  const FloatData result(op.out);
  const TokenRows weight(op.token_weight, op.token_scales);
  const std::int64_t columns = weight.columns();
  const FloatData position(op.position_weight);
  const Cost cost = Cost{.bytes = 12} * columns;
  for_blocks(rows, rows_for(columns, 4 * element_block), cost, [&](std::int64_t begin, std::int64_t count) {
    alignas(64) Columns token_buffer;
    alignas(64) Columns position_buffer;
    alignas(64) Columns out_buffer;
    for (std::int64_t row = begin; row < begin + count; ++row) {
      const std::int64_t id = ids[static_cast<std::size_t>(row)];
      const std::int64_t sequence = row / steps;
      const std::int64_t place = row % steps + (first.empty() ? 0 : first[static_cast<std::size_t>(sequence)]);
      const bool valid = id >= 0 && id < vocab && (!position || (place >= 0 && place < places));
      for (std::int64_t c = 0; c < columns; c += column_block) {
        const std::int64_t n = std::min(column_block, columns - c);
        float* target = result.target(row * columns + c, out_buffer.data());
        if (!valid) {
          std::fill_n(target, n, 0.0f);
        } else {
          const float* values = weight.read(id, c, n, token_buffer.data());
          if (position) {
            const float* offsets = position.read(place * columns + c, n, position_buffer.data());
            add_scaled_floats(target, offsets, op.scale, values, n);
          } else {
            scale_floats(target, values, op.scale, n);
          }
        }
        result.commit(row * columns + c, n, target);
      }
    }
  });
}

void CpuBackend::execute(const EmbeddingBackward& op) {
  const std::int64_t rows = op.tokens.elements();
  const std::int64_t columns = op.dout.shape()[-1];
  const std::int64_t chunks = (columns + column_block - 1) / column_block;
  const FloatData gradient(op.dout);
  if (op.dtoken_weight && rows > 0) {
    const auto ids = op.tokens.host<std::int32_t>();
    const FloatData weight(op.dtoken_weight);
    // Rows in the order of their tokens; rows with equal tokens stay in order.
    std::vector<std::int32_t> order(static_cast<std::size_t>(rows));
    std::iota(order.begin(), order.end(), 0);
    std::erase_if(order, [&](std::int32_t row) {
      const std::int32_t id = ids[static_cast<std::size_t>(row)];
      return id < 0 || id >= op.dtoken_weight.shape()[0];
    });
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
      return ids[static_cast<std::size_t>(a)] < ids[static_cast<std::size_t>(b)];
    });
    std::vector<std::size_t> starts;
    for (std::size_t i = 0; i < order.size(); ++i) {
      if (i == 0 || ids[static_cast<std::size_t>(order[i])] != ids[static_cast<std::size_t>(order[i - 1])]) {
        starts.push_back(i);
      }
    }
    starts.push_back(order.size());
    const auto buckets = static_cast<std::int64_t>(starts.size()) - 1;
    const Cost cost = Cost{.bytes = 12} * (rows * columns / std::max<std::int64_t>(1, buckets * chunks));
    for_blocks(buckets * chunks, 8, cost, [&](std::int64_t begin, std::int64_t count) {
      for (std::int64_t task = begin; task < begin + count; ++task) {
        const auto bucket = static_cast<std::size_t>(task / chunks);
        const std::int64_t c = task % chunks * column_block;
        const std::span<const std::int32_t> sources(order.data() + starts[bucket], starts[bucket + 1] - starts[bucket]);
        accumulate_rows(weight, ids[static_cast<std::size_t>(sources[0])], gradient, sources, columns, c,
                        std::min(column_block, columns - c), op.scale);
      }
    });
  }
  if (op.dposition_weight && rows > 0) {
    const std::int64_t sequences = op.tokens.shape()[0];
    const std::int64_t steps = op.tokens.shape()[1];
    const FloatData weight(op.dposition_weight);
    const Cost cost = Cost{.bytes = 12} * (sequences * std::min(column_block, columns));
    for_blocks(steps * chunks, 8, cost, [&](std::int64_t begin, std::int64_t count) {
      std::vector<std::int32_t> sources(static_cast<std::size_t>(sequences));
      for (std::int64_t task = begin; task < begin + count; ++task) {
        const std::int64_t step = task / chunks;
        const std::int64_t c = task % chunks * column_block;
        for (std::int64_t b = 0; b < sequences; ++b) {
          sources[static_cast<std::size_t>(b)] = static_cast<std::int32_t>(b * steps + step);
        }
        accumulate_rows(weight, step, gradient, sources, columns, c, std::min(column_block, columns - c), 1.0f);
      }
    });
  }
}

}  // namespace mslt

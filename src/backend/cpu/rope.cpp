// Rotary position embedding on the CPU.
#include <cmath>
#include <vector>

#include "backend/checks.h"
#include "backend/cpu/blocks.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/float_data.h"

namespace mslt {
namespace {

// Rotates one head's `half` pairs.
void rotate(float* x, const float* cosine, const float* sine, std::int64_t half) {
  for (std::int64_t i = 0; i < half; ++i) {
    const float low = x[i];
    const float high = x[i + half];
    x[i] = low * cosine[i] - high * sine[i];
    x[i + half] = high * cosine[i] + low * sine[i];
  }
}

// `direction` is 1 to rotate by the angle, -1 to rotate back.
void rotate_heads(const Tensor& qkv, const Tensor& inverse_frequencies, const Positions& positions,
                  const AttentionShape& shape, float direction) {
  const std::int64_t rows = qkv.shape().rows();
  const std::int64_t steps = qkv.shape()[1];
  const std::int64_t columns = qkv.shape()[2];
  const std::int64_t heads = shape.heads + shape.kv_heads;
  const std::int64_t half = shape.head_size / 2;
  const float* frequencies = inverse_frequencies.host<float>().data();
  const auto first = positions.first ? positions.first.host<std::int32_t>() : std::span<std::int32_t>();
  const FloatData data(qkv);
  for_blocks(rows, rows_for(columns, 4 * element_block), [&](std::int64_t begin, std::int64_t count) {
    std::vector<float> scratch(static_cast<std::size_t>(2 * half + heads * shape.head_size));
    float* cosine = scratch.data();
    float* sine = cosine + half;
    float* buffer = sine + half;
    for (std::int64_t row = begin; row < begin + count; ++row) {
      const std::int64_t place = row % steps + (first.empty() ? 0 : first[static_cast<std::size_t>(row / steps)]);
      for (std::int64_t i = 0; i < half; ++i) {
        const float angle = static_cast<float>(place) * frequencies[i];
        cosine[i] = std::cos(angle);
        sine[i] = direction * std::sin(angle);
      }
      const std::int64_t n = heads * shape.head_size;
      data.read(row * columns, n, buffer);
      float* target = data.target(row * columns, buffer);
      for (std::int64_t head = 0; head < heads; ++head) rotate(target + head * shape.head_size, cosine, sine, half);
      data.commit(row * columns, n, target);
    }
  });
}

}  // namespace

void CpuBackend::rope_forward(const Tensor& qkv, const Tensor& inverse_frequencies, const Positions& positions,
                              const AttentionShape& shape) {
  check_rope(qkv, inverse_frequencies, positions, shape);
  rotate_heads(qkv, inverse_frequencies, positions, shape, 1.0f);
}

void CpuBackend::rope_backward(const Tensor& dqkv, const Tensor& inverse_frequencies, const Positions& positions,
                               const AttentionShape& shape) {
  check_rope(dqkv, inverse_frequencies, positions, shape);
  rotate_heads(dqkv, inverse_frequencies, positions, shape, -1.0f);
}

}  // namespace mslt

// The largest logits on the CPU.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <functional>
#include <vector>

#include "backend/checks.h"
#include "backend/cpu/blocks.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/float_data.h"

namespace mslt {
namespace {

// Orders as the contract asks: larger values first, then smaller indices. NaN stands below everything.
std::uint64_t sort_key(float value, std::int64_t index) {
  const auto bits = std::bit_cast<std::uint32_t>(value + 0.0f);  // -0 becomes 0
  std::uint32_t ordered = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  if (value != value) ordered = 0;
  return (std::uint64_t{ordered} << 32) | (0xffffffffu - static_cast<std::uint32_t>(index));
}

std::int32_t index_of_key(std::uint64_t key) {
  return static_cast<std::int32_t>(0xffffffffu - static_cast<std::uint32_t>(key));
}

// The k largest keys of x[0, n), in descending order.
std::vector<std::uint64_t> largest_keys(const float* x, std::int64_t n, std::int64_t k) {
  std::vector<std::uint64_t> keys;
  keys.reserve(static_cast<std::size_t>(k));
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint64_t key = sort_key(x[i], i);
    if (static_cast<std::int64_t>(keys.size()) < k) {
      keys.push_back(key);
      std::push_heap(keys.begin(), keys.end(), std::greater<>());
    } else if (key > keys.front()) {
      std::pop_heap(keys.begin(), keys.end(), std::greater<>());
      keys.back() = key;
      std::push_heap(keys.begin(), keys.end(), std::greater<>());
    }
  }
  std::sort(keys.begin(), keys.end(), std::greater<>());
  return keys;
}

}  // namespace

void CpuBackend::argmax(const Tensor& out, const Tensor& logits, std::int64_t vocab) {
  check_argmax(out, logits, vocab);
  const std::int64_t columns = logits.shape()[-1];
  const std::int64_t rows = logits.shape().rows();
  const FloatData data(logits);
  std::int32_t* result = out.host<std::int32_t>().data();
  for_blocks(rows, 1, [&](std::int64_t row, std::int64_t) {
    std::vector<float> buffer(data.dtype() == DType::f32 ? 0 : static_cast<std::size_t>(vocab));
    const float* x = data.read(row * columns, vocab, buffer.data());
    std::uint64_t best = 0;
    for (std::int64_t i = 0; i < vocab; ++i) best = std::max(best, sort_key(x[i], i));
    result[row] = index_of_key(best);
  });
}

void CpuBackend::top_k(const Tensor& values, const Tensor& indices, const Tensor& logits, std::int64_t vocab) {
  check_top_k(values, indices, logits, vocab);
  const std::int64_t columns = logits.shape()[-1];
  const std::int64_t rows = logits.shape().rows();
  const std::int64_t k = values.shape()[-1];
  const FloatData data(logits);
  float* value = values.host<float>().data();
  std::int32_t* index = indices.host<std::int32_t>().data();
  for_blocks(rows, 1, [&](std::int64_t row, std::int64_t) {
    std::vector<float> buffer(data.dtype() == DType::f32 ? 0 : static_cast<std::size_t>(vocab));
    const float* x = data.read(row * columns, vocab, buffer.data());
    const std::vector<std::uint64_t> keys = largest_keys(x, vocab, k);
    for (std::int64_t i = 0; i < k; ++i) {
      const std::int32_t at = index_of_key(keys[static_cast<std::size_t>(i)]);
      index[row * k + i] = at;
      value[row * k + i] = x[at];
    }
  });
}

}  // namespace mslt

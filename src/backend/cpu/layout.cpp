// Copies, casts and rearrangements on the CPU.
#include <algorithm>
#include <array>
#include <cstring>

#include "backend/checks.h"
#include "backend/cpu/blocks.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/float_data.h"
#include "backend/cpu/float_ops.h"
#include "base/fail.h"

namespace mslt {
namespace {

using Block = std::array<float, element_block>;

std::byte* host_memory(const Tensor& tensor) {
  if (tensor.buffer().host() == nullptr) fail(ErrorKind::input, "{} is not in host memory.", tensor.describe());
  return tensor.buffer().host() + tensor.offset();
}

// Bytes a block of a plain copy.
constexpr std::int64_t byte_block = 1 << 16;

// The parts of fused rows in bytes.
struct FusedRow {
  std::int64_t query;
  std::int64_t key;
  std::int64_t whole() const { return query + 2 * key; }
};

FusedRow fused_row(const AttentionShape& shape, DType dtype) {
  const auto element = static_cast<std::int64_t>(size_of(dtype));
  return {shape.heads * shape.head_size * element, shape.kv_heads * shape.head_size * element};
}

void copy_bytes(std::byte* to, const std::byte* from, std::int64_t n) {
  std::memcpy(to, from, static_cast<std::size_t>(n));
}

}  // namespace

void CpuBackend::split_qkv(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& qkv,
                           const AttentionShape& shape) {
  check_split_qkv(q, k, v, qkv, shape);
  const FusedRow row = fused_row(shape, qkv.dtype());
  std::byte* queries = host_memory(q);
  std::byte* keys = host_memory(k);
  std::byte* values = host_memory(v);
  const std::byte* fused = host_memory(qkv);
  for_blocks(qkv.shape().rows(), rows_for(row.whole(), byte_block), [&](std::int64_t begin, std::int64_t count) {
    for (std::int64_t i = begin; i < begin + count; ++i) {
      const std::byte* from = fused + i * row.whole();
      copy_bytes(queries + i * row.query, from, row.query);
      copy_bytes(keys + i * row.key, from + row.query, row.key);
      copy_bytes(values + i * row.key, from + row.query + row.key, row.key);
    }
  });
}

void CpuBackend::join_qkv(const Tensor& qkv, const Tensor& q, const Tensor& k, const Tensor& v,
                          const AttentionShape& shape) {
  check_join_qkv(qkv, q, k, v, shape);
  const FusedRow row = fused_row(shape, qkv.dtype());
  const std::byte* queries = host_memory(q);
  const std::byte* keys = host_memory(k);
  const std::byte* values = host_memory(v);
  std::byte* fused = host_memory(qkv);
  for_blocks(qkv.shape().rows(), rows_for(row.whole(), byte_block), [&](std::int64_t begin, std::int64_t count) {
    for (std::int64_t i = begin; i < begin + count; ++i) {
      std::byte* to = fused + i * row.whole();
      copy_bytes(to, queries + i * row.query, row.query);
      copy_bytes(to + row.query, keys + i * row.key, row.key);
      copy_bytes(to + row.query + row.key, values + i * row.key, row.key);
    }
  });
}

void CpuBackend::cast(const Tensor& out, const Tensor& in) {
  check_cast(out, in);
  const FloatData from(in);
  const FloatData to(out);
  for_blocks(in.elements(), element_block, [&](std::int64_t first, std::int64_t n) {
    alignas(64) Block buffer;
    narrow(to.at(first), to.dtype(), from.read(first, n, buffer.data()), n);
  });
}

void CpuBackend::fill(const Tensor& out, float value) {
  check_fill(out);
  const FloatData to(out);
  alignas(64) Block values;
  values.fill(value);
  for_blocks(out.elements(), element_block,
             [&](std::int64_t first, std::int64_t n) { narrow(to.at(first), to.dtype(), values.data(), n); });
}

void CpuBackend::copy(const Tensor& out, const Tensor& in) {
  check_copy(out, in);
  std::byte* to = host_memory(out);
  const std::byte* from = host_memory(in);
  if (to == from) return;
  for_blocks(static_cast<std::int64_t>(in.bytes()), byte_block,
             [&](std::int64_t first, std::int64_t n) { copy_bytes(to + first, from + first, n); });
}

void CpuBackend::add(const Tensor& out, const Tensor& in) {
  check_add(out, in);
  const FloatData from(in);
  const FloatData to(out);
  for_blocks(out.elements(), element_block, [&](std::int64_t first, std::int64_t n) {
    alignas(64) Block buffer;
    alignas(64) Block out_buffer;
    const float* values = from.read(first, n, buffer.data());
    const float* old = to.read(first, n, out_buffer.data());
    float* target = to.target(first, out_buffer.data());
    add_floats(target, old, values, n);
    to.commit(first, n, target);
  });
}

void CpuBackend::gather_rows(const Tensor& out, const Tensor& in, const Tensor& indices) {
  check_gather_rows(out, in, indices);
  const std::int64_t rows = in.shape().rows();
  const auto row_bytes = static_cast<std::int64_t>(size_of(in.dtype())) * in.shape()[-1];
  const std::int32_t* index = indices.host<std::int32_t>().data();
  std::byte* to = host_memory(out);
  const std::byte* from = host_memory(in);
  for_blocks(indices.elements(), rows_for(row_bytes, byte_block), [&](std::int64_t begin, std::int64_t count) {
    for (std::int64_t i = begin; i < begin + count; ++i) {
      if (index[i] >= 0 && index[i] < rows) {
        copy_bytes(to + i * row_bytes, from + index[i] * row_bytes, row_bytes);
      } else {
        std::memset(to + i * row_bytes, 0, static_cast<std::size_t>(row_bytes));
      }
    }
  });
}

}  // namespace mslt

// Copies, casts and rearrangements on the CPU.
#include <algorithm>
#include <array>
#include <cstring>

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

// Bytes per block of a plain copy.
constexpr std::int64_t byte_block = 1 << 16;
constexpr Cost copied_byte = {.bytes = 2};

void copy_bytes(std::byte* to, const std::byte* from, std::int64_t n) {
  std::memcpy(to, from, static_cast<std::size_t>(n));
}

}  // namespace

void CpuBackend::execute(const Cast& op) {
  const FloatData from(op.in);
  const FloatData to(op.out);
  for_blocks(op.in.elements(), element_block, {.bytes = 8}, [&](std::int64_t first, std::int64_t n) {
    alignas(64) Block buffer;
    narrow(to.at(first), to.dtype(), from.read(first, n, buffer.data()), n);
  });
}

void CpuBackend::execute(const Fill& op) {
  const FloatData to(op.out);
  alignas(64) Block values;
  values.fill(op.value);
  for_blocks(op.out.elements(), element_block, {.bytes = 4},
             [&](std::int64_t first, std::int64_t n) { narrow(to.at(first), to.dtype(), values.data(), n); });
}

void CpuBackend::execute(const Copy& op) {
  std::byte* to = host_memory(op.out);
  const std::byte* from = host_memory(op.in);
  if (to == from) return;
  for_blocks(static_cast<std::int64_t>(op.in.bytes()), byte_block, copied_byte,
             [&](std::int64_t first, std::int64_t n) { copy_bytes(to + first, from + first, n); });
}

void CpuBackend::execute(const Add& op) {
  const FloatData from(op.in);
  const FloatData to(op.out);
  for_blocks(op.out.elements(), element_block, {.bytes = 12}, [&](std::int64_t first, std::int64_t n) {
    alignas(64) Block buffer;
    alignas(64) Block out_buffer;
    const float* values = from.read(first, n, buffer.data());
    const float* old = to.read(first, n, out_buffer.data());
    float* target = to.target(first, out_buffer.data());
    add_floats(target, old, values, n);
    to.commit(first, n, target);
  });
}

void CpuBackend::execute(const GatherRows& op) {
  const std::int64_t rows = op.in.shape().rows();
  const auto row_bytes = static_cast<std::int64_t>(size_of(op.in.dtype())) * op.in.shape()[-1];
  const std::int32_t* index = op.indices.host<std::int32_t>().data();
  std::byte* to = host_memory(op.out);
  const std::byte* from = host_memory(op.in);
  const Cost cost = copied_byte * row_bytes;
  for_blocks(op.indices.elements(), rows_for(row_bytes, byte_block), cost, [&](std::int64_t begin, std::int64_t count) {
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

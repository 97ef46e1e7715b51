// A pass over the exponents: all ones means NaN or infinity.
#include "formats/finite_weights.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <optional>

#include "base/fail.h"
#include "base/parallel.h"
#include "formats/convert_elements.h"

namespace mslt {
namespace {

constexpr std::size_t block_bytes = std::size_t{1} << 20;

// Branch-free, so compilers vectorise it. Rows in files may start anywhere, hence the copies.
template <class Bits, Bits exponent>
bool finite(std::span<const std::byte> bytes) {
  Bits found = 0;
  for (std::size_t at = 0; at + sizeof(Bits) <= bytes.size(); at += sizeof(Bits)) {
    Bits bits;
    std::memcpy(&bits, bytes.data() + at, sizeof(Bits));
    found |= static_cast<Bits>((bits & exponent) == exponent);
  }
  return found == 0;
}

// Whether all stay finite as floats: below the midpoint between the largest float and the next power of two.
bool finite_floats(std::span<const std::byte> bytes) {
  constexpr std::uint64_t least_bad = 0x47EFFFFFF0000000u;
  std::uint64_t found = 0;
  for (std::size_t at = 0; at + sizeof(std::uint64_t) <= bytes.size(); at += sizeof(std::uint64_t)) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, bytes.data() + at, sizeof bits);
    found |= static_cast<std::uint64_t>((bits & 0x7FFFFFFFFFFFFFFFu) >= least_bad);
  }
  return found == 0;
}

bool block_is_finite(std::span<const std::byte> bytes, FileFloat type) {
  switch (type) {
    case FileFloat::f32:
      return finite<std::uint32_t, 0x7F800000u>(bytes);
    case FileFloat::bf16:
      return finite<std::uint16_t, 0x7F80u>(bytes);
    case FileFloat::f16:
      return finite<std::uint16_t, 0x7C00u>(bytes);
    case FileFloat::f64:
      return finite_floats(bytes);
  }
  return true;
}

// The first block with a non-finite element.
std::optional<std::size_t> first_bad_block(std::span<const std::byte> bytes, FileFloat type) {
  const std::size_t blocks = (bytes.size() + block_bytes - 1) / block_bytes;
  std::atomic<std::size_t> first = blocks;
  parallel_for(static_cast<std::int64_t>(blocks), Cost{.bytes = 1} * block_bytes, [&](std::int64_t i) {
    const auto block = static_cast<std::size_t>(i);
    const std::size_t begin = block * block_bytes;
    if (block_is_finite(bytes.subspan(begin, std::min(block_bytes, bytes.size() - begin)), type)) return;
    std::size_t known = first.load();
    while (block < known && !first.compare_exchange_weak(known, block)) {
    }
  });
  if (first == blocks) return std::nullopt;
  return first;
}

}  // namespace

bool all_finite(std::span<const std::byte> bytes, DType dtype) {
  return !is_floating(dtype) || !first_bad_block(bytes, file_float(dtype));
}

void require_finite(std::span<const FileTensor* const> tensors, std::string_view source) {
  for (const FileTensor* tensor : tensors) {
    const auto type = file_float(tensor->dtype);
    if (!type) continue;
    const auto block = first_bad_block(tensor->data, *type);
    if (!block) continue;
    const std::size_t element = size_of(*type);
    std::size_t at = *block * block_bytes;
    while (block_is_finite(tensor->data.subspan(at, element), *type)) at += element;
    fail(ErrorKind::numeric,
         "{}: the tensor '{}' holds NaN or an infinity{} (element {} of {}, counted from 0). Nothing can be computed "
         "with such weights; use an earlier checkpoint or an undamaged copy.",
         source, tensor->name, *type == FileFloat::f64 ? ", or a number too large for F32" : "", at / element,
         tensor->data.size() / element);
  }
}

}  // namespace mslt

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
#include "formats/gguf_blocks.h"

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

// The first stretch of about a megabyte, a multiple of `unit` bytes, that is_finite refuses: its first byte.
template <class IsFinite>
std::optional<std::size_t> first_bad_stretch(std::span<const std::byte> bytes, std::size_t unit, IsFinite is_finite) {
  const std::size_t length = std::max(block_bytes / unit, std::size_t{1}) * unit;
  const std::size_t stretches = (bytes.size() + length - 1) / length;
  std::atomic<std::size_t> first = stretches;
  parallel_for(static_cast<std::int64_t>(stretches), Cost{.bytes = 1} * static_cast<std::int64_t>(length),
               [&](std::int64_t i) {
                 const auto stretch = static_cast<std::size_t>(i);
                 const std::size_t begin = stretch * length;
                 if (is_finite(bytes.subspan(begin, std::min(length, bytes.size() - begin)))) return;
                 std::size_t known = first.load();
                 while (stretch < known && !first.compare_exchange_weak(known, stretch)) {
                 }
               });
  if (first == stretches) return std::nullopt;
  return first * length;
}

// The first unit that is_finite refuses.
template <class IsFinite>
std::optional<std::size_t> first_bad_unit(std::span<const std::byte> bytes, std::size_t unit, IsFinite is_finite) {
  const auto stretch = first_bad_stretch(bytes, unit, is_finite);
  if (!stretch) return std::nullopt;
  std::size_t at = *stretch;
  while (is_finite(bytes.subspan(at, unit))) at += unit;
  return at / unit;
}

}  // namespace

bool all_finite(std::span<const std::byte> bytes, DType dtype) {
  if (!is_floating(dtype)) return true;
  const FileFloat type = file_float(dtype);
  return !first_bad_stretch(bytes, size_of(type), [&](auto part) { return block_is_finite(part, type); });
}

std::string_view wider_types(DType dtype) {
  return dtype == DType::f16 ? "bf16 or f32" : "f32";
}

void require_finite(std::span<const FileTensor* const> tensors, std::string_view source) {
  constexpr std::string_view advice =
      "Nothing can be computed with such weights; use an earlier checkpoint or an undamaged copy.";
  for (const FileTensor* tensor : tensors) {
    if (const auto type = file_float(tensor->dtype)) {
      const std::size_t element = size_of(*type);
      const auto bad = first_bad_unit(tensor->data, element, [&](auto part) { return block_is_finite(part, *type); });
      if (!bad) continue;
      fail(ErrorKind::numeric, "{}: the tensor '{}' holds NaN or an infinity{} (element {} of {}, counted from 0). {}",
           source, tensor->name, *type == FileFloat::f64 ? ", or a number too large for F32" : "", *bad,
           tensor->data.size() / element, advice);
    }
    if (const auto& block = tensor->block) {
      const auto bad =
          first_bad_unit(tensor->data, block->bytes, [&](auto part) { return finite_blocks(part, *block); });
      if (!bad) continue;
      fail(ErrorKind::numeric, "{}: the tensor '{}' holds NaN or an infinity (block {} of {}, counted from 0). {}",
           source, tensor->name, *bad, tensor->data.size() / block->bytes, advice);
    }
  }
}

}  // namespace mslt

// Conversions between f32, bf16 and f16, and from f64.
#include "formats/convert_elements.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/fail.h"
#include "base/parallel.h"

namespace mslt {
namespace {

template <class T>
T from_float(float value);
template <>
float from_float(float value) {
  return value;
}
template <>
BFloat16 from_float(float value) {
  return to_bfloat16(value);
}
template <>
Float16 from_float(float value) {
  return to_float16(value);
}

float as_float(double value) {
  return static_cast<float>(value);
}
template <class T>
float as_float(T value) {
  return to_float(value);
}

template <class In, class Out>
void convert_one(const std::byte* in, std::size_t from, std::byte* out, std::size_t to) {
  In value;
  std::memcpy(&value, in + from * sizeof(In), sizeof(In));
  const Out converted = from_float<Out>(as_float(value));
  std::memcpy(out + to * sizeof(Out), &converted, sizeof(Out));
}

template <class Body>
void with_type(FileFloat type, Body&& body) {
  switch (type) {
    case FileFloat::f32:
      return body(float{});
    case FileFloat::bf16:
      return body(BFloat16{});
    case FileFloat::f16:
      return body(Float16{});
    case FileFloat::f64:
      return body(double{});
  }
}

// The dtypes of parameters.
template <class Body>
void with_type(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::f32:
      return body(float{});
    case DType::bf16:
      return body(BFloat16{});
    case DType::f16:
      return body(Float16{});
    default:
      fail(ErrorKind::input, "Elements of {} cannot be converted; supported are f32, bf16 and f16.", name_of(dtype));
  }
}

}  // namespace

std::optional<FileFloat> file_float(std::string_view dtype) {
  constexpr std::array<std::pair<std::string_view, FileFloat>, 4> names = {
      {{"F32", FileFloat::f32}, {"BF16", FileFloat::bf16}, {"F16", FileFloat::f16}, {"F64", FileFloat::f64}}};
  for (const auto& [name, type] : names) {
    if (name == dtype) return type;
  }
  return std::nullopt;
}

FileFloat file_float(DType dtype) {
  FileFloat result = FileFloat::f32;
  with_type(dtype, [&](auto element) {
    if (dtype_of<decltype(element)> == DType::bf16) result = FileFloat::bf16;
    if (dtype_of<decltype(element)> == DType::f16) result = FileFloat::f16;
  });
  return result;
}

std::size_t size_of(FileFloat type) {
  std::size_t bytes = 0;
  with_type(type, [&](auto element) { bytes = sizeof element; });
  return bytes;
}

void convert_elements(std::span<const std::byte> in, FileFloat in_type, std::span<std::byte> out, DType out_dtype) {
  if (in_type == file_float(out_dtype)) {
    // Bit for bit, including payloads of NaNs.
    if (!out.empty()) std::memcpy(out.data(), in.data(), out.size());
    return;
  }
  with_type(in_type, [&](auto from) {
    with_type(out_dtype, [&](auto to) {
      const std::size_t count = out.size() / sizeof(to);
      for (std::size_t i = 0; i < count; ++i) convert_one<decltype(from), decltype(to)>(in.data(), i, out.data(), i);
    });
  });
}

void transpose_elements(std::span<const std::byte> in, FileFloat in_type, std::int64_t rows, std::int64_t columns,
                        std::int64_t first_row, std::int64_t count, std::span<std::byte> out, DType out_dtype) {
  // Both sides of a square tile are read and written in lines of the cache. Between them it lies in memory of its own:
  // rows that are a power of two apart would push each other out of the cache.
  constexpr std::int64_t tile = 32;
  with_type(in_type, [&](auto from) {
    with_type(out_dtype, [&](auto to) {
      using In = decltype(from);
      using Out = decltype(to);
      const auto transpose_rows = [&](std::int64_t block) {
        const std::int64_t r0 = block * tile;
        const std::int64_t height = std::min(tile, count - r0);
        std::array<std::array<Out, tile>, tile> turned;
        for (std::int64_t c0 = 0; c0 < rows; c0 += tile) {
          const std::int64_t width = std::min(tile, rows - c0);
          for (std::int64_t c = 0; c < width; ++c) {
            const std::byte* const line =
                in.data() + static_cast<std::size_t>((c0 + c) * columns + first_row + r0) * sizeof(In);
            for (std::int64_t r = 0; r < height; ++r) {
              convert_one<In, Out>(line, static_cast<std::size_t>(r),
                                   reinterpret_cast<std::byte*>(turned[static_cast<std::size_t>(r)].data()),
                                   static_cast<std::size_t>(c));
            }
          }
          for (std::int64_t r = 0; r < height; ++r) {
            std::memcpy(out.data() + static_cast<std::size_t>((r0 + r) * rows + c0) * sizeof(Out),
                        turned[static_cast<std::size_t>(r)].data(), static_cast<std::size_t>(width) * sizeof(Out));
          }
        }
      };
      const Cost each = {.flops = 8.0 * tile, .bytes = (sizeof(In) + sizeof(Out)) * static_cast<double>(tile)};
      parallel_for((count + tile - 1) / tile, each * rows, transpose_rows);
    });
  });
}

}  // namespace mslt

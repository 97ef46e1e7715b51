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
Out converted(const std::byte* in, std::size_t index) {
  In value;
  std::memcpy(&value, in + index * sizeof(In), sizeof(In));
  return from_float<Out>(as_float(value));
}

template <class In, class Out>
void convert_one(const std::byte* in, std::size_t from, std::byte* out, std::size_t to) {
  const Out value = converted<In, Out>(in, from);
  std::memcpy(out + to * sizeof(Out), &value, sizeof(Out));
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
  // A tile of the input has rows of several lines of the cache, since the next row is in another page; it is written in
  // whole lines, too. Between them it lies in memory of its own: rows that are a power of two apart would push each
  // other out of the cache.
  constexpr std::int64_t tile_rows = 128;    // of the result
  constexpr std::int64_t tile_columns = 32;  // of the result
  with_type(in_type, [&](auto from) {
    with_type(out_dtype, [&](auto to) {
      using In = decltype(from);
      using Out = decltype(to);
      const auto transpose_rows = [&](std::int64_t block) {
        const std::int64_t r0 = block * tile_rows;
        const std::int64_t height = std::min(tile_rows, count - r0);
        std::array<std::array<Out, tile_columns>, tile_rows> turned;
        for (std::int64_t c0 = 0; c0 < rows; c0 += tile_columns) {
          const std::int64_t width = std::min(tile_columns, rows - c0);
          const auto line = [&](std::int64_t c) {
            return in.data() + static_cast<std::size_t>((c0 + c) * columns + first_row + r0) * sizeof(In);
          };
          std::int64_t c = 0;
          for (; c + 4 <= width; c += 4) {
            const std::array lines = {line(c), line(c + 1), line(c + 2), line(c + 3)};
            for (std::size_t r = 0; r < static_cast<std::size_t>(height); ++r) {
              const std::array four = {converted<In, Out>(lines[0], r), converted<In, Out>(lines[1], r),
                                       converted<In, Out>(lines[2], r), converted<In, Out>(lines[3], r)};
              std::memcpy(&turned[r][static_cast<std::size_t>(c)], four.data(), sizeof four);
            }
          }
          for (; c < width; ++c) {
            for (std::size_t r = 0; r < static_cast<std::size_t>(height); ++r) {
              turned[r][static_cast<std::size_t>(c)] = converted<In, Out>(line(c), r);
            }
          }
          for (std::int64_t r = 0; r < height; ++r) {
            std::memcpy(out.data() + static_cast<std::size_t>((r0 + r) * rows + c0) * sizeof(Out),
                        turned[static_cast<std::size_t>(r)].data(), static_cast<std::size_t>(width) * sizeof(Out));
          }
        }
      };
      const Cost each = {.flops = 8.0 * tile_rows,
                         .bytes = (sizeof(In) + sizeof(Out)) * static_cast<double>(tile_rows)};
      parallel_for((count + tile_rows - 1) / tile_rows, each * rows, transpose_rows);
    });
  });
}

}  // namespace mslt

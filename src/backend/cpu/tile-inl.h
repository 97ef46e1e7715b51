// Products of small matrices on Highway vectors, for attention's tiles. Include it after foreach_target.h.
#if defined(MSLT_BACKEND_CPU_TILE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MSLT_BACKEND_CPU_TILE_INL_H
#undef MSLT_BACKEND_CPU_TILE_INL_H
#else
#define MSLT_BACKEND_CPU_TILE_INL_H
#endif

#include <algorithm>
#include <cstdint>

#include "backend/cpu/float_vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace {

// Columns and rows that one pass of the kernel computes: 8 × 2 accumulators with 32 registers, else 4 × 2.
constexpr std::int64_t lanes = HWY_MIN(HWY_LANES(float), 16);
constexpr std::int64_t panel_columns = 2 * lanes;
constexpr std::int64_t tile_rows = HWY_LANES(float) >= 16 ? 8 : 4;

HWY_INLINE std::int64_t round_to_panels(std::int64_t columns) {
  return (columns + panel_columns - 1) / panel_columns * panel_columns;
}

// A matrix [rows, inner] anywhere in memory.
struct LeftMatrix {
  const float* data;
  std::int64_t row_stride;
  std::int64_t inner_stride;
};

// R rows of C (+)= A · B for one panel of B, [inner][panel_columns].
template <std::int64_t R>
HWY_INLINE void multiply_panel(std::int64_t inner, const LeftMatrix& a, const float* HWY_RESTRICT b,
                               float* HWY_RESTRICT c, std::int64_t c_stride, bool accumulate) {
  const FloatTag d;
  Floats sum0[R];
  Floats sum1[R];
  HWY_UNROLL(8)
  for (std::int64_t r = 0; r < R; ++r) {
    sum0[r] = accumulate ? hn::LoadU(d, c + r * c_stride) : hn::Zero(d);
    sum1[r] = accumulate ? hn::LoadU(d, c + r * c_stride + lanes) : hn::Zero(d);
  }
  const float* a_column = a.data;
  for (std::int64_t k = 0; k < inner; ++k, a_column += a.inner_stride) {
    const Floats b0 = hn::Load(d, b + k * panel_columns);
    const Floats b1 = hn::Load(d, b + k * panel_columns + lanes);
    HWY_UNROLL(8)
    for (std::int64_t r = 0; r < R; ++r) {
      const Floats element = hn::Set(d, a_column[r * a.row_stride]);
      sum0[r] = hn::MulAdd(element, b0, sum0[r]);
      sum1[r] = hn::MulAdd(element, b1, sum1[r]);
    }
  }
  HWY_UNROLL(8)
  for (std::int64_t r = 0; r < R; ++r) {
    hn::StoreU(sum0[r], d, c + r * c_stride);
    hn::StoreU(sum1[r], d, c + r * c_stride + lanes);
  }
}

// The same for the last columns of C, fewer than a panel: touches nothing beyond them.
template <std::int64_t R>
HWY_INLINE void multiply_edge(std::int64_t inner, const LeftMatrix& a, const float* HWY_RESTRICT b,
                              float* HWY_RESTRICT c, std::int64_t c_stride, std::int64_t columns, bool accumulate) {
  HWY_ALIGN float tile[R * panel_columns];
  multiply_panel<R>(inner, a, b, tile, panel_columns, false);
  for (std::int64_t r = 0; r < R; ++r) {
    float* row = c + r * c_stride;
    for (std::int64_t j = 0; j < columns; ++j) {
      row[j] = accumulate ? row[j] + tile[r * panel_columns + j] : tile[r * panel_columns + j];
    }
  }
}

template <std::int64_t R>
HWY_INLINE void multiply_rows(std::int64_t inner, const LeftMatrix& a, const float* HWY_RESTRICT b,
                              float* HWY_RESTRICT c, std::int64_t c_stride, std::int64_t columns, bool accumulate) {
  if (columns >= panel_columns) {
    multiply_panel<R>(inner, a, b, c, c_stride, accumulate);
  } else {
    multiply_edge<R>(inner, a, b, c, c_stride, columns, accumulate);
  }
}

// C [rows, columns] (+)= A [rows, inner] · B [inner, columns]. B is packed in panels of panel_columns columns, each
// [panel_inner][panel_columns] with panel_inner >= inner, aligned; the last one is padded with any finite values. An
// element of C is one chain of additions in the order of `inner`, independent of its row's position.
HWY_INLINE void multiply_tile(std::int64_t rows, std::int64_t columns, std::int64_t inner, const LeftMatrix& a,
                              const float* HWY_RESTRICT b, std::int64_t panel_inner, float* HWY_RESTRICT c,
                              std::int64_t c_stride, bool accumulate) {
  for (std::int64_t j = 0; j < columns; j += panel_columns, b += panel_inner * panel_columns) {
    const std::int64_t width = columns - j;
    std::int64_t i = 0;
    const auto left = [&] {
      return LeftMatrix{a.data + i * a.row_stride, a.row_stride, a.inner_stride};
    };
    const auto target = [&] {
      return c + i * c_stride + j;
    };
    for (; i + tile_rows <= rows; i += tile_rows) {
      multiply_rows<tile_rows>(inner, left(), b, target(), c_stride, width, accumulate);
    }
    for (; i + 2 <= rows; i += 2) multiply_rows<2>(inner, left(), b, target(), c_stride, width, accumulate);
    for (; i < rows; ++i) multiply_rows<1>(inner, left(), b, target(), c_stride, width, accumulate);
  }
}

// Packs `count` rows of `width` elements, `stride` apart, as panels [capacity][panel_columns]: the right operand whose
// inner dimension is the rows. Pads columns with zeros to whole panels.
template <class T>
HWY_INLINE void pack_rows(const T* from, std::int64_t stride, std::int64_t count, std::int64_t width,
                          std::int64_t capacity, float* HWY_RESTRICT panels) {
  const FloatTag d;
  for (std::int64_t r = 0; r < count; ++r) {
    const T* row = from + r * stride;
    for (std::int64_t j = 0; j < width; j += panel_columns) {
      float* to = panels + j * capacity + r * panel_columns;
      if (j + panel_columns <= width) {
        hn::Store(load_floats(d, row + j), d, to);
        hn::Store(load_floats(d, row + j + lanes), d, to + lanes);
      } else {
        for (std::int64_t e = 0; e < panel_columns; ++e) to[e] = j + e < width ? to_float(row[j + e]) : 0.0f;
      }
    }
  }
}

#if HWY_TARGET == HWY_SCALAR
constexpr std::int64_t transposed_rows = 1;

template <class T>
HWY_INLINE std::int64_t transpose_rows(const T* /*from*/, std::int64_t /*stride*/, std::int64_t /*width*/,
                                       float* /*to*/) {
  return 0;
}
#else
constexpr std::int64_t transposed_rows = 4;

// Writes the lanes of a vector, four by four: each four are a piece of a panel's row, four rows behind those before.
template <class D>
HWY_INLINE void store_quarters(D d, hn::Vec<D> v, float* to) {
  if constexpr (hn::MaxLanes(D()) <= 4) {
    hn::StoreU(v, d, to);
  } else {
    constexpr auto half_lanes = static_cast<std::int64_t>(hn::MaxLanes(D()) / 2);
    const hn::Half<D> half;
    store_quarters(half, hn::LowerHalf(half, v), to);
    store_quarters(half, hn::UpperHalf(half, v), to + half_lanes * panel_columns);
  }
}

// Four rows as columns of a panel. Returns how many of their elements it has packed: whole vectors.
template <class T>
HWY_INLINE std::int64_t transpose_rows(const T* from, std::int64_t stride, std::int64_t width, float* to) {
  const FloatTag d;
  const hn::Repartition<double, FloatTag> pairs;
  std::int64_t k = 0;
  for (; k + lanes <= width; k += lanes) {
    const Floats r0 = load_floats(d, from + k);
    const Floats r1 = load_floats(d, from + stride + k);
    const Floats r2 = load_floats(d, from + 2 * stride + k);
    const Floats r3 = load_floats(d, from + 3 * stride + k);
    const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, r0, r1));
    const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, r2, r3));
    const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, r0, r1));
    const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, r2, r3));
    float* const column = to + k * panel_columns;
    store_quarters(d, hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23)), column);
    store_quarters(d, hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23)), column + panel_columns);
    store_quarters(d, hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23)), column + 2 * panel_columns);
    store_quarters(d, hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23)), column + 3 * panel_columns);
  }
  return k;
}
#endif

// Packs the transpose of such rows as panels [width][panel_columns]: the right operand whose columns are the rows.
// `from` is row `begin` of the packed tile; `fill` zeroes the rows up to a whole panel.
template <class T>
HWY_INLINE void pack_transposed(const T* from, std::int64_t stride, std::int64_t begin, std::int64_t count,
                                std::int64_t width, bool fill, float* HWY_RESTRICT panels) {
  const auto column = [&](std::int64_t row) {
    return panels + row / panel_columns * panel_columns * width + row % panel_columns;
  };
  const auto pack_row = [&](std::int64_t r, std::int64_t k) {
    const T* row = from + r * stride;
    float* to = column(begin + r);
    for (; k < width; ++k) to[k * panel_columns] = to_float(row[k]);
  };
  std::int64_t r = 0;
  while (r < count) {
    if ((begin + r) % transposed_rows != 0 || r + transposed_rows > count) {
      pack_row(r++, 0);
      continue;
    }
    const std::int64_t done = transpose_rows(from + r * stride, stride, width, column(begin + r));
    for (const std::int64_t end = r + transposed_rows; r < end; ++r) pack_row(r, done);
  }
  if (!fill) return;
  for (r = begin + count; r < round_to_panels(begin + count); ++r) {
    float* to = column(r);
    for (std::int64_t k = 0; k < width; ++k) to[k * panel_columns] = 0.0f;
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mslt
HWY_AFTER_NAMESPACE();
#endif

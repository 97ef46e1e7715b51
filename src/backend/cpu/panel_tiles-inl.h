// Products of several rows with rows of a weight that were unpacked once for all of them. Include it after
// foreach_target.h.
#if defined(MSLT_BACKEND_CPU_PANEL_TILES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MSLT_BACKEND_CPU_PANEL_TILES_INL_H
#undef MSLT_BACKEND_CPU_PANEL_TILES_INL_H
#else
#define MSLT_BACKEND_CPU_PANEL_TILES_INL_H
#endif

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "backend/cpu/weight_groups-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace {

// A row in memory is pieces: chunks of 4-bit weights, groups of others. One of the input may have something behind
// each.
template <class T>
constexpr bool has_chunks = std::is_same_v<T, std::uint8_t>;
template <class T>
constexpr std::int64_t piece_elements = has_chunks<T> ? chunk_elements : group;
template <class T>
constexpr std::int64_t piece_floats = has_chunks<T> ? chunk_floats : group;
template <class T>
HWY_INLINE std::int64_t pieces_of(std::int64_t inner) {
  return has_chunks<T> ? chunks_of(inner) : inner / group;
}

// So much of a weight is unpacked at a time: rows of the input that meet it find it in the second-level cache.
constexpr std::int64_t panel_floats = std::int64_t{32} << 10;
constexpr std::int64_t panel_rows = 4;                              // of the input in a tile
constexpr std::int64_t panel_columns = vector_lanes >= 16 ? 4 : 2;  // rows of the weight in a tile

template <class T>
HWY_INLINE std::int64_t columns_a_panel(std::int64_t inner) {
  const std::int64_t length = std::max<std::int64_t>(pieces_of<T>(inner) * piece_elements<T>, 1);
  return std::max(panel_columns, panel_floats / length / panel_columns * panel_columns);
}

// One row of a weight in the order of its memory, without what is behind its last whole group.
template <class T>
HWY_INLINE void unpack(const T* row, const float* factors, std::int64_t inner, float* HWY_RESTRICT to) {
  const FloatTag d;
  if constexpr (has_chunks<T>) {
    for (std::int64_t c = 0; c < chunks_of(inner); ++c, to += chunk_elements) {
      const Factors own = load_chunk_factors(d, factors, c);
      for_each_nibble(d, load_chunk(row, c, inner), [&](std::int64_t p, Floats weight) HWY_ATTR {
        hn::Store(hn::MulAdd(weight, own.scales, own.minima), d, to + p * vector_lanes);
      });
    }
  } else {
    for (std::int64_t k = 0; k + group <= inner; k += group) {
      HWY_UNROLL(8)
      for (std::int64_t j = 0; j < group; j += vector_lanes) {
        Floats weight = load_weights(d, row, k, j);
        if constexpr (sizeof(T) == 1) weight = hn::Mul(weight, hn::Set(d, factors[k / group]));
        hn::Store(weight, d, to + k + j);
      }
    }
  }
}

// sums[c · R + r] of R rows of the input, in_stride floats apart, and N of the panel.
template <class T, std::int64_t R, std::int64_t N>
HWY_INLINE void add_panel_tile(const float* in, std::int64_t in_stride, const float* HWY_RESTRICT panel,
                               std::int64_t pieces, Floats* sums) {
  const FloatTag d;
  const std::int64_t panel_stride = pieces * piece_elements<T>;
  for (std::int64_t piece = 0; piece < pieces; ++piece, in += piece_floats<T>, panel += piece_elements<T>) {
    HWY_UNROLL(8)
    for (std::int64_t j = 0; j < piece_elements<T>; j += vector_lanes) {
      Floats weights[N];
      for (std::int64_t c = 0; c < N; ++c) weights[c] = hn::Load(d, panel + c * panel_stride + j);
      HWY_UNROLL(4)
      for (std::int64_t r = 0; r < R; ++r) {
        const Floats x = hn::LoadU(d, in + r * in_stride + j);
        HWY_UNROLL(4)
        for (std::int64_t c = 0; c < N; ++c) sums[c * R + r] = hn::MulAdd(weights[c], x, sums[c * R + r]);
      }
    }
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mslt
HWY_AFTER_NAMESPACE();
#endif

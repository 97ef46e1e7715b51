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

#include "backend/cpu/weight_groups-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace {

// So much of a weight is unpacked at a time: rows of the input that meet it find it in the second-level cache.
constexpr std::int64_t panel_floats = std::int64_t{32} << 10;
constexpr std::int64_t panel_rows = 4;                              // of the input in a tile
constexpr std::int64_t panel_outputs = vector_lanes >= 16 ? 4 : 2;  // rows of the weight in a tile

// Whole groups of a row, in elements.
HWY_INLINE std::int64_t grouped(std::int64_t inner) {
  return inner / group * group;
}

HWY_INLINE std::int64_t columns_a_panel(std::int64_t inner) {
  const std::int64_t length = std::max<std::int64_t>(grouped(inner), 1);
  return std::max(panel_outputs, panel_floats / length / panel_outputs * panel_outputs);
}

// One row of a weight without what is behind its last whole group.
template <class T>
HWY_INLINE void unpack(const T* row, std::int64_t inner, float* HWY_RESTRICT to) {
  const FloatTag d;
  for (std::int64_t k = 0; k < grouped(inner); k += vector_lanes) {
    hn::Store(load_floats(d, row + k), d, to + k);
  }
}

// sums[c · R + r] of R rows of the input, in_stride floats apart, and N of the panel, of `length` elements.
template <std::int64_t R, std::int64_t N>
HWY_INLINE void add_panel_tile(const float* in, std::int64_t in_stride, const float* HWY_RESTRICT panel,
                               std::int64_t length, Floats* sums) {
  const FloatTag d;
  for (std::int64_t k = 0; k < length; k += group) {
    HWY_UNROLL(8)
    for (std::int64_t j = k; j < k + group; j += vector_lanes) {
      Floats weights[N];
      for (std::int64_t c = 0; c < N; ++c) weights[c] = hn::Load(d, panel + c * length + j);
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

// Unpacking weights in registers, plain ones and quantised groups. Include it after foreach_target.h.
#if defined(MSLT_BACKEND_CPU_WEIGHT_GROUPS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MSLT_BACKEND_CPU_WEIGHT_GROUPS_INL_H
#undef MSLT_BACKEND_CPU_WEIGHT_GROUPS_INL_H
#else
#define MSLT_BACKEND_CPU_WEIGHT_GROUPS_INL_H
#endif

#include <cstdint>
#include <type_traits>

#include "backend/cpu/float_vectors-inl.h"
#include "tensor/quantize.h"

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace {

constexpr std::int64_t group = quantisation_group;
constexpr std::int64_t vector_lanes = HWY_MIN(HWY_LANES(float), 16);

// Elements [k + j, k + j + lanes) of a row of quantised weights, j < group, for k a multiple of the group; unscaled.
HWY_INLINE Floats load_weights(FloatTag d, const std::int8_t* row, std::int64_t k, std::int64_t j) {
  const hn::Rebind<std::int8_t, FloatTag> d8;
  const hn::RebindToSigned<FloatTag> d32;
  return hn::ConvertTo(d, hn::PromoteTo(d32, hn::LoadU(d8, row + k + j)));
}
HWY_INLINE Floats load_weights(FloatTag d, const std::uint8_t* row, std::int64_t k, std::int64_t j) {
  const hn::Rebind<std::int8_t, FloatTag> d8;
  const hn::RebindToSigned<FloatTag> d32;
  constexpr std::int64_t half = group / 2;
  const auto bytes = hn::PromoteTo(d32, hn::LoadU(hn::RebindToUnsigned<decltype(d8)>(), row + k / 2 + j % half));
  const auto nibbles = j < half ? hn::And(bytes, hn::Set(d32, 15)) : hn::ShiftRight<4>(bytes);
  return hn::ConvertTo(d, nibbles);
}

// A row of quantised weights as floats.
template <class T>
HWY_INLINE void dequantise_row(const T* row, const Float16* factors, std::int64_t count, float* to) {
  constexpr bool has_minimum = std::is_same_v<T, std::uint8_t>;
  const FloatTag d;
  for (std::int64_t k = 0; k < count; k += group) {
    const Float16* const own = factors + k / group * (has_minimum ? 2 : 1);
    const Floats scale = hn::Set(d, to_float(own[0]));
    const Floats minimum = has_minimum ? hn::Set(d, to_float(own[1])) : hn::Zero(d);
    for (std::int64_t j = 0; j < group; j += vector_lanes) {
      hn::StoreU(hn::MulAdd(load_weights(d, row, k, j), scale, minimum), d, to + k + j);
    }
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mslt
HWY_AFTER_NAMESPACE();
#endif

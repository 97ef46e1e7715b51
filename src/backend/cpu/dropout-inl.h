// Dropout on Highway vectors: include it after foreach_target.h.
#if defined(MSLT_BACKEND_CPU_DROPOUT_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MSLT_BACKEND_CPU_DROPOUT_INL_H
#undef MSLT_BACKEND_CPU_DROPOUT_INL_H
#else
#define MSLT_BACKEND_CPU_DROPOUT_INL_H
#endif

#include <cstdint>

#include "backend/cpu/dropout_state.h"
#include "backend/cpu/vector_math-inl.h"
#include "base/philox.h"

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace {

// Writes the factor of each of the elements [first, first + count): scale where it is kept, else 0.
HWY_INLINE void dropout_factors(const DropoutState& state, std::uint64_t first, std::int64_t count, float* factors) {
  for (std::int64_t i = 0; i < count;) {
    const std::uint64_t element = first + static_cast<std::uint64_t>(i);
    const PhiloxBlock words = philox_block(state.seed, state.step, state.operation, element / 4);
    for (std::uint64_t w = element % 4; w < 4 && i < count; ++w, ++i) {
      factors[i] = uniform_from_word(words[w]) >= state.probability ? state.scale : 0.0f;
    }
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mslt
HWY_AFTER_NAMESPACE();
#endif

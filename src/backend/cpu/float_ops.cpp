// Simple arithmetic on arrays of floats.
#include "backend/cpu/float_ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/float_ops.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace {

void add(float* out, const float* a, const float* b, std::int64_t n) {
  for_lanes(n, [=](auto d, std::int64_t i)
                   HWY_ATTR { hn::StoreU(hn::Add(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, out + i); });
}

void scale(float* out, const float* in, float factor, std::int64_t n) {
  for_lanes(n, [=](auto d, std::int64_t i)
                   HWY_ATTR { hn::StoreU(hn::Mul(hn::LoadU(d, in + i), hn::Set(d, factor)), d, out + i); });
}

void add_scaled(float* out, const float* a, float factor, const float* b, std::int64_t n) {
  for_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR {
    hn::StoreU(hn::MulAdd(hn::LoadU(d, b + i), hn::Set(d, factor), hn::LoadU(d, a + i)), d, out + i);
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mslt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mslt {
namespace {

HWY_EXPORT(add);
HWY_EXPORT(scale);
HWY_EXPORT(add_scaled);

}  // namespace

void add_floats(float* out, const float* a, const float* b, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(add)(out, a, b, n);
}

void scale_floats(float* out, const float* in, float factor, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(scale)(out, in, factor, n);
}

void add_scaled_floats(float* out, const float* a, float factor, const float* b, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(add_scaled)(out, a, factor, b, n);
}

}  // namespace mslt
#endif

// Conversions between float and the 16-bit storage types.
#include "backend/cpu/float_data.h"

#include <cstring>

#include "base/fail.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/float_data.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using Tag = hn::ScalableTag<float>;

void widen_bf16(float* out, const BFloat16* in, std::int64_t n) {
  const Tag d;
  const hn::RebindToUnsigned<Tag> du;
  const hn::Rebind<std::uint16_t, Tag> d16;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto bits = hn::PromoteTo(du, hn::LoadU(d16, reinterpret_cast<const std::uint16_t*>(in + i)));
    hn::StoreU(hn::BitCast(d, hn::ShiftLeft<16>(bits)), d, out + i);
  }
  for (; i < n; ++i) out[i] = to_float(in[i]);
}

// The arithmetic of to_bfloat16, on vectors.
void narrow_bf16(BFloat16* out, const float* in, std::int64_t n) {
  const Tag d;
  const hn::RebindToUnsigned<Tag> du;
  const hn::Rebind<std::uint16_t, Tag> d16;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto value = hn::LoadU(d, in + i);
    const auto bits = hn::BitCast(du, value);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1u));
    const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7fffu)));
    const auto quiet = hn::Or(bits, hn::Set(du, 0x400000u));
    const auto chosen = hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(value)), quiet, rounded);
    hn::StoreU(hn::TruncateTo(d16, hn::ShiftRight<16>(chosen)), d16, reinterpret_cast<std::uint16_t*>(out + i));
  }
  for (; i < n; ++i) out[i] = to_bfloat16(in[i]);
}

// The processor's own conversions if it has any, else those of tensor/half.h. Without instructions for it, which x86
// has since AVX2, Highway cuts instead of rounding and makes numbers of NaN.
constexpr bool converts_f16 =
    HWY_ARCH_X86 ? HWY_TARGET <= HWY_AVX2 : HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128;

void widen_f16(float* out, const Float16* in, std::int64_t n) {
  const Tag d;
  const hn::Rebind<hwy::float16_t, Tag> d16;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; converts_f16 && i + lanes <= n; i += lanes) {
    hn::StoreU(hn::PromoteTo(d, hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(in + i))), d, out + i);
  }
  for (; i < n; ++i) out[i] = to_float(in[i]);
}

void narrow_f16(Float16* out, const float* in, std::int64_t n) {
  const Tag d;
  const hn::Rebind<hwy::float16_t, Tag> d16;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; converts_f16 && i + lanes <= n; i += lanes) {
    hn::StoreU(hn::DemoteTo(d16, hn::LoadU(d, in + i)), d16, reinterpret_cast<hwy::float16_t*>(out + i));
  }
  for (; i < n; ++i) out[i] = to_float16(in[i]);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mslt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mslt {
namespace {

HWY_EXPORT(widen_bf16);
HWY_EXPORT(narrow_bf16);
HWY_EXPORT(widen_f16);
HWY_EXPORT(narrow_f16);

}  // namespace

void widen(float* out, const std::byte* in, DType dtype, std::int64_t n) {
  if (dtype == DType::bf16) {
    HWY_DYNAMIC_DISPATCH(widen_bf16)(out, reinterpret_cast<const BFloat16*>(in), n);
  } else if (dtype == DType::f16) {
    HWY_DYNAMIC_DISPATCH(widen_f16)(out, reinterpret_cast<const Float16*>(in), n);
  } else if (n > 0) {
    std::memcpy(out, in, static_cast<std::size_t>(n) * sizeof(float));
  }
}

void narrow(std::byte* out, DType dtype, const float* in, std::int64_t n) {
  if (dtype == DType::bf16) {
    HWY_DYNAMIC_DISPATCH(narrow_bf16)(reinterpret_cast<BFloat16*>(out), in, n);
  } else if (dtype == DType::f16) {
    HWY_DYNAMIC_DISPATCH(narrow_f16)(reinterpret_cast<Float16*>(out), in, n);
  } else if (n > 0) {
    std::memcpy(out, in, static_cast<std::size_t>(n) * sizeof(float));
  }
}

FloatData::FloatData(const Tensor& tensor) : dtype_(tensor.dtype()) {
  if (!tensor) return;
  if (tensor.buffer().host() == nullptr) fail(ErrorKind::input, "{} is not in host memory.", tensor.describe());
  bytes_ = tensor.buffer().host() + tensor.offset();
}

}  // namespace mslt
#endif

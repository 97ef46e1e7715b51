// Conversions between float and the 16-bit storage types.
#include "backend/cpu/float_data.h"

#include <cstring>

#include "base/fail.h"

namespace mslt {

void widen(float* out, const std::byte* in, DType dtype, std::int64_t n) {
  if (dtype == DType::f32) {
    std::memcpy(out, in, static_cast<std::size_t>(n) * sizeof(float));
  } else if (dtype == DType::bf16) {
    const auto* values = reinterpret_cast<const BFloat16*>(in);
    for (std::int64_t i = 0; i < n; ++i) out[i] = to_float(values[i]);
  } else {
    const auto* values = reinterpret_cast<const Float16*>(in);
    for (std::int64_t i = 0; i < n; ++i) out[i] = to_float(values[i]);
  }
}

void narrow(std::byte* out, DType dtype, const float* in, std::int64_t n) {
  if (dtype == DType::f32) {
    std::memcpy(out, in, static_cast<std::size_t>(n) * sizeof(float));
  } else if (dtype == DType::bf16) {
    auto* values = reinterpret_cast<BFloat16*>(out);
    for (std::int64_t i = 0; i < n; ++i) values[i] = to_bfloat16(in[i]);
  } else {
    auto* values = reinterpret_cast<Float16*>(out);
    for (std::int64_t i = 0; i < n; ++i) values[i] = to_float16(in[i]);
  }
}

FloatData::FloatData(const Tensor& tensor) : dtype_(tensor.dtype()) {
  if (!tensor) return;
  if (tensor.buffer().host() == nullptr) fail(ErrorKind::input, "{} is not in host memory.", tensor.describe());
  bytes_ = tensor.buffer().host() + tensor.offset();
}

}  // namespace mslt

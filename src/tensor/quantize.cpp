// Groups of 32 elements that share a scale.
#include "tensor/quantize.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"

namespace mslt {
namespace {

constexpr auto group = static_cast<std::size_t>(quantisation_group);

void check_sizes(std::size_t elements, std::size_t values, std::size_t values_expected, std::size_t scales) {
  if (elements % group != 0) {
    fail(ErrorKind::input, "Quantisation works on groups of {}, and {} elements are not a multiple of that.", group,
         elements);
  }
  if (values != values_expected || scales != elements / group) {
    fail(ErrorKind::input,
         "{} quantised elements take {} values and {} scales, but there is room for {} values and {} scales.", elements,
         values_expected, elements / group, values, scales);
  }
}

// The first of the elements with the largest magnitude.
float extreme_of(std::span<const float> elements) {
  float extreme = 0.0f;
  for (const float element : elements) {
    if (!std::isfinite(element)) {
      fail(ErrorKind::input, "A weight to be quantised holds {}, but must be finite throughout.", element);
    }
    if (std::abs(element) > std::abs(extreme)) extreme = element;
  }
  return extreme;
}

Float16 stored_scale(float scale) {
  constexpr float limit = 65504.0f;
  if (std::abs(scale) > limit) {
    fail(ErrorKind::input, "A weight to be quantised needs the scale {}, but f16 holds at most {}.", scale, limit);
  }
  return to_float16(scale);
}

}  // namespace

void quantise_8_bit(std::span<const float> elements, std::span<std::int8_t> values, std::span<Float16> scales) {
  check_sizes(elements.size(), values.size(), elements.size(), scales.size());
  for (std::size_t g = 0; g < scales.size(); ++g) {
    const std::span<const float> from = elements.subspan(g * group, group);
    const float scale = std::abs(extreme_of(from)) / 127.0f;
    const float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
    scales[g] = stored_scale(scale);
    for (std::size_t i = 0; i < group; ++i) {
      // A subnormal scale has an infinite inverse; its elements are zero in f16.
      const float value = std::isinf(inverse) ? 0.0f : std::round(from[i] * inverse);
      values[g * group + i] = static_cast<std::int8_t>(value);
    }
  }
}

void quantise_4_bit(std::span<const float> elements, std::span<std::uint8_t> values, std::span<Float16> scales) {
  check_sizes(elements.size(), values.size(), elements.size() / 2, scales.size());
  for (std::size_t g = 0; g < scales.size(); ++g) {
    const std::span<const float> from = elements.subspan(g * group, group);
    const float scale = extreme_of(from) / -8.0f;
    const float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
    scales[g] = stored_scale(scale);
    const auto half = [&](std::size_t i) {
      const float value = std::isinf(inverse) ? 8.0f : from[i] * inverse + 8.5f;
      return static_cast<unsigned>(std::min(value, 15.0f));
    };
    for (std::size_t i = 0; i < group / 2; ++i) {
      values[g * group / 2 + i] = static_cast<std::uint8_t>(half(i) | (half(i + group / 2) << 4));
    }
  }
}

void dequantise_8_bit(std::span<const std::int8_t> values, std::span<const Float16> scales, std::span<float> elements) {
  check_sizes(elements.size(), values.size(), elements.size(), scales.size());
  for (std::size_t i = 0; i < elements.size(); ++i) {
    elements[i] = static_cast<float>(values[i]) * to_float(scales[i / group]);
  }
}

void dequantise_4_bit(std::span<const std::uint8_t> values, std::span<const Float16> scales,
                      std::span<float> elements) {
  check_sizes(elements.size(), values.size(), elements.size() / 2, scales.size());
  for (std::size_t g = 0; g < scales.size(); ++g) {
    const float scale = to_float(scales[g]);
    for (std::size_t i = 0; i < group / 2; ++i) {
      const int pair = values[g * group / 2 + i];
      elements[g * group + i] = static_cast<float>((pair & 15) - 8) * scale;
      elements[g * group + i + group / 2] = static_cast<float>((pair >> 4) - 8) * scale;
    }
  }
}

}  // namespace mslt

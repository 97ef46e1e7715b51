// Groups of 32 elements that share a scale, and with 4 bits a minimum.
#include "tensor/quantize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/fail.h"

namespace mslt {
namespace {

constexpr auto group = static_cast<std::size_t>(quantisation_group);

void check_sizes(std::size_t elements, std::size_t values, std::size_t values_expected, std::size_t scales,
                 std::size_t scales_a_group) {
  if (elements % group != 0) {
    fail(ErrorKind::input, "Quantisation works on groups of {}, and {} elements are not a multiple of that.", group,
         elements);
  }
  const std::size_t scales_expected = elements / group * scales_a_group;
  if (values != values_expected || scales != scales_expected) {
    fail(ErrorKind::input,
         "{} quantised elements take {} values and {} scales, but there is room for {} values and {} scales.", elements,
         values_expected, scales_expected, values, scales);
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

constexpr float largest_f16 = 65504.0f;

Float16 stored_scale(float scale) {
  if (std::abs(scale) > largest_f16) {
    fail(ErrorKind::input, "A weight to be quantised needs the scale {}, but f16 holds at most {}.", scale,
         largest_f16);
  }
  return to_float16(scale);
}

// A grid of 16 steps, and each element's.
struct Fit {
  float scale = 0;
  float minimum = 0;
  std::array<int, group> steps = {};
  float error = std::numeric_limits<float>::infinity();  // sum of squares
};

// Sums a group in lanes of its own, which the compiler makes vectors of.
template <class Term>
float sum_of_group(const Term& term) {
  constexpr std::size_t lanes = 8;
  std::array<float, lanes> sums = {};
  for (std::size_t i = 0; i < group; i += lanes) {
    for (std::size_t j = 0; j < lanes; ++j) sums[j] += term(i + j);
  }
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

// The nearest steps of a grid, as f16 holds it.
Fit fit_to(std::span<const float, group> from, float scale, float minimum) {
  Fit fit = {.scale = to_float(to_float16(scale)), .minimum = to_float(to_float16(minimum))};
  if (!std::isfinite(fit.scale) || !std::isfinite(fit.minimum)) return fit;
  const float inverse = fit.scale == 0.0f ? 0.0f : 1.0f / fit.scale;
  for (std::size_t i = 0; i < group; ++i) {
    const float step = (from[i] - fit.minimum) * inverse;
    fit.steps[i] = static_cast<int>(std::max(std::min(step, 15.0f), 0.0f) + 0.5f);
  }
  fit.error = sum_of_group([&](std::size_t i) {
    const float difference = static_cast<float>(fit.steps[i]) * fit.scale + fit.minimum - from[i];
    return difference * difference;
  });
  return fit;
}

// The grid of least squares for the steps of a fit, and the steps that are nearest then.
Fit refined(std::span<const float, group> from, const Fit& fit) {
  constexpr auto count = static_cast<float>(group);
  const auto step = [&](std::size_t i) {
    return static_cast<float>(fit.steps[i]);
  };
  const float mean_step = sum_of_group(step) / count;
  const float mean = sum_of_group([&](std::size_t i) { return from[i] - fit.minimum; }) / count;
  const float spread = sum_of_group([&](std::size_t i) { return (step(i) - mean_step) * (step(i) - mean_step); });
  if (spread == 0.0f) return fit;
  const float scale =
      sum_of_group([&](std::size_t i) { return (step(i) - mean_step) * (from[i] - fit.minimum); }) / spread;
  return fit_to(from, scale, fit.minimum + (mean - scale * mean_step));
}

Fit best_fit(std::span<const float, group> from) {
  const float extreme = extreme_of(from);
  const auto [lowest, highest] = std::ranges::minmax(from);
  const float width = highest - lowest;
  Fit best;
  // Whether a grid and what comes of it cannot be bettered.
  const auto try_grid = [&](float scale, float minimum) {
    Fit fit = fit_to(from, scale, minimum);
    constexpr int refinements = 2;
    for (int i = 0;; ++i) {
      if (fit.error < best.error) best = fit;
      if (i == refinements || !(fit.error > 0.0f && fit.error <= best.error)) break;
      fit = refined(from, fit);
    }
    return best.error == 0.0f;
  };
  // From end to end, symmetric as Q4_0, and without the ends, which few elements are near.
  if (try_grid(width / 15.0f, lowest)) return best;
  const float symmetric = to_float(to_float16(extreme / -8.0f));
  if (try_grid(symmetric, -8.0f * symmetric)) return best;
  for (const float steps : {16.0f, 17.5f, 19.5f}) {
    const float scale = width / steps;
    if (try_grid(scale, lowest + (width - 15.0f * scale) / 2.0f)) return best;
  }
  if (std::isinf(best.error)) {
    fail(ErrorKind::input, "A weight to be quantised needs the scale {} and the minimum {}, but f16 holds at most {}.",
         width / 15.0f, lowest, largest_f16);
  }
  return best;
}

}  // namespace

void quantise_8_bit(std::span<const float> elements, std::span<std::int8_t> values, std::span<Float16> scales) {
  check_sizes(elements.size(), values.size(), elements.size(), scales.size(), 1);
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

void quantise_4_bit(std::span<const float> elements, std::span<std::uint8_t> values, std::span<Float16> factors) {
  check_sizes(elements.size(), values.size(), elements.size() / 2, factors.size(), 2);
  for (std::size_t g = 0; g < factors.size() / 2; ++g) {
    const Fit fit = best_fit(elements.subspan(g * group).first<group>());
    factors[2 * g] = to_float16(fit.scale);
    factors[2 * g + 1] = to_float16(fit.minimum);
    for (std::size_t i = 0; i < group / 2; ++i) {
      values[g * group / 2 + i] = static_cast<std::uint8_t>(fit.steps[i] | (fit.steps[i + group / 2] << 4));
    }
  }
}

void dequantise_8_bit(std::span<const std::int8_t> values, std::span<const Float16> scales, std::span<float> elements) {
  check_sizes(elements.size(), values.size(), elements.size(), scales.size(), 1);
  for (std::size_t i = 0; i < elements.size(); ++i) {
    elements[i] = static_cast<float>(values[i]) * to_float(scales[i / group]);
  }
}

void dequantise_4_bit(std::span<const std::uint8_t> values, std::span<const Float16> factors,
                      std::span<float> elements) {
  check_sizes(elements.size(), values.size(), elements.size() / 2, factors.size(), 2);
  for (std::size_t g = 0; g < factors.size() / 2; ++g) {
    const float scale = to_float(factors[2 * g]);
    const float minimum = to_float(factors[2 * g + 1]);
    for (std::size_t i = 0; i < group / 2; ++i) {
      const int pair = values[g * group / 2 + i];
      elements[g * group + i] = static_cast<float>(pair & 15) * scale + minimum;
      elements[g * group + i + group / 2] = static_cast<float>(pair >> 4) * scale + minimum;
    }
  }
}

}  // namespace mslt

// RoPE's rescaling from the divisors of frequencies that GGUF files hold.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "mslt/config.h"

namespace mslt {

// The tensors of longrope's divisors.
inline constexpr std::string_view short_factors_tensor = "rope_factors_short.weight";
inline constexpr std::string_view long_factors_tensor = "rope_factors_long.weight";

// The scaling whose frequencies are those of `theta` divided by `divisors`, one for each pair of elements of a head, to
// one part in 10^4: none if all are 1, linear if all are alike, llama3 otherwise. Of its settings, divisors tell only
// ratios; low_freq_factor is taken to be 1. Nothing if there is no such scaling.
std::optional<RopeScaling> scaling_from_divisors(std::span<const float> divisors, double theta);

// The inverse, for scalings by llama3: a divisor for each pair of elements of a head.
std::vector<float> divisors_of(const RopeScaling& scaling, double theta, std::int64_t head_size);

}  // namespace mslt

// The largest sizes that Config::validate accepts: what the kernels hold (head_size, and sides of products below 2^31
// with a vocabulary of whole tiles), or what real models keep by orders of magnitude and keeps every count of bytes far
// from 2^63.
#pragma once

#include <cstdint>

#include "backend/operations/limits.h"

namespace mslt {

inline constexpr std::int64_t max_config_vocab_size = (std::int64_t{1} << 31) - 128;
inline constexpr std::int64_t max_config_positions = std::int64_t{1} << 24;
inline constexpr std::int64_t max_config_layers = std::int64_t{1} << 12;
inline constexpr std::int64_t max_config_channels = std::int64_t{1} << 17;
inline constexpr std::int64_t max_config_heads = std::int64_t{1} << 12;
inline constexpr std::int64_t max_config_head_size = max_head_size;
inline constexpr std::int64_t max_config_ffn_size = std::int64_t{1} << 20;
// What longrope may divide a frequency by; real models have 0.9 to 70.
inline constexpr double least_config_rope_factor = 1e-3;
inline constexpr double max_config_rope_factor = 1e6;

}  // namespace mslt

// The largest sizes that Config::validate accepts: real models keep them by orders of magnitude, and they keep every
// count of bytes computed from them far from 2^63.
#pragma once

#include <cstdint>

namespace mslt {

inline constexpr std::int64_t max_config_vocab_size = (std::int64_t{1} << 31) - 1;
inline constexpr std::int64_t max_config_positions = std::int64_t{1} << 24;
inline constexpr std::int64_t max_config_layers = std::int64_t{1} << 12;
inline constexpr std::int64_t max_config_channels = std::int64_t{1} << 17;
inline constexpr std::int64_t max_config_heads = std::int64_t{1} << 12;
inline constexpr std::int64_t max_config_head_size = std::int64_t{1} << 10;
inline constexpr std::int64_t max_config_ffn_size = std::int64_t{1} << 20;

}  // namespace mslt

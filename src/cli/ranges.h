// The ranges of options shared by several commands.
#pragma once

#include <cstdint>
#include <limits>

#include "cli/numbers.h"

namespace mslt::cli {

inline constexpr IntegerRange batch_range{.least = 1, .most = std::uint64_t{1} << 24, .unit = "sequences"};
inline constexpr IntegerRange seq_len_range{.most = std::uint64_t{1} << 24, .unit = "tokens"};
inline constexpr IntegerRange token_range{.least = 1, .most = std::uint64_t{1} << 24, .unit = "tokens"};
inline constexpr IntegerRange vocab_range{.least = 1, .most = std::uint64_t{1} << 24, .unit = "tokens"};
// Every byte is a token, so a trained vocabulary has at least one merge.
inline constexpr IntegerRange trained_vocab_range{.least = 257, .most = std::uint64_t{1} << 24, .unit = "tokens"};
inline constexpr IntegerRange seed_range{.most = std::numeric_limits<std::uint64_t>::max()};
inline constexpr double largest_real = 1e30;  // a float can hold it and some results computed from it

}  // namespace mslt::cli

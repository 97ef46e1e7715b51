// Which design of the matrix product runs where: one table, the first rule that fits decides.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <string_view>

#include "backend/backend.h"

namespace mslt::msl {

// A design's kernels end in `suffix`; each threadgroup of `threads` has side × side results.
struct TileDesign {
  std::string_view suffix;
  std::int64_t side;
  std::uint32_t threads;
};

// 64×64×16 through threadgroup memory by four simdgroups.
inline constexpr TileDesign staged_tile = {"staged", 64, 128};
// 32×32×8 by one simdgroup straight from device memory.
inline constexpr TileDesign direct_tile = {"direct", 32, 32};

// Fits products with at most so many results on devices of that backend and whose name begins so; empty fits all.
struct TileRule {
  std::string_view backend;
  std::string_view name_prefix;
  std::int64_t largest_results;
  TileDesign design;
};

inline constexpr std::int64_t any_size = std::numeric_limits<std::int64_t>::max();

// Apple's chips from the M3 on cache what simdgroups read and do better without staging; elsewhere staging saves
// bandwidth once there are enough tiles of the larger side to fill the device. The emulated device has nothing to gain
// from either: it takes both, so that tests see both.
inline constexpr auto tile_rules = std::to_array<TileRule>({
    {"metal", "Apple M1", 512 * 512, direct_tile},
    {"metal", "Apple M1", any_size, staged_tile},
    {"metal", "Apple M2", 512 * 512, direct_tile},
    {"metal", "Apple M2", any_size, staged_tile},
    {"metal", "", any_size, direct_tile},
    {"cuda", "", 256 * 256, direct_tile},
    {"cuda", "", any_size, staged_tile},
    {"msl-host", "", 48 * 48, direct_tile},
    {"", "", any_size, staged_tile},
});

// The design for a product of [rows, columns] results on this device.
constexpr const TileDesign& tile_design(const DeviceInfo& device, std::int64_t rows, std::int64_t columns) {
  // Saturates instead of overflowing.
  const std::int64_t results = rows > any_size / std::max<std::int64_t>(columns, 1) ? any_size : rows * columns;
  for (const TileRule& rule : tile_rules) {
    const bool is_backend = rule.backend.empty() || rule.backend == device.backend;
    if (is_backend && device.name.starts_with(rule.name_prefix) && results <= rule.largest_results) return rule.design;
  }
  return staged_tile;
}

}  // namespace mslt::msl

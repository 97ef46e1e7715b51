// How the result of a product is cut into tiles that threads share: by its sizes alone, so that bits do not depend on
// the thread count.
#pragma once

#include <cstdint>

namespace mslt {

struct GemmTiles {
  std::int64_t rows;
  std::int64_t columns;
};

// What suits a library's kernels.
struct GemmTileLimits {
  std::int64_t largest;   // rows or columns of a tile
  std::int64_t smallest;  // below which no tile is cut in two
  std::int64_t multiple;  // of rows and columns that a kernel computes at a time
};

inline std::int64_t tiles_of(std::int64_t size, std::int64_t tile) {
  return (size + tile - 1) / tile;
}

// Equal tiles of at most `most`, each a multiple of `multiple`.
inline std::int64_t even_tile(std::int64_t size, std::int64_t most, std::int64_t multiple) {
  const std::int64_t even = tiles_of(size, tiles_of(size, most));
  return (even + multiple - 1) / multiple * multiple;
}

// Large tiles spend less on packing; of small results there are as many tiles as a few threads can share.
inline GemmTiles choose_tiles(std::int64_t m, std::int64_t n, const GemmTileLimits& limits) {
  constexpr std::int64_t enough = 16;
  GemmTiles tiles{even_tile(m, limits.largest, limits.multiple), even_tile(n, limits.largest, limits.multiple)};
  while (tiles_of(m, tiles.rows) * tiles_of(n, tiles.columns) < enough) {
    std::int64_t& larger = tiles.rows >= tiles.columns ? tiles.rows : tiles.columns;
    if (larger <= limits.smallest) break;
    larger = even_tile(larger, (larger + 1) / 2, limits.multiple);
  }
  return tiles;
}

}  // namespace mslt

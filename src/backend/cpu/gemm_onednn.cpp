// Matrix products by oneDNN, one tile of the result at a time.
#include <dnnl.h>

#include <algorithm>

#include "backend/cpu/gemm.h"
#include "backend/cpu/gemm_tiles.h"
#include "backend/cpu/onednn_calls.h"
#include "base/fail.h"
#include "base/parallel.h"

namespace mslt {
namespace {

// Larger tiles are within some percent of these.
constexpr GemmTileLimits limits = {.largest = 256, .smallest = 64, .multiple = 16};

const float* element(const GemmMatrix& matrix, std::int64_t row, std::int64_t column) {
  return matrix.data + (matrix.transposed ? column * matrix.stride + row : row * matrix.stride + column);
}

}  // namespace

void gemm(std::int64_t m, std::int64_t n, std::int64_t k, const GemmMatrix& a, const GemmMatrix& b, float* c,
          std::int64_t c_stride, bool accumulate) {
  [[maybe_unused]] static const bool has_room = onednn::require_room_for_kernels();
  const GemmTiles tile = choose_tiles(m, n, limits);
  const std::int64_t columns = tiles_of(n, tile.columns);
  // Products reach several times the rate of other loops.
  const Cost cost = Cost{.flops = 0.4} * (tile.rows * tile.columns * k);
  parallel_for(tiles_of(m, tile.rows) * columns, cost, [&](std::int64_t i) {
    const onednn::SingleThread alone;
    const std::int64_t row = i / columns * tile.rows;
    const std::int64_t column = i % columns * tile.columns;
    const dnnl_status_t status =
        dnnl_sgemm(a.transposed ? 'T' : 'N', b.transposed ? 'T' : 'N', std::min(tile.rows, m - row),
                   std::min(tile.columns, n - column), k, 1.0f, element(a, row, 0), a.stride, element(b, 0, column),
                   b.stride, accumulate ? 1.0f : 0.0f, c + row * c_stride + column, c_stride);
    if (status == dnnl_out_of_memory) fail(ErrorKind::memory, "oneDNN found no memory for a product.");
    if (status != dnnl_success) {
      fail(ErrorKind::device, "oneDNN refused a product of [{}, {}] and [{}, {}] with status {}.", m, k, k, n,
           static_cast<int>(status));
    }
  });
}

std::string gemm_library() {
  const dnnl_version_t& version = *dnnl_version();
  return fmt::format("oneDNN {}.{}.{}", version.major, version.minor, version.patch);
}

}  // namespace mslt

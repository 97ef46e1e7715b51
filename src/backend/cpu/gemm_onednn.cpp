// Matrix products by oneDNN, one tile of the result at a time.
#include <dlfcn.h>
#include <dnnl.h>

#include <algorithm>

#include "backend/cpu/gemm.h"
#include "backend/cpu/host_info.h"
#include "base/fail.h"
#include "base/parallel.h"
#include "base/process_limits.h"

namespace mslt {
namespace {

// oneDNN generates its kernels at the first product, and crashes if it gets no address space for them; it was observed
// to take about 5 MiB.
bool require_room_for_kernels() {
  constexpr std::uint64_t room = std::uint64_t{16} << 20;
  if (address_space_left() < room) {
    fail(ErrorKind::memory, "There is no room for the kernels of matrix products, {}: {}.", binary_size(room),
         explain_memory(room, host_free_bytes()));
  }
  return true;
}

// Makes oneDNN compute on the calling thread alone: tiles are shared among the threads of parallel loops, and a second
// team would contend with them. oneDNN asks the OpenMP that it was built with, which need not be the compiler's, so it
// is found among the loaded libraries.
class SingleThread {
 public:
  SingleThread() : before_(openmp().threads == nullptr ? 0 : openmp().threads()) {
    if (before_ > 1) openmp().set_threads(1);
  }
  ~SingleThread() {
    if (before_ > 1) openmp().set_threads(before_);
  }
  SingleThread(const SingleThread&) = delete;
  SingleThread& operator=(const SingleThread&) = delete;

 private:
  struct OpenMp {
    int (*threads)() = reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "omp_get_max_threads"));
    void (*set_threads)(int) = reinterpret_cast<void (*)(int)>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  };
  static const OpenMp& openmp() {
    static const OpenMp found;
    return found;
  }

  int before_;
};

// How the result is cut: by its sizes alone, so that bits do not depend on the thread count.
struct Tiles {
  std::int64_t rows;
  std::int64_t columns;
};

std::int64_t tiles_of(std::int64_t size, std::int64_t tile) {
  return (size + tile - 1) / tile;
}

// Equal tiles of at most `most`, each a multiple of a kernel's 16 rows or columns.
std::int64_t even_tile(std::int64_t size, std::int64_t most) {
  const std::int64_t even = tiles_of(size, tiles_of(size, most));
  return (even + 15) / 16 * 16;
}

Tiles choose_tiles(std::int64_t m, std::int64_t n) {
  // Larger tiles spend less on packing; these are within some percent of the best. Smaller ones let a few threads share
  // a small result.
  constexpr std::int64_t largest = 256;
  constexpr std::int64_t smallest = 64;
  constexpr std::int64_t enough = 16;
  Tiles tiles{even_tile(m, largest), even_tile(n, largest)};
  while (tiles_of(m, tiles.rows) * tiles_of(n, tiles.columns) < enough) {
    std::int64_t& larger = tiles.rows >= tiles.columns ? tiles.rows : tiles.columns;
    if (larger <= smallest) break;
    larger = even_tile(larger, (larger + 1) / 2);
  }
  return tiles;
}

const float* element(const GemmMatrix& matrix, std::int64_t row, std::int64_t column) {
  return matrix.data + (matrix.transposed ? column * matrix.stride + row : row * matrix.stride + column);
}

}  // namespace

void gemm(std::int64_t m, std::int64_t n, std::int64_t k, const GemmMatrix& a, const GemmMatrix& b, float* c,
          std::int64_t c_stride, bool accumulate) {
  [[maybe_unused]] static const bool has_room = require_room_for_kernels();
  const Tiles tile = choose_tiles(m, n);
  const std::int64_t columns = tiles_of(n, tile.columns);
  // Products reach several times the rate of other loops.
  const Cost cost = Cost{.flops = 0.4} * (tile.rows * tile.columns * k);
  parallel_for(tiles_of(m, tile.rows) * columns, cost, [&](std::int64_t i) {
    const SingleThread alone;
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

// Thread count of the data-parallel loops.
#include "base/parallel.h"

#include <latch>
#include <vector>

#include "base/joining_thread.h"
#include "base/parallel_start.h"

#if defined(_OPENMP)
#include <omp.h>
static void start_team() {
#pragma omp parallel
  {
#pragma omp barrier
  }
}
#else
static void start_team() {}
static int omp_get_max_threads() {
  return 1;
}
static int omp_get_thread_num() {
  return 0;
}
static void omp_set_num_threads(int) {}
#endif

namespace mslt {

void start_parallel_threads() {
  const int threads = parallel_threads();
  {
    // As many at once as OpenMP will start. Their resources are free again before OpenMP starts its own.
    std::latch all(threads);
    std::vector<JoiningThread> others;
    others.reserve(static_cast<std::size_t>(threads));
    try {
      for (int i = 1; i < threads; ++i) others.emplace_back([&all] { all.arrive_and_wait(); });
    } catch (...) {
      all.count_down(threads - static_cast<int>(others.size()));
      throw;
    }
    all.count_down();
  }
  start_team();
}

int parallel_threads() {
  return omp_get_max_threads();
}

void set_parallel_threads(int threads) {
  omp_set_num_threads(threads);
}

int parallel_slot() {
  return omp_get_thread_num();
}

}  // namespace mslt

// Thread count of the data-parallel loops.
#include "base/parallel.h"

#if defined(_OPENMP)
#include <omp.h>
#else
static int omp_get_max_threads() {
  return 1;
}
static int omp_get_thread_num() {
  return 0;
}
static void omp_set_num_threads(int) {}
#endif

namespace mslt {

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

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
#endif

namespace mslt {

int parallel_threads() {
  return omp_get_max_threads();
}

int parallel_slot() {
  return omp_get_thread_num();
}

}  // namespace mslt

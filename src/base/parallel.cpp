// Thread count of the data-parallel loops.
#include "base/parallel.h"

#if defined(_OPENMP)
#include <omp.h>
#else
static int omp_get_max_threads() {
  return 1;
}
#endif

namespace mslt {

int parallel_threads() {
  return omp_get_max_threads();
}

}  // namespace mslt

// Data-parallel loops of the CPU backend: the only file that names OpenMP.
#pragma once

#include <cstdint>
#include <exception>

namespace mslt {

// The number of threads that parallel_for uses: OMP_NUM_THREADS, else the cores this process may run on. At least 1.
int parallel_threads();

// Sets the number of threads for the calling thread's later loops; without OpenMP there is always one. At least 1.
void set_parallel_threads(int threads);

// Runs body(i) for every i in [0, n), on several threads if n is at least `threshold`. Iterations must be independent.
// The split of [0, n) into threads never changes what an iteration computes, so results do not depend on the thread
// count. Every iteration runs, also after one has thrown; then the exception of the lowest i is rethrown on the calling
// thread, so that the error reported does not depend on the threads either.
template <class Body>
void parallel_for(std::int64_t n, Body&& body, [[maybe_unused]] std::int64_t threshold = 2) {
  std::exception_ptr error;
  std::int64_t error_at = n;
#pragma omp parallel for schedule(static) if (n >= threshold)
  for (std::int64_t i = 0; i < n; ++i) {
    try {
      body(i);
    } catch (...) {
#pragma omp critical(mslt_parallel_error)
      if (i < error_at) {
        error_at = i;
        error = std::current_exception();
      }
    }
  }
  if (error) std::rethrow_exception(error);
}

// The slot of the calling thread in the running parallel_for_slots: in [0, parallel_threads()).
int parallel_slot();

// Runs body(i, slot) for every i in [0, n); free threads take the next i, for iterations of unequal cost. No two
// iterations run at once in one slot of [0, parallel_threads()), so body may use scratch memory of its slot; its
// results must not depend on the slot. Must not be nested. Exceptions as in parallel_for.
template <class Body>
void parallel_for_slots(std::int64_t n, Body&& body) {
  std::exception_ptr error;
  std::int64_t error_at = n;
#pragma omp parallel for schedule(dynamic) if (n >= 2)
  for (std::int64_t i = 0; i < n; ++i) {
    try {
      body(i, parallel_slot());
    } catch (...) {
#pragma omp critical(mslt_parallel_error)
      if (i < error_at) {
        error_at = i;
        error = std::current_exception();
      }
    }
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace mslt

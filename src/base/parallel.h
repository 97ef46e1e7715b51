// Data-parallel loops on a pool of threads that the whole process shares.
#pragma once

#include <cstdint>
#include <exception>
#include <mutex>
#include <type_traits>

namespace mslt {

// The number of threads that a loop may use: what set_parallel_threads chose, else OMP_NUM_THREADS, else the cores this
// process may run on. At least 1.
int parallel_threads();

// Sets that number, at least 1, for the whole process. Not while a loop runs.
void set_parallel_threads(int threads);

// Starts the threads of loops, which otherwise start with the first loop that needs them. Throws Error(io) if the
// system refuses one. Safe to call from several threads.
void start_parallel_threads();

// About what an iteration costs: floating-point operations, and bytes that it reads and writes. The larger time counts.
// It decides on how many threads a loop runs, and never what it computes.
struct Cost {
  double flops = 0;
  double bytes = 0;

  // The same for `count` of them.
  constexpr Cost operator*(std::int64_t count) const {
    return {flops * static_cast<double>(count), bytes * static_cast<double>(count)};
  }
  constexpr Cost operator+(const Cost& other) const { return {flops + other.flops, bytes + other.bytes}; }
};

// An iteration that is worth a thread by itself.
inline constexpr Cost large_cost = {.bytes = 1e6};

// Implementation of the loops below.
namespace parallel_detail {

struct Plan {
  int threads = 1;
  std::int64_t chunk = 0;  // iterations that a thread takes at a time
};

Plan plan_loop(std::int64_t n, const Cost& each);

// Calls run(context, chunk, slot) for every chunk of [0, chunks). run must not throw.
using Run = void(void* context, std::int64_t chunk, int slot) noexcept;
void run_chunks(int threads, std::int64_t chunks, Run* run, void* context);

// The exception of the lowest iteration.
class FirstError {
 public:
  void keep(std::int64_t iteration) noexcept;
  void rethrow();

 private:
  std::mutex mutex_;
  std::int64_t iteration_ = 0;
  std::exception_ptr error_;
};

}  // namespace parallel_detail

// Runs body(i, slot) for every i in [0, n), on as many threads as the work of an iteration pays for. Iterations must be
// independent. Threads take the next few iterations when they are free, so that one which the system suspends delays
// only those. No two iterations run at once in one slot of [0, parallel_threads()), so body may use scratch memory of
// its slot; its results must not depend on the slot.
//
// Every iteration runs, also after one has thrown; then the exception of the lowest i is rethrown on the calling
// thread. While another thread's loop runs, and inside of a loop, a loop runs on the calling thread alone, in slot 0.
template <class Body>
void parallel_for_slots(std::int64_t n, const Cost& each, Body&& body) {
  struct Loop {
    std::remove_reference_t<Body>& body;
    std::int64_t n;
    std::int64_t chunk;
    parallel_detail::FirstError error;
  };
  if (n <= 0) return;
  const parallel_detail::Plan plan = parallel_detail::plan_loop(n, each);
  Loop loop{body, n, plan.chunk, {}};
  const auto run = [](void* context, std::int64_t chunk, int slot) noexcept {
    auto& running = *static_cast<Loop*>(context);
    const std::int64_t begin = chunk * running.chunk;
    const std::int64_t end = running.n - begin < running.chunk ? running.n : begin + running.chunk;
    for (std::int64_t i = begin; i < end; ++i) {
      try {
        running.body(i, slot);
      } catch (...) {
        running.error.keep(i);
      }
    }
  };
  parallel_detail::run_chunks(plan.threads, (n + plan.chunk - 1) / plan.chunk, run, &loop);
  loop.error.rethrow();
}

// Runs body(i) for every i in [0, n), as parallel_for_slots does.
template <class Body>
void parallel_for(std::int64_t n, const Cost& each, Body&& body) {
  parallel_for_slots(n, each, [&](std::int64_t i, int /*slot*/) { body(i); });
}

}  // namespace mslt

// The pool of threads behind data-parallel loops.
#include "base/parallel.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <thread>
#include <vector>

#include "base/joining_thread.h"

namespace mslt {
namespace {

using std::chrono::steady_clock;

// What a core does in a nanosecond, in loops over data in its cache; measured on AVX2 and AVX-512 cores.
constexpr double flops_a_nanosecond = 16;
constexpr double bytes_a_nanosecond = 12;
// A thread more pays from about this much work on: measured, see docs/benchmarks.md.
constexpr double grain_nanoseconds = 4000;
constexpr double least_chunk_nanoseconds = 2000;
// A suspended thread holds up one chunk, an eighth of its share.
constexpr int chunks_a_thread = 8;
// The next loop of a step usually comes this soon; sleeping and waking take some microseconds each.
constexpr std::chrono::microseconds spin_time{40};

#if defined(__x86_64__)
void relax() {
  __builtin_ia32_pause();
}
#elif defined(__aarch64__)
void relax() {
  asm volatile("yield");
}
#else
void relax() {}
#endif

// Whether `ready` became true while spinning.
template <class Ready>
bool spin(const Ready& ready) {
  const auto end = steady_clock::now() + spin_time;
  do {
    for (int i = 0; i < 32; ++i) {
      if (ready()) return true;
      relax();
    }
  } while (steady_clock::now() < end);
  return ready();
}

int default_threads() {
  if (const char* text = std::getenv("OMP_NUM_THREADS")) {
    const std::string_view value(text);
    int threads = 0;
    const auto [end, error] = std::from_chars(value.begin(), value.end(), threads);
    if (error == std::errc() && threads >= 1) return std::min(threads, 1024);
  }
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// One loop at a time. Its chunks are handed out by a counter that shares its word with the loop's number: a thread that
// comes late, with what it read of an earlier loop, fails to take a chunk and reads again. So the caller returns when
// all chunks are done, and waits for no thread that has none.
class Pool {
 public:
  int threads() const { return threads_.load(std::memory_order_relaxed); }
  void set_threads(int threads) { threads_.store(std::max(1, threads), std::memory_order_relaxed); }

  void run(int threads, std::int64_t chunks, parallel_detail::Run* run, void* context) {
    if (threads < 2 || chunks < 2 || busy_.exchange(true, std::memory_order_acquire)) {
      for (std::int64_t chunk = 0; chunk < chunks; ++chunk) run(context, chunk, 0);
      return;
    }
    const Busy until_return{busy_};
    start(threads - 1);
    run_.store(run, std::memory_order_relaxed);
    context_.store(context, std::memory_order_relaxed);
    chunks_.store(chunks, std::memory_order_relaxed);
    limit_.store(threads, std::memory_order_relaxed);
    done_.store(0, std::memory_order_relaxed);
    const std::uint64_t loop = loop_of(next_.load(std::memory_order_relaxed)) + 1;
    next_.store(loop << chunk_bits);
    for (int i = 0; i < threads - 1; ++i) wake(*workers_[static_cast<std::size_t>(i)]);
    work(0);
    const auto finished = [&] {
      return done_.load(std::memory_order_acquire) == chunks;
    };
    if (finished() || spin(finished)) return;
    for (std::int32_t done = done_.load(std::memory_order_acquire); done != chunks;
         done = done_.load(std::memory_order_acquire)) {
      done_.wait(done, std::memory_order_acquire);
    }
  }

  void start() {
    while (busy_.exchange(true, std::memory_order_acquire)) std::this_thread::yield();
    const Busy until_return{busy_};
    start(threads() - 1);
  }

 private:
  static constexpr int chunk_bits = 32;

  struct Busy {
    std::atomic<bool>& busy;
    ~Busy() { busy.store(false, std::memory_order_release); }
  };

  struct alignas(64) Worker {
    std::atomic<int> asleep = 0;
  };

  static std::uint64_t loop_of(std::uint64_t next) { return next >> chunk_bits; }

  void start(int workers) {
    while (workers_.size() < static_cast<std::size_t>(workers)) {
      workers_.reserve(static_cast<std::size_t>(workers));
      auto worker = std::make_unique<Worker>();
      const int slot = static_cast<int>(workers_.size()) + 1;
      start_thread([this, slot, self = worker.get()] { serve(slot, *self); }).detach();
      workers_.push_back(std::move(worker));
    }
  }

  static void wake(Worker& worker) {
    if (worker.asleep.load() != 0 && worker.asleep.exchange(0) != 0) worker.asleep.notify_one();
  }

  [[noreturn]] void serve(int slot, Worker& self) {
    std::uint64_t seen = 0;
    for (;;) {
      const auto comes = [&] {
        return loop_of(next_.load()) != seen;
      };
      if (!spin(comes)) {
        self.asleep.store(1);
        if (!comes()) self.asleep.wait(1);
        self.asleep.store(0);
      }
      seen = work(slot);
    }
  }

  // Takes chunks until there are none; returns the number of the loop.
  std::uint64_t work(int slot) {
    std::uint64_t next = next_.load(std::memory_order_acquire);
    for (;;) {
      const auto chunk = static_cast<std::int64_t>(next & ((std::uint64_t{1} << chunk_bits) - 1));
      // If these are of a later loop, `next` has changed since.
      parallel_detail::Run* const run = run_.load(std::memory_order_relaxed);
      void* const context = context_.load(std::memory_order_relaxed);
      const std::int64_t chunks = chunks_.load(std::memory_order_relaxed);
      if (chunk >= chunks || slot >= limit_.load(std::memory_order_relaxed)) return loop_of(next);
      if (!next_.compare_exchange_weak(next, next + 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
      run(context, chunk, slot);
      if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 == chunks) done_.notify_one();
      next = next_.load(std::memory_order_acquire);
    }
  }

  std::atomic<int> threads_ = default_threads();
  std::atomic<bool> busy_ = false;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::atomic<parallel_detail::Run*> run_ = nullptr;
  std::atomic<void*> context_ = nullptr;
  std::atomic<std::int64_t> chunks_ = 0;
  std::atomic<int> limit_ = 0;
  alignas(64) std::atomic<std::uint64_t> next_ = 0;
  alignas(64) std::atomic<std::int32_t> done_ = 0;
};

// Never destroyed: its threads may outlive every other object. Threads belong to the process, so one pool serves all.
Pool& pool() {
  static Pool* const shared = new Pool();
  return *shared;
}

}  // namespace

int parallel_threads() {
  return pool().threads();
}

void set_parallel_threads(int threads) {
  pool().set_threads(threads);
}

void start_parallel_threads() {
  pool().start();
}

namespace parallel_detail {

Plan plan_loop(std::int64_t n, const Cost& each) {
  const double total =
      static_cast<double>(n) * std::max(each.flops / flops_a_nanosecond, each.bytes / bytes_a_nanosecond);
  const double most = std::min(static_cast<double>(parallel_threads()), static_cast<double>(n));
  const int threads = static_cast<int>(std::clamp(total / grain_nanoseconds, 1.0, std::max(1.0, most)));
  if (threads == 1) return {1, n};
  const double chunks = std::clamp(total / least_chunk_nanoseconds, static_cast<double>(threads),
                                   static_cast<double>(threads * chunks_a_thread));
  return {threads, std::max<std::int64_t>(1, n / static_cast<std::int64_t>(chunks))};
}

void run_chunks(int threads, std::int64_t chunks, Run* run, void* context) {
  pool().run(threads, chunks, run, context);
}

void FirstError::keep(std::int64_t iteration) noexcept {
  const std::scoped_lock lock(mutex_);
  if (error_ && iteration_ < iteration) return;
  iteration_ = iteration;
  error_ = std::current_exception();
}

void FirstError::rethrow() {
  if (error_) std::rethrow_exception(error_);
}

}  // namespace parallel_detail
}  // namespace mslt

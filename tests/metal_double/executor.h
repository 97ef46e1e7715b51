// The thread that acts as the GPU: it runs committed work late and in order.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "backend/msl/drivers/host/team.h"

namespace mslt::metal_double {

// Returns the kernel's error, or an empty string.
using Work = std::function<std::string(msl::host::Team&)>;

// Stages run one after another, the work of one stage in any order.
using Script = std::vector<std::vector<Work>>;

// Small numbers from a seed, for delays and orders.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : state_(seed) {}
  std::uint32_t below(std::uint32_t limit);

 private:
  std::uint64_t state_;
};

class Executor {
 public:
  using Task = std::function<void(msl::host::Team&, Dice&)>;

  Executor(int threads, std::uint64_t seed);
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;
  // Finishes posted work.
  ~Executor();

  void post(Task task);
  // Returns when all work posted so far has run.
  void finish();

 private:
  void serve();

  std::mutex mutex_;
  std::condition_variable arrived_;
  std::condition_variable idle_;
  std::deque<Task> tasks_;
  bool busy_ = false;
  bool stop_ = false;
  msl::host::Team team_;
  Dice dice_;
  std::thread thread_;
};

// Runs the script, shuffling each stage; stops at the first error and returns it.
std::string run(const Script& script, msl::host::Team& team, Dice& dice);

// Sleeps for up to a fifth of a millisecond.
void nap(Dice& dice);

}  // namespace mslt::metal_double

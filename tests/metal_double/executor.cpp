// A queue, a thread and random numbers.
#include "tests/metal_double/executor.h"

#include <chrono>
#include <exception>
#include <numeric>
#include <utility>

#include "backend/msl/drivers/host/run_order.h"

namespace mslt::metal_double {

std::uint32_t Dice::below(std::uint32_t limit) {
  state_ = msl::host::mixed(state_);
  return static_cast<std::uint32_t>((state_ >> 32) % limit);
}

Executor::Executor(int threads, std::uint64_t seed) : team_(threads), dice_(seed), thread_([this] { serve(); }) {}

Executor::~Executor() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  arrived_.notify_one();
  thread_.join();
}

void Executor::post(Task task) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  arrived_.notify_one();
}

void Executor::finish() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return tasks_.empty() && !busy_; });
}

void Executor::serve() {
  for (;;) {
    Task task;
    {
      std::unique_lock lock(mutex_);
      arrived_.wait(lock, [this] { return stop_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
      busy_ = true;
    }
    task(team_, dice_);
    const std::lock_guard lock(mutex_);
    busy_ = false;
    idle_.notify_all();
  }
}

std::string run(const Script& script, msl::host::Team& team, Dice& dice) {
  try {
    for (const std::vector<Work>& stage : script) {
      std::vector<std::size_t> order(stage.size());
      std::iota(order.begin(), order.end(), std::size_t{0});
      for (std::size_t left = order.size(); left > 1; --left) {
        std::swap(order[left - 1], order[dice.below(static_cast<std::uint32_t>(left))]);
      }
      for (const std::size_t i : order) {
        if (std::string mistake = stage[i](team); !mistake.empty()) return mistake;
      }
    }
  } catch (const std::exception& exception) {
    return exception.what();
  }
  return {};
}

void nap(Dice& dice) {
  std::this_thread::sleep_for(std::chrono::microseconds(dice.below(200)));
}

}  // namespace mslt::metal_double

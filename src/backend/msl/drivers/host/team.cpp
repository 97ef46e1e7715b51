// Distributing threadgroups over host threads.
#include "backend/msl/drivers/host/team.h"

#include "backend/msl/drivers/host/sanitizer_hooks.h"
#include "base/joining_thread.h"

namespace mslt::msl::host {

Team::Team(int threads) {
  try {
    for (int i = 1; i < threads; ++i) threads_.push_back(start_thread([this] { serve(); }));
  } catch (...) {
    stop();
    throw;
  }
}

Team::~Team() {
  stop();
}

void Team::stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  start_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

std::string Team::run(const Dispatch& dispatch) {
  next_group_ = 0;
  failed_ = false;
  mistake_.clear();
  sanitizer::release(&dispatch.start_clock);
  const bool alone = dispatch.group_count() == 1 || threads_.empty();
  if (!alone) {
    const std::lock_guard lock(mutex_);
    dispatch_ = &dispatch;
    ++round_;
    busy_ = threads_.size();
  }
  if (!alone) start_.notify_all();
  take_part(own_, dispatch);
  if (!alone) {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return busy_ == 0; });
  }
  sanitizer::acquire(&dispatch.end_clock);
  return mistake_;
}

void Team::serve() {
  GroupRunner runner;
  std::uint64_t seen = 0;
  for (;;) {
    const Dispatch* dispatch = nullptr;
    {
      std::unique_lock lock(mutex_);
      start_.wait(lock, [&] { return stop_ || round_ != seen; });
      if (stop_) return;
      seen = round_;
      dispatch = dispatch_;
    }
    take_part(runner, *dispatch);
    const std::lock_guard lock(mutex_);
    if (--busy_ == 0) done_.notify_one();
  }
}

void Team::take_part(GroupRunner& runner, const Dispatch& dispatch) {
  bool begun = false;
  for (;;) {
    const std::uint64_t group = next_group_.fetch_add(1, std::memory_order_relaxed);
    if (group >= dispatch.group_count() || failed_.load(std::memory_order_relaxed)) break;
    if (!begun) runner.begin(dispatch);
    begun = true;
    std::string mistake = runner.run(thing_at(dispatch.order, group, dispatch.group_count(), 0));
    if (mistake.empty()) continue;
    const std::lock_guard lock(mutex_);
    if (!failed_.exchange(true)) mistake_ = std::move(mistake);
  }
  if (begun) runner.finish();
}

}  // namespace mslt::msl::host

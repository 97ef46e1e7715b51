// Works in order on a thread.
#include "parallel/background.h"

#include <utility>

namespace mslt {

BackgroundWork::~BackgroundWork() {
  {
    const std::scoped_lock lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
}

void BackgroundWork::add(std::function<void()> work) {
  if (!thread_) thread_.emplace([this] { work_on(); });
  {
    const std::scoped_lock lock(mutex_);
    if (failure_) return;
    works_.push_back(std::move(work));
  }
  changed_.notify_all();
}

void BackgroundWork::finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return works_.empty(); });
  if (failure_) std::rethrow_exception(failure_);
}

void BackgroundWork::work_on() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return ends_ || !works_.empty(); });
    if (ends_) return;
    const std::function<void()> work = works_.front();
    lock.unlock();
    std::exception_ptr failure;
    try {
      work();
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    failure_ = failure;
    if (failure_) {
      works_.clear();
    } else {
      works_.pop_front();
    }
    changed_.notify_all();
  }
}

}  // namespace mslt

// BackgroundWork: a thread that does one piece of work after another.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>

#include "base/joining_thread.h"

namespace mslt {

// The thread starts with the first work. After an exception, the works that are left are dropped, and those that come
// later. add() and finish() are for one thread at a time.
class BackgroundWork {
 public:
  BackgroundWork() = default;
  BackgroundWork(const BackgroundWork&) = delete;
  BackgroundWork& operator=(const BackgroundWork&) = delete;
  // Waits for the work that is being done; drops the others.
  ~BackgroundWork();

  // Throws Error(io) if no thread can be started.
  void add(std::function<void()> work);
  // Returns when all works are done. Throws the exception that ended them, each time.
  void finish();

 private:
  void work_on();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> works_;  // the first one is being done
  std::exception_ptr failure_;
  bool ends_ = false;
  std::optional<JoiningThread> thread_;
};

}  // namespace mslt

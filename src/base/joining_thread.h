// Starting threads, and a thread that is joined when it goes out of scope.
#pragma once

#include <concepts>
#include <system_error>
#include <thread>
#include <utility>

#include "base/process_limits.h"

namespace mslt {

// std::thread, but throws Error(io) naming the limits on threads if the system refuses to start it.
template <std::invocable Function>
std::thread start_thread(Function function) {
  try {
    return std::thread(std::move(function));
  } catch (const std::system_error& error) {
    fail_thread(error.code().value());
  }
}

// std::jthread without its stop token; Apple's library does not have std::jthread.
class JoiningThread {
 public:
  template <std::invocable Function>
  explicit JoiningThread(Function function) : thread_(start_thread(std::move(function))) {}
  JoiningThread(JoiningThread&&) noexcept = default;
  JoiningThread& operator=(JoiningThread&&) = delete;
  ~JoiningThread() {
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::thread thread_;
};

}  // namespace mslt

// A thread that is joined when it goes out of scope.
#pragma once

#include <concepts>
#include <thread>
#include <utility>

namespace mslt {

// std::jthread without its stop token, and without asking for it: Apple's library does not have that class.
class JoiningThread {
 public:
  template <std::invocable Function>
  explicit JoiningThread(Function function) : thread_(std::move(function)) {}
  JoiningThread(JoiningThread&&) noexcept = default;
  JoiningThread& operator=(JoiningThread&&) = delete;
  ~JoiningThread() {
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::thread thread_;
};

}  // namespace mslt

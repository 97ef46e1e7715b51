// Bounds of one rendering, and the failures of a template.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>

#include "text/chat_template.h"

namespace mslt::jinja {

// What Jinja refuses. Becomes an Error with the template's name and line where the template is parsed or rendered.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <class... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) {
  throw Failure(fmt::format(format, std::forward<Args>(args)...));
}

// Counts down what a rendering may still do. One thread at a time.
class Budget {
 public:
  explicit Budget(const ChatLimits& limits) : limits_(limits), steps_left_(limits.steps) {}

  const ChatLimits& limits() const { return limits_; }
  // Throws Failure if fewer steps are left.
  void spend(std::size_t steps) {
    if (steps > steps_left_) refuse("the template does more than the {} steps that are allowed", limits_.steps);
    steps_left_ -= steps;
  }
  // For a text of so many bytes, before it is made.
  void spend_on_text(std::size_t bytes) {
    if (bytes > limits_.output_bytes) refuse("a text becomes longer than the {} bytes allowed", limits_.output_bytes);
    constexpr std::size_t bytes_of_a_step = 64;
    spend(1 + bytes / bytes_of_a_step);
  }
  // For `times` texts or elements of `size` each, before they are made.
  void spend_on_product(std::size_t size, std::size_t times) {
    if (size != 0 && times > limits_.output_bytes / size) {
      refuse("a value becomes larger than the {} bytes allowed", limits_.output_bytes);
    }
    spend_on_text(size * times);
  }

  // One level of recursion while it lives.
  class Level {
   public:
    explicit Level(Budget& budget) : budget_(budget) {
      // Nested blocks and expressions, in each of several macro calls.
      constexpr std::size_t levels_of_depth = 5;
      if (budget.level_ >= budget.limits_.depth * levels_of_depth) {
        refuse("blocks, expressions and macro calls nest too deep");
      }
      ++budget.level_;
    }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    ~Level() { --budget_.level_; }

   private:
    Budget& budget_;
  };

 private:
  ChatLimits limits_;
  std::size_t steps_left_;
  std::size_t level_ = 0;
};

}  // namespace mslt::jinja

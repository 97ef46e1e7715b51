// LineReader: lines from a terminal, with editing and a history.
#pragma once

#include <functional>
#include <memory>
#include <string>

namespace mslt::cli {

// By libedit; keys as ~/.editrc says, else as in Emacs. One at a time, on one thread.
class LineReader {
 public:
  // Throws Error(io) if the terminal cannot be used.
  LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;
  ~LineReader();

  enum class Status { line, end, interrupted };
  // Reads a line without its end, behind `prompt`. `is_interrupted` is asked all the while; if it says so, the line is
  // given up.
  Status read(const std::string& prompt, const std::function<bool()>& is_interrupted, std::string& line);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mslt::cli

// Running commands in tests.
#pragma once

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <string>

namespace mslt {

struct Outcome {
  int status = 0;
  std::string text;  // standard output and standard error
};

// Shell commands that wait until a run has saved a checkpoint. Which one is left to it: a fast run soon deletes its
// first.
inline std::string wait_for_checkpoint(const std::string& run_folder) {
  return "while ! ls " + run_folder + "/checkpoints 2>/dev/null | grep -q step-; do sleep 0.1; done";
}

inline Outcome run_command(const std::string& command) {
  Outcome outcome;
  std::FILE* const pipe = ::popen(("exec 2>&1; " + command).c_str(), "r");
  if (pipe == nullptr) return {-1, "popen failed"};
  std::array<char, 4096> block{};
  while (const std::size_t count = std::fread(block.data(), 1, block.size(), pipe)) {
    outcome.text.append(block.data(), count);
  }
  const int status = ::pclose(pipe);
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return outcome;
}

}  // namespace mslt

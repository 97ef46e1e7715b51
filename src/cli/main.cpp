// The mslt program.
#include <unistd.h>

#include <csignal>
#include <iostream>

#include "cli/command.h"

int main(int argc, char** argv) {
  // A limit on file sizes and a closed pipe come back as errors, like a full disk.
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  std::ios::sync_with_stdio(false);
  mslt::cli::Context context{std::cin, std::cout, std::cerr, isatty(STDERR_FILENO) == 1};
  return mslt::cli::run({argv + 1, argv + argc}, context);
}

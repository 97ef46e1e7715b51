// The mslt program.
#include <unistd.h>

#include <iostream>

#include "cli/command.h"

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  mslt::cli::Context context{std::cin, std::cout, std::cerr, isatty(STDERR_FILENO) == 1};
  return mslt::cli::run({argv + 1, argv + argc}, context);
}

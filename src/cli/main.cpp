// The mslt program.
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "cli/command.h"
#include "cli/input_stream.h"
#include "cli/output_stream.h"
#include "cli/signal_thread.h"
#include "cli/standard_descriptors.h"

int main(int argc, char** argv) {
  using namespace mslt::cli;
  const ClosedDescriptors closed = open_closed_descriptors();
  take_signals_apart();
  // A limit on file sizes and a closed pipe come back as errors, like a full disk.
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  InputStream in(STDIN_FILENO, closed.in);
  OutputStream out(STDOUT_FILENO, WriteFailure::raise, closed.out);
  OutputStream err(STDERR_FILENO, WriteFailure::ignore, closed.err);
  err << std::unitbuf;
  err.tie(&out);
  Context context{in, out, err, isatty(STDERR_FILENO) == 1};
  if (argc > 0) context.program = argv[0];
  return run({argv + std::min(argc, 1), argv + argc}, context);
}

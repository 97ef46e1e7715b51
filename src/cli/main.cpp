// The mslt program.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <new>
#include <string_view>

#include "cli/command.h"
#include "cli/input_stream.h"
#include "cli/output_stream.h"
#include "cli/signal_thread.h"
#include "cli/standard_descriptors.h"

namespace {

// Whether a line can be rewritten in place there: a terminal, and none that only takes text, as in an editor.
bool rewrites_lines(int descriptor) {
  const char* const terminal = std::getenv("TERM");
  const bool is_plain = terminal != nullptr && std::string_view(terminal) == "dumb";
  return isatty(descriptor) == 1 && !is_plain;
}

int run_program(int argc, char** argv) {
  using namespace mslt::cli;
  const ClosedDescriptors closed = open_closed_descriptors();
  take_signals_apart();
  // A file size limit and a closed pipe are reported as errors, like a full disk.
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  InputStream in(STDIN_FILENO, closed.in);
  OutputStream out(STDOUT_FILENO, WriteFailure::raise, closed.out);
  OutputStream err(STDERR_FILENO, WriteFailure::ignore, closed.err);
  err << std::unitbuf;
  err.tie(&out);
  Context context{in, out, err, rewrites_lines(STDERR_FILENO)};
  context.in_is_terminal = !closed.in && isatty(STDIN_FILENO) == 1;
  if (argc > 0) context.program = argv[0];
  return run({argv + std::min(argc, 1), argv + argc}, context);
}

// Writes a message without streams and possibly without memory.
void say(std::string_view text) {
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run_program(argc, argv);
  } catch (const std::bad_alloc&) {
    say("mslt: Out of memory before the work began; raise the limit on address space (ulimit -v).\n");
  } catch (const std::exception& error) {
    say("mslt: ");
    say(error.what());
    say("\n");
  }
  return 1;
}

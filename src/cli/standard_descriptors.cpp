// Filling the descriptors 0 to 2.
#include "cli/standard_descriptors.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace mslt::cli {
namespace {

// Returns whether it was closed. open() takes the lowest free number, which is this one, since those below are open.
bool fill(int descriptor, int flags) {
  if (::fcntl(descriptor, F_GETFD) != -1 || errno != EBADF) return false;
  // In a root without /dev/null, a folder also occupies the number.
  if (::open("/dev/null", flags) < 0) ::open("/", O_RDONLY);
  return true;
}

}  // namespace

ClosedDescriptors open_closed_descriptors() {
  ClosedDescriptors closed;
  closed.in = fill(STDIN_FILENO, O_RDONLY);
  closed.out = fill(STDOUT_FILENO, O_WRONLY);
  closed.err = fill(STDERR_FILENO, O_WRONLY);
  return closed;
}

}  // namespace mslt::cli

// Replaces MPI in builds without it.
#include "base/fail.h"
#include "parallel/mpi_transport.h"

namespace mslt {

bool has_mpi() {
  return false;
}

std::unique_ptr<Transport> make_mpi_transport(std::chrono::milliseconds /*patience*/) {
  fail(ErrorKind::usage,
       "This process was started as one of several by MPI, but this build of mslt has no MPI. Install MPI's headers "
       "(libopenmpi-dev, or brew install open-mpi) and build again, or start one process.");
}

}  // namespace mslt

// Finding out whether a launcher started this process together with others.
#pragma once

#include <memory>

#include "parallel/communicator.h"

namespace mslt {

// How many processes a launcher says that it started: by the variables that Open MPI, MPICH and their kin set for each
// of them; 1 without a launcher.
int launched_processes();

// A communicator of all processes that were started together, by MPI where there are several; a lone one otherwise.
// Throws what make_mpi_transport throws. Once in a process.
std::unique_ptr<Communicator> make_communicator();

}  // namespace mslt

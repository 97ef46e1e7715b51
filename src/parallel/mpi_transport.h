// The processes that mpirun, or another launcher that MPI knows, started together.
#pragma once

#include <chrono>
#include <memory>

#include "parallel/transport.h"

namespace mslt {

// Whether this build has MPI.
bool has_mpi();

// Starts MPI; once in a process. Every process tells the others every few seconds that it lives, on a thread of its
// own. An exchange ends with an Error where a rank that it waits for has told of a failure, has ended (seen on the same
// host), or has not been heard of for `patience`. The destructor waits for the other ranks and ends MPI; after a
// failure it leaves that to the end of the process, so that the launcher ends all others. Throws Error(device) where
// MPI cannot be used by two threads in turn, Error(usage) in a build without MPI.
std::unique_ptr<Transport> make_mpi_transport(std::chrono::milliseconds patience);

}  // namespace mslt

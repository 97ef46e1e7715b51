// Starting the threads of data-parallel loops early enough to report a failure.
#pragma once

namespace mslt {

// Starts the threads that the calling thread's loops (base/parallel.h) use. OpenMP ends the program if the system
// refuses one of them; this throws Error(io) instead, so call it before the first loop. Takes about 10 µs per thread.
void start_parallel_threads();

}  // namespace mslt

// Starting the threads of data-parallel loops where a refusal can still be told.
#pragma once

namespace mslt {

// Starts the threads that the calling thread's loops (base/parallel.h) use. OpenMP ends the program where the system
// refuses one of them; this throws Error(io) instead, so it goes before the first loop. Takes some 10 µs a thread.
void start_parallel_threads();

}  // namespace mslt

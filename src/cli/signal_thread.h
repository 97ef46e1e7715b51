// The thread that takes the signals which ask the program to end.
#pragma once

namespace mslt::cli {

// Starts a thread of its own that SIGINT, SIGTERM and SIGHUP are delivered to, and blocks them in the calling thread
// and all that it will start. Handlers and default actions stay what they are. Threads that compute must not take a
// signal: matrix kernels that are assembled at run time use the stack's register for other things, and what the system
// writes for a handler would land in their data. To be called once, before other threads are started. Where no thread
// can be started, nothing is blocked. Throws nothing.
void take_signals_apart();

}  // namespace mslt::cli

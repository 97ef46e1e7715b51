// The thread that receives the signals which ask the program to end.
#pragma once

namespace mslt::cli {

// Starts a thread that receives SIGINT, SIGTERM and SIGHUP, and blocks them in the calling thread and all its later
// threads. Handlers and default actions do not change. Compute threads must not receive signals: matrix kernels
// assembled at run time use the stack register for other purposes, and the system's frame for a handler would overwrite
// their data. Call it once, before other threads are started. If no thread can be started, blocks nothing. Throws
// nothing.
void take_signals_apart();

}  // namespace mslt::cli

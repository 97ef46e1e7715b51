// The exit statuses of mslt, which scripts lean on.
#pragma once

namespace mslt::cli {

inline constexpr int failure_status = 1;
inline constexpr int usage_status = 2;
inline constexpr int stopped_training_status = 3;  // a signal stopped training early; a checkpoint is saved
inline constexpr int signal_status = 128;          // and the signal's number, for other work that a signal ended
inline constexpr int closed_output_status = 141;   // what a shell shows for SIGPIPE

}  // namespace mslt::cli

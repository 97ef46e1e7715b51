// The exit statuses of mslt, on which scripts depend.
#pragma once

namespace mslt::cli {

inline constexpr int failure_status = 1;
inline constexpr int usage_status = 2;
inline constexpr int stopped_training_status = 3;  // a signal stopped training early; a checkpoint is saved
inline constexpr int signal_status = 128;          // plus the signal's number, for other work ended by a signal
inline constexpr int closed_output_status = 141;   // as a shell shows SIGPIPE

}  // namespace mslt::cli

// Messages and exit statuses for exceptions that end the program.
#include "cli/failure.h"

#include <chrono>
#include <new>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

#include "base/printable.h"
#include "base/system_error.h"
#include "cli/exit_status.h"
#include "cli/interrupt.h"
#include "cli/output_stream.h"
#include "mslt/error.h"
#include "parallel/communicator.h"

namespace mslt::cli {
namespace {

struct Failure {
  ErrorKind kind = ErrorKind::input;
  std::string message;
  int status = failure_status;
};

std::string_view name_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::usage:
      return "usage";
    case ErrorKind::input:
      return "input";
    case ErrorKind::io:
      return "io";
    case ErrorKind::memory:
      return "memory";
    case ErrorKind::device:
      return "device";
    case ErrorKind::numeric:
      return "numeric";
    case ErrorKind::interrupted:
      return "interrupted";
  }
  return "input";
}

int status_of(ErrorKind kind) {
  if (kind == ErrorKind::usage) return usage_status;
  if (kind == ErrorKind::interrupted) return interrupt_status();
  return failure_status;
}

Failure describe(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& known) {
    return {known.kind(), printable_lines(known.what()), status_of(known.kind())};
  } catch (const std::bad_alloc& none) {
    return {ErrorKind::memory, explain_exception(none), failure_status};
  } catch (const std::system_error& refused) {
    return {ErrorKind::io, printable_lines(explain_exception(refused)), failure_status};
  } catch (const std::exception& other) {
    return {ErrorKind::input, printable_lines(other.what()), failure_status};
  } catch (...) {
    return {ErrorKind::input, "An unknown error ended the program.", failure_status};
  }
}

// Waits to be ended by the launcher where another process tells of the error and ends: one message is enough. Where
// that does not come, this process tells of it as well.
void leave_to_another(const Communicator& communicator, bool is_under_mpi) {
  // Without MPI the news comes at once, and rank 0 has told of it soon.
  const std::chrono::seconds patience{is_under_mpi ? 20 : 5};
  constexpr std::chrono::seconds patience_of_second{3};  // with the first, which tells of its own error if it can
  const auto failure = communicator.failure();
  const bool has_lost_first = failure && failure->rank == 0;
  if (communicator.rank() == 0) return;
  std::this_thread::sleep_for(has_lost_first && communicator.rank() == 1 ? patience_of_second : patience);
}

bool is_closed_output(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const OutputClosed&) {
    return true;
  } catch (...) {
    return false;
  }
}

}  // namespace

int report_failure(const std::exception_ptr& error, bool json, Context& context) noexcept {
  if (is_closed_output(error)) return closed_output_status;
  if (context.communicator) leave_to_another(*context.communicator, context.is_under_mpi);
  int status = failure_status;
  // Otherwise the line on standard error would first write standard output, and fail if that fails.
  context.err.tie(nullptr);
  context.err.clear();
  try {
    const Failure failure = describe(error);
    status = failure.status;
    context.err << "mslt: " << failure.message << '\n' << std::flush;
    if (json) {
      context.print_json(
          {{"error",
            {{"kind", name_of(failure.kind)}, {"message", failure.message}, {"exit_status", failure.status}}}});
    }
    finish_output(context.out);
  } catch (...) {  // nowhere is left to report it
  }
  return status;
}

}  // namespace mslt::cli

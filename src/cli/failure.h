// From an exception to a message, a JSON object and an exit status.
#pragma once

#include <exception>

#include "cli/command.h"

namespace mslt::cli {

// Reports an error that ended the program: a line on `context.err` and, with `json`, an object on `context.out` if that
// can still be written. Does not report that the output's reader closed it. Returns the exit status. Throws nothing.
int report_failure(const std::exception_ptr& error, bool json, Context& context) noexcept;

}  // namespace mslt::cli

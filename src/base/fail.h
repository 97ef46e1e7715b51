// Throwing mslt::Error with a formatted message.
#pragma once

#include <fmt/format.h>

#include <utility>

#include "mslt/error.h"

namespace mslt {

// Throws Error(kind, message); the message names the fault and what would be valid.
template <class... Args>
[[noreturn]] void fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(kind, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace mslt

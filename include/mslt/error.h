// The only exception type that mslt throws.
#pragma once

#include <stdexcept>
#include <string>

namespace mslt {

// The kind of failure, as far as a caller may act on it.
enum class ErrorKind {
  usage,        // an invalid option or combination of options
  input,        // an outside file or text that cannot be accepted
  io,           // the operating system refused to read, write or lock
  memory,       // not enough memory
  device,       // an accelerator or its driver failed
  numeric,      // a loss or gradient that is not finite
  interrupted,  // the caller asked for the work to stop
};

// what() is one or more complete sentences that name the file, tensor, kernel or flag and say what would be valid. The
// library reports every failure with this type; std::bad_alloc may pass through as well.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorKind kind_;
};

}  // namespace mslt

// The one exception type that mslt throws.
#pragma once

#include <stdexcept>
#include <string>

namespace mslt {

// What went wrong, in the coarse sense that a caller may act on.
enum class ErrorKind {
  usage,        // an option or a combination of options that is not valid
  input,        // a file or a text from outside that cannot be accepted as it is
  io,           // the operating system refused to read, write or lock
  memory,       // more memory asked for than there is
  device,       // an accelerator or its driver failed
  numeric,      // a loss or gradient that is not finite
  interrupted,  // the caller asked for the work to stop
};

// what() is one or more complete sentences that name the file, tensor, kernel or flag and say what would be valid.
// Everything the library rejects, it rejects with this type; std::bad_alloc may pass through as well.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorKind kind_;
};

}  // namespace mslt

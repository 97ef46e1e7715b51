// Which operations of a GPU are left to its vendor's libraries.
#pragma once

#include <string>
#include <string_view>

namespace mslt {

// "auto" takes the library where it is there and serves the operation, and mslt's own kernels elsewhere. Results differ
// by rounding.
struct LibraryChoice {
  std::string attention = "auto";  // over whole sequences: auto, msl or cudnn
  std::string products = "auto";   // of matrices: auto, msl or cublas

  bool operator==(const LibraryChoice&) const = default;
};

// Throws Error(usage) for a name that does not exist, for a library that `device` ("cpu", "metal", ...) has not, and
// for mslt's kernels on the CPU, which has none.
void check_libraries(const LibraryChoice& choice, std::string_view device);

}  // namespace mslt

// The descriptors 0 to 2, which the program's caller may have closed.
#pragma once

namespace mslt::cli {

// Which of them were closed.
struct ClosedDescriptors {
  bool in = false;
  bool out = false;
  bool err = false;
};

// Opens the closed ones of descriptors 0 to 2 on /dev/null, so no file opened later gets such a number and receives
// output meant for people. Call it first of all, before there are threads.
ClosedDescriptors open_closed_descriptors();

}  // namespace mslt::cli

// The descriptors 0 to 2, which whoever starts the program may have closed.
#pragma once

namespace mslt::cli {

// Which of them were closed.
struct ClosedDescriptors {
  bool in = false;
  bool out = false;
  bool err = false;
};

// Opens those of the descriptors 0 to 2 that are closed on /dev/null, so that no file opened later takes such a number
// and receives what is meant for people. To be called first of all, before there are threads.
ClosedDescriptors open_closed_descriptors();

}  // namespace mslt::cli

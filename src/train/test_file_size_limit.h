// A disk that is full, for tests.
#pragma once

#include <sys/resource.h>

#include <csignal>

namespace mslt {

// Limits the size of files while it lives; a write past it is then an error, as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t most) {
    std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit now = {most, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &now);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() { ::setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_ = {};
};

}  // namespace mslt

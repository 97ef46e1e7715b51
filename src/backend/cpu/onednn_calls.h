// What calls of oneDNN need around them.
#pragma once

#include <dlfcn.h>

#include <cstdint>

#include "backend/cpu/host_info.h"
#include "base/fail.h"
#include "base/process_limits.h"

namespace mslt::onednn {

// oneDNN generates its kernels at the first product, and crashes if it gets no address space for them; it was observed
// to take about 5 MiB.
inline bool require_room_for_kernels() {
  constexpr std::uint64_t room = std::uint64_t{16} << 20;
  if (address_space_left() < room) {
    fail(ErrorKind::memory, "There is no room for the kernels of matrix products, {}: {}.", binary_size(room),
         explain_memory(room, host_free_bytes()));
  }
  return true;
}

// Makes oneDNN compute on the calling thread alone: tiles are shared among the threads of parallel loops, and a second
// team would contend with them. oneDNN asks the OpenMP that it was built with, which need not be the compiler's, so it
// is found among the loaded libraries.
class SingleThread {
 public:
  SingleThread() : before_(openmp().threads == nullptr ? 0 : openmp().threads()) {
    if (before_ > 1) openmp().set_threads(1);
  }
  ~SingleThread() {
    if (before_ > 1) openmp().set_threads(before_);
  }
  SingleThread(const SingleThread&) = delete;
  SingleThread& operator=(const SingleThread&) = delete;

 private:
  struct OpenMp {
    int (*threads)() = reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "omp_get_max_threads"));
    void (*set_threads)(int) = reinterpret_cast<void (*)(int)>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  };
  static const OpenMp& openmp() {
    static const OpenMp found;
    return found;
  }

  int before_;
};

}  // namespace mslt::onednn

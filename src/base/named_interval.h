// Names intervals of the host's time for a profiler of the platform: NVIDIA's Nsight (NVTX ranges) in CUDA builds,
// Apple's Instruments (os_signpost) on macOS. Without a profiler, an interval costs next to nothing.
#pragma once

namespace mslt {

// From its construction to its destruction, on the thread that makes it; intervals of a thread nest. Any thread.
class NamedInterval {
 public:
  // `name` ends with a null character and outlives the interval.
  explicit NamedInterval(const char* name);
  ~NamedInterval();
  NamedInterval(const NamedInterval&) = delete;
  NamedInterval& operator=(const NamedInterval&) = delete;

 private:
  [[maybe_unused]] unsigned long long id_ = 0;  // of Instruments
};

}  // namespace mslt

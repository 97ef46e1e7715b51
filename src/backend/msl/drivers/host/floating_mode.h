// Whether the current thread's floating-point arithmetic flushes subnormal operands and results to zero, as GPUs may.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace mslt::msl::host {

#if defined(__x86_64__)
inline constexpr bool can_flush_subnormals = true;
inline void flush_subnormals(bool flush) {
  constexpr unsigned results_and_operands = 0x8040;  // FTZ and DAZ
  const unsigned mode = _mm_getcsr();
  const unsigned wanted = flush ? mode | results_and_operands : mode & ~results_and_operands;
  if (wanted != mode) _mm_setcsr(wanted);
}
#elif defined(__aarch64__)
inline constexpr bool can_flush_subnormals = true;
inline void flush_subnormals(bool flush) {
  constexpr std::uint64_t operands_and_results = std::uint64_t{1} << 24;  // FZ
  std::uint64_t mode = 0;
  asm volatile("mrs %0, fpcr" : "=r"(mode));
  const std::uint64_t wanted = flush ? mode | operands_and_results : mode & ~operands_and_results;
  if (wanted != mode) asm volatile("msr fpcr, %0" : : "r"(wanted));
}
#else
inline constexpr bool can_flush_subnormals = false;
inline void flush_subnormals(bool /*flush*/) {}
#endif

}  // namespace mslt::msl::host

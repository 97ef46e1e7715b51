// Integer arithmetic on sizes that come from files: overflow is an Error, never a wrap.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/fail.h"

namespace mslt {

// a * b; throws Error(input) naming `what` if the product does not fit 64 bits.
inline std::uint64_t checked_multiply(std::uint64_t a, std::uint64_t b, std::string_view what) {
  std::uint64_t result = 0;
  if (__builtin_mul_overflow(a, b, &result)) fail(ErrorKind::input, "{}: {} times {} overflows 64 bits.", what, a, b);
  return result;
}

// a + b; throws Error(input) naming `what` if the sum does not fit 64 bits.
inline std::uint64_t checked_add(std::uint64_t a, std::uint64_t b, std::string_view what) {
  std::uint64_t result = 0;
  if (__builtin_add_overflow(a, b, &result)) fail(ErrorKind::input, "{}: {} plus {} overflows 64 bits.", what, a, b);
  return result;
}

}  // namespace mslt

// Under AddressSanitizer: the bytes around a tensor, which no kernel may even read.
#pragma once

#include <cstddef>
#include <span>

#if defined(__SANITIZE_ADDRESS__)
#define MSLT_GUARD_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MSLT_GUARD_ASAN 1
#endif
#endif

#ifdef MSLT_GUARD_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace mslt::test {

#ifdef MSLT_GUARD_ASAN
inline constexpr bool guards_bands = true;
inline void forbid(std::span<const std::byte> bytes) {
  __asan_poison_memory_region(bytes.data(), bytes.size());
}
inline void allow(std::span<const std::byte> bytes) {
  __asan_unpoison_memory_region(bytes.data(), bytes.size());
}
#else
inline constexpr bool guards_bands = false;
inline void forbid(std::span<const std::byte> /*bytes*/) {}
inline void allow(std::span<const std::byte> /*bytes*/) {}
#endif

}  // namespace mslt::test

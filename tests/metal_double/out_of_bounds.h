// Under AddressSanitizer: a kernel may touch only the bytes of its buffers that its bindings cover.
#pragma once

#include <cstddef>
#include <vector>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MSLT_DOUBLE_ASAN 1
#endif
#endif

#ifdef MSLT_DOUBLE_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace mslt::metal_double {

// A buffer of a dispatch, and one of its bound ranges.
struct BoundRange {
  void* contents = nullptr;
  std::size_t length = 0;
  std::size_t begin = 0;
  std::size_t end = 0;
};

#ifdef MSLT_DOUBLE_ASAN
inline constexpr bool sees_out_of_bounds = true;

// While it lives, an access to another part of one of the buffers is reported as use of poisoned memory.
class OutOfBounds {
 public:
  explicit OutOfBounds(const std::vector<BoundRange>& ranges) : ranges_(ranges) {
    for (const BoundRange& range : ranges_) __asan_poison_memory_region(range.contents, range.length);
    for (const BoundRange& range : ranges_) {
      __asan_unpoison_memory_region(static_cast<std::byte*>(range.contents) + range.begin, range.end - range.begin);
    }
  }
  OutOfBounds(const OutOfBounds&) = delete;
  OutOfBounds& operator=(const OutOfBounds&) = delete;
  ~OutOfBounds() {
    for (const BoundRange& range : ranges_) __asan_unpoison_memory_region(range.contents, range.length);
  }

 private:
  const std::vector<BoundRange>& ranges_;
};
#else
inline constexpr bool sees_out_of_bounds = false;

class OutOfBounds {
 public:
  explicit OutOfBounds(const std::vector<BoundRange>& /*ranges*/) {}
};
#endif

}  // namespace mslt::metal_double

// The classes of 64 bytes at once, as masks with one bit for each byte.
#pragma once

#include <cstdint>

namespace mslt {

// Bit i is that of byte i. Bytes from 0x80 on are only in `others`.
struct AsciiMasks {
  std::uint64_t letters = 0;
  std::uint64_t numbers = 0;
  std::uint64_t white = 0;   // U+0009 to U+000D and the space
  std::uint64_t spaces = 0;  // U+0020 alone
  std::uint64_t apostrophes = 0;
  std::uint64_t others = 0;  // not ASCII

  bool operator==(const AsciiMasks&) const = default;
};

// The masks of the 64 bytes at `bytes`. Safe to call from several threads.
AsciiMasks ascii_masks(const char* bytes);
// The same without vector instructions, eight bytes at a time.
AsciiMasks ascii_masks_by_words(const char* bytes);

}  // namespace mslt

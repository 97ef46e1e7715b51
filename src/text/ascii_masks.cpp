// Classes of bytes by vector instructions where the processor has them, and by words.
#include "text/ascii_masks.h"

#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace mslt {
namespace {

constexpr std::uint64_t ones = 0x0101010101010101;
constexpr std::uint64_t high_bits = 0x80 * ones;

// The high bit of each byte, for bytes below 0x80, that is from `first` to `last`. Sums stay below 0x100.
constexpr std::uint64_t within(std::uint64_t low, std::uint64_t first, std::uint64_t last) {
  return (low + (0x80 - first) * ones) & ~(low + (0x7F - last) * ones) & high_bits;
}

// The high bits of the eight bytes of a word, whose first byte is the lowest, as the bits 0 to 7.
constexpr std::uint64_t gathered(std::uint64_t high) {
  return ((high >> 7) * 0x0102040810204080) >> 56;
}

// The word whose lowest byte is the first.
std::uint64_t load_word(const char* bytes) {
  std::uint64_t word = 0;
  for (int i = 7; i >= 0; --i) word = (word << 8) | static_cast<unsigned char>(bytes[i]);
  return word;
}

#if defined(__SSE2__)
std::uint64_t mask_of(__m128i bytes) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(_mm_movemask_epi8(bytes)));
}

// Bytes of `first` to `first + span`.
__m128i within(__m128i bytes, char first, char span) {
  const __m128i distance = _mm_sub_epi8(bytes, _mm_set1_epi8(first));
  return _mm_cmpeq_epi8(_mm_min_epu8(distance, _mm_set1_epi8(span)), distance);
}
#endif

}  // namespace

AsciiMasks ascii_masks_by_words(const char* bytes) {
  AsciiMasks masks;
  for (int i = 0; i < 64; i += 8) {
    const std::uint64_t word = load_word(bytes + i);
    const std::uint64_t low = word & ~high_bits;
    const std::uint64_t ascii = ~word;
    const std::uint64_t spaces = within(low, ' ', ' ') & ascii;
    masks.letters |= gathered(within(low | 0x20 * ones, 'a', 'z') & ascii) << i;
    masks.numbers |= gathered(within(low, '0', '9') & ascii) << i;
    masks.white |= gathered((within(low, '\t', '\r') & ascii) | spaces) << i;
    masks.spaces |= gathered(spaces) << i;
    masks.apostrophes |= gathered(within(low, '\'', '\'') & ascii) << i;
    masks.others |= gathered(word & high_bits) << i;
  }
  return masks;
}

#if defined(__SSE2__)
AsciiMasks ascii_masks(const char* bytes) {
  AsciiMasks masks;
  for (int i = 0; i < 64; i += 16) {
    const __m128i part = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + i));
    const __m128i spaces = _mm_cmpeq_epi8(part, _mm_set1_epi8(' '));
    masks.letters |= mask_of(within(_mm_or_si128(part, _mm_set1_epi8(0x20)), 'a', 25)) << i;
    masks.numbers |= mask_of(within(part, '0', 9)) << i;
    masks.white |= mask_of(_mm_or_si128(within(part, '\t', 4), spaces)) << i;
    masks.spaces |= mask_of(spaces) << i;
    masks.apostrophes |= mask_of(_mm_cmpeq_epi8(part, _mm_set1_epi8('\''))) << i;
    masks.others |= mask_of(part) << i;
  }
  return masks;
}
#else
AsciiMasks ascii_masks(const char* bytes) {
  return ascii_masks_by_words(bytes);
}
#endif

}  // namespace mslt

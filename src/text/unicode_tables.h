// Unicode properties of code points, from tables written by tools/generate_unicode_tables.py.
//
// Both lookups have two stages: the upper bits of the code point select a block of 128 entries; equal blocks are stored
// once. All functions here are safe to call from several threads.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mslt::unicode {

// The class of a code point in the pre-tokenizers' patterns, one bit each, so a set of classes is a mask.
using ClassMask = std::uint8_t;
inline constexpr ClassMask symbol = 1;         // none of the others
inline constexpr ClassMask other_letter = 2;   // Lm, Lo
inline constexpr ClassMask mark = 4;           // Mn, Mc, Me
inline constexpr ClassMask number = 8;         // Nd, Nl, No
inline constexpr ClassMask upper_letter = 16;  // Lu, Lt
inline constexpr ClassMask lower_letter = 32;  // Ll
inline constexpr ClassMask space = 64;         // White_Space other than newline
inline constexpr ClassMask newline = 128;      // U+000A, U+000D

// How NFC treats a code point. `boundary`: NFC never joins or moves it, or its decomposition, towards the text before
// it, and does not change it if only boundaries follow.
struct NormalizationRecord {
  std::uint16_t decomposition;        // start of its full canonical decomposition in `decompositions`
  std::uint8_t decomposition_length;  // 0: it does not decompose (Hangul syllables do, by arithmetic)
  std::uint8_t combining_class;
  bool boundary;
};

// NFC joins first and second into composite.
struct Composition {
  char32_t first;
  char32_t second;
  char32_t composite;
};

inline constexpr char32_t code_point_limit = 0x110000;
inline constexpr unsigned block_bits = 7;
inline constexpr char32_t block_mask = (char32_t{1} << block_bits) - 1;

extern const char version[];  // of the Unicode standard, such as "16.0.0"
extern const std::uint8_t class_index[code_point_limit >> block_bits];
extern const std::uint8_t class_blocks[];
extern const std::uint8_t normalization_index[code_point_limit >> block_bits];
extern const std::uint16_t normalization_blocks[];
extern const NormalizationRecord normalization_records[];
extern const char32_t decompositions[];
extern const Composition compositions[];  // sorted by (first, second); without Hangul
extern const std::size_t composition_count;

// The class of a code point below code_point_limit; exactly one bit is set.
inline ClassMask class_of(char32_t code_point) {
  const std::size_t block = class_index[code_point >> block_bits];
  return class_blocks[(block << block_bits) | (code_point & block_mask)];
}

// The record of a code point below code_point_limit.
inline const NormalizationRecord& normalization_of(char32_t code_point) {
  const std::size_t block = normalization_index[code_point >> block_bits];
  return normalization_records[normalization_blocks[(block << block_bits) | (code_point & block_mask)]];
}

}  // namespace mslt::unicode

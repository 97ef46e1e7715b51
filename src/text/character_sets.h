// Named sets of characters and compatibility decompositions, from tables that tools/generate_character_sets.py writes.
//
// The names are the general categories of Unicode ("Lu"), some scripts ("Han"), "Alphabetic", and the sets of the
// tokenizers package's pre-tokenizers: "word" (\w of expressions), "rust word" (\w of Whitespace), "space", "numeric"
// (Digits) and "punctuation" (Punctuation). All functions here are safe to call from several threads.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace mslt::unicode {

struct CharacterRange {
  char32_t first = 0;
  char32_t last = 0;  // inclusive
  bool operator==(const CharacterRange&) const = default;
};

// Every `step`-th code point from first to last, which are included.
struct SteppedRange {
  char32_t first;
  char32_t last = first;
  std::uint32_t step = 1;
};

// Its own ranges and the sets of these names.
struct NamedSet {
  std::string_view name;
  std::uint32_t first_range;
  std::uint32_t range_count;
  std::array<std::string_view, 6> parts = {};
};

// The full compatibility decompositions (NFKD) of neighbouring code points, if they differ from the canonical ones and
// have equal lengths: `part_count` parts for each, one code point after another.
struct CompatibilityDecomposition {
  char32_t first;
  char32_t last;  // inclusive
  std::uint16_t first_part;
  std::uint8_t part_count;
};

extern const NamedSet named_sets[];
extern const std::size_t named_set_count;
extern const SteppedRange set_ranges[];
extern const CompatibilityDecomposition compatibility_decompositions[];  // ascending
extern const std::size_t compatibility_decomposition_count;
extern const char32_t compatibility_parts[];

}  // namespace mslt::unicode

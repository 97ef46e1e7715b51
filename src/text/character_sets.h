// Named sets of characters and compatibility decompositions, from tables that tools/generate_character_sets.py writes.
//
// The names are the general categories of Unicode ("Lu"), some scripts ("Han"), "Alphabetic", and the sets of the
// tokenizers package's pre-tokenizers: "word" (\w of expressions), "rust word" (\w of Whitespace), "space", "numeric"
// (Digits) and "punctuation" (Punctuation). All functions here are safe to call from several threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace mslt::unicode {

struct CharacterRange {
  char32_t first = 0;
  char32_t last = 0;  // inclusive
  bool operator==(const CharacterRange&) const = default;
};

struct NamedSet {
  std::string_view name;
  std::uint32_t first_range;
  std::uint32_t range_count;
};

// The full compatibility decomposition (NFKD) of code points, if it differs from the canonical one.
struct CompatibilityDecomposition {
  char32_t code_point;
  std::uint16_t first_part;
  std::uint8_t part_count;
};

extern const NamedSet named_sets[];
extern const std::size_t named_set_count;
extern const CharacterRange set_ranges[];
extern const CompatibilityDecomposition compatibility_decompositions[];  // by ascending code point
extern const std::size_t compatibility_decomposition_count;
extern const char32_t compatibility_parts[];

// The ranges of a set, ascending and disjoint; empty if no set has this name.
inline std::span<const CharacterRange> ranges_of_set(std::string_view name) {
  for (const NamedSet& set : std::span(named_sets, named_set_count)) {
    if (set.name == name) return {set_ranges + set.first_range, set.range_count};
  }
  return {};
}

}  // namespace mslt::unicode

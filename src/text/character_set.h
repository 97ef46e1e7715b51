// A set of characters (Unicode code points) as sorted ranges.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "text/character_sets.h"

namespace mslt {

// A value; const members are safe to call from several threads.
class CharacterSet {
 public:
  CharacterSet() = default;
  // Ranges in any order, possibly overlapping.
  explicit CharacterSet(std::vector<unicode::CharacterRange> ranges);
  static CharacterSet of(char32_t first, char32_t last) { return CharacterSet({{first, last}}); }
  static CharacterSet all();
  // A set of character_sets.h by its name; empty if unknown.
  static CharacterSet named(std::string_view name);

  bool contains(char32_t code_point) const {
    if (code_point < 0x80) return (ascii_[code_point / 64] >> (code_point % 64) & 1) != 0;
    return contains_beyond_ascii(code_point);
  }
  bool empty() const { return ranges_.empty(); }
  std::span<const unicode::CharacterRange> ranges() const { return ranges_; }

  CharacterSet united(const CharacterSet& other) const;
  CharacterSet intersected(const CharacterSet& other) const;
  CharacterSet complement() const;
  // With every letter that differs only in case from one of the set. Only ASCII letters and what folds to them: U+017F
  // to s, U+212A to k.
  CharacterSet without_case() const;

  bool operator==(const CharacterSet& other) const { return ranges_ == other.ranges_; }

 private:
  bool contains_beyond_ascii(char32_t code_point) const;

  std::vector<unicode::CharacterRange> ranges_;  // ascending, with gaps between
  std::array<std::uint64_t, 2> ascii_{};
};

}  // namespace mslt

// Operations on sorted ranges.
#include "text/character_set.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace mslt {
namespace {

constexpr char32_t last_code_point = 0x10FFFF;

// Appends the ranges of a set of character_sets.h; none if no set has this name.
void add_named(std::string_view name, std::vector<unicode::CharacterRange>& ranges) {
  const std::span sets(unicode::named_sets, unicode::named_set_count);
  const auto set = std::ranges::find(sets, name, &unicode::NamedSet::name);
  if (set == sets.end() || name.empty()) return;
  for (const unicode::SteppedRange& range : std::span(unicode::set_ranges + set->first_range, set->range_count)) {
    if (range.step == 1) {
      ranges.push_back({range.first, range.last});
      continue;
    }
    for (char32_t point = range.first; point <= range.last; point += range.step) ranges.push_back({point, point});
  }
  for (const std::string_view part : set->parts) add_named(part, ranges);
}

}  // namespace

CharacterSet::CharacterSet(std::vector<unicode::CharacterRange> ranges) {
  // Most are in order: results of other sets.
  if (!std::ranges::is_sorted(ranges, {}, &unicode::CharacterRange::first)) {
    std::ranges::sort(ranges, {}, &unicode::CharacterRange::first);
  }
  for (const unicode::CharacterRange& range : ranges) {
    if (!ranges_.empty() && range.first <= ranges_.back().last + 1) {
      ranges_.back().last = std::max(ranges_.back().last, range.last);
    } else {
      ranges_.push_back(range);
    }
  }
  for (const unicode::CharacterRange& range : ranges_) {
    for (char32_t point = range.first; point <= range.last && point < 0x80; ++point) {
      ascii_[point / 64] |= std::uint64_t{1} << (point % 64);
    }
  }
}

CharacterSet CharacterSet::all() {
  return of(0, last_code_point);
}

CharacterSet CharacterSet::named(std::string_view name) {
  std::vector<unicode::CharacterRange> ranges;
  add_named(name, ranges);
  return CharacterSet(std::move(ranges));
}

bool CharacterSet::contains_beyond_ascii(char32_t code_point) const {
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), code_point,
                                      [](char32_t point, const auto& range) { return point < range.first; });
  return after != ranges_.begin() && code_point <= std::prev(after)->last;
}

CharacterSet CharacterSet::united(const CharacterSet& other) const {
  std::vector<unicode::CharacterRange> ranges;
  ranges.reserve(ranges_.size() + other.ranges_.size());
  std::ranges::merge(ranges_, other.ranges_, std::back_inserter(ranges), {}, &unicode::CharacterRange::first,
                     &unicode::CharacterRange::first);
  return CharacterSet(std::move(ranges));
}

CharacterSet CharacterSet::complement() const {
  std::vector<unicode::CharacterRange> ranges;
  char32_t next = 0;
  for (const unicode::CharacterRange& range : ranges_) {
    if (range.first > next) ranges.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= last_code_point) ranges.push_back({next, last_code_point});
  return CharacterSet(std::move(ranges));
}

CharacterSet CharacterSet::intersected(const CharacterSet& other) const {
  return complement().united(other.complement()).complement();
}

CharacterSet CharacterSet::without_case() const {
  constexpr char32_t long_s = 0x17F;
  constexpr char32_t kelvin = 0x212A;
  std::vector<unicode::CharacterRange> ranges = ranges_;
  for (char32_t lower = 'a'; lower <= 'z'; ++lower) {
    const char32_t upper = lower - ('a' - 'A');
    const char32_t other = lower == 's' ? long_s : lower == 'k' ? kelvin : lower;
    if (!contains(lower) && !contains(upper) && !contains(other)) continue;
    for (const char32_t point : {lower, upper, other}) ranges.push_back({point, point});
  }
  return CharacterSet(std::move(ranges));
}

}  // namespace mslt

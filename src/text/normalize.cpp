// Unicode's normalisation forms by segments: form C decomposes text only around characters that are no boundary.
#include "text/normalize.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <tuple>
#include <vector>

#include "text/character_sets.h"
#include "text/unicode_tables.h"
#include "text/utf8.h"

namespace mslt {
namespace {

// The arithmetic of Hangul syllables, section 3.12 of the Unicode standard.
constexpr char32_t syllable_base = 0xAC00;
constexpr char32_t leading_base = 0x1100;
constexpr char32_t vowel_base = 0x1161;
constexpr char32_t trailing_base = 0x11A7;  // one before the first: a syllable may have none
constexpr char32_t leading_count = 19;
constexpr char32_t vowel_count = 21;
constexpr char32_t trailing_count = 28;
constexpr char32_t syllable_count = leading_count * vowel_count * trailing_count;

struct Element {
  char32_t code_point;
  std::uint8_t combining_class;
};

void append_decomposed(std::vector<Element>& elements, char32_t code_point) {
  const char32_t syllable = code_point - syllable_base;
  if (syllable < syllable_count) {
    elements.push_back({leading_base + syllable / (vowel_count * trailing_count), 0});
    elements.push_back({vowel_base + syllable / trailing_count % vowel_count, 0});
    if (syllable % trailing_count != 0) {
      elements.push_back({trailing_base + syllable % trailing_count, 0});
    }
    return;
  }
  const unicode::NormalizationRecord& record = unicode::normalization_of(code_point);
  if (record.decomposition_length == 0) {
    elements.push_back({code_point, record.combining_class});
    return;
  }
  for (std::size_t i = 0; i < record.decomposition_length; ++i) {
    const char32_t part = unicode::decompositions[record.decomposition + i];
    elements.push_back({part, unicode::normalization_of(part).combining_class});
  }
}

// Sorts by combining class, stably and in linear time, by counting.
void sort_by_class(std::span<Element> marks) {
  std::array<std::size_t, 256> next_places{};
  for (const Element& element : marks) {
    ++next_places[element.combining_class];
  }
  std::exclusive_scan(next_places.begin(), next_places.end(), next_places.begin(), std::size_t{0});
  const std::vector<Element> unsorted(marks.begin(), marks.end());
  for (const Element& element : unsorted) {
    marks[next_places[element.combining_class]++] = element;
  }
}

// Puts each run of combining marks in canonical order.
void order(std::vector<Element>& elements) {
  const auto is_starter = [](const Element& element) {
    return element.combining_class == 0;
  };
  const auto is_before = [](const Element& a, const Element& b) {
    return a.combining_class < b.combining_class;
  };
  auto run = elements.begin();
  while (run != elements.end()) {
    run = std::find_if_not(run, elements.end(), is_starter);
    const auto end = std::find_if(run, elements.end(), is_starter);
    if (!std::is_sorted(run, end, is_before)) {
      sort_by_class({run, end});
    }
    run = end;
  }
}

// The code point that first and second join into, or 0.
char32_t joined(char32_t first, char32_t second) {
  if (first - leading_base < leading_count && second - vowel_base < vowel_count) {
    return syllable_base + ((first - leading_base) * vowel_count + (second - vowel_base)) * trailing_count;
  }
  const char32_t syllable = first - syllable_base;
  if (syllable < syllable_count && syllable % trailing_count == 0 && second > trailing_base &&
      second < trailing_base + trailing_count) {
    return first + (second - trailing_base);
  }
  const unicode::Composition* end = unicode::compositions + unicode::composition_count;
  const unicode::Composition* found = std::lower_bound(
      unicode::compositions, end, std::tie(first, second),
      [](const unicode::Composition& entry, const auto& key) { return std::tie(entry.first, entry.second) < key; });
  return found != end && found->first == first && found->second == second ? found->composite : 0;
}

// Joins each element with the last starter before it, unless one in between blocks it: a starter, or a mark of the same
// or a higher class.
void compose(std::vector<Element>& elements) {
  std::size_t kept = 0;
  std::size_t starter = elements.size();  // none yet
  for (const Element element : elements) {
    if (starter < kept) {
      const bool adjacent = starter + 1 == kept;
      if (adjacent || elements[kept - 1].combining_class < element.combining_class) {
        const char32_t composite = joined(elements[starter].code_point, element.code_point);
        if (composite != 0) {
          elements[starter].code_point = composite;
          continue;
        }
      }
    }
    if (element.combining_class == 0) {
      starter = kept;
    }
    elements[kept++] = element;
  }
  elements.resize(kept);
}

// Appends the NFC of a segment of valid UTF-8.
void append_normalized(std::string& output, std::string_view segment, std::vector<Element>& elements) {
  elements.clear();
  for (std::size_t position = 0; position < segment.size();) {
    const Utf8Result character = decode_utf8(segment, position);
    append_decomposed(elements, character.code_point);
    position += character.length;
  }
  order(elements);
  compose(elements);
  for (const Element& element : elements) {
    append_utf8(output, element.code_point);
  }
}

void append_compatible(std::vector<Element>& elements, char32_t code_point) {
  const std::span<const unicode::CompatibilityDecomposition> table(unicode::compatibility_decompositions,
                                                                   unicode::compatibility_decomposition_count);
  const auto found = std::ranges::lower_bound(table, code_point, {}, &unicode::CompatibilityDecomposition::last);
  if (found == table.end() || code_point < found->first) {
    append_decomposed(elements, code_point);
    return;
  }
  const std::size_t first = found->first_part + (code_point - found->first) * found->part_count;
  for (std::size_t i = 0; i < found->part_count; ++i) {
    const char32_t part = unicode::compatibility_parts[first + i];
    elements.push_back({part, unicode::normalization_of(part).combining_class});
  }
}

// Appends a segment of valid UTF-8 that joins with nothing before it.
void append_in_form(std::string& output, std::string_view segment, NormalizationForm form,
                    std::vector<Element>& elements) {
  const bool compatible = form == NormalizationForm::nfkc || form == NormalizationForm::nfkd;
  elements.clear();
  for (std::size_t position = 0; position < segment.size();) {
    const Utf8Result character = decode_utf8(segment, position);
    if (compatible) {
      append_compatible(elements, character.code_point);
    } else {
      append_decomposed(elements, character.code_point);
    }
    position += character.length;
  }
  order(elements);
  if (form == NormalizationForm::nfc || form == NormalizationForm::nfkc) compose(elements);
  for (const Element& element : elements) append_utf8(output, element.code_point);
}

}  // namespace

std::string normalize(std::string_view text, NormalizationForm form) {
  if (form == NormalizationForm::nfc) return normalize_nfc(text);
  std::string output;
  std::vector<Element> elements;
  std::size_t start = 0;  // of the text not yet in the output: valid UTF-8
  std::size_t position = 0;
  const auto flush = [&](std::size_t end) {
    if (end > start) append_in_form(output, text.substr(start, end - start), form, elements);
    start = end;
  };
  while (position < text.size()) {
    const bool is_ascii = static_cast<unsigned char>(text[position]) < 0x80;
    if (is_ascii) {
      // ASCII maps to itself and joins nothing before it; the next character may join it.
      if (position - start <= 1 && (position == start || static_cast<unsigned char>(text[start]) < 0x80)) {
        output.append(text, start, position - start);
        start = position;
      } else {
        flush(position);
      }
      ++position;
      continue;
    }
    const Utf8Result character = decode_utf8(text, position);
    if (character.status != Utf8Status::valid) {
      flush(position);
      output.append(text, position, character.length);
      start = position + character.length;
    }
    position += character.length;
  }
  flush(text.size());
  return output;
}

std::string normalize_nfc(std::string_view text) {
  std::string output;
  std::vector<Element> elements;
  std::size_t copied = 0;    // text before this is in the output
  std::size_t boundary = 0;  // last position where a segment may start
  std::size_t position = 0;
  while (position < text.size()) {
    if (static_cast<unsigned char>(text[position]) < 0x80) {
      boundary = position++;
      continue;
    }
    const Utf8Result character = decode_utf8(text, position);
    if (character.status != Utf8Status::valid) {
      position += character.length;
      boundary = position;
      continue;
    }
    if (unicode::normalization_of(character.code_point).boundary) {
      boundary = position;
      position += character.length;
      continue;
    }
    // From the boundary before this character to the one after it.
    while (position < text.size()) {
      const Utf8Result following = decode_utf8(text, position);
      if (following.status != Utf8Status::valid || unicode::normalization_of(following.code_point).boundary) {
        break;
      }
      position += following.length;
    }
    output.append(text, copied, boundary - copied);
    append_normalized(output, text.substr(boundary, position - boundary), elements);
    copied = position;
    boundary = position;
  }
  output.append(text, copied, text.size() - copied);
  return output;
}

}  // namespace mslt

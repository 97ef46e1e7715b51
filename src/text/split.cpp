// The pre-tokenizers, each a hand-written equivalent of its regular expression, with fast paths for ASCII and for runs
// of letters of some scripts.
#include "text/split.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "text/ascii_masks.h"
#include "text/unicode_tables.h"
#include "text/utf8.h"

namespace mslt {
namespace {

using unicode::ClassMask;

constexpr ClassMask letter = unicode::upper_letter | unicode::lower_letter | unicode::other_letter;
constexpr ClassMask white_space = unicode::space | unicode::newline;
constexpr ClassMask punctuation = unicode::symbol | unicode::mark;    // [^\s\p{L}\p{N}]
constexpr ClassMask word_prefix = punctuation | unicode::space;       // [^\r\n\p{L}\p{N}]
constexpr ClassMask uncased = unicode::other_letter | unicode::mark;  // in both sets of o200k's words
constexpr ClassMask word_head = unicode::upper_letter | uncased;      // [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]
constexpr ClassMask word_tail = unicode::lower_letter | uncased;      // [\p{Ll}\p{Lm}\p{Lo}\p{M}]

constexpr std::array<ClassMask, 128> ascii_classes = [] {
  std::array<ClassMask, 128> classes{};
  for (unsigned byte = 0; byte < 128; ++byte) {
    if (byte >= 'a' && byte <= 'z') {
      classes[byte] = unicode::lower_letter;
    } else if (byte >= 'A' && byte <= 'Z') {
      classes[byte] = unicode::upper_letter;
    } else if (byte >= '0' && byte <= '9') {
      classes[byte] = unicode::number;
    } else if (byte == '\n' || byte == '\r') {
      classes[byte] = unicode::newline;
    } else if (byte == ' ' || byte == '\t' || byte == '\v' || byte == '\f') {
      classes[byte] = unicode::space;
    } else {
      classes[byte] = unicode::symbol;
    }
  }
  return classes;
}();

struct Character {
  ClassMask kind;  // 0 past the end of the text: in no set
  std::uint8_t length;
};

// Whether the four bytes at `bytes` start with a Chinese character of U+4E00 to U+9FFF.
inline bool is_chinese(const char* bytes) {
  std::uint32_t word = 0;
  std::memcpy(&word, bytes, sizeof(word));
  return starts_three_bytes(word) && code_point_of_three_bytes(word) - 0x4E00 < 0xA000 - 0x4E00;
}

inline bool starts_chinese(std::string_view text, std::size_t position) {
  return std::endian::native == std::endian::little && text.size() - position >= 4 &&
         is_chinese(text.data() + position);
}

// Apart, so that the code for ASCII stays small.
[[gnu::noinline]] Character non_ascii_at(std::string_view text, std::size_t position) {
  // Most characters of two and three bytes, without decode_utf8's checks for those of all lengths.
  if (text.size() - position >= 3) {
    const unsigned lead = static_cast<unsigned char>(text[position]);
    const unsigned second = static_cast<unsigned char>(text[position + 1]) ^ 0x80u;
    const unsigned third = static_cast<unsigned char>(text[position + 2]) ^ 0x80u;
    if (lead - 0xC2 < 0xE0 - 0xC2 && second < 0x40) {
      return {unicode::class_of(((lead & 0x1F) << 6) | second), 2};
    }
    // Without the leads that have overlong forms or surrogates.
    if (lead - 0xE1 < 0xF0 - 0xE1 && lead != 0xED && (second | third) < 0x40) {
      return {unicode::class_of(((lead & 0xF) << 12) | (second << 6) | third), 3};
    }
  }
  const Utf8Result result = decode_utf8(text, position);
  if (result.status != Utf8Status::valid) {
    return {unicode::symbol, 1};
  }
  return {unicode::class_of(result.code_point), result.length};
}

inline Character character_at(std::string_view text, std::size_t position) {
  if (position >= text.size()) {
    return {0, 0};
  }
  const auto byte = static_cast<unsigned char>(text[position]);
  if (byte < 0x80) {
    return {ascii_classes[byte], 1};
  }
  if (byte >= 0xE4 && starts_chinese(text, position)) {
    return {unicode::other_letter, 3};
  }
  return non_ascii_at(text, position);
}

// The number of leading bytes of the eight at `bytes` that are ASCII letters of the set.
template <ClassMask set>
inline std::size_t leading_letters(const char* bytes) {
  constexpr std::uint64_t ones = 0x0101010101010101;
  constexpr std::uint64_t high_bits = 0x80 * ones;
  std::uint64_t word = 0;
  std::memcpy(&word, bytes, sizeof(word));
  // Bytes stay below 0x80 + 0x80, so no sum carries into the next byte.
  std::uint64_t low = word & ~high_bits;
  constexpr bool both_cases = (set & unicode::upper_letter) != 0 && (set & unicode::lower_letter) != 0;
  if constexpr (both_cases) {
    low |= 0x20 * ones;
  }
  constexpr std::uint64_t first = (set & unicode::lower_letter) != 0 ? 0x61 : 0x41;  // a or A
  const std::uint64_t from_first = low + (0x80 - first) * ones;
  const std::uint64_t past_last = low + (0x80 - (first + 26)) * ones;
  const std::uint64_t others = (~(from_first & ~past_last) | word) & high_bits;
  return static_cast<std::size_t>(std::countr_zero(others)) / 8;
}

// The number of leading bytes of the eight at `bytes` that are whole Cyrillic letters of the set, all from U+0400 to
// U+047F if it has both cases, and from U+0430 to U+045F if it has lower case only.
template <ClassMask set>
inline std::size_t leading_cyrillic(const char* bytes) {
  std::uint64_t word = 0;
  std::memcpy(&word, bytes, sizeof(word));
  std::uint64_t others = (word & 0xC0FEC0FEC0FEC0FE) ^ 0x80D080D080D080D0;
  if constexpr ((set & unicode::upper_letter) == 0) {
    constexpr std::uint64_t ones = 0x0001000100010001;
    const std::uint64_t letters = ((word >> 8) & (0x3F * ones)) | ((word & ones) << 6);  // less U+0400, 16 bits each
    // The high bit of each that is at least 0x30 and below 0x60.
    const std::uint64_t lower = (letters + (0x8000 - 0x30) * ones) & ~(letters + (0x8000 - 0x60) * ones);
    others |= ~lower & (0x8000 * ones);
  }
  return static_cast<std::size_t>(std::countr_zero(others)) / 16 * 2;
}

// The end of a run of letters of a script and of the set that starts at `position`, after one of them of `length`
// bytes.
template <ClassMask set>
inline std::size_t skip_script(std::string_view text, std::size_t position, std::size_t length) {
  if constexpr (std::endian::native != std::endian::little) return position;
  static_assert((set & unicode::other_letter) != 0);
  constexpr bool has_cased = (set & unicode::lower_letter) != 0;
  std::size_t count = 8;
  while (has_cased && length == 2 && count == 8 && text.size() - position >= 8) {
    count = leading_cyrillic<set>(text.data() + position);
    position += count;
  }
  while (length == 3 && starts_chinese(text, position)) position += 3;
  return position;
}

// The end of the longest run of characters of the set starting at `position`.
template <ClassMask set>
inline std::size_t skip(std::string_view text, std::size_t position) {
  for (;;) {
    if constexpr ((set & letter) != 0 && std::endian::native == std::endian::little) {
      while (text.size() - position >= 8) {
        const std::size_t count = leading_letters<set>(text.data() + position);
        position += count;
        if (count < 8) {
          break;
        }
      }
    }
    const Character character = character_at(text, position);
    if ((character.kind & set) == 0) {
      return position;
    }
    position += character.length;
    if constexpr ((set & letter) != 0) {
      position = skip_script<set>(text, position, character.length);
    }
  }
}

// The end of a run of at most `limit` numbers.
inline std::size_t skip_numbers(std::string_view text, std::size_t position, int limit) {
  for (int count = 0; count < limit; ++count) {
    const Character character = character_at(text, position);
    if (character.kind != unicode::number) {
      break;
    }
    position += character.length;
  }
  return position;
}

// The end of the contraction whose apostrophe is at `position`, or `position` if there is none. Past the end of the
// text it reads a zero byte, which no contraction contains.
template <bool any_case>
std::size_t skip_contraction(std::string_view text, std::size_t position) {
  const auto at = [&](std::size_t offset) {
    const char byte = position + offset < text.size() ? text[position + offset] : '\0';
    const bool is_upper = byte >= 'A' && byte <= 'Z';
    return any_case && is_upper ? static_cast<char>(byte + ('a' - 'A')) : byte;
  };
  switch (at(1)) {
    case 's':
    case 'd':
    case 'm':
    case 't':
      return position + 2;
    case 'l':
      return at(2) == 'l' ? position + 3 : position;
    case 'v':
    case 'r':
      return at(2) == 'e' ? position + 3 : position;
    case '\xC5':  // U+017F, the long s, equals s if case is ignored
      return any_case && at(2) == '\xBF' ? position + 3 : position;
    default:
      return position;
  }
}

// The start of the last character of [0, end), which must be valid UTF-8.
inline std::size_t start_of_last(std::string_view text, std::size_t end) {
  std::size_t start = end - 1;
  while (continues_character(text[start])) {
    --start;
  }
  return start;
}

// \s+(?!\S)|\s+ at `begin`, where the run of white space ends at `end`: the last character of a run goes to the
// following word, unless the run is only that character.
inline std::size_t end_of_spaces(std::string_view text, std::size_t begin, std::size_t end) {
  if (end == text.size()) {
    return end;
  }
  const std::size_t last = start_of_last(text, end);
  return last == begin ? end : last;
}

// \s*[\r\n]+|\s+(?!\S)|\s+ at `begin`.
std::size_t end_of_lines_or_spaces(std::string_view text, std::size_t begin) {
  const std::size_t end = skip<white_space>(text, begin);
  for (std::size_t position = end; position > begin; --position) {
    if (text[position - 1] == '\n' || text[position - 1] == '\r') {
      return position;
    }
  }
  return end_of_spaces(text, begin, end);
}

std::size_t next_whole(std::string_view text, std::size_t /*begin*/) {
  return text.size();
}

// Sixteen pre-tokens by `next`, or fewer before text where `goes_on` is false.
template <std::size_t (*next)(std::string_view, std::size_t), class GoesOn>
std::size_t in_turn(std::string_view text, std::size_t begin, PretokenEnds& ends, const GoesOn& goes_on) {
  std::size_t count = 0;
  do {
    begin = next(text, begin);
    ends[count++] = begin;
  } while (count < 16 && begin < text.size() && goes_on(begin));
  return count;
}

template <std::size_t (*next)(std::string_view, std::size_t)>
std::size_t in_turn(std::string_view text, std::size_t begin, PretokenEnds& ends) {
  return in_turn<next>(text, begin, ends, [](std::size_t) { return true; });
}

std::size_t next_gpt2(std::string_view text, std::size_t begin) {
  if (text[begin] == '\'') {
    const std::size_t end = skip_contraction<false>(text, begin);
    if (end != begin) {
      return end;
    }
  }
  const std::size_t start = begin + (text[begin] == ' ' ? 1 : 0);
  const Character first = character_at(text, start);
  const std::size_t next = start + first.length;
  if ((first.kind & letter) != 0) {
    return skip<letter>(text, skip_script<letter>(text, next, first.length));
  }
  if (first.kind == unicode::number) {
    return skip<unicode::number>(text, next);
  }
  if ((first.kind & punctuation) != 0) {
    return skip<punctuation>(text, next);
  }
  return end_of_spaces(text, begin, skip<white_space>(text, begin));
}

// Where pre-tokens of gpt2 start among the bytes 1 to 62 of the 64 at `bytes`, which lie in a longer text and whose
// first byte starts one, as a mask. Says nothing of the last byte before a character that is not ASCII, nor of what
// follows.
std::uint64_t starts_of_gpt2(const char* bytes) {
  const AsciiMasks masks = ascii_masks(bytes);
  const std::uint64_t symbols = ~(masks.letters | masks.numbers | masks.white | masks.others);
  const auto follow = [](std::uint64_t mask) {
    return mask << 1;
  };
  // A character that is no white space continues its own kind, or a space before it.
  const std::uint64_t continued = (masks.letters & follow(masks.letters)) | (masks.numbers & follow(masks.numbers)) |
                                  (symbols & follow(symbols)) | follow(masks.spaces);
  // White space starts a pre-token after another kind of character, and before one: the run's last character.
  const std::uint64_t white_starts = masks.white & (~follow(masks.white) | ~(masks.white >> 1));
  std::uint64_t starts = (~masks.white & ~continued) | white_starts | 1;
  for (std::uint64_t left = masks.apostrophes & starts; left != 0; left &= left - 1) {
    const auto at = static_cast<std::size_t>(std::countr_zero(left));
    if (at > 60) {
      starts &= (std::uint64_t{2} << at) - 1;  // the bytes after it may belong to a contraction
      break;
    }
    const std::size_t end = skip_contraction<false>(std::string_view(bytes, 64), at);
    if (end != at) starts = (starts & ~(std::uint64_t{2} << at)) | (std::uint64_t{1} << end);
  }
  const int known = std::min(std::countr_zero(masks.others), 64) - 1;
  return known <= 1 ? 0 : starts & ((std::uint64_t{1} << known) - 2);
}

// Whether the eight bytes at `bytes` are ASCII: else a block of 64 would hardly pay.
inline bool starts_ascii(const char* bytes) {
  std::uint64_t word = 0;
  std::memcpy(&word, bytes, sizeof(word));
  return (word & 0x8080808080808080) == 0;
}

std::size_t next_gpt2_block(std::string_view text, std::size_t begin, PretokenEnds& ends) {
  if (text.size() - begin > 64 && starts_ascii(text.data() + begin)) {
    std::size_t count = 0;
    for (std::uint64_t starts = starts_of_gpt2(text.data() + begin); starts != 0; starts &= starts - 1) {
      ends[count++] = begin + static_cast<std::size_t>(std::countr_zero(starts));
    }
    if (count > 0) return count;
  }
  // Until blocks pay again.
  return in_turn<next_gpt2>(text, begin, ends, [&](std::size_t at) {
    return text.size() - at < 2 || static_cast<signed char>(text[at] | text[at + 1]) < 0;
  });
}

// Shared by llama3, qwen2 and o200k: numbers of up to max_digits, then ` ?[^\s\p{L}\p{N}]+` and what `trail` skips
// after it, then white space. `first` is the character at `begin`, `second` the next one.
template <int max_digits, bool slash_in_trail>
inline std::size_t next_without_word(std::string_view text, std::size_t begin, Character first, Character second) {
  if (first.kind == unicode::number) {
    return skip_numbers(text, begin + first.length, max_digits - 1);
  }
  if ((first.kind & punctuation) != 0 || (text[begin] == ' ' && (second.kind & punctuation) != 0)) {
    std::size_t end = skip<punctuation>(text, begin + first.length);
    while (end < text.size() && (text[end] == '\n' || text[end] == '\r' || (slash_in_trail && text[end] == '/'))) {
      ++end;
    }
    return end;
  }
  return end_of_lines_or_spaces(text, begin);
}

template <int max_digits>
std::size_t next_llama3(std::string_view text, std::size_t begin) {
  if (text[begin] == '\'') {
    const std::size_t end = skip_contraction<true>(text, begin);
    if (end != begin) {
      return end;
    }
  }
  const Character first = character_at(text, begin);
  const std::size_t next = begin + first.length;
  if ((first.kind & letter) != 0) {
    return skip<letter>(text, skip_script<letter>(text, next, first.length));
  }
  const Character second = character_at(text, next);
  if ((first.kind & word_prefix) != 0 && (second.kind & letter) != 0) {
    return skip<letter>(text, skip_script<letter>(text, next + second.length, second.length));
  }
  return next_without_word<max_digits, false>(text, begin, first, second);
}

struct CasedWord {
  std::size_t head_end;  // of [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*
  std::size_t end;       // of that followed by [\p{Ll}\p{Lm}\p{Lo}\p{M}]+, after backtracking; 0 if that fails
};

// The body of o200k's first alternative at `begin`. If no lower-case letter follows the head, the head gives back
// characters until its last uncased one, which is then the whole tail: `upper upper uncased | upper upper`.
inline CasedWord cased_word(std::string_view text, std::size_t begin) {
  std::size_t head_end = begin;
  std::size_t uncased_end = 0;
  Character character = character_at(text, head_end);
  while ((character.kind & word_head) != 0) {
    head_end += character.length;
    if ((character.kind & uncased) != 0) {
      head_end = skip_script<unicode::other_letter>(text, head_end, character.length);
      uncased_end = head_end;
    }
    character = character_at(text, head_end);
  }
  if (character.kind == unicode::lower_letter) {
    const std::size_t next = head_end + character.length;
    return {head_end, skip<word_tail>(text, skip_script<word_tail>(text, next, character.length))};
  }
  return {head_end, uncased_end};
}

inline std::size_t with_contraction(std::string_view text, std::size_t end) {
  return end < text.size() && text[end] == '\'' ? skip_contraction<true>(text, end) : end;
}

std::size_t next_o200k(std::string_view text, std::size_t begin) {
  const Character first = character_at(text, begin);
  const bool has_prefix = (first.kind & word_prefix) != 0;
  if (has_prefix || (first.kind & letter) != 0) {
    const std::size_t start = has_prefix ? begin + first.length : begin;
    const CasedWord word = cased_word(text, start);
    if (word.end != 0) {
      return with_contraction(text, word.end);
    }
    if (first.kind == unicode::mark) {
      // The mark is then not a prefix but the tail itself, which the regular expression tries before its second
      // alternative.
      return with_contraction(text, start);
    }
    if (word.head_end != start) {
      return with_contraction(text, word.head_end);
    }
  }
  return next_without_word<3, true>(text, begin, first, character_at(text, begin + first.length));
}

struct Previous {
  ClassMask kind;
  std::size_t start;
};

// The character that ends at `end`, which must be above 0.
Previous previous_character(std::string_view text, std::size_t end) {
  const std::size_t start = start_of_character_before(text, end);
  return {character_at(text.substr(0, end), start).kind, start};
}

// Whether every pattern ends a pre-token at `end`, where the character `right` follows `left`, and would also do so if
// the text ended there.
bool is_safe_between(std::string_view text, std::size_t end, Previous left, ClassMask right) {
  if ((left.kind & letter) != 0) {
    return (right & (letter | unicode::mark)) == 0 && text[end] != '\'';
  }
  if (left.kind == unicode::number) {
    return (right & (unicode::number | unicode::mark)) == 0;
  }
  if (left.kind == unicode::symbol) {
    return right == unicode::space;
  }
  // A single line feed; patterns differ in longer runs of white space.
  return text[left.start] == '\n' && (right & white_space) == 0 && text[end] != '/' &&
         (left.start == 0 || (previous_character(text, left.start).kind & white_space) == 0);
}

}  // namespace

NextPretokens next_pretokens(SplitPattern pattern) {
  switch (pattern) {
    case SplitPattern::gpt2:
      return next_gpt2_block;
    case SplitPattern::llama3:
      return in_turn<next_llama3<3>>;
    case SplitPattern::qwen2:
      return in_turn<next_llama3<1>>;
    case SplitPattern::o200k:
      return in_turn<next_o200k>;
    case SplitPattern::none:
      break;
  }
  return in_turn<next_whole>;
}

std::size_t safe_cut(std::string_view text) {
  if (text.empty()) {
    return 0;
  }
  Previous right = previous_character(text, text.size());
  // The end of the text may be the first bytes of a longer character of any class, so it counts as every class.
  const std::size_t tail = text.size() < 3 ? 0 : text.size() - 3;
  for (std::size_t position = text.size(); position-- > tail;) {
    if (decode_utf8(text, position).status == Utf8Status::incomplete) {
      right = {ClassMask{0xFF}, position};
    }
  }
  while (right.start > 0) {
    const Previous left = previous_character(text, right.start);
    if (is_safe_between(text, right.start, left, right.kind)) {
      return right.start;
    }
    right = left;
  }
  return 0;
}

}  // namespace mslt

// Ranges of characters as sequences of ranges of bytes.
#include "grammar/character_bytes.h"

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <tuple>

namespace mslt {
namespace {

// UTF-8 of ranges of characters; ends of characters that several have in common are made once.
class RangeEncoder {
 public:
  RangeEncoder(ByteGrammar& grammar, NodeId from, NodeId to) : grammar_(grammar), from_(from), to_(to) {}

  void add(char32_t first, char32_t last) {
    constexpr struct {
      char32_t first, last;
      int bytes;
    } lengths[] = {{0, 0x7F, 1}, {0x80, 0x7FF, 2}, {0x800, 0xD7FF, 3}, {0xE000, 0xFFFF, 3}, {0x10000, 0x10FFFF, 4}};
    for (const auto& length : lengths) {
      const char32_t low = std::max(first, length.first);
      const char32_t high = std::min(last, length.last);
      if (low <= high) add_part(low, high, length.bytes - 1, from_, lead_of(length.bytes));
    }
  }

 private:
  static std::uint8_t lead_of(int bytes) {
    constexpr std::uint8_t leads[] = {0, 0, 0xC0, 0xE0, 0xF0};
    return leads[bytes];
  }

  // Bytes of the low 6 * rest + 7 bits; `mark` is the prefix of the first.
  void add_part(char32_t low, char32_t high, int rest, NodeId from, std::uint8_t mark) {
    const int shift = 6 * rest;
    const char32_t below = (char32_t{1} << shift) - 1;
    while (low <= high) {
      // The longest range of first bytes with the same bytes behind.
      const bool starts_inside = (low & below) != 0;
      char32_t end = high;
      if (starts_inside || (low | below) > high) {
        end = std::min<char32_t>(high, low | below);
      } else if ((high & below) != below) {
        end = ((high >> shift) << shift) - 1;
      }
      const auto first = static_cast<std::uint8_t>(mark | (low >> shift));
      const auto last = static_cast<std::uint8_t>(mark | (end >> shift));
      grammar_.add_edge(from, first, last, rest == 0 ? to_ : after(low & below, end & below, rest - 1));
      if (end == high) return;
      low = end + 1;
    }
  }

  NodeId after(char32_t low, char32_t high, int rest) {
    const auto [found, is_new] = ends_.try_emplace({low, high, rest}, 0);
    if (is_new) {
      const NodeId node = grammar_.add_node();
      found->second = node;
      add_part(low, high, rest, node, 0x80);
    }
    return found->second;
  }

  ByteGrammar& grammar_;
  NodeId from_;
  NodeId to_;
  std::map<std::tuple<char32_t, char32_t, int>, NodeId> ends_;
};

void add_byte(ByteGrammar& grammar, NodeId from, char byte, NodeId to) {
  grammar.add_edge(from, static_cast<std::uint8_t>(byte), static_cast<std::uint8_t>(byte), to);
}

void add_hex_digit(ByteGrammar& grammar, NodeId from, unsigned first, unsigned last, NodeId to) {
  const auto add = [&](unsigned low, unsigned high, unsigned zero) {
    const unsigned from_digit = std::max(first, low);
    const unsigned to_digit = std::min(last, high);
    if (from_digit > to_digit) return;
    grammar.add_edge(from, static_cast<std::uint8_t>(zero + from_digit - low),
                     static_cast<std::uint8_t>(zero + to_digit - low), to);
  };
  add(0, 9, '0');
  add(10, 15, 'a');
  add(10, 15, 'A');
}

constexpr std::string_view short_escapes = "\"\\/bfnrt";
constexpr std::string_view short_escaped = "\"\\/\b\f\n\r\t";

}  // namespace

void add_string_character(ByteGrammar& grammar, NodeId from, const CharacterSet& set, NodeId to) {
  RangeEncoder encoder(grammar, from, to);
  const CharacterSet raw = set.intersected(CharacterSet({{0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0x10FFFF}}));
  for (const auto& range : raw.ranges()) encoder.add(range.first, range.last);
  NodeId escape = ByteGrammar::none;
  const auto add_escape = [&](const std::string& text) {
    if (escape == ByteGrammar::none) {
      escape = grammar.add_node();
      add_byte(grammar, from, '\\', escape);
    }
    grammar.add_text(escape, text, to);
  };
  for (char32_t code = 0; code <= '\\'; ++code) {
    const bool must_escape = code < 0x20 || code == '"' || code == '\\';
    if (!must_escape || !set.contains(code)) continue;
    const std::size_t at = short_escaped.find(static_cast<char>(code));
    if (at != std::string_view::npos) {
      add_escape(std::string(1, short_escapes[at]));
    } else {
      add_escape(std::string("u00") + (code < 0x10 ? '0' : '1') + "0123456789abcdef"[code % 16]);
    }
  }
}

void add_any_string_character(ByteGrammar& grammar, NodeId from, NodeId to) {
  RangeEncoder encoder(grammar, from, to);
  encoder.add(0x20, 0x21);
  encoder.add(0x23, 0x5B);
  encoder.add(0x5D, 0x10FFFF);
  const NodeId escape = grammar.add_node();
  add_byte(grammar, from, '\\', escape);
  for (const char letter : short_escapes) add_byte(grammar, escape, letter, to);

  const NodeId hex = grammar.add_node();
  add_byte(grammar, escape, 'u', hex);
  const NodeId last = grammar.add_node();
  add_hex_digit(grammar, last, 0, 15, to);
  const NodeId third = grammar.add_node();
  add_hex_digit(grammar, third, 0, 15, last);
  const NodeId second = grammar.add_node();
  add_hex_digit(grammar, second, 0, 15, third);
  add_hex_digit(grammar, hex, 0, 12, second);
  add_hex_digit(grammar, hex, 14, 15, second);
  const NodeId after_d = grammar.add_node();
  add_hex_digit(grammar, hex, 13, 13, after_d);
  add_hex_digit(grammar, after_d, 0, 7, third);
  // The first of two surrogates, then the second.
  NodeId pair = grammar.add_node();
  add_hex_digit(grammar, after_d, 8, 11, pair);
  for (int i = 0; i < 2; ++i) {
    const NodeId next = grammar.add_node();
    add_hex_digit(grammar, pair, 0, 15, next);
    pair = next;
  }
  const NodeId low = grammar.add_node();
  grammar.add_text(pair, "\\u", low);
  const NodeId low_second = grammar.add_node();
  add_hex_digit(grammar, low, 13, 13, low_second);
  add_hex_digit(grammar, low_second, 12, 15, third);
}

}  // namespace mslt

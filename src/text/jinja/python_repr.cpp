// Python's str() and repr().
#include <utility>

#include "text/jinja/python_text.h"
#include "text/unicode_tables.h"
#include "text/utf8.h"

namespace mslt::jinja {
namespace {

// Which characters repr() shows as they are; close to Python's str.isprintable().
bool is_shown(char32_t character) {
  if (character < 0x20 || (character >= 0x7F && character <= 0xA0) || character == 0xAD) return false;
  if (character < 0x300) return true;
  if (is_space(character)) return false;
  const bool is_format = (character >= 0x200B && character <= 0x200F) || (character >= 0x202A && character <= 0x202E) ||
                         (character >= 0x2060 && character <= 0x206F) || character == 0xFEFF ||
                         (character >= 0xFFF0 && character <= 0xFFFB) || (character >= 0xE0000 && character <= 0xE0FFF);
  const bool is_private = (character >= 0xE000 && character <= 0xF8FF) || character >= 0xF0000;
  return !is_format && !is_private;
}

void append_shown(std::string_view bytes, char32_t character, std::string& shown) {
  switch (character) {
    case '\\':
      shown += "\\\\";
      return;
    case '\n':
      shown += "\\n";
      return;
    case '\r':
      shown += "\\r";
      return;
    case '\t':
      shown += "\\t";
      return;
    default:
      break;
  }
  if (is_shown(character)) {
    shown += bytes;
  } else if (character < 0x100) {
    shown += fmt::format("\\x{:02x}", static_cast<std::uint32_t>(character));
  } else if (character < 0x10000) {
    shown += fmt::format("\\u{:04x}", static_cast<std::uint32_t>(character));
  } else {
    shown += fmt::format("\\U{:08x}", static_cast<std::uint32_t>(character));
  }
}

std::string repr_of_text(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string shown(1, quote);
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Result character = decode_utf8(text, at);
    if (character.code_point == static_cast<char32_t>(quote)) shown += '\\';
    append_shown(text.substr(at, character.length), character.code_point, shown);
    at += character.length;
  }
  shown += quote;
  return shown;
}

std::string repr_of_sequence(const Sequence& sequence, Budget& budget) {
  std::string shown = sequence.is_tuple ? "(" : "[";
  for (std::size_t i = 0; i < sequence.items.size(); ++i) {
    if (i > 0) shown += ", ";
    shown += repr(sequence.items[i], budget);
    if (shown.size() > budget.limits().output_bytes) budget.spend_on_text(shown.size());
  }
  if (sequence.is_tuple && sequence.items.size() == 1) shown += ",";
  shown += sequence.is_tuple ? ")" : "]";
  return shown;
}

std::string repr_of_dict(const Dict& dict, Budget& budget) {
  std::string shown = "{";
  for (const auto& [key, value] : dict.entries()) {
    if (shown.size() > 1) shown += ", ";
    shown += repr(key, budget) + ": " + repr(value, budget);
    if (shown.size() > budget.limits().output_bytes) budget.spend_on_text(shown.size());
  }
  return shown + "}";
}

std::string shown_number(const Value& value) {
  if (const bool* boolean = value.as<bool>()) return *boolean ? "True" : "False";
  if (const double* number = value.as<double>()) return repr_of_real(*number);
  return fmt::format("{}", *value.integer());
}

}  // namespace

std::string repr(const Value& value, Budget& budget) {
  const Budget::Level level(budget);
  std::string shown;
  if (const Text* text = value.text()) {
    shown = repr_of_text(text->bytes);
    if (text->is_safe) shown = "Markup(" + shown + ")";
  } else if (value.is_none()) {
    shown = "None";
  } else if (value.is_undefined()) {
    shown = "Undefined";
  } else if (value.is_number()) {
    shown = shown_number(value);
  } else if (const Sequence* sequence = value.sequence()) {
    shown = repr_of_sequence(*sequence, budget);
  } else if (const Dict* dict = value.dict()) {
    shown = repr_of_dict(*dict, budget);
  } else {
    shown = value.object()->text(budget);
  }
  budget.spend_on_text(shown.size());
  return shown;
}

std::string text_of(const Value& value, Budget& budget) {
  if (const Text* text = value.text()) {
    budget.spend_on_text(text->bytes.size());
    return text->bytes;
  }
  if (value.is_undefined()) return {};
  return repr(value, budget);
}

}  // namespace mslt::jinja

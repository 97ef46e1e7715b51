// Values from JSON, and the filter tojson.
#include "text/jinja/json_text.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "text/jinja/attribute_getter.h"
#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/python_text.h"
#include "text/utf8.h"

namespace mslt::jinja {
namespace {

std::string valid_text(const std::string& text) {
  if (is_utf8(text)) return text;
  std::string valid;
  const std::size_t consumed = append_replacing_invalid(text, valid);
  if (consumed < text.size()) append_utf8(valid, replacement_character);
  return valid;
}

// json.dumps with its options.
class Writer {
 public:
  Writer(Interpreter& interpreter, const Bound& bound) : budget_(interpreter.budget()) {
    ensure_ascii_ = bound.flag(0, false);
    sort_keys_ = bound.flag(3, false);
    if (bound.has(1) && !bound[1].is_none()) {
      if (bound[1].text() != nullptr) {
        indent_ = bound[1].text()->bytes;
      } else {
        const std::int64_t width = std::max<std::int64_t>(bound.integer(1, 0), 0);
        budget_.spend_on_product(1, static_cast<std::size_t>(width));
        indent_ = std::string(static_cast<std::size_t>(width), ' ');
      }
      item_separator_ = ",";
    }
    if (bound.has(2) && !bound[2].is_none()) {
      const std::vector<Value> separators = elements_of(bound[2], budget_);
      if (separators.size() != 2 || separators[0].text() == nullptr || separators[1].text() == nullptr) {
        refuse("tojson: separators must be two texts");
      }
      item_separator_ = separators[0].text()->bytes;
      key_separator_ = separators[1].text()->bytes;
    }
  }

  std::string run(const Value& value) {
    write(value, 0);
    budget_.spend_on_text(text_.size());
    return std::move(text_);
  }

 private:
  void write(const Value& value, std::size_t depth) {
    const Budget::Level level(budget_);
    budget_.spend(1);
    if (text_.size() > budget_.limits().output_bytes) budget_.spend_on_text(text_.size());
    if (const Text* text = value.text()) {
      write_text(text->bytes);
    } else if (const Sequence* sequence = value.sequence()) {
      write_list(*sequence, depth);
    } else if (const Dict* dict = value.dict()) {
      write_dict(*dict, depth);
    } else if (value.is_none() || value.is_number()) {
      text_ += scalar(value);
    } else {
      refuse("Object of type {} is not JSON serializable", value.type_name());
    }
  }

  static std::string scalar(const Value& value) {
    if (value.is_none()) return "null";
    if (const bool* boolean = value.as<bool>()) return *boolean ? "true" : "false";
    if (const double* number = value.as<double>()) {
      if (std::isnan(*number)) return "NaN";
      if (std::isinf(*number)) return *number < 0 ? "-Infinity" : "Infinity";
      return repr_of_real(*number);
    }
    return fmt::format("{}", *value.integer());
  }

  void new_line(std::size_t depth) {
    if (!indent_) return;
    budget_.spend_on_product(indent_->size(), depth);
    text_ += '\n';
    for (std::size_t i = 0; i < depth; ++i) text_ += *indent_;
  }

  void write_list(const Sequence& sequence, std::size_t depth) {
    if (sequence.items.empty()) {
      text_ += "[]";
      return;
    }
    text_ += '[';
    for (std::size_t i = 0; i < sequence.items.size(); ++i) {
      if (i > 0) text_ += item_separator_;
      new_line(depth + 1);
      write(sequence.items[i], depth + 1);
    }
    new_line(depth);
    text_ += ']';
  }

  void write_dict(const Dict& dict, std::size_t depth) {
    if (dict.entries().empty()) {
      text_ += "{}";
      return;
    }
    std::vector<Value> keys;
    std::vector<Value> positions;
    for (const auto& entry : dict.entries()) {
      positions.push_back(Value::size(keys.size()));
      keys.push_back(entry.first);
    }
    if (sort_keys_) positions = sorted_by(std::move(positions), keys, false, budget_);
    text_ += '{';
    for (std::size_t i = 0; i < positions.size(); ++i) {
      const auto& [key, value] = dict.entries()[static_cast<std::size_t>(*positions[i].integer())];
      if (i > 0) text_ += item_separator_;
      new_line(depth + 1);
      if (key.text() != nullptr) {
        write_text(key.text()->bytes);
      } else if (key.is_none() || key.is_number()) {
        write_text(scalar(key));
      } else {
        refuse("keys must be str, int, float, bool or None, not {}", key.type_name());
      }
      text_ += key_separator_;
      write(value, depth + 1);
    }
    new_line(depth);
    text_ += '}';
  }

  void write_unit(std::uint32_t unit) { text_ += fmt::format("\\u{:04x}", unit); }

  void write_text(std::string_view text) {
    text_ += '"';
    for (std::size_t at = 0; at < text.size();) {
      const Utf8Result character = decode_utf8(text, at);
      write_character(text.substr(at, character.length), character.code_point);
      at += character.length;
    }
    text_ += '"';
  }

  void write_character(std::string_view bytes, char32_t character) {
    constexpr std::string_view letters = "\"\\\n\r\t\f\b";
    constexpr std::string_view escapes = "\"\\nrtfb";
    const std::size_t known = character < 0x80 ? letters.find(static_cast<char>(character)) : std::string_view::npos;
    if (known != std::string_view::npos) {
      text_ += '\\';
      text_ += escapes[known];
    } else if (character < 0x20 || (ensure_ascii_ && character >= 0x7F && character < 0x10000 && character != 0x7F)) {
      write_unit(character);
    } else if (ensure_ascii_ && character >= 0x10000) {
      const std::uint32_t rest = character - 0x10000;
      write_unit(0xD800 + (rest >> 10));
      write_unit(0xDC00 + (rest & 0x3FF));
    } else {
      text_ += bytes;
    }
  }

  Budget& budget_;
  bool ensure_ascii_ = false;
  bool sort_keys_ = false;
  std::optional<std::string> indent_;
  std::string item_separator_ = ", ";
  std::string key_separator_ = ": ";
  std::string text_;
};

}  // namespace

Value value_from_json(const nlohmann::ordered_json& json, Budget& budget) {
  const Budget::Level level(budget);
  budget.spend(1);
  switch (json.type()) {
    case nlohmann::ordered_json::value_t::boolean:
      return Value(json.get<bool>());
    case nlohmann::ordered_json::value_t::number_integer:
      return Value(json.get<std::int64_t>());
    case nlohmann::ordered_json::value_t::number_unsigned: {
      const auto number = json.get<std::uint64_t>();
      const bool fits = number <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
      return fits ? Value(static_cast<std::int64_t>(number)) : Value(static_cast<double>(number));
    }
    case nlohmann::ordered_json::value_t::number_float:
      return Value(json.get<double>());
    case nlohmann::ordered_json::value_t::string: {
      const auto& text = json.get_ref<const std::string&>();
      budget.spend_on_text(text.size());
      return Value(valid_text(text));
    }
    case nlohmann::ordered_json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const auto& item : json) items.push_back(value_from_json(item, budget));
      return Value::list(std::move(items), budget);
    }
    case nlohmann::ordered_json::value_t::object: {
      Dict dict;
      for (const auto& [key, value] : json.items()) {
        dict.set(Value(valid_text(key)), value_from_json(value, budget), budget);
      }
      return Value(std::make_shared<const Dict>(std::move(dict)));
    }
    default:
      return {};
  }
}

Value tojson(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
  return Value(Writer(interpreter, bound).run(value));
}

}  // namespace mslt::jinja

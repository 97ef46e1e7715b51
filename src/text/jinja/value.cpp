// Values, their equality and their order.
#include "text/jinja/value.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "text/jinja/python_text.h"
#include "text/utf8.h"

namespace mslt::jinja {
namespace {

std::size_t depth_with(const std::vector<Value>& items, const Budget& budget) {
  std::size_t depth = 1;
  for (const Value& item : items) depth = std::max(depth, item.depth() + 1);
  if (depth > budget.limits().depth) refuse("lists and dicts nest deeper than {} levels", budget.limits().depth);
  return depth;
}

Value make_sequence(std::vector<Value> items, bool is_tuple, const Budget& budget) {
  const std::size_t depth = depth_with(items, budget);
  return Value(std::make_shared<const Sequence>(Sequence{std::move(items), is_tuple, depth}));
}

std::size_t count_characters(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, [](char byte) { return !continues_character(byte); }));
}

bool are_equal_sequences(const Sequence& a, const Sequence& b, Budget& budget) {
  if (a.is_tuple != b.is_tuple || a.items.size() != b.items.size()) return false;
  for (std::size_t i = 0; i < a.items.size(); ++i) {
    if (!a.items[i].is_same(b.items[i]) && !are_equal(a.items[i], b.items[i], budget)) return false;
  }
  return true;
}

bool are_equal_dicts(const Dict& a, const Dict& b, Budget& budget) {
  if (a.entries().size() != b.entries().size()) return false;
  for (const auto& [key, value] : a.entries()) {
    const Value* other = b.find(key);
    if (other == nullptr || !are_equal(value, *other, budget)) return false;
  }
  return true;
}

// Equality of keys, which nest little.
bool are_equal_keys(const Value& a, const Value& b) {
  Budget budget(ChatLimits{});
  return are_equal(a, b, budget);
}

// A bound of a slice: nothing for None.
std::optional<std::int64_t> slice_bound(const Value& value) {
  if (value.is_none()) return std::nullopt;
  value.require_defined();
  const auto bound = value.integer();
  if (!bound) refuse("slice indices must be integers or None");
  return bound;
}

}  // namespace

Text::Text(std::string text, bool safe) : bytes(std::move(text)), characters(count_characters(bytes)), is_safe(safe) {}

Value Value::undefined(std::string message) {
  Value value;
  value.data_ = std::make_shared<const Undefined>(Undefined{std::move(message)});
  return value;
}

Value Value::list(std::vector<Value> items, const Budget& budget) {
  return make_sequence(std::move(items), false, budget);
}

Value Value::tuple(std::vector<Value> items, const Budget& budget) {
  return make_sequence(std::move(items), true, budget);
}

const Sequence* Value::list() const {
  const Sequence* found = sequence();
  return found != nullptr && !found->is_tuple ? found : nullptr;
}

const Sequence* Value::tuple() const {
  const Sequence* found = sequence();
  return found != nullptr && found->is_tuple ? found : nullptr;
}

std::optional<std::int64_t> Value::integer() const {
  if (const bool* boolean = as<bool>()) return *boolean ? 1 : 0;
  if (const std::int64_t* number = as<std::int64_t>()) return *number;
  return std::nullopt;
}

std::optional<double> Value::real() const {
  if (const double* number = as<double>()) return *number;
  if (const auto number = integer()) return static_cast<double>(*number);
  return std::nullopt;
}

std::size_t Value::depth() const {
  if (const Sequence* items = sequence()) return items->depth;
  if (const Dict* entries = dict()) return entries->depth();
  if (const Object* other = object()) return other->depth();
  return 0;
}

bool Value::is_true() const {
  if (is_none() || is_undefined()) return false;
  if (const double* number = as<double>()) return *number != 0.0;
  if (const auto number = integer()) return *number != 0;
  if (const Text* string = text()) return !string->bytes.empty();
  if (const Sequence* items = sequence()) return !items->items.empty();
  if (const Dict* entries = dict()) return !entries->entries().empty();
  return object()->length().value_or(1) != 0;
}

std::string Value::type_name() const {
  if (is_none()) return "NoneType";
  if (is_undefined()) return "Undefined";
  if (as<bool>() != nullptr) return "bool";
  if (as<std::int64_t>() != nullptr) return "int";
  if (as<double>() != nullptr) return "float";
  if (const Text* string = text()) return string->is_safe ? "Markup" : "str";
  if (const Sequence* items = sequence()) return items->is_tuple ? "tuple" : "list";
  if (dict() != nullptr) return "dict";
  return object()->type_name();
}

const Value& Value::require_defined() const {
  if (const Undefined* nothing = undefined()) throw Failure(nothing->message);
  return *this;
}

bool Value::is_same(const Value& other) const {
  if (data_.index() != other.data_.index()) return false;
  if (as<bool>() != nullptr || as<std::int64_t>() != nullptr || is_none()) return data_ == other.data_;
  if (as<double>() != nullptr) return false;
  if (text() != nullptr) return text() == other.text();
  if (sequence() != nullptr) return sequence() == other.sequence();
  if (dict() != nullptr) return dict() == other.dict();
  if (object() != nullptr) return object() == other.object();
  return undefined() == other.undefined();
}

std::optional<std::size_t> Dict::position_of(const Value& key, std::size_t hash) const {
  const auto [begin, end] = positions_.equal_range(hash);
  for (auto at = begin; at != end; ++at) {
    if (are_equal_keys(entries_[at->second].first, key)) return at->second;
  }
  return std::nullopt;
}

void Dict::set(const Value& key, Value value, Budget& budget) {
  const std::size_t hash = hash_of(key);
  budget.spend(1);
  depth_ = std::max({depth_, value.depth() + 1, key.depth() + 1});
  if (depth_ > budget.limits().depth) refuse("lists and dicts nest deeper than {} levels", budget.limits().depth);
  if (const auto position = position_of(key, hash)) {
    entries_[*position].second = std::move(value);
    return;
  }
  positions_.emplace(hash, entries_.size());
  entries_.emplace_back(key, std::move(value));
}

const Value* Dict::find(const Value& key) const {
  const auto position = position_of(key, hash_of(key));
  return position ? &entries_[*position].second : nullptr;
}

const Value* Dict::find_text(std::string_view key) const {
  return find(Value(key));
}

std::vector<std::size_t> slice_positions(const Slice& slice, std::size_t length, Budget& budget) {
  const std::int64_t step = slice_bound(slice.step).value_or(1);
  if (step == 0) refuse("slice step cannot be zero");
  const auto size = static_cast<std::int64_t>(length);
  const auto clamped = [&](std::int64_t bound) {
    if (bound < 0) bound = bound < -size ? -1 : bound + size;
    if (step > 0) return std::clamp(bound, std::int64_t{0}, size);
    return std::clamp(bound, std::int64_t{-1}, size - 1);
  };
  const auto start_bound = slice_bound(slice.start);
  const auto stop_bound = slice_bound(slice.stop);
  const std::int64_t start = start_bound ? clamped(*start_bound) : step > 0 ? 0 : size - 1;
  const std::int64_t stop = stop_bound ? clamped(*stop_bound) : step > 0 ? size : -1;
  std::vector<std::size_t> positions;
  for (std::int64_t at = start; step > 0 ? at < stop : at > stop;) {
    positions.push_back(static_cast<std::size_t>(at));
    // A step beyond the length ends the slice, whatever its size.
    if (step > size || step < -size) break;
    at += step;
  }
  budget.spend(1 + positions.size());
  return positions;
}

bool are_equal(const Value& a, const Value& b, Budget& budget) {
  budget.spend(1);
  const Budget::Level level(budget);
  if (a.is_number() && b.is_number()) {
    const auto whole_a = a.integer();
    const auto whole_b = b.integer();
    if (whole_a && whole_b) return *whole_a == *whole_b;
    return *a.real() == *b.real();
  }
  if (a.text() != nullptr && b.text() != nullptr) return a.text()->bytes == b.text()->bytes;
  if (a.sequence() != nullptr && b.sequence() != nullptr) {
    return are_equal_sequences(*a.sequence(), *b.sequence(), budget);
  }
  if (a.dict() != nullptr && b.dict() != nullptr) return are_equal_dicts(*a.dict(), *b.dict(), budget);
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.object() != nullptr && b.object() != nullptr && a.object() != b.object()) {
    if (a.type_name() != "range" || b.type_name() != "range") return false;
    const std::vector<Value> of_a = *a.object()->elements(budget);
    const std::vector<Value> of_b = *b.object()->elements(budget);
    return std::ranges::equal(of_a, of_b, [](const Value& x, const Value& y) { return x.is_same(y); });
  }
  return a.object() != nullptr && a.object() == b.object();
}

std::size_t hash_of(const Value& value) {
  if (value.is_none()) return 1;
  if (value.is_undefined()) return 2;
  if (const double* number = value.as<double>()) {
    const double whole = std::trunc(*number);
    constexpr double limit = 9.2e18;
    if (whole == *number && std::abs(whole) < limit) return std::hash<std::int64_t>()(static_cast<std::int64_t>(whole));
    return std::hash<double>()(*number);
  }
  if (const auto number = value.integer()) return std::hash<std::int64_t>()(*number);
  if (const Text* text = value.text()) return std::hash<std::string>()(text->bytes);
  if (const Sequence* items = value.tuple()) {
    std::size_t hash = items->items.size();
    constexpr std::size_t factor = 1'000'003;
    for (const Value& item : items->items) hash = hash * factor + hash_of(item);
    return hash;
  }
  if (value.object() != nullptr) return std::hash<const Object*>()(value.object());
  refuse("unhashable type: '{}'", value.type_name());
}

std::partial_ordering compare(const Value& a, const Value& b, std::string_view operation, Budget& budget) {
  budget.spend(1);
  const Budget::Level level(budget);
  a.require_defined();
  b.require_defined();
  if (a.is_number() && b.is_number()) {
    const auto whole_a = a.integer();
    const auto whole_b = b.integer();
    if (whole_a && whole_b) return *whole_a <=> *whole_b;
    return *a.real() <=> *b.real();
  }
  // The order of code points is that of their bytes in UTF-8.
  if (a.text() != nullptr && b.text() != nullptr) return a.text()->bytes.compare(b.text()->bytes) <=> 0;
  const Sequence* items_a = a.sequence();
  const Sequence* items_b = b.sequence();
  if (items_a != nullptr && items_b != nullptr && items_a->is_tuple == items_b->is_tuple) {
    const std::size_t common = std::min(items_a->items.size(), items_b->items.size());
    for (std::size_t i = 0; i < common; ++i) {
      if (are_equal(items_a->items[i], items_b->items[i], budget)) continue;
      return compare(items_a->items[i], items_b->items[i], operation, budget);
    }
    return items_a->items.size() <=> items_b->items.size();
  }
  refuse("'{}' not supported between instances of '{}' and '{}'", operation, a.type_name(), b.type_name());
}

std::vector<Value> elements_of(const Value& value, Budget& budget) {
  if (value.is_undefined()) return {};
  std::optional<std::vector<Value>> elements;
  if (const Text* text = value.text()) {
    elements = characters_of(*text, budget);
  } else if (const Sequence* items = value.sequence()) {
    elements = items->items;
  } else if (const Dict* dict = value.dict()) {
    elements.emplace();
    for (const auto& entry : dict->entries()) elements->push_back(entry.first);
  } else if (Object* object = value.object()) {
    elements = object->elements(budget);
  }
  if (!elements) refuse("'{}' object is not iterable", value.type_name());
  budget.spend(1 + elements->size());
  return std::move(*elements);
}

bool is_iterable(const Value& value) {
  return value.is_undefined() || value.text() != nullptr || value.sequence() != nullptr || value.dict() != nullptr ||
         (value.object() != nullptr && value.object()->is_iterable());
}

std::size_t length_of(const Value& value) {
  if (value.is_undefined()) return 0;
  if (const Text* text = value.text()) return text->characters;
  if (const Sequence* items = value.sequence()) return items->items.size();
  if (const Dict* dict = value.dict()) return dict->entries().size();
  const Object* object = value.object();
  const auto length = object != nullptr ? object->length() : std::nullopt;
  if (!length) refuse("object of type '{}' has no len()", value.type_name());
  return *length;
}

Value character_at(const Text& text, std::size_t position) {
  if (text.characters == text.bytes.size()) return Value(text.bytes.substr(position, 1));
  std::size_t at = 0;
  for (; position > 0; --position) at += decode_utf8(text.bytes, at).length;
  return Value(text.bytes.substr(at, decode_utf8(text.bytes, at).length));
}

std::vector<Value> characters_of(const Text& text, Budget& budget) {
  budget.spend(1 + text.characters);
  std::vector<Value> characters;
  characters.reserve(text.characters);
  for (std::size_t at = 0; at < text.bytes.size();) {
    const std::size_t length = decode_utf8(text.bytes, at).length;
    characters.emplace_back(text.bytes.substr(at, length));
    at += length;
  }
  return characters;
}

}  // namespace mslt::jinja

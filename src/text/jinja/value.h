// Value: what a template computes with, by the rules of Python.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "text/jinja/budget.h"

namespace mslt::jinja {

class Value;
class Interpreter;

struct Arguments;

// A text of valid UTF-8; positions in templates count characters.
struct Text {
  explicit Text(std::string text, bool safe = false);
  std::string bytes;
  std::size_t characters = 0;
  bool is_safe = false;  // markupsafe's Markup: `escape` leaves it as it is
};

// Something not defined, with what Jinja says where it is used after all.
struct Undefined {
  std::string message;
};

struct Sequence;
class Dict;
class Object;

// Immutable, as far as templates see; copies share.
class Value {
 public:
  using None = std::monostate;

  Value() = default;  // None
  Value(bool value) : data_(value) {}
  Value(std::int64_t value) : data_(value) {}
  Value(int value) : data_(std::int64_t{value}) {}
  Value(double value) : data_(value) {}
  Value(std::string text) : data_(std::make_shared<const Text>(std::move(text))) {}
  Value(std::string_view text) : Value(std::string(text)) {}
  Value(const char* text) : Value(std::string(text)) {}
  Value(std::shared_ptr<const Text> text) : data_(std::move(text)) {}
  Value(std::shared_ptr<const Sequence> sequence) : data_(std::move(sequence)) {}
  Value(std::shared_ptr<const Dict> dict) : data_(std::move(dict)) {}
  Value(std::shared_ptr<Object> object) : data_(std::move(object)) {}
  static Value undefined(std::string message);
  static Value size(std::size_t value) { return Value(static_cast<std::int64_t>(value)); }
  static Value list(std::vector<Value> items, const Budget& budget);
  static Value tuple(std::vector<Value> items, const Budget& budget);

  template <class T>
  const T* as() const {
    return std::get_if<T>(&data_);
  }
  bool is_none() const { return as<None>() != nullptr; }
  bool is_undefined() const { return as<std::shared_ptr<const Undefined>>() != nullptr; }
  bool is_number() const { return as<bool>() != nullptr || as<std::int64_t>() != nullptr || as<double>() != nullptr; }
  const Text* text() const { return pointed<const Text>(); }
  const Sequence* sequence() const { return pointed<const Sequence>(); }
  const Sequence* list() const;
  const Sequence* tuple() const;
  const Dict* dict() const { return pointed<const Dict>(); }
  Object* object() const { return pointed<Object>(); }
  const std::shared_ptr<Object>* shared_object() const { return as<std::shared_ptr<Object>>(); }
  const Undefined* undefined() const { return pointed<const Undefined>(); }
  // bool and int, as Python counts them.
  std::optional<std::int64_t> integer() const;
  // Any number; throws nothing.
  std::optional<double> real() const;

  // The levels of containers in it.
  std::size_t depth() const;
  // Python's bool().
  bool is_true() const;
  // Python's name of the type: str, int, dict, NoneType and so on.
  std::string type_name() const;
  // Throws Failure with the value's own message if it is undefined.
  const Value& require_defined() const;
  // Python's `is`.
  bool is_same(const Value& other) const;

 private:
  template <class T>
  T* pointed() const {
    const auto* shared = std::get_if<std::shared_ptr<T>>(&data_);
    return shared == nullptr ? nullptr : shared->get();
  }

  std::variant<None, bool, std::int64_t, double, std::shared_ptr<const Text>, std::shared_ptr<const Sequence>,
               std::shared_ptr<const Dict>, std::shared_ptr<Object>, std::shared_ptr<const Undefined>>
      data_;
};

// The arguments of a call.
struct Arguments {
  std::vector<Value> positional = {};
  std::vector<std::pair<std::string, Value>> named = {};
};

// A list or a tuple.
struct Sequence {
  std::vector<Value> items;
  bool is_tuple = false;
  std::size_t depth = 1;
};

// Entries in the order in which they came, found by Python's equality.
class Dict {
 public:
  using Entry = std::pair<Value, Value>;

  // Throws Failure for a key that cannot be hashed.
  void set(const Value& key, Value value, Budget& budget);
  const Value* find(const Value& key) const;  // nothing if there is none, or if it cannot be hashed
  const Value* find_text(std::string_view key) const;
  const std::vector<Entry>& entries() const { return entries_; }
  std::size_t depth() const { return depth_; }

 private:
  std::optional<std::size_t> position_of(const Value& key, std::size_t hash) const;

  std::vector<Entry> entries_;
  std::unordered_multimap<std::size_t, std::size_t> positions_;  // by hash
  std::size_t depth_ = 1;
};

// Values with behaviour: functions, macros, loops, namespaces, ranges, views, generators.
class Object {
 public:
  virtual ~Object() = default;
  virtual std::string type_name() const = 0;
  // How it is printed.
  virtual std::string text(Budget& budget) const;
  virtual std::optional<Value> attribute(std::string_view name);
  // Nothing if it is not indexable so.
  virtual std::optional<Value> item(const Value& key, Budget& budget);
  virtual bool is_indexable() const { return false; }
  virtual bool is_callable() const { return false; }
  virtual Value call(Interpreter& interpreter, const Arguments& arguments);
  // The elements; nothing if it is not iterable. Generators give theirs once.
  virtual std::optional<std::vector<Value>> elements(Budget& budget);
  virtual bool is_iterable() const { return false; }
  virtual std::optional<std::size_t> length() const { return std::nullopt; }
  virtual std::size_t depth() const { return 1; }
};

// A function of C++.
class Function : public Object {
 public:
  using Body = std::function<Value(Interpreter&, const Arguments&)>;
  Function(std::string name, Body body, std::size_t depth = 1)
      : name_(std::move(name)), body_(std::move(body)), depth_(depth) {}
  std::string type_name() const override { return "function"; }
  bool is_callable() const override { return true; }
  Value call(Interpreter& interpreter, const Arguments& arguments) override { return body_(interpreter, arguments); }
  std::size_t depth() const override { return depth_; }

 private:
  std::string name_;
  Body body_;
  std::size_t depth_;
};

// The results of map, select and the like, computed when they are first asked for and given once.
class Generator : public Object {
 public:
  using Maker = std::function<std::vector<Value>()>;
  Generator(Maker make, std::size_t depth) : make_(std::move(make)), depth_(depth) {}
  std::string type_name() const override { return "generator"; }
  std::optional<std::vector<Value>> elements(Budget& budget) override;
  bool is_iterable() const override { return true; }
  std::size_t depth() const override { return depth_; }
  // The next element; nothing at the end.
  std::optional<Value> next(Budget& budget);

 private:
  void make(Budget& budget);

  Maker make_;
  std::vector<Value> items_;
  std::size_t next_ = 0;
  std::size_t depth_;
};

// Elements behind a name of Python's type: dict_items and so on.
class View : public Object {
 public:
  View(std::string type, std::vector<Value> items, std::size_t depth)
      : type_(std::move(type)), items_(std::move(items)), depth_(depth) {}
  std::string type_name() const override { return type_; }
  std::string text(Budget& budget) const override;
  std::optional<std::vector<Value>> elements(Budget& budget) override;
  bool is_iterable() const override { return true; }
  std::optional<std::size_t> length() const override { return items_.size(); }
  std::size_t depth() const override { return depth_; }

 private:
  std::string type_;
  std::vector<Value> items_;
  std::size_t depth_;
};

// range(start, stop, step), of few elements.
class Range : public Object {
 public:
  Range(std::int64_t start, std::int64_t stop, std::int64_t step);
  std::string type_name() const override { return "range"; }
  std::string text(Budget& budget) const override;
  std::optional<Value> item(const Value& key, Budget& budget) override;
  bool is_indexable() const override { return true; }
  std::optional<std::vector<Value>> elements(Budget& budget) override;
  bool is_iterable() const override { return true; }
  std::optional<std::size_t> length() const override { return count_; }

 private:
  std::int64_t start_;
  std::int64_t stop_;
  std::int64_t step_;
  std::size_t count_;
};

// namespace(...), whose attributes a template may set.
class Namespace : public Object {
 public:
  std::string type_name() const override { return "Namespace"; }
  std::string text(Budget& budget) const override;
  std::optional<Value> attribute(std::string_view name) override;
  std::optional<Value> item(const Value& key, Budget& budget) override;
  bool is_indexable() const override { return true; }
  void set(std::string name, Value value);
  void clear() { attributes_.clear(); }

 private:
  std::vector<std::pair<std::string, Value>> attributes_;
};

// A slice's bounds, as its subscript has them.
struct Slice {
  Value start;
  Value stop;
  Value step;
};
// The positions that it takes of `length` elements, in order. Throws Failure as Python does.
std::vector<std::size_t> slice_positions(const Slice& slice, std::size_t length, Budget& budget);

// Python's == and hash(). Comparing nested values spends steps.
bool are_equal(const Value& a, const Value& b, Budget& budget);
std::size_t hash_of(const Value& value);  // throws Failure for lists, dicts and the like
// Throws Failure for types without an order, naming `operation` ("<").
std::partial_ordering compare(const Value& a, const Value& b, std::string_view operation, Budget& budget);
// The elements of an iterable; throws Failure for others.
std::vector<Value> elements_of(const Value& value, Budget& budget);
bool is_iterable(const Value& value);
// len(); throws Failure for values without.
std::size_t length_of(const Value& value);
// What `text` has at the character `position`; must be below its length.
Value character_at(const Text& text, std::size_t position);
// Each character as a text.
std::vector<Value> characters_of(const Text& text, Budget& budget);

}  // namespace mslt::jinja

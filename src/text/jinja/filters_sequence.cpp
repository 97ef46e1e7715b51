// Filters on lists, dicts and other iterables.
#include <algorithm>
#include <array>
#include <iterator>

#include "text/jinja/attribute_getter.h"
#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"

namespace mslt::jinja {
namespace {

Value lazily(Interpreter& interpreter, std::size_t depth, Generator::Maker make) {
  if (depth + 1 > interpreter.budget().limits().depth) refuse("filters of filtered values nest too deep");
  return Value(std::make_shared<Generator>(std::move(make), depth + 1));
}

std::size_t depth_of(const Value& value, const Arguments& arguments) {
  std::size_t depth = value.depth();
  for (const Value& argument : arguments.positional) depth = std::max(depth, argument.depth());
  for (const auto& argument : arguments.named) depth = std::max(depth, argument.second.depth());
  return depth;
}

Value filter_length(Interpreter& /*interpreter*/, const Value& value, const Arguments& arguments) {
  const Bound bound("length", arguments, {});
  return Value::size(length_of(value));
}

Value filter_list(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("list", arguments, {});
  return interpreter.list(elements_of(value, interpreter.budget()));
}

Value filter_first(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("first", arguments, {});
  if (auto* generator = dynamic_cast<Generator*>(value.object())) {
    auto item = generator->next(interpreter.budget());
    return item ? std::move(*item) : Value::undefined("No first item, sequence was empty.");
  }
  std::vector<Value> items = elements_of(value, interpreter.budget());
  return items.empty() ? Value::undefined("No first item, sequence was empty.") : std::move(items.front());
}

Value filter_last(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("last", arguments, {});
  if (value.object() != nullptr && !value.object()->length()) {
    refuse("'{}' object is not reversible", value.type_name());
  }
  std::vector<Value> items = elements_of(value, interpreter.budget());
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : std::move(items.back());
}

Value filter_join(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("join", arguments, {"d", "attribute"});
  const std::string separator = bound.has(0) ? interpreter.text(bound[0]) : "";
  const AttributeGetter getter(bound.value(1, Value()));
  std::string result;
  bool is_first = true;
  for (const Value& item : elements_of(value, interpreter.budget())) {
    if (!std::exchange(is_first, false)) result += separator;
    result += interpreter.text(getter.get(interpreter, item));
    if (result.size() > interpreter.budget().limits().output_bytes) interpreter.budget().spend_on_text(result.size());
  }
  interpreter.budget().spend_on_text(result.size());
  return Value(std::move(result));
}

Value filter_map(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const bool by_attribute =
      arguments.positional.empty() &&
      std::ranges::any_of(arguments.named, [](const auto& argument) { return argument.first == "attribute"; });
  if (by_attribute) {
    const Bound bound("map", {{}, arguments.named}, {"attribute", "default"});
    const AttributeGetter getter(bound[0], bound.value(1, Value()));
    return lazily(interpreter, depth_of(value, arguments), [&interpreter, value, getter] {
      std::vector<Value> items;
      if (!value.is_true()) return items;
      for (const Value& item : elements_of(value, interpreter.budget())) items.push_back(getter.get(interpreter, item));
      return items;
    });
  }
  if (arguments.positional.empty()) refuse("map requires a filter argument");
  return lazily(interpreter, depth_of(value, arguments), [&interpreter, value, arguments] {
    std::vector<Value> items;
    if (!value.is_true()) return items;
    const Text* name = arguments.positional.front().text();
    if (name == nullptr) refuse("map requires the name of a filter");
    const Arguments rest{{arguments.positional.begin() + 1, arguments.positional.end()}, arguments.named};
    for (const Value& item : elements_of(value, interpreter.budget())) {
      items.push_back(interpreter.apply_filter(name->bytes, item, rest));
    }
    return items;
  });
}

// select, reject, selectattr and rejectattr.
Value chosen(Interpreter& interpreter, const Value& value, const Arguments& arguments, bool by_attribute,
             bool is_kept) {
  const std::size_t skipped = by_attribute ? 1 : 0;
  if (arguments.positional.size() < skipped) refuse("Missing parameter for attribute name");
  return lazily(interpreter, depth_of(value, arguments), [&interpreter, value, arguments, skipped, is_kept] {
    std::vector<Value> kept;
    if (!value.is_true()) return kept;
    const AttributeGetter getter(skipped > 0 ? arguments.positional.front() : Value());
    const bool has_test = arguments.positional.size() > skipped;
    const Text* test = has_test ? arguments.positional[skipped].text() : nullptr;
    if (has_test && test == nullptr) refuse("there is no test named so");
    Arguments rest{{}, arguments.named};
    if (has_test) {
      const auto from = static_cast<std::ptrdiff_t>(skipped + 1);
      rest.positional.assign(arguments.positional.begin() + from, arguments.positional.end());
    }
    for (Value& item : elements_of(value, interpreter.budget())) {
      const Value tested = getter.get(interpreter, item);
      const bool holds = has_test ? interpreter.apply_test(test->bytes, tested, rest) : tested.is_true();
      if (holds == is_kept) kept.push_back(std::move(item));
    }
    return kept;
  });
}

Value filter_select(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  return chosen(interpreter, value, arguments, false, true);
}
Value filter_reject(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  return chosen(interpreter, value, arguments, false, false);
}
Value filter_selectattr(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  return chosen(interpreter, value, arguments, true, true);
}
Value filter_rejectattr(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  return chosen(interpreter, value, arguments, true, false);
}

std::vector<Value> pairs_of(Interpreter& interpreter, const Dict& dict) {
  std::vector<Value> pairs;
  for (const auto& [key, value] : dict.entries()) pairs.push_back(interpreter.tuple({key, value}));
  return pairs;
}

Value filter_items(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("items", arguments, {});
  return lazily(interpreter, value.depth() + 1, [&interpreter, value]() -> std::vector<Value> {
    if (value.is_undefined()) return {};
    if (value.dict() == nullptr) refuse("Can only get item pairs from a mapping.");
    return pairs_of(interpreter, *value.dict());
  });
}

Value filter_dictsort(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const std::string by = bound.has(1) ? bound.text(1) : "key";
  if (by != "key" && by != "value") refuse("You can only sort by either \"key\" or \"value\"");
  if (value.require_defined().dict() == nullptr) refuse("'{}' object has no attribute 'items'", value.type_name());
  const std::size_t position = by == "key" ? 0 : 1;
  std::vector<Value> keys;
  std::vector<Value> pairs = pairs_of(interpreter, *value.dict());
  for (const Value& pair : pairs) {
    const Value& key = pair.sequence()->items[position];
    keys.push_back(bound.flag(0, false) ? key : without_case(key));
  }
  return interpreter.list(sorted_by(std::move(pairs), keys, bound.flag(2, false), interpreter.budget()));
}

Value filter_sort(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  const AttributeGetter getter(bound.value(2, Value()), {}, !bound.flag(1, false), true);
  std::vector<Value> items = elements_of(value, interpreter.budget());
  std::vector<Value> keys;
  for (const Value& item : items) keys.push_back(getter.get(interpreter, item));
  return interpreter.list(sorted_by(std::move(items), keys, bound.flag(0, false), interpreter.budget()));
}

Value filter_reverse(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("reverse", arguments, {});
  if (value.text() != nullptr) {
    return sliced(value, {Value(), Value(), Value(-1)}, interpreter.budget());
  }
  if (!is_iterable(value)) refuse("argument must be iterable");
  std::vector<Value> items = elements_of(value, interpreter.budget());
  std::ranges::reverse(items);
  if (value.object() != nullptr && !value.object()->length()) return interpreter.list(std::move(items));
  return lazily(interpreter, value.depth(), [items] { return items; });
}

Value filter_unique(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("unique", arguments, {"case_sensitive", "attribute"});
  const AttributeGetter getter(bound.value(1, Value()), {}, !bound.flag(0, false));
  return lazily(interpreter, value.depth(), [&interpreter, value, getter] {
    std::vector<Value> kept;
    Dict seen;
    for (Value& item : elements_of(value, interpreter.budget())) {
      const Value key = getter.get(interpreter, item);
      if (seen.find(key) != nullptr) continue;
      seen.set(key, Value(true), interpreter.budget());
      kept.push_back(std::move(item));
    }
    return kept;
  });
}

Value filter_sum(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("sum", arguments, {"attribute", "start"});
  const AttributeGetter getter(bound.value(0, Value()));
  Value sum = bound.value(1, Value(0));
  if (sum.text() != nullptr) refuse("sum() can't sum strings [use ''.join(seq) instead]");
  for (const Value& item : elements_of(value, interpreter.budget())) {
    sum = calculate(sum, "+", getter.get(interpreter, item), interpreter.budget());
  }
  return sum;
}

Value extreme(Interpreter& interpreter, const Value& value, const Arguments& arguments, bool is_max) {
  const Bound bound(is_max ? "max" : "min", arguments, {"case_sensitive", "attribute"});
  const AttributeGetter getter(bound.value(1, Value()), {}, !bound.flag(0, false));
  std::vector<Value> items = elements_of(value, interpreter.budget());
  if (items.empty()) return Value::undefined("No aggregated item, sequence was empty.");
  std::size_t best = 0;
  Value best_key = getter.get(interpreter, items[0]);
  for (std::size_t i = 1; i < items.size(); ++i) {
    Value key = getter.get(interpreter, items[i]);
    const auto order = compare(key, best_key, is_max ? ">" : "<", interpreter.budget());
    if (is_max ? order > 0 : order < 0) {
      best = i;
      best_key = std::move(key);
    }
  }
  return std::move(items[best]);
}

Value filter_min(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  return extreme(interpreter, value, arguments, false);
}
Value filter_max(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  return extreme(interpreter, value, arguments, true);
}

Value filter_batch(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("batch", arguments, {"linecount", "fill_with"}, 1);
  const std::int64_t size = bound.integer(0, 1);
  const Value fill = bound.value(1, Value());
  return lazily(interpreter, depth_of(value, arguments) + 1, [&interpreter, value, size, fill] {
    std::vector<Value> batches;
    std::vector<Value> batch;
    for (Value& item : elements_of(value, interpreter.budget())) {
      if (static_cast<std::int64_t>(batch.size()) == size) {
        batches.push_back(interpreter.list(std::exchange(batch, {})));
      }
      batch.push_back(std::move(item));
    }
    if (batch.empty()) return batches;
    while (!fill.is_none() && static_cast<std::int64_t>(batch.size()) < size) {
      interpreter.budget().spend(1);
      batch.push_back(fill);
    }
    batches.push_back(interpreter.list(std::move(batch)));
    return batches;
  });
}

Value filter_slice(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("slice", arguments, {"slices", "fill_with"}, 1);
  const std::int64_t count = bound.integer(0, 1);
  const Value fill = bound.value(1, Value());
  return lazily(interpreter, depth_of(value, arguments) + 1, [&interpreter, value, count, fill] {
    if (count == 0) refuse("integer division or modulo by zero");
    std::vector<Value> slices;
    const std::vector<Value> items = elements_of(value, interpreter.budget());
    if (count < 0) return slices;
    const auto parts = static_cast<std::size_t>(count);
    interpreter.budget().spend(parts);
    auto from = items.begin();
    for (std::size_t i = 0; i < parts; ++i) {
      const bool has_extra = i < items.size() % parts;
      const auto size = static_cast<std::ptrdiff_t>(items.size() / parts + (has_extra ? 1 : 0));
      std::vector<Value> part(from, from + size);
      from += size;
      if (!fill.is_none() && !has_extra) part.push_back(fill);
      slices.push_back(interpreter.list(std::move(part)));
    }
    return slices;
  });
}

// A pair that also answers to the names grouper and list.
class Group : public Object {
 public:
  Group(Value grouper, Value list) : grouper_(std::move(grouper)), list_(std::move(list)) {}
  std::string type_name() const override { return "_GroupTuple"; }
  std::string text(Budget& budget) const override {
    return "(" + repr(grouper_, budget) + ", " + repr(list_, budget) + ")";
  }
  std::optional<Value> attribute(std::string_view name) override {
    if (name == "grouper") return grouper_;
    if (name == "list") return list_;
    return std::nullopt;
  }
  std::optional<Value> item(const Value& key, Budget& /*budget*/) override {
    const auto index = key.integer();
    const auto position = index ? position_in(*index, 2) : std::nullopt;
    if (!position) return std::nullopt;
    return *position == 0 ? grouper_ : list_;
  }
  bool is_indexable() const override { return true; }
  std::optional<std::vector<Value>> elements(Budget& /*budget*/) override { return std::vector{grouper_, list_}; }
  bool is_iterable() const override { return true; }
  std::optional<std::size_t> length() const override { return 2; }
  std::size_t depth() const override { return std::max(grouper_.depth(), list_.depth()) + 1; }

 private:
  Value grouper_;
  Value list_;
};

Value filter_groupby(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("groupby", arguments, {"attribute", "default", "case_sensitive"}, 1);
  const AttributeGetter getter(bound[0], bound.value(1, Value()));
  const bool has_case = bound.flag(2, false);
  std::vector<Value> items = elements_of(value, interpreter.budget());
  std::vector<Value> keys;
  for (const Value& item : items) {
    const Value key = getter.get(interpreter, item);
    keys.push_back(has_case ? key : without_case(key));
  }
  items = sorted_by(std::move(items), keys, false, interpreter.budget());
  std::vector<Value> groups;
  std::vector<Value> members;
  const auto close = [&] {
    if (members.empty()) return;
    Value grouper = getter.get(interpreter, members.front());
    groups.emplace_back(std::make_shared<Group>(std::move(grouper), interpreter.list(std::exchange(members, {}))));
  };
  std::optional<Value> last;
  for (Value& item : items) {
    const Value own = getter.get(interpreter, item);
    const Value key = has_case ? own : without_case(own);
    if (last && !are_equal(*last, key, interpreter.budget())) close();
    last = key;
    members.push_back(std::move(item));
  }
  close();
  return interpreter.list(std::move(groups));
}

constexpr std::array<BuiltinEntry, 22> sequence_entries = {{
    {"batch", filter_batch},     {"count", filter_length},    {"dictsort", filter_dictsort},
    {"first", filter_first},     {"groupby", filter_groupby}, {"items", filter_items},
    {"join", filter_join},       {"last", filter_last},       {"length", filter_length},
    {"list", filter_list},       {"map", filter_map},         {"max", filter_max},
    {"min", filter_min},         {"reject", filter_reject},   {"rejectattr", filter_rejectattr},
    {"reverse", filter_reverse}, {"select", filter_select},   {"selectattr", filter_selectattr},
    {"slice", filter_slice},     {"sort", filter_sort},       {"sum", filter_sum},
    {"unique", filter_unique},
}};

}  // namespace

std::optional<Builtin> sequence_filter(std::string_view name) {
  const auto* found = std::ranges::find(sequence_entries, name, &BuiltinEntry::first);
  return found == sequence_entries.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace mslt::jinja

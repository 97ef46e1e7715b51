// Attributes of elements, and sorting by them.
#include "text/jinja/attribute_getter.h"

#include <algorithm>
#include <numeric>

#include "text/jinja/interpreter.h"
#include "text/jinja/python_text.h"

namespace mslt::jinja {
namespace {

std::vector<Value> path_of(const Value& attribute) {
  if (attribute.is_none()) return {};
  const Text* text = attribute.text();
  if (text == nullptr) return {attribute};
  std::vector<Value> path;
  for (std::string& part : split(text->bytes, ".", -1, false)) {
    const bool is_number = !part.empty() && std::ranges::all_of(part, [](char c) { return c >= '0' && c <= '9'; });
    const auto number = is_number ? parse_integer(part, 10) : std::nullopt;
    path.push_back(number ? Value(*number) : Value(std::move(part)));
  }
  return path;
}

}  // namespace

AttributeGetter::AttributeGetter(const Value& attribute, Value fallback, bool ignores_case, bool several)
    : fallback_(std::move(fallback)), ignores_case_(ignores_case), several_(several) {
  if (several && attribute.text() != nullptr) {
    for (const std::string& part : split(attribute.text()->bytes, ",", -1, false)) {
      paths_.push_back(path_of(Value(part)));
    }
  } else {
    paths_.push_back(path_of(attribute));
  }
}

Value AttributeGetter::get(Interpreter& interpreter, const Value& item) const {
  std::vector<Value> found;
  for (const std::vector<Value>& path : paths_) {
    Value value = item;
    for (const Value& part : path) {
      value = interpreter.item_of(value, part);
      if (value.is_undefined() && !fallback_.is_none()) value = fallback_;
    }
    found.push_back(ignores_case_ ? without_case(value) : std::move(value));
  }
  return several_ ? interpreter.list(std::move(found)) : std::move(found.front());
}

Value without_case(const Value& value) {
  return value.text() != nullptr ? Value(lower(value.text()->bytes)) : value;
}

std::vector<Value> sorted_by(std::vector<Value> items, const std::vector<Value>& keys, bool descending,
                             Budget& budget) {
  std::vector<std::size_t> order(items.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto is_before = [&](std::size_t a, std::size_t b) {
    return descending ? compare(keys[b], keys[a], "<", budget) < 0 : compare(keys[a], keys[b], "<", budget) < 0;
  };
  // A merge sort of our own: std::sort may leave its range where NaN breaks the order, or the comparison throws.
  std::vector<std::size_t> merged(order.size());
  for (std::size_t width = 1; width < order.size(); width *= 2) {
    for (std::size_t from = 0; from < order.size(); from += 2 * width) {
      const std::size_t middle = std::min(from + width, order.size());
      const std::size_t end = std::min(from + 2 * width, order.size());
      std::size_t left = from;
      std::size_t right = middle;
      for (std::size_t to = from; to < end; ++to) {
        const bool take_right = left == middle || (right < end && is_before(order[right], order[left]));
        merged[to] = take_right ? order[right++] : order[left++];
      }
    }
    std::swap(order, merged);
  }
  std::vector<Value> sorted;
  sorted.reserve(items.size());
  for (const std::size_t i : order) sorted.push_back(std::move(items[i]));
  return sorted;
}

}  // namespace mslt::jinja

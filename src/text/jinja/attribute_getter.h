// What filters take of each element: a dotted path of attributes, or the element itself.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace mslt::jinja {

class AttributeGetter {
 public:
  // `attribute`: None, an integer, or names and numbers with dots between them. An undefined result becomes `fallback`
  // unless that is None. `several`: commas separate attributes, and the result is a list of them.
  explicit AttributeGetter(const Value& attribute, Value fallback = {}, bool ignores_case = false,
                           bool several = false);
  Value get(Interpreter& interpreter, const Value& item) const;

 private:
  std::vector<std::vector<Value>> paths_;
  Value fallback_;
  bool ignores_case_;
  bool several_;
};

// Texts in lowercase, other values as they are.
Value without_case(const Value& value);

// Items in the order of their keys, equal ones as they were. Throws Failure for keys without an order.
std::vector<Value> sorted_by(std::vector<Value> items, const std::vector<Value>& keys, bool descending, Budget& budget);

}  // namespace mslt::jinja

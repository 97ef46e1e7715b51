// Values with behaviour: generators, views, ranges and namespaces.
#include <algorithm>
#include <iterator>

#include "text/jinja/python_text.h"
#include "text/jinja/value.h"

namespace mslt::jinja {

std::string Object::text(Budget& budget) const {
  budget.spend(1);
  return fmt::format("<{} object>", type_name());
}

std::optional<Value> Object::attribute(std::string_view /*name*/) {
  return std::nullopt;
}

std::optional<Value> Object::item(const Value& /*key*/, Budget& /*budget*/) {
  return std::nullopt;
}

Value Object::call(Interpreter& /*interpreter*/, const Arguments& /*arguments*/) {
  refuse("'{}' object is not callable", type_name());
}

std::optional<std::vector<Value>> Object::elements(Budget& /*budget*/) {
  return std::nullopt;
}

void Generator::make(Budget& budget) {
  if (!make_) return;
  const Budget::Level level(budget);
  const Maker maker = std::exchange(make_, nullptr);
  items_ = maker();
}

std::optional<std::vector<Value>> Generator::elements(Budget& budget) {
  make(budget);
  std::vector<Value> rest(std::make_move_iterator(items_.begin() + static_cast<std::ptrdiff_t>(next_)),
                          std::make_move_iterator(items_.end()));
  next_ = items_.size();
  return rest;
}

std::optional<Value> Generator::next(Budget& budget) {
  make(budget);
  if (next_ == items_.size()) return std::nullopt;
  return std::move(items_[next_++]);
}

std::string View::text(Budget& budget) const {
  return type_ + "(" + repr(Value::list(items_, budget), budget) + ")";
}

std::optional<std::vector<Value>> View::elements(Budget& /*budget*/) {
  return items_;
}

Range::Range(std::int64_t start, std::int64_t stop, std::int64_t step) : start_(start), stop_(stop), step_(step) {
  if (step == 0) refuse("range() arg 3 must not be zero");
  // In floating point, where nothing overflows; only small ranges are exact, and only they are allowed.
  const double span = static_cast<double>(stop) - static_cast<double>(start);
  const double count = span / static_cast<double>(step);
  constexpr std::size_t most = 100'000;  // the sandbox of Jinja allows no more
  if (count > static_cast<double>(most)) {
    refuse("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({}).", most);
  }
  count_ = 0;
  if (count <= 0.0) return;
  std::int64_t distance = 0;
  if (__builtin_sub_overflow(stop, start, &distance)) refuse("the bounds of a range lie too far apart");
  count_ = static_cast<std::size_t>(distance / step + (distance % step != 0 ? 1 : 0));
}

std::string Range::text(Budget& budget) const {
  budget.spend(1);
  return step_ == 1 ? fmt::format("range({}, {})", start_, stop_)
                    : fmt::format("range({}, {}, {})", start_, stop_, step_);
}

std::optional<Value> Range::item(const Value& key, Budget& budget) {
  budget.spend(1);
  const auto index = key.integer();
  if (!index) return std::nullopt;
  const auto count = static_cast<std::int64_t>(count_);
  const std::int64_t position = *index < 0 ? *index + count : *index;
  if (position < 0 || position >= count) return std::nullopt;
  return Value(start_ + position * step_);
}

std::optional<std::vector<Value>> Range::elements(Budget& budget) {
  budget.spend(count_);
  std::vector<Value> numbers;
  numbers.reserve(count_);
  for (std::size_t i = 0; i < count_; ++i) numbers.emplace_back(start_ + static_cast<std::int64_t>(i) * step_);
  return numbers;
}

std::string Namespace::text(Budget& budget) const {
  const Budget::Level level(budget);
  std::string members;
  for (const auto& [name, value] : attributes_) {
    members += (members.empty() ? "" : ", ") + repr(Value(name), budget) + ": " + repr(value, budget);
    budget.spend_on_text(members.size());
  }
  return "<Namespace {" + members + "}>";
}

std::optional<Value> Namespace::attribute(std::string_view name) {
  const auto found = std::ranges::find(attributes_, name, &std::pair<std::string, Value>::first);
  return found == attributes_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<Value> Namespace::item(const Value& key, Budget& budget) {
  budget.spend(1 + attributes_.size());
  return key.text() != nullptr ? attribute(key.text()->bytes) : std::nullopt;
}

void Namespace::set(std::string name, Value value) {
  if (name.starts_with('_')) {
    refuse("Chat templates cannot store underscore-prefixed attributes on a namespace, but got '{}'.", name);
  }
  const auto found = std::ranges::find(attributes_, name, &std::pair<std::string, Value>::first);
  if (found != attributes_.end()) {
    found->second = std::move(value);
  } else {
    attributes_.emplace_back(std::move(name), std::move(value));
  }
}

}  // namespace mslt::jinja

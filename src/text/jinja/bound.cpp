// Binding the arguments of built-in functions.
#include <algorithm>

#include "text/jinja/builtins.h"

namespace mslt::jinja {

Bound::Bound(std::string_view function, const Arguments& arguments, std::initializer_list<std::string_view> names,
             std::size_t required)
    : function_(function), names_(names.begin(), names.end()), values_(names.size()) {
  if (arguments.positional.size() > names_.size()) {
    refuse("{}() takes {} arguments but {} were given", function, names_.size(), arguments.positional.size());
  }
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) values_[i].emplace(arguments.positional[i]);
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::ranges::find(names_, name);
    if (found == names_.end()) refuse("{}() got an unexpected keyword argument '{}'", function, name);
    std::optional<Value>& place = values_[static_cast<std::size_t>(found - names_.begin())];
    if (place) refuse("{}() got multiple values for argument '{}'", function, name);
    place = value;
  }
  for (std::size_t i = 0; i < required; ++i) {
    if (!values_[i]) refuse("{}() is missing the argument '{}'", function, names_[i]);
  }
}

std::int64_t Bound::integer(std::size_t i, std::int64_t fallback) const {
  if (!has(i)) return fallback;
  const auto number = values_[i]->require_defined().integer();
  if (!number) {
    refuse("{}(): the argument '{}' is of type '{}' and must be an integer", function_, names_[i],
           values_[i]->type_name());
  }
  return *number;
}

std::string Bound::text(std::size_t i) const {
  const Text* text = values_[i]->require_defined().text();
  if (text == nullptr) {
    refuse("{}(): the argument '{}' is of type '{}' and must be a str", function_, names_[i], values_[i]->type_name());
  }
  return text->bytes;
}

std::optional<std::string> Bound::optional_text(std::size_t i) const {
  if (!has(i) || values_[i]->is_none()) return std::nullopt;
  return text(i);
}

bool has_filter(std::string_view name) {
  return text_filter(name) || sequence_filter(name) || number_filter(name);
}

bool has_test(std::string_view name) {
  return find_test(name).has_value();
}

Builtin require_filter(std::string_view name) {
  if (const auto filter = text_filter(name)) return *filter;
  if (const auto filter = sequence_filter(name)) return *filter;
  if (const auto filter = number_filter(name)) return *filter;
  refuse("there is no filter named '{}'", name);
}

Builtin require_test(std::string_view name) {
  if (const auto test = find_test(name)) return *test;
  refuse("there is no test named '{}'", name);
}

}  // namespace mslt::jinja

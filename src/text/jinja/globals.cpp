// The functions of every template.
#include <algorithm>
#include <array>
#include <ctime>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"

namespace mslt::jinja {
namespace {

using GlobalFunction = Value (*)(Interpreter&, const Arguments&);

Value make_range(Interpreter& /*interpreter*/, const Arguments& arguments) {
  if (!arguments.named.empty()) refuse("range() takes no keyword arguments");
  const Bound bound("range", arguments, {"start", "stop", "step"}, 1);
  const std::int64_t first = bound.integer(0, 0);
  const bool is_stop_alone = !bound.has(1);
  return Value(std::make_shared<Range>(is_stop_alone ? 0 : first, is_stop_alone ? first : bound.integer(1, 0),
                                       bound.integer(2, 1)));
}

// The entries of dict(mapping or pairs, **named).
Dict dict_from(Interpreter& interpreter, const Arguments& arguments) {
  if (arguments.positional.size() > 1) refuse("dict expected at most 1 argument, got {}", arguments.positional.size());
  Dict dict;
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional.front();
    if (source.dict() != nullptr) {
      dict = *source.dict();
      interpreter.budget().spend(dict.entries().size());
    } else {
      for (const Value& pair : elements_of(source, interpreter.budget())) {
        const std::vector<Value> parts = elements_of(pair, interpreter.budget());
        if (parts.size() != 2) refuse("dictionary update sequence element has length {}; 2 is required", parts.size());
        dict.set(parts[0], parts[1], interpreter.budget());
      }
    }
  }
  for (const auto& [name, value] : arguments.named) dict.set(Value(name), value, interpreter.budget());
  return dict;
}

Value make_dict(Interpreter& interpreter, const Arguments& arguments) {
  return Value(std::make_shared<const Dict>(dict_from(interpreter, arguments)));
}

Value make_namespace_value(Interpreter& interpreter, const Arguments& arguments) {
  const auto space = interpreter.make_namespace();
  const Dict attributes = dict_from(interpreter, arguments);
  for (const auto& [name, value] : attributes.entries()) {
    if (name.text() == nullptr) refuse("the attributes of a namespace have texts as names");
    space->set(name.text()->bytes, value);
  }
  return Value(std::shared_ptr<Object>(space));
}

Value raise_exception(Interpreter& interpreter, const Arguments& arguments) {
  const Bound bound("raise_exception", arguments, {"message"}, 1);
  throw Raised(interpreter.text(bound[0]));
}

Value strftime_now(Interpreter& interpreter, const Arguments& arguments) {
  const Bound bound("strftime_now", arguments, {"format"}, 1);
  return Value(format_time(interpreter.now(), bound.text(0)));
}

class Cycler : public Object {
 public:
  explicit Cycler(std::vector<Value> items) : items_(std::move(items)) {}
  std::string type_name() const override { return "Cycler"; }
  std::size_t depth() const override {
    std::size_t depth = 1;
    for (const Value& item : items_) depth = std::max(depth, item.depth() + 1);
    return depth;
  }
  std::optional<Value> attribute(std::string_view name) override {
    if (name == "current") return items_[*position_];
    if (name != "next" && name != "reset") return std::nullopt;
    return Value(std::make_shared<Function>(
        std::string(name),
        [items = items_, position = position_, is_next = name == "next"](Interpreter&, const Arguments&) {
          const std::size_t now = *position;
          *position = is_next ? (now + 1) % items.size() : 0;
          return is_next ? items[now] : Value();
        },
        depth()));
  }

 private:
  std::vector<Value> items_;
  std::shared_ptr<std::size_t> position_ = std::make_shared<std::size_t>(0);
};

Value make_cycler(Interpreter& interpreter, const Arguments& arguments) {
  if (!arguments.named.empty()) refuse("cycler() takes no keyword arguments");
  if (arguments.positional.empty()) refuse("at least one item has to be provided");
  const Value items = interpreter.list(arguments.positional);
  return Value(std::shared_ptr<Object>(std::make_shared<Cycler>(items.sequence()->items)));
}

Value make_joiner(Interpreter& /*interpreter*/, const Arguments& arguments) {
  const Bound bound("joiner", arguments, {"sep"});
  const auto joiner = [separator = bound.value(0, Value(", ")), used = std::make_shared<bool>(false)](
                          Interpreter&, const Arguments&) {
    return std::exchange(*used, true) ? separator : Value("");
  };
  return Value(std::make_shared<Function>("joiner", joiner, bound.value(0, Value()).depth() + 1));
}

constexpr std::array<std::pair<std::string_view, GlobalFunction>, 7> functions = {{
    {"cycler", make_cycler},
    {"dict", make_dict},
    {"joiner", make_joiner},
    {"namespace", make_namespace_value},
    {"raise_exception", raise_exception},
    {"range", make_range},
    {"strftime_now", strftime_now},
}};

}  // namespace

std::optional<Value> global_named(std::string_view name) {
  for (const auto& [known, function] : functions) {
    if (known == name) return Value(std::make_shared<Function>(std::string(name), function));
  }
  return std::nullopt;
}

std::string format_time(std::time_t time, const std::string& format) {
  std::tm local{};
  localtime_r(&time, &local);
  // A text that is never empty tells a format without output from a buffer too small.
  const std::string marked = format + "x";
  constexpr std::size_t most = std::size_t{1} << 16;
  for (std::string text(256 + 2 * marked.size(), '\0'); text.size() <= most; text.resize(text.size() * 2)) {
    const std::size_t size = std::strftime(text.data(), text.size(), marked.c_str(), &local);
    if (size > 0) return text.substr(0, size - 1);
  }
  refuse("strftime_now: the format '{}' makes a text that is too long", format.substr(0, 64));
}

}  // namespace mslt::jinja

// The reader of declarations at file and struct scope.
#include <algorithm>
#include <string>

#include "mslc/syntax.h"

namespace mslt::mslc {
namespace {

class Reader {
 public:
  Reader(Unit unit, Diagnostics& diagnostics) : diagnostics_(diagnostics) { syntax_.unit = std::move(unit); }

  Syntax run() {
    check_brackets();
    find_attributes();
    if (balanced_) {
      items({0, syntax_.unit.tokens.size() - 1}, {});
    }
    return std::move(syntax_);
  }

 private:
  const Unit& unit() const { return syntax_.unit; }
  const Token& token(std::size_t index) const { return syntax_.unit.token(index); }
  bool adjacent(std::size_t index, std::string_view text) const {
    return token(index).is(text) && token(index + 1).is(text) && !token(index + 1).space_before;
  }

  void check_brackets() {
    std::vector<std::size_t> open;
    for (std::size_t i = 0; i < unit().tokens.size(); ++i) {
      const Token& t = token(i);
      if (t.is("(") || t.is("[") || t.is("{")) {
        open.push_back(i);
      } else if (t.is(")") || t.is("]") || t.is("}")) {
        const std::string_view wanted = t.is(")") ? "(" : t.is("]") ? "[" : "{";
        if (open.empty() || !token(open.back()).is(wanted)) {
          diagnostics_.error(t.at, "'{}' closes nothing; remove it or open it with '{}'", t.text, wanted);
          balanced_ = false;
          return;
        }
        open.pop_back();
      }
    }
    if (!open.empty()) {
      diagnostics_.error(token(open.back()).at, "'{}' is never closed", token(open.back()).text);
      balanced_ = false;
    }
  }

  void find_attributes() {
    for (std::size_t i = 0; balanced_ && i + 1 < unit().tokens.size(); ++i) {
      if (adjacent(i, "[")) {
        const std::size_t end = matching(unit(), i);
        syntax_.attributes.push_back({i, end + 1});
        i = end;
      }
    }
  }

  // Adds the attributes of the `[[...]]` at `index`; returns the index of the next token.
  std::size_t read_attributes(std::size_t index, std::vector<Attribute>& attributes) const {
    const std::size_t close = matching(unit(), index);
    for (const Range part : split_at_commas(unit(), {index + 2, close - 1})) {
      if (part.empty()) {
        continue;
      }
      Attribute attribute;
      attribute.at = part.begin;
      attribute.name = token(part.begin).text;
      if (part.size() > 2 && token(part.begin + 1).is("(")) {
        attribute.argument = {part.begin + 2, std::min(matching(unit(), part.begin + 1), part.end)};
      }
      attributes.push_back(attribute);
    }
    return close + 1;
  }

  void items(Range range, std::string_view owner) {
    std::size_t i = range.begin;
    while (i < range.end) {
      i = std::max(item(i, range.end, owner), i + 1);
    }
  }

  // Reads the declaration at `begin`; returns the index of the next token.
  std::size_t item(std::size_t begin, std::size_t end, std::string_view owner) {
    const Token& first = token(begin);
    if (first.kind == TokenKind::directive || first.is(";")) {
      return begin + 1;
    }
    if (!owner.empty() && token(begin + 1).is(":") && (first.is("public") || first.is("private"))) {
      return begin + 2;
    }
    if (first.is("namespace")) {
      return read_namespace(begin, end);
    }
    if (first.is("using") || first.is("typedef")) {
      return read_using(begin, end);
    }
    if (first.is("static_assert")) {
      return statement_end(begin, end);
    }
    if (first.is("MSLT_INSTANTIATE")) {
      return read_instantiation(begin);
    }
    std::vector<TemplateParameter> parameters;
    std::size_t at = begin;
    const bool is_template = first.is("template");
    if (is_template) {
      if (!token(begin + 1).is("<")) {
        diagnostics_.error(first.at,
                           "explicit instantiations are written MSLT_INSTANTIATE(host_name, kernel, types...)");
        return statement_end(begin, end);
      }
      const std::size_t close = matching_angle(unit(), begin + 1, end);
      if (close == end) {
        diagnostics_.error(token(begin + 1).at, "this template parameter list does not end");
        return end;
      }
      parameters = read_template_parameters({begin + 2, close});
      at = close + 1;
    }
    if (token(at).is("struct") || token(at).is("class") || token(at).is("union") || token(at).is("enum")) {
      const std::size_t after = read_type(begin, at, end, is_template, parameters);
      if (after != begin) {
        return after;
      }
    }
    return read_declaration(begin, at, end, owner, is_template, std::move(parameters));
  }

  std::size_t statement_end(std::size_t begin, std::size_t end) const {
    for (std::size_t i = begin; i < end; ++i) {
      if (token(i).is("(") || token(i).is("[") || token(i).is("{")) {
        i = matching(unit(), i);
      } else if (token(i).is(";")) {
        return i + 1;
      }
    }
    return end;
  }

  std::size_t read_namespace(std::size_t begin, std::size_t end) {
    std::size_t i = begin + 1;
    while (i < end && !token(i).is("{") && !token(i).is(";")) {
      ++i;
    }
    if (!token(i).is("{")) {
      return i + 1;
    }
    const std::size_t close = matching(unit(), i);
    items({i + 1, close}, {});
    return close + 1;
  }

  std::size_t read_using(std::size_t begin, std::size_t end) {
    const std::size_t after = statement_end(begin, end);
    syntax_.usings.push_back({begin, after});
    if (token(begin).is("using") && token(begin + 2).is("=")) {
      syntax_.names.push_back(token(begin + 1).text);
    }
    return after;
  }

  std::size_t read_instantiation(std::size_t begin) {
    if (!token(begin + 1).is("(")) {
      diagnostics_.error(token(begin).at, "write MSLT_INSTANTIATE(host_name, kernel, types...)");
      return begin + 1;
    }
    const std::size_t close = matching(unit(), begin + 1);
    const std::vector<Range> parts = split_at_commas(unit(), {begin + 2, close});
    Instantiation read;
    read.at = begin;
    read.whole = {begin, token(close + 1).is(";") ? close + 2 : close + 1};
    if (parts.size() < 3 || parts[0].size() != 1 || parts[1].size() != 1 || !token(parts[0].begin).is_name() ||
        !token(parts[1].begin).is_name()) {
      diagnostics_.error(token(begin).at,
                         "an instantiation names the host name, the kernel template and at least one template "
                         "argument: MSLT_INSTANTIATE(norm_f32, norm, float)");
      return read.whole.end;
    }
    read.host_name = token(parts[0].begin).text;
    read.kernel = token(parts[1].begin).text;
    read.kernel_at = parts[1].begin;
    read.arguments.assign(parts.begin() + 2, parts.end());
    syntax_.instantiations.push_back(read);
    return read.whole.end;
  }

  std::vector<TemplateParameter> read_template_parameters(Range range) const {
    std::vector<TemplateParameter> parameters;
    for (const Range part : split_at_commas(unit(), range)) {
      if (part.empty()) {
        continue;
      }
      TemplateParameter parameter;
      parameter.declaration = part;
      parameter.is_type = token(part.begin).is("typename") || token(part.begin).is("class");
      std::size_t end = part.begin;
      while (end < part.end && !token(end).is("=")) {
        ++end;
      }
      if (end < part.end) {
        parameter.default_value = {end + 1, part.end};
      }
      if (end - part.begin >= 2 && token(end - 1).is_name()) {
        parameter.name = token(end - 1).text;
      }
      parameters.push_back(parameter);
    }
    return parameters;
  }

  // A struct, class, union or enum with a body; returns `begin` if the declaration only mentions one.
  std::size_t read_type(std::size_t begin, std::size_t at, std::size_t end, bool is_template,
                        const std::vector<TemplateParameter>& parameters) {
    const bool is_enum = token(at).is("enum");
    std::size_t i = at + 1;
    if (is_enum && (token(i).is("class") || token(i).is("struct"))) {
      ++i;
    }
    Struct read;
    read.is_template = is_template;
    read.template_parameters = parameters;
    read.name_at = i;
    if (token(i).is_name()) {
      read.name = token(i).text;
      ++i;
    }
    if (is_template && token(i).is("<")) {
      i = matching_angle(unit(), i, end) + 1;
    }
    if (token(i).is(";")) {
      return i + 1;
    }
    if (token(i).is(":")) {
      read.bases_at = i;
      while (i < end && !token(i).is("{") && !token(i).is(";")) {
        ++i;
      }
    }
    if (!token(i).is("{")) {
      return begin;
    }
    const std::size_t close = matching(unit(), i);
    read.body = {i, close + 1};
    const std::size_t after = statement_end(close, end);
    if (after != close + 2) {
      diagnostics_.error(token(close).at,
                         "end a type with '}};' and declare variables of it in statements of their own");
    }
    read.whole = {begin, after};
    if (is_enum) {
      read_enumerators(read);
      return after;
    }
    if (read.name.empty()) {
      diagnostics_.error(token(at).at, "a type at file scope has a name");
      return after;
    }
    syntax_.structs.push_back(read);
    items({i + 1, close}, read.name);
    return after;
  }

  void read_enumerators(const Struct& read) {
    syntax_.names.push_back(read.name);
    for (const Range part : split_at_commas(unit(), {read.body.begin + 1, read.body.end - 1})) {
      if (!part.empty()) {
        syntax_.names.push_back(token(part.begin).text);
      }
    }
  }

  // A function or a variable. `at` is the first token after the template clause.
  std::size_t read_declaration(std::size_t begin, std::size_t at, std::size_t end, std::string_view owner,
                               bool is_template, std::vector<TemplateParameter> parameters) {
    std::vector<Attribute> attributes;
    bool is_operator = false;
    std::size_t i = at;
    while (i < end) {
      const Token& t = token(i);
      if (adjacent(i, "[")) {
        i = read_attributes(i, attributes);
        continue;
      }
      if (t.is("operator")) {
        is_operator = true;
        i += token(i + 1).is("(") || token(i + 1).is("[") ? 3 : 2;
        while (i < end && !token(i).is("(")) {
          ++i;
        }
        continue;
      }
      if (t.is("<")) {
        const std::size_t close = matching_angle(unit(), i, end);
        i = close < end ? close + 1 : i + 1;
        continue;
      }
      if (t.is("decltype") && token(i + 1).is("(")) {
        i = matching(unit(), i + 1) + 1;
        continue;
      }
      if (t.is("(") || t.is(";") || t.is("=") || t.is("{") || t.is("[") || t.is("}")) {
        break;
      }
      ++i;
    }
    if (i >= end) {
      diagnostics_.error(token(at).at, "cannot read this declaration; end it with ';' or a body");
      return end;
    }
    if (token(i).is("(") && i > at && (is_operator || token(i - 1).is_name() || token(i - 1).is(">"))) {
      Function function;
      function.is_template = is_template;
      function.template_parameters = std::move(parameters);
      function.attributes = std::move(attributes);
      function.owner = owner;
      function.specifiers = {at, i - 1};
      return read_function(begin, i, end, std::move(function));
    }
    return read_variable(begin, at, i, end, owner);
  }

  std::size_t read_function(std::size_t begin, std::size_t open, std::size_t end, Function function) {
    function.name_at = open - 1;
    if (token(open - 1).is(">")) {  // an explicit specialisation: f<float>(...)
      std::size_t name = open - 1;
      const auto opens_here = [&](std::size_t i) {
        return token(i - 1).is_name() && token(i).is("<") && matching_angle(unit(), i, open) == open - 1;
      };
      while (name > begin && !opens_here(name)) {
        --name;
      }
      function.name_at = name > begin ? name - 1 : begin;
      function.specifiers.end = function.name_at;
    }
    function.name = token(function.name_at).text;
    for (std::size_t i = function.specifiers.begin; i < function.specifiers.end; ++i) {
      if (token(i).is("operator")) {
        function.name = "operator";
        function.name_at = i;
        function.specifiers.end = i;
      }
      function.is_kernel = function.is_kernel || token(i).is("kernel");
    }
    const std::size_t close = matching(unit(), open);
    function.parentheses = {open, close + 1};
    for (const Range part : split_at_commas(unit(), {open + 1, close})) {
      if (part.size() == 1 && token(part.begin).is("void")) {
        continue;
      }
      function.parameters.push_back(read_parameter(part));
    }
    std::size_t i = close + 1;
    while (i < end && !token(i).is("{") && !token(i).is(";")) {
      if (adjacent(i, "[")) {
        i = read_attributes(i, function.attributes);
      } else if (token(i).is("(")) {
        i = matching(unit(), i) + 1;
      } else {
        ++i;
      }
    }
    if (i >= end) {
      diagnostics_.error(token(function.name_at).at, "function '{}' has neither a body nor ';'", function.name);
      return end;
    }
    if (token(i).is("{")) {
      const std::size_t last = matching(unit(), i);
      function.body = {i, last + 1};
      i = last;
    }
    function.whole = {begin, i + 1};
    syntax_.functions.push_back(std::move(function));
    return i + 1;
  }

  Parameter read_parameter(Range part) const {
    Parameter parameter;
    parameter.declaration = part;
    std::size_t end = part.begin;
    std::size_t name = part.end;
    std::size_t words = 0;
    while (end < part.end) {
      const Token& t = token(end);
      if (adjacent(end, "[")) {
        end = read_attributes(end, parameter.attributes);
        continue;
      }
      if (t.is("=")) {
        break;
      }
      if (t.is("<")) {
        const std::size_t close = matching_angle(unit(), end, part.end);
        end = close < part.end ? close + 1 : end + 1;
        words += 1;
        continue;
      }
      if (t.is("[") && name != part.end) {
        const std::size_t close = matching(unit(), end);
        parameter.extents = {parameter.extents.empty() ? end : parameter.extents.begin, close + 1};
        end = close + 1;
        continue;
      }
      const bool qualifier = is_address_space(t.text) || t.is("const") || t.is("typename") || t.is("volatile");
      if (t.is_name() && !qualifier) {
        if (words > 0 && !token(end - 1).is("::")) {
          name = end;
        }
        ++words;
      }
      ++end;
    }
    if (name != part.end) {
      parameter.name = token(name).text;
      parameter.name_at = name;
      parameter.type = {part.begin, name};
    } else {
      parameter.name_at = part.begin;
      parameter.type = {part.begin, end};
    }
    return parameter;
  }

  std::size_t read_variable(std::size_t begin, std::size_t at, std::size_t stop, std::size_t end,
                            std::string_view owner) {
    Variable variable;
    variable.owner = owner;
    const std::size_t after = statement_end(stop, end);
    variable.whole = {begin, after};
    std::size_t i = stop;
    if (token(i).is("[")) {
      const std::size_t first = i;
      while (i < after && token(i).is("[")) {
        i = matching(unit(), i) + 1;
      }
      variable.extents = {first, i};
    }
    const bool named = stop > at + 1 && token(stop - 1).is_name();
    variable.name_at = named ? stop - 1 : at;
    variable.name = named ? token(stop - 1).text : std::string_view();
    variable.type = {at, named ? stop - 1 : stop};
    if (token(i).is("=")) {
      variable.initialiser = {i + 1, after - 1};
    } else if (token(i).is("{")) {
      variable.initialiser = {i, after - 1};
    }
    if (owner.empty()) {
      syntax_.variables.push_back(variable);
    } else {
      const auto last = std::find_if(syntax_.structs.rbegin(), syntax_.structs.rend(),
                                     [&](const Struct& s) { return s.name == owner; });
      if (last != syntax_.structs.rend()) {
        last->members.push_back(variable);
      }
    }
    return after;
  }

  Diagnostics& diagnostics_;
  Syntax syntax_;
  bool balanced_ = true;
};

}  // namespace

Syntax read_syntax(Unit unit, Diagnostics& diagnostics) {
  return Reader(std::move(unit), diagnostics).run();
}

}  // namespace mslt::mslc

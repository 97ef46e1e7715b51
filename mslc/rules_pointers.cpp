// The rule on address spaces: every pointer and reference names one.
//
// For each `*` or `&` of a declarator, searches back to the start of its part of the declaration (the beginning, or the
// previous `*` or `&`) for device, constant, threadgroup or thread.
#include <algorithm>
#include <set>
#include <string_view>

#include "mslc/rules.h"

namespace mslt::mslc {
namespace {

class AddressSpaceRules {
 public:
  AddressSpaceRules(const Syntax& syntax, Diagnostics& diagnostics) : syntax_(syntax), diagnostics_(diagnostics) {}

  void run() {
    for (const Function& function : syntax_.functions) {
      check_declarators(function.specifiers, function.name, "return type of");
      for (const Parameter& parameter : function.parameters) {
        check_parameter(parameter);
      }
      for (const TemplateParameter& parameter : function.template_parameters) {
        check_declarators(parameter.declaration, parameter.name, "template parameter");
      }
    }
    for (const Variable& variable : syntax_.variables) {
      check_declarators(variable.type, variable.name, "variable");
    }
    for (const Struct& type : syntax_.structs) {
      for (const Variable& member : type.members) {
        check_declarators(member.type, member.name, "member");
      }
    }
    for (const Range declaration : syntax_.usings) {
      check_declarators(declaration, token(declaration.begin + 1).text, "alias");
    }
    for (const Function& function : syntax_.functions) {
      check_body(function.body);
    }
    check_abstract_declarators();
  }

 private:
  const Token& token(std::size_t index) const { return syntax_.token(index); }
  bool is_declarator(std::size_t index) const {
    return token(index).is("*") || token(index).is("&") || token(index).is("&&");
  }

  void report(std::size_t at, std::string_view what, std::string_view name) {
    if (reported_.insert(at).second) {
      const std::string_view kind = token(at).is("*") ? "pointer" : "reference";
      diagnostics_.error(token(at).at,
                         "{} '{}' is a {} without address space; write device, constant, threadgroup or thread before "
                         "the type it points to",
                         what, name, kind);
    }
  }

  // Checks every declarator in `range` outside template arguments and extents.
  void check_declarators(Range range, std::string_view name, std::string_view what) {
    bool qualified = false;
    for (std::size_t i = range.begin; i < range.end; ++i) {
      if (is_address_space(token(i).text)) {
        qualified = true;
      } else if (token(i).is("<")) {
        const std::size_t close = matching_angle(syntax_.unit, i, range.end);
        i = close < range.end ? close : i;
      } else if (token(i).is("[")) {
        i = matching(syntax_.unit, i);
      } else if (token(i).is("decltype") && token(i + 1).is("(")) {
        i = matching(syntax_.unit, i + 1);
      } else if (is_declarator(i)) {
        if (!qualified) {
          report(i, what, name);
        }
        qualified = false;
      } else if (token(i).is("=")) {
        return;
      }
    }
  }

  void check_parameter(const Parameter& parameter) {
    check_declarators(parameter.declaration, parameter.name, "parameter");
    const bool declared = std::any_of(begin(parameter.type), end(parameter.type), [](const Token& t) {
      return t.is("*") || t.is("&") || is_address_space(t.text);
    });
    if (!parameter.extents.empty() && !declared) {
      diagnostics_.error(token(parameter.name_at).at,
                         "array parameter '{}' is a pointer without address space; write device, constant, threadgroup "
                         "or thread before its type",
                         parameter.name);
    }
  }

  std::vector<Token>::const_iterator begin(Range range) const {
    return syntax_.unit.tokens.begin() + static_cast<std::ptrdiff_t>(range.begin);
  }
  std::vector<Token>::const_iterator end(Range range) const {
    return syntax_.unit.tokens.begin() + static_cast<std::ptrdiff_t>(range.end);
  }

  // Declarations in a body: at the start of a statement, words and template arguments, then `*` or `&`, then a name and
  // what may follow a name. `a * b;` would be a statement without effect, so nothing else matches.
  void check_body(Range body) {
    for (std::size_t i = body.begin; i < body.end; ++i) {
      if (!starts_statement(i)) {
        continue;
      }
      std::size_t k = i + 1;
      bool qualified = false;
      while (k < body.end) {
        if (token(k).is("<")) {
          const std::size_t close = matching_angle(syntax_.unit, k, body.end);
          if (close == body.end) {
            break;
          }
          k = close + 1;
        } else if (token(k).is_name() || token(k).is("::")) {
          qualified = qualified || is_address_space(token(k).text);
          ++k;
        } else {
          break;
        }
      }
      if (k == i + 1 || k >= body.end || !is_declarator(k) || token(i + 1).is("return") || token(i + 1).is("case")) {
        continue;
      }
      while (k < body.end && (is_declarator(k) || token(k).is("const") || is_address_space(token(k).text))) {
        ++k;
      }
      const Token& after = token(k + 1);
      const bool declares = token(k).is_name() && (after.is("=") || after.is(";") || after.is("(") || after.is("{") ||
                                                   after.is(",") || after.is(":") || after.is("["));
      // A condition may multiply or mask: there only an initialiser indicates a declaration.
      const bool in_condition = token(i).is("(") && !after.is("=") && !after.is(":");
      if (declares && !in_condition) {
        check_declarators({i + 1, k}, token(k).text, "variable");
      }
    }
  }

  bool starts_statement(std::size_t i) const {
    const Token& t = token(i);
    if (t.is("(")) {
      return i > 0 && (token(i - 1).is("for") || token(i - 1).is("if") || token(i - 1).is("while"));
    }
    if (t.is(")")) {
      const std::size_t open = opening(i);
      return open > 0 && (token(open - 1).is("for") || token(open - 1).is("if") || token(open - 1).is("while"));
    }
    return t.is(";") || (t.is("{") && opens_block(i)) || t.is("}") || t.is("else") || t.kind == TokenKind::directive;
  }

  std::size_t opening(std::size_t close) const {
    std::size_t depth = 0;
    for (std::size_t i = close + 1; i > 0; --i) {
      depth += token(i - 1).is(")") ? 1 : 0;
      if (token(i - 1).is("(") && --depth == 0) {
        return i - 1;
      }
    }
    return 0;
  }

  // Whether the brace begins statements rather than a list of values.
  bool opens_block(std::size_t i) const {
    while (i > 0 && token(i - 1).is("{")) {
      --i;
    }
    const Token& previous = token(i > 0 ? i - 1 : 0);
    return previous.is(")") || previous.is(";") || previous.is("}") || previous.is("else") || previous.is("do") ||
           previous.is("const") || previous.is(":") || is_address_space(previous.text) ||
           previous.kind == TokenKind::directive;
  }

  // The `<` matching the `>` at `close`.
  std::size_t opening_angle(std::size_t close) const {
    std::size_t depth = 0;
    for (std::size_t i = close + 1; i > 0; --i) {
      depth += token(i - 1).is(">") ? 1 : 0;
      if (token(i - 1).is("<") && --depth == 0) {
        return i - 1;
      }
    }
    return 0;
  }

  // `*` or `&` before `>`, `,`, `)` or `;` ends a type without a name: in casts, sizeof and template arguments.
  void check_abstract_declarators() {
    for (std::size_t i = 1; i + 1 < syntax_.unit.tokens.size(); ++i) {
      const Token& next = token(i + 1);
      const bool ends_type = next.is(">") || next.is(")") || next.is(",") || next.is(";");
      if (!is_declarator(i) || !ends_type || token(i - 1).is("operator") || token(i - 1).is("(")) {
        continue;
      }
      bool qualified = false;
      std::size_t k = i;
      while (k > 0 && !qualified) {
        const Token& t = token(--k);
        if (is_address_space(t.text)) {
          qualified = true;
        } else if (t.is(">")) {
          k = opening_angle(k);
        } else if (t.is("(") || t.is("<") || t.is(",") || t.is(";") || t.is("{") || t.is("=") || is_declarator(k)) {
          break;
        }
      }
      if (!qualified) {
        report(i, "type", token(i - 1).text);
      }
    }
  }

  const Syntax& syntax_;
  Diagnostics& diagnostics_;
  std::set<std::size_t> reported_;
};

}  // namespace

void check_address_spaces(const Syntax& syntax, Diagnostics& diagnostics) {
  AddressSpaceRules(syntax, diagnostics).run();
}

}  // namespace mslt::mslc

// Rules on words, literals, casts and directives.
#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "mslc/rules.h"

namespace mslt::mslc {
namespace {

// Words that no source may contain, and their replacements.
constexpr std::array<std::pair<std::string_view, std::string_view>, 29> banned_words = {{
    {"goto", "use loops and conditions"},
    {"new", "take memory from a buffer or a threadgroup argument"},
    {"delete", "take memory from a buffer or a threadgroup argument"},
    {"virtual", "choose by a template parameter"},
    {"throw", "check arguments on the host before the dispatch"},
    {"try", "check arguments on the host before the dispatch"},
    {"catch", "check arguments on the host before the dispatch"},
    {"dynamic_cast", "choose by a template parameter"},
    {"typeid", "choose by a template parameter"},
    {"double", "compute in float"},
    {"union", "use as_type for bit casts"},
    {"asm", "use the Metal standard library"},
    {"thread_local", "use a variable of the function"},
    {"mutable", "use a plain member"},
    {"volatile", "use a barrier or an atomic"},
    {"const_cast", "declare the pointer as it is used"},
    {"friend", "use a struct whose members are public"},
    {"atomic_float", "reduce in a fixed order, so that results are the same every run"},
    {"fragment", "only kernel functions are built"},
    {"vertex", "only kernel functions are built"},
    {"float64_t", "compute in float"},
    {"co_await", "there are no coroutines"},
    {"co_return", "there are no coroutines"},
    {"co_yield", "there are no coroutines"},
    {"local", "choose another name: the check of address spaces reserves it"},
    {"global", "choose another name: the check of address spaces reserves it"},
    {"private", "choose another name: the check of address spaces reserves it, and members are public"},
    {"generic", "choose another name: the check of address spaces reserves it"},
    {"event_t", "choose another name: the check of address spaces reserves it"},
}};

class LanguageRules {
 public:
  LanguageRules(const Syntax& syntax, Diagnostics& diagnostics) : syntax_(syntax), diagnostics_(diagnostics) {}

  void run() {
    for (std::size_t i = 0; i + 1 < syntax_.unit.tokens.size(); ++i) {
      const Token& token = syntax_.token(i);
      switch (token.kind) {
        case TokenKind::directive:
          check_directive(token);
          break;
        case TokenKind::floating:
          check_floating(token);
          break;
        case TokenKind::integer:
          check_integer(token);
          break;
        case TokenKind::identifier:
          check_word(i);
          break;
        case TokenKind::punctuation:
          check_lambda(i);
          check_swizzle(i);
          check_pointer_cast(i);
          break;
        case TokenKind::string:
          check_string(i);
          break;
        default:
          break;
      }
    }
    check_inheritance();
    check_static_locals();
    check_attributes();
  }

 private:
  const Token& token(std::size_t index) const { return syntax_.token(index); }
  // Token 0 has no predecessor; the end token takes its place.
  const Token& before(std::size_t index) const { return index > 0 ? token(index - 1) : syntax_.unit.tokens.back(); }

  static bool in_library(const Token& token) {
    return token.at.file.find("/lib/") != std::string_view::npos || token.at.file.starts_with("lib/") ||
           is_target_header(token.at.file);
  }

  void check_directive(const Token& token) {
    std::string_view text = token.text.substr(1);
    text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
    while (text.ends_with(' ') || text.ends_with('\r') || text.ends_with('\t')) {
      text.remove_suffix(1);
    }
    const bool unroll = text.starts_with("pragma unroll") || text.starts_with("pragma clang loop unroll");
    const bool macro = text.starts_with("define MSLT_INSTANTIATE(");
    if (text == "pragma once" || unroll || macro) {
      return;
    }
    const std::string_view word = text.substr(0, text.find_first_of(" \t("));
    diagnostics_.error(token.at,
                       "directive '#{}' is outside the subset; only #include, #pragma once and #pragma unroll are "
                       "valid, constants are 'constant constexpr' and variants are template parameters",
                       word);
  }

  void check_floating(const Token& token) {
    const std::string_view text = token.text;
    const char last = text.back();
    if (last == 'h' || last == 'H' || last == 'f' || last == 'F') {
      return;
    }
    if (last == 'l' || last == 'L') {
      diagnostics_.error(token.at, "'{}' is a long double; write {}f", text, text.substr(0, text.size() - 1));
    } else {
      diagnostics_.error(token.at, "'{0}' is a double, which no Apple GPU has; write {0}f, or {0}h for a half", text);
    }
  }

  void check_integer(const Token& token) {
    const std::string_view text = token.text;
    if (text.size() > 1 && text[0] == '0' && text.find_first_not_of("01234567") == std::string_view::npos) {
      diagnostics_.error(token.at, "'{}' is octal; write it as a decimal or 0x number", text);
    }
    if (text.ends_with("f") && !text.starts_with("0x") && !text.starts_with("0X")) {
      diagnostics_.error(token.at, "'{}' is not a number; a float has a point: {}.0f", text,
                         text.substr(0, text.size() - 1));
    }
  }

  void check_word(std::size_t i) {
    const Token& word = token(i);
    if (before(i).is(".") || before(i).is("->")) {
      return;
    }
    const auto found = std::find_if(banned_words.begin(), banned_words.end(),
                                    [&](const auto& entry) { return entry.first == word.text; });
    if (found != banned_words.end()) {
      diagnostics_.error(word.at, "'{}' is outside the subset; {}", word.text, found->second);
    } else if (word.is("std") && token(i + 1).is("::")) {
      diagnostics_.error(word.at, "there is no C++ standard library in MSL; use metal::");
    } else if (word.is("atomic") && token(i + 1).is("<") && (token(i + 2).is("float") || token(i + 2).is("half"))) {
      diagnostics_.error(word.at,
                         "float atomics are outside the subset; reduce in a fixed order, so that results are "
                         "the same every run");
    } else if (word.is("reinterpret_cast")) {
      check_reinterpret_cast(i);
    } else if ((word.is("INFINITY") || word.is("HUGE_VALF")) && before(i).is("-")) {
      diagnostics_.error(word.at, "use a finite lowest value, -FLT_MAX: -INFINITY minus itself is not a number");
    } else if (word.is("long") && token(i + 1).is("double")) {
      return;
    } else if ((word.is("long") && token(i + 1).is("long")) || word.is("wchar_t") || word.is("char8_t")) {
      diagnostics_.error(word.at, "type '{}' is not in MSL; 64 bits are long and ulong",
                         word.is("long") ? "long long" : word.text);
    } else if (word.is("operator") && (token(i + 1).kind == TokenKind::string)) {
      diagnostics_.error(word.at, "literal operators are outside the subset; write a constant");
    }
  }

  void check_reinterpret_cast(std::size_t i) {
    const std::size_t close =
        token(i + 1).is("<") ? matching_angle(syntax_.unit, i + 1, syntax_.unit.tokens.size() - 1) : i + 1;
    if (!token(close).is(">") || !token(close - 1).is("*")) {
      diagnostics_.error(token(i).at, "reinterpret_cast of a value; bit casts are written as_type<T>(value)");
      return;
    }
    report_pointer_cast({i + 2, close}, token(i));
  }

  // A C-style cast to a pointer: `(device float4*)p`.
  void check_pointer_cast(std::size_t i) {
    if (!token(i).is("*") || !token(i + 1).is(")")) {
      return;
    }
    std::size_t open = i;
    while (open > 0 && (token(open - 1).is_name() || token(open - 1).is("::") || token(open - 1).is("*") ||
                        token(open - 1).is("<") || token(open - 1).is(">"))) {
      --open;
    }
    const Token& after = token(i + 2);
    const bool operand = after.is_name() || after.is("(") || after.is("&");
    const bool call =
        open >= 2 && ((token(open - 2).is_name() && !token(open - 2).is("return")) || token(open - 2).is(">"));
    if (open > 0 && before(open).is("(") && operand && !call) {
      report_pointer_cast({open, i + 1}, token(open - 1));
    }
  }

  void report_pointer_cast(Range type, const Token& at) {
    const bool to_thread = std::any_of(syntax_.unit.tokens.begin() + static_cast<std::ptrdiff_t>(type.begin),
                                       syntax_.unit.tokens.begin() + static_cast<std::ptrdiff_t>(type.end),
                                       [](const Token& t) { return t.is("thread"); });
    if (to_thread) {
      diagnostics_.error(at.at, "a cast to a thread pointer reads a value's bits; write as_type<T>(value)");
    } else if (!in_library(at)) {
      diagnostics_.error(
          at.at, "pointers are cast only in kernels/lib and kernels/target; use a load or store helper from there");
    }
  }

  void check_lambda(std::size_t i) {
    if (!token(i).is("[") || token(i + 1).is("[") || before(i).is("[")) {
      return;
    }
    const Token& previous = before(i);
    const bool expression_start = previous.kind == TokenKind::end || previous.is("=") || previous.is("(") ||
                                  previous.is(",") || previous.is("{") || previous.is(";") || previous.is("}") ||
                                  previous.is("return") || previous.is("?") || previous.is(":") || previous.is("&&") ||
                                  previous.is("||");
    if (expression_start) {
      diagnostics_.error(token(i).at, "lambdas are outside the subset; write a helper function");
    } else if (previous.is("auto") || previous.is("&")) {
      diagnostics_.error(token(i).at, "structured bindings are outside the subset; name the members");
    }
  }

  void check_swizzle(std::size_t i) {
    if (!token(i).is(".") || !token(i + 1).is_name() || token(i + 2).is("(")) {
      return;
    }
    const std::string_view name = token(i + 1).text;
    const bool swizzle = name.size() >= 2 && name.size() <= 4 &&
                         (name.find_first_not_of("xyzw") == std::string_view::npos ||
                          name.find_first_not_of("rgba") == std::string_view::npos);
    if (swizzle && !is_member(name)) {
      diagnostics_.error(token(i + 1).at, "swizzle '.{}' has more than one component; take .x, .y, .z and .w singly",
                         name);
    }
  }

  bool is_member(std::string_view name) const {
    return std::any_of(syntax_.structs.begin(), syntax_.structs.end(), [&](const Struct& type) {
      return std::any_of(type.members.begin(), type.members.end(), [&](const Variable& v) { return v.name == name; });
    });
  }

  void check_string(std::size_t i) {
    const bool message = before(i).is(",") || before(i).is("(");
    if (!message) {
      diagnostics_.error(token(i).at, "string literals are outside the subset, except as messages of static_assert");
    }
  }

  void check_inheritance() {
    for (const Struct& type : syntax_.structs) {
      if (type.bases_at) {
        diagnostics_.error(token(*type.bases_at).at, "struct '{}' inherits; make what it needs a member", type.name);
      }
    }
  }

  void check_static_locals() {
    for (const Function& function : syntax_.functions) {
      for (std::size_t i = function.body.begin; i < function.body.end; ++i) {
        if (token(i).is("static") && !token(i + 1).is("constexpr") && !token(i + 1).is("constant")) {
          diagnostics_.error(token(i).at,
                             "static variables are outside the subset; keep state in a buffer, constants "
                             "at file scope as 'constant constexpr'");
        }
      }
    }
  }

  void check_attributes() {
    static constexpr std::array<std::string_view, 3> known = {"maybe_unused", "unlikely", "likely"};
    for (const Range attribute : syntax_.attributes) {
      const Token& name = token(attribute.begin + 2);
      const bool in_signature =
          std::any_of(syntax_.functions.begin(), syntax_.functions.end(), [&](const Function& function) {
            return function.whole.contains(attribute.begin) && !function.body.contains(attribute.begin);
          });
      if (name.is("kernel")) {
        diagnostics_.error(name.at, "kernels are declared by the keyword: kernel void name(...)");
      } else if (name.is("host_name")) {
        diagnostics_.error(name.at, "host names are given by MSLT_INSTANTIATE(host_name, kernel, types...)");
      } else if (!in_signature && std::find(known.begin(), known.end(), name.text) == known.end()) {
        diagnostics_.error(name.at, "attribute '{}' is unknown here; maybe_unused, likely and unlikely are valid",
                           name.text);
      }
    }
  }

  const Syntax& syntax_;
  Diagnostics& diagnostics_;
};

}  // namespace

void check_language(const Syntax& syntax, Diagnostics& diagnostics) {
  LanguageRules(syntax, diagnostics).run();
}

}  // namespace mslt::mslc

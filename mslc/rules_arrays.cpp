// Rules on a thread's arrays: every index is a constant after unrolling, so arrays are in registers.
#include <cstdint>
#include <map>
#include <string_view>
#include <vector>

#include "mslc/rewrite.h"
#include "mslc/rules.h"

namespace mslt::mslc {
namespace {

// A name between its declaration and the end of its block.
struct Name {
  std::size_t end = 0;
  bool is_thread = true;     // in thread memory only
  bool is_array = false;     // or a pointer
  bool is_constant = false;  // its value is known at compile time, after unrolling
  bool is_parameter = false;
  std::size_t loop = 0;  // the `for` without a pragma that the value depends on; 0 for none
};

class ArrayRules {
 public:
  ArrayRules(const Syntax& syntax, Diagnostics& diagnostics) : syntax_(syntax), diagnostics_(diagnostics) {}

  void run() {
    for (const Function& function : syntax_.functions) {
      if (!function.body.empty()) {
        check_body(function);
      }
    }
  }

 private:
  const Token& token(std::size_t index) const { return syntax_.token(index); }

  void check_body(const Function& function) {
    names_.clear();
    for (const Parameter& parameter : function.parameters) {
      Name name = named(parameter.type);
      name.end = function.body.end;
      name.is_array = name.is_array || !parameter.extents.empty();
      name.is_parameter = !function.is_kernel;
      names_[parameter.name].push_back(name);
    }
    std::vector<std::size_t> blocks;
    for (std::size_t i = function.body.begin; i < function.body.end; ++i) {
      const Token& here = token(i);
      if (here.is("{")) {
        blocks.push_back(matching(syntax_.unit, i));
      } else if (here.is("}") && !blocks.empty()) {
        blocks.pop_back();
      } else if (here.is("for") && token(i + 1).is("(")) {
        i = read_loop(i);
      } else if (here.is_name() && starts_statement(i) && !blocks.empty()) {
        read_declaration(i, blocks.back());
      }
      if (token(i).is("[") && !token(i + 1).is("[") && !token(i - 1).is("[")) {
        check_index(i);
      } else if (token(i).is_name() && (token(i + 1).is("+") || token(i + 1).is("-"))) {
        check_offset(i);
      }
    }
  }

  bool starts_statement(std::size_t i) const {
    const Token& previous = token(i - 1);
    return previous.is(";") || previous.is("{") || previous.is("}") || previous.kind == TokenKind::directive;
  }

  Name named(Range type) const {
    Name name;
    for (std::size_t i = type.begin; i < type.end; ++i) {
      const Token& word = token(i);
      name.is_thread = name.is_thread && !word.is("device") && !word.is("constant") && !word.is("threadgroup");
      name.is_array = name.is_array || word.is("*");
    }
    return name;
  }

  const Name* find(std::size_t i) const {
    const auto found = names_.find(token(i).text);
    if (!token(i).is_name() || found == names_.end() || token(i - 1).is(".") || token(i - 1).is("->")) {
      return nullptr;
    }
    for (auto name = found->second.rbegin(); name != found->second.rend(); ++name) {
      if (name->end > i) {
        return &*name;
      }
    }
    return nullptr;
  }

  // Whether all of an expression except `self` is known at compile time; `loop` becomes a loop that it depends on.
  bool is_constant(Range expression, std::string_view self, std::size_t& loop) const {
    for (std::size_t i = expression.begin; i < expression.end; ++i) {
      const Name* name = token(i).is(self) ? nullptr : find(i);
      if (name != nullptr && !name->is_constant) {
        return false;
      }
      loop = name != nullptr && name->loop != 0 ? name->loop : loop;
    }
    return true;
  }

  // Reads `for (uint k = 0; k < 8; ++k)`; returns the index of the condition's first token.
  std::size_t read_loop(std::size_t at) {
    const std::size_t close = matching(syntax_.unit, at + 1);
    std::size_t semicolon = at + 2;
    while (semicolon < close && !token(semicolon).is(";")) {
      ++semicolon;
    }
    std::size_t equals = at + 2;
    while (equals < semicolon && !token(equals).is("=")) {
      ++equals;
    }
    if (equals == semicolon || equals < at + 4) {
      return semicolon;
    }
    const std::size_t end = token(close + 1).is("{") ? matching(syntax_.unit, close + 1) : close + 1;
    Name name = named({at + 2, equals - 1});
    name.end = end;
    const std::string_view variable = token(equals - 1).text;
    name.is_constant = is_constant({equals + 1, close}, variable, name.loop);
    if (!is_unroll(token(at - 1))) {
      name.loop = at;
    }
    names_[variable].push_back(name);
    return semicolon;
  }

  // Reads `const uint at = k * 8;`, `float values[8];` and the like.
  void read_declaration(std::size_t begin, std::size_t block_end) {
    std::size_t i = begin;
    std::size_t words = 0;
    bool is_const = false;
    bool is_constexpr = false;
    for (; i < block_end; ++i) {
      const Token& word = token(i);
      if (word.is("return") || word.is("else") || word.is("if") || word.is("while")) {
        return;
      }
      is_const = is_const || word.is("const");
      is_constexpr = is_constexpr || word.is("constexpr");
      if (word.is_name()) {
        ++words;
      } else if (word.is("<")) {
        i = matching_angle(syntax_.unit, i, block_end);
      } else if (!word.is("::") && !word.is("*") && !word.is("&")) {
        break;
      }
    }
    const Token& after = token(i);
    const bool declares =
        words > 1 && token(i - 1).is_name() && (after.is("=") || after.is(";") || after.is("[") || after.is("{"));
    if (!declares) {
      return;
    }
    Name name = named({begin, i - 1});
    name.end = block_end;
    name.is_constant = is_constexpr;
    name.is_array = name.is_array || after.is("[");
    if (is_const && !name.is_array && after.is("=")) {
      std::size_t semicolon = i;
      while (semicolon < block_end && !token(semicolon).is(";")) {
        ++semicolon;
      }
      name.is_constant = is_constant({i + 1, semicolon}, {}, name.loop);
    }
    names_[token(i - 1).text].push_back(name);
  }

  // `values[k]`, `span.words[k / 2]`, `sums[i].thread_elements()[k]`.
  void check_index(std::size_t open) {
    bool elements = false;
    std::size_t base = open;
    while (base > 0) {
      const Token& previous = token(base - 1);
      if (previous.is("]") || previous.is(")")) {
        base = opening(base - 1);
      } else if (previous.is_name()) {
        elements = elements || previous.is("thread_elements");
        --base;
        if (!token(base - 1).is(".") && !token(base - 1).is("->")) {
          break;
        }
        --base;
      } else {
        return;
      }
    }
    const Name* name = find(base);
    if (name != nullptr && name->is_thread) {
      check_constant({open + 1, matching(syntax_.unit, open)}, base, elements);
    }
  }

  std::size_t opening(std::size_t close) const {
    std::size_t depth = 0;
    for (std::size_t i = close; i > 0; --i) {
      depth += token(i).is("]") || token(i).is(")") ? 1 : 0;
      if (token(i).is("[") || token(i).is("(")) {
        --depth;
      }
      if (depth == 0) {
        return i;
      }
    }
    return close;
  }

  // `values + step * 8`, as an argument or a pointer's value.
  void check_offset(std::size_t at) {
    const Name* name = find(at);
    if (name == nullptr || !name->is_thread || !name->is_array) {
      return;
    }
    std::size_t end = at + 2;
    while (!token(end).is(",") && !token(end).is(")") && !token(end).is(";") && !token(end).is("}")) {
      end = token(end).is("(") || token(end).is("[") ? matching(syntax_.unit, end) + 1 : end + 1;
    }
    check_constant({at + 2, end}, at, false);
  }

  void check_constant(Range index, std::size_t base, bool elements) {
    for (std::size_t i = index.begin; i < index.end; ++i) {
      const Name* name = find(i);
      if (name == nullptr || (name->is_parameter && !elements)) {
        continue;
      }
      if (!name->is_constant) {
        diagnostics_.error(
            token(i).at,
            "'{}' indexes the thread's {} '{}' and is only known at run time, which puts it into memory; "
            "index by constants and by loops of constant length",
            token(i).text, elements ? "elements of" : "array", token(base).text);
      } else if (name->loop != 0) {
        diagnostics_.error(token(name->loop).at,
                           "this loop indexes the thread's {} '{}' and is not unrolled, which puts it into memory; "
                           "write #pragma unroll before it",
                           elements ? "elements of" : "array", token(base).text);
      }
    }
  }

  const Syntax& syntax_;
  Diagnostics& diagnostics_;
  std::map<std::string_view, std::vector<Name>> names_;
};

}  // namespace

void check_arrays(const Syntax& syntax, Diagnostics& diagnostics) {
  ArrayRules(syntax, diagnostics).run();
}

}  // namespace mslt::mslc

// Constant expressions and layouts.
#include "mslc/evaluate.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <tuple>
#include <utility>

namespace mslt::mslc {
namespace {

constexpr std::array<std::pair<std::string_view, std::uint32_t>, 18> scalar_bytes = {{
    {"bool", 1},
    {"char", 1},
    {"uchar", 1},
    {"short", 2},
    {"ushort", 2},
    {"half", 2},
    {"bfloat", 2},
    {"int", 4},
    {"uint", 4},
    {"float", 4},
    {"long", 8},
    {"ulong", 8},
    {"size_t", 8},
    {"double", 8},
    {"atomic_int", 4},
    {"atomic_uint", 4},
    {"ptrdiff_t", 8},
    {"atomic_bool", 4},
}};
constexpr std::array<std::pair<std::string_view, std::string_view>, 10> aliases = {{
    {"uint8_t", "uchar"},
    {"int8_t", "char"},
    {"uint16_t", "ushort"},
    {"int16_t", "short"},
    {"uint32_t", "uint"},
    {"int32_t", "int"},
    {"uint64_t", "ulong"},
    {"int64_t", "long"},
    {"unsigned", "uint"},
    {"signed", "int"},
}};

template <class Table>
auto find_in(const Table& table, std::string_view name) {
  return std::find_if(table.begin(), table.end(), [&](const auto& entry) { return entry.first == name; });
}

bool is_integer_type(std::string_view name) {
  const auto alias = find_in(aliases, name);
  const std::string_view type = alias == aliases.end() ? name : alias->second;
  return type == "bool" || type == "char" || type == "uchar" || type == "short" || type == "ushort" || type == "int" ||
         type == "uint" || type == "long" || type == "ulong" || type == "size_t" || type == "auto";
}

// Precedence climbing over the tokens of one expression.
class Evaluator {
 public:
  Evaluator(Range expression, const Scope& scope) : scope_(scope), at_(expression.begin), end_(expression.end) {}

  std::optional<std::int64_t> run() {
    const std::int64_t value = conditional();
    return good_ && at_ == end_ ? std::optional(value) : std::nullopt;
  }

 private:
  static constexpr int max_depth = 200;

  bool is(std::string_view text) const { return at_ < end_ && scope_.syntax->token(at_).is(text); }
  bool take(std::string_view text) {
    if (!is(text)) {
      return false;
    }
    ++at_;
    return true;
  }
  std::int64_t give_up() {
    good_ = false;
    at_ = end_;
    return 0;
  }

  std::int64_t conditional() {
    const std::int64_t condition = binary(0);
    if (!take("?")) {
      return condition;
    }
    const std::int64_t yes = conditional();
    if (!take(":")) {
      return give_up();
    }
    const std::int64_t no = conditional();
    return condition != 0 ? yes : no;
  }

  // The binary operator at the current position and its precedence; -1 for none.
  std::pair<std::string_view, int> operator_here() const {
    static constexpr std::array<std::pair<std::string_view, int>, 17> precedence = {{{"||", 1},
                                                                                     {"&&", 2},
                                                                                     {"|", 3},
                                                                                     {"^", 4},
                                                                                     {"&", 5},
                                                                                     {"==", 6},
                                                                                     {"!=", 6},
                                                                                     {"<", 7},
                                                                                     {"<=", 7},
                                                                                     {">=", 7},
                                                                                     {"<<", 8},
                                                                                     {"+", 9},
                                                                                     {"-", 9},
                                                                                     {"*", 10},
                                                                                     {"/", 10},
                                                                                     {"%", 10},
                                                                                     {">", 7}}};
    if (at_ >= end_) {
      return {"", -1};
    }
    const Syntax& syntax = *scope_.syntax;
    if (is(">") && at_ + 1 < end_ && syntax.token(at_ + 1).is(">") && !syntax.token(at_ + 1).space_before) {
      return {">>", 8};
    }
    const auto found = find_in(precedence, syntax.token(at_).text);
    return found == precedence.end() ? std::pair<std::string_view, int>{"", -1} : *found;
  }

  std::int64_t binary(int lowest) {
    std::int64_t left = unary();
    for (auto [symbol, precedence] = operator_here(); good_ && precedence > lowest;
         std::tie(symbol, precedence) = operator_here()) {
      at_ += symbol == ">>" ? 2 : 1;
      const std::int64_t right = binary(precedence);
      left = apply(symbol, left, right);
    }
    return left;
  }

  // Wraps like 64-bit arithmetic; does not truncate to a narrower type.
  std::int64_t apply(std::string_view symbol, std::int64_t left, std::int64_t right) {
    const auto a = static_cast<std::uint64_t>(left);
    const auto b = static_cast<std::uint64_t>(right);
    if (symbol == "+") return static_cast<std::int64_t>(a + b);
    if (symbol == "-") return static_cast<std::int64_t>(a - b);
    if (symbol == "*") return static_cast<std::int64_t>(a * b);
    if (symbol == "/") return right > 0 ? left / right : give_up();
    if (symbol == "%") return right > 0 ? left % right : give_up();
    if (symbol == "<<") return b < 63 ? static_cast<std::int64_t>(a << b) : give_up();
    if (symbol == ">>") return b < 63 ? left >> right : give_up();
    if (symbol == "|") return left | right;
    if (symbol == "^") return left ^ right;
    if (symbol == "&") return left & right;
    if (symbol == "&&") return left != 0 && right != 0;
    if (symbol == "||") return left != 0 || right != 0;
    if (symbol == "==") return left == right;
    if (symbol == "!=") return left != right;
    if (symbol == "<") return left < right;
    if (symbol == ">") return left > right;
    if (symbol == "<=") return left <= right;
    return left >= right;
  }

  std::int64_t unary() {
    if (++depth_ > max_depth) {
      return give_up();
    }
    std::int64_t value = 0;
    if (take("-")) {
      value = static_cast<std::int64_t>(0 - static_cast<std::uint64_t>(unary()));
    } else if (take("+")) {
      value = unary();
    } else if (take("~")) {
      value = ~unary();
    } else if (take("!")) {
      value = unary() == 0;
    } else {
      value = primary();
    }
    --depth_;
    return value;
  }

  std::int64_t parenthesised() {
    if (!take("(")) {
      return give_up();
    }
    const std::int64_t value = conditional();
    return take(")") ? value : give_up();
  }

  std::int64_t primary() {
    if (at_ >= end_) {
      return give_up();
    }
    const Token& token = scope_.syntax->token(at_);
    if (token.is("(")) {
      return parenthesised();
    }
    if (token.kind == TokenKind::integer) {
      ++at_;
      return literal(token.text);
    }
    if (!token.is_name()) {
      return give_up();
    }
    ++at_;
    if (token.is("true")) return 1;
    if (token.is("false")) return 0;
    if (token.is("sizeof")) return size_of();
    if (token.is("min") || token.is("max")) return minimum_or_maximum(token.is("min"));
    if (token.is("static_cast")) {
      const std::size_t close = is("<") ? matching_angle(scope_.syntax->unit, at_, end_) : end_;
      if (close >= end_ || !is_integer_type(resolved_type({at_ + 1, close}, scope_))) {
        return give_up();
      }
      at_ = close + 1;
      return parenthesised();
    }
    if (is_integer_type(token.text)) {
      return parenthesised();
    }
    return named(token.text);
  }

  std::int64_t named(std::string_view name) {
    if (is("::") && at_ + 1 < end_) {
      const Struct* type = scope_.syntax->find_struct(name);
      const std::string_view member = scope_.syntax->token(at_ + 1).text;
      at_ += 2;
      if (type == nullptr || type->is_template) {
        return give_up();
      }
      for (const Variable& variable : type->members) {
        if (variable.name == member && !variable.initialiser.empty() &&
            variable.has(scope_.syntax->unit, "constexpr")) {
          const std::optional<std::int64_t> value = evaluate(variable.initialiser, scope_);
          return value ? *value : give_up();
        }
      }
      return give_up();
    }
    const auto found = scope_.values.find(name);
    return found == scope_.values.end() ? give_up() : found->second;
  }

  std::int64_t literal(std::string_view text) {
    std::string digits;
    std::copy_if(text.begin(), text.end(), std::back_inserter(digits), [](char c) { return c != '\''; });
    int base = 10;
    std::string_view rest = digits;
    if (rest.starts_with("0x") || rest.starts_with("0X")) {
      base = 16;
      rest.remove_prefix(2);
    } else if (rest.starts_with("0b") || rest.starts_with("0B")) {
      base = 2;
      rest.remove_prefix(2);
    }
    while (!rest.empty() && (rest.back() == 'u' || rest.back() == 'U' || rest.back() == 'l' || rest.back() == 'L')) {
      rest.remove_suffix(1);
    }
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value, base);
    return error == std::errc() && end == rest.data() + rest.size() ? static_cast<std::int64_t>(value) : give_up();
  }

  std::int64_t size_of() {
    if (!is("(")) {
      return give_up();
    }
    const std::size_t close = matching(scope_.syntax->unit, at_);
    const std::optional<TypeLayout> layout = layout_of(resolved_type({at_ + 1, close}, scope_), scope_);
    at_ = close + 1;
    return layout ? layout->bytes : give_up();
  }

  std::int64_t minimum_or_maximum(bool minimum) {
    if (!take("(")) {
      return give_up();
    }
    const std::int64_t a = conditional();
    if (!take(",")) {
      return give_up();
    }
    const std::int64_t b = conditional();
    if (!take(")")) {
      return give_up();
    }
    return minimum ? std::min(a, b) : std::max(a, b);
  }

  const Scope& scope_;
  std::size_t at_;
  std::size_t end_;
  int depth_ = 0;
  bool good_ = true;
};

bool is_integer_constant(const Variable& variable, const Syntax& syntax) {
  if (!variable.has(syntax.unit, "constexpr") && !variable.has(syntax.unit, "constant")) {
    return false;
  }
  return !variable.type.empty() && variable.extents.empty() && !variable.initialiser.empty() &&
         is_integer_type(syntax.token(variable.type.end - 1).text);
}

}  // namespace

Scope file_scope(const Syntax& syntax) {
  Scope scope;
  scope.syntax = &syntax;
  for (const Variable& variable : syntax.variables) {
    if (is_integer_constant(variable, syntax)) {
      if (const auto value = evaluate(variable.initialiser, scope)) {
        scope.values[variable.name] = *value;
      }
    }
  }
  return scope;
}

void add_local_constants(const Function& function, Scope& scope) {
  const Syntax& syntax = *scope.syntax;
  for (std::size_t i = function.body.begin; i < function.body.end; ++i) {
    if (!syntax.token(i).is("constexpr")) {
      continue;
    }
    std::size_t equals = i;
    while (equals < function.body.end && !syntax.token(equals).is("=") && !syntax.token(equals).is(";")) {
      ++equals;
    }
    std::size_t end = equals;
    while (end < function.body.end && !syntax.token(end).is(";")) {
      ++end;
    }
    if (syntax.token(equals).is("=") && equals >= i + 3 && is_integer_type(syntax.token(equals - 2).text)) {
      if (const auto value = evaluate({equals + 1, end}, scope)) {
        scope.values[syntax.token(equals - 1).text] = *value;
      }
    }
    i = end;
  }
}

std::optional<std::int64_t> evaluate(Range expression, const Scope& scope) {
  return Evaluator(expression, scope).run();
}

std::string resolved_type(Range type, const Scope& scope) {
  std::string name;
  for (std::size_t i = type.begin; i < type.end; ++i) {
    const Token& token = scope.syntax->token(i);
    const bool dropped = is_address_space(token.text) || token.is("const") || token.is("volatile") ||
                         token.is("constexpr") || token.is("static") || token.is("metal") || token.is("::") ||
                         token.is("struct");
    if (dropped) {
      continue;
    }
    const auto type_parameter = scope.types.find(token.text);
    if (type_parameter != scope.types.end()) {
      name += type_parameter->second;
      continue;
    }
    const auto alias = find_in(aliases, token.text);
    if (token.is("unsigned") && i + 1 < type.end && scope.syntax->token(i + 1).is_name()) {
      name += "u";  // unsigned int is uint
    } else if (alias != aliases.end()) {
      name += alias->second;
    } else {
      name += token.text;
    }
  }
  return name;
}

std::optional<TypeLayout> layout_of(std::string_view type, const Scope& scope) {
  const bool packed = type.starts_with("packed_");
  std::string_view name = packed ? type.substr(7) : type;
  std::uint32_t lanes = 1;
  if (!name.empty() && name.back() >= '2' && name.back() <= '4') {
    const std::string_view scalar = name.substr(0, name.size() - 1);
    if (find_in(scalar_bytes, scalar) != scalar_bytes.end()) {
      lanes = static_cast<std::uint32_t>(name.back() - '0');
      name = scalar;
    }
  }
  const auto found = find_in(scalar_bytes, name);
  if (found != scalar_bytes.end()) {
    if (packed) {
      return TypeLayout{found->second * lanes, found->second};
    }
    const std::uint32_t bytes = found->second * (lanes == 3 ? 4 : lanes);
    return TypeLayout{bytes, bytes};
  }
  const Struct* structure = scope.syntax->find_struct(type);
  return structure == nullptr ? std::nullopt : layout_of(*structure, scope);
}

std::optional<TypeLayout> layout_of(const Struct& type, const Scope& scope) {
  if (type.is_template) {
    return std::nullopt;
  }
  std::uint64_t bytes = 0;
  std::uint32_t alignment = 1;
  for (const Variable& member : type.members) {
    if (member.has(scope.syntax->unit, "static")) {
      continue;
    }
    const std::string name = resolved_type(member.type, scope);
    const std::optional<TypeLayout> layout = name == type.name ? std::nullopt : layout_of(name, scope);
    const std::optional<std::uint64_t> count =
        member.extents.empty() ? std::optional<std::uint64_t>(1) : element_count(member.extents, scope);
    if (!layout || !count || *count > (1U << 24U)) {
      return std::nullopt;
    }
    alignment = std::max(alignment, layout->alignment);
    bytes = (bytes + layout->alignment - 1) / layout->alignment * layout->alignment;
    bytes += *count * layout->bytes;
  }
  bytes = (bytes + alignment - 1) / alignment * alignment;
  return TypeLayout{static_cast<std::uint32_t>(std::max<std::uint64_t>(bytes, 1)), alignment};
}

std::optional<std::uint64_t> element_count(Range extents, const Scope& scope) {
  std::uint64_t count = 1;
  for (std::size_t i = extents.begin; i < extents.end; ++i) {
    const std::size_t close = matching(scope.syntax->unit, i);
    const std::optional<std::int64_t> extent = evaluate({i + 1, close}, scope);
    if (!extent || *extent <= 0 || *extent > (1LL << 32) || count > (1ULL << 32)) {
      return std::nullopt;
    }
    count *= static_cast<std::uint64_t>(*extent);
    i = close;
  }
  return count;
}

}  // namespace mslt::mslc

// Integer constant expressions, and the sizes of types in C++ and MSL.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "mslc/syntax.h"

namespace mslt::mslc {

struct TypeLayout {
  std::uint32_t bytes = 0;
  std::uint32_t alignment = 0;
};

// The meanings of names in an expression: constants, template arguments, types. Copy to add more.
struct Scope {
  const Syntax* syntax = nullptr;
  std::map<std::string_view, std::int64_t> values;
  std::map<std::string_view, std::string> types;  // template type parameters, by name
};

// The integer constants of the unit's file scope.
Scope file_scope(const Syntax& syntax);
// Adds the integer `constexpr` variables that the function's body declares at any depth.
void add_local_constants(const Function& function, Scope& scope);

// The value of the expression; none unless it consists of integers, names in scope, operators, sizeof, casts to integer
// types, min and max.
std::optional<std::int64_t> evaluate(Range expression, const Scope& scope);

// The scalar, vector or struct that `type` names, by its MSL name: uint for uint32_t, float for T if T is float.
std::string resolved_type(Range type, const Scope& scope);
// Size and alignment of a scalar, vector, packed vector or struct; none for unknown names.
std::optional<TypeLayout> layout_of(std::string_view type, const Scope& scope);
// The layout of the struct from its members in order; none if a member has no known layout.
std::optional<TypeLayout> layout_of(const Struct& type, const Scope& scope);
// The product of the extents in `[a][b]`; none if one is not a positive constant.
std::optional<std::uint64_t> element_count(Range extents, const Scope& scope);

}  // namespace mslt::mslc

// The declarations of a unit, as ranges of its tokens.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "mslc/source.h"

namespace mslt::mslc {

// Tokens [begin, end) of the unit.
struct Range {
  std::size_t begin = 0;
  std::size_t end = 0;

  bool empty() const { return begin >= end; }
  std::size_t size() const { return empty() ? 0 : end - begin; }
  bool contains(std::size_t index) const { return index >= begin && index < end; }
};

// One attribute of `[[name(argument), ...]]`.
struct Attribute {
  std::string_view name;
  Range argument;  // between the parentheses
  std::size_t at = 0;
};

struct TemplateParameter {
  std::string_view name;
  bool is_type = false;  // typename or class; otherwise a value
  Range declaration;
  Range default_value;
};

struct Parameter {
  Range declaration;  // all of it, including attributes and default
  Range type;         // up to the name
  Range extents;      // `[...]` after the name
  std::size_t name_at = 0;
  std::string_view name;  // may be empty
  std::vector<Attribute> attributes;
};

struct Function {
  std::string_view name;
  std::size_t name_at = 0;
  Range whole;
  bool is_template = false;
  std::vector<TemplateParameter> template_parameters;
  std::vector<Attribute> attributes;
  bool is_kernel = false;
  Range specifiers;   // before the name, including attributes: `static inline float`
  Range parentheses;  // with both
  std::vector<Parameter> parameters;
  Range body;              // with both braces; empty for a declaration without one
  std::string_view owner;  // the struct that it is a member of, or empty
};

// A variable at file or struct scope.
struct Variable {
  std::string_view name;  // empty if unknown to the reader
  std::size_t name_at = 0;
  Range whole;
  Range type;
  Range extents;      // `[...][...]` after the name
  Range initialiser;  // after `=`, or the braces
  std::string_view owner;
  bool has(const Unit& unit, std::string_view word) const;  // among the words before the name
};

struct Struct {
  std::string_view name;
  std::size_t name_at = 0;
  Range whole;
  bool is_template = false;
  std::vector<TemplateParameter> template_parameters;
  std::optional<std::size_t> bases_at;  // the colon
  Range body;
  std::vector<Variable> members;  // including static ones
};

// MSLT_INSTANTIATE(host_name, kernel, template arguments...)
struct Instantiation {
  std::string_view host_name;
  std::string_view kernel;
  std::size_t at = 0;
  std::size_t kernel_at = 0;
  Range whole;  // including a trailing semicolon
  std::vector<Range> arguments;
};

struct Syntax {
  Unit unit;
  std::vector<Function> functions;  // including members
  std::vector<Variable> variables;  // at file scope
  std::vector<Struct> structs;
  std::vector<Instantiation> instantiations;
  std::vector<Range> usings;            // using and typedef
  std::vector<Range> attributes;        // every `[[...]]` of the unit, with its brackets
  std::vector<std::string_view> names;  // other names at file scope: enums and their values, aliases

  const Token& token(std::size_t index) const { return unit.token(index); }
  const Struct* find_struct(std::string_view name) const;
  // The source text of the range, with one space for any white space.
  std::string text(Range range) const;
};

// The last token of the bracket that opens at `open` (one of ( [ {), or the end token if it is not closed.
std::size_t matching(const Unit& unit, std::size_t open);
// The same for `<`, if it closes as a template argument list does; otherwise `limit`.
std::size_t matching_angle(const Unit& unit, std::size_t open, std::size_t limit);
// The parts of `range` between commas outside brackets and template argument lists.
std::vector<Range> split_at_commas(const Unit& unit, Range range);

bool is_address_space(std::string_view word);

// Reads the declarations of a unit. Reports and skips what it cannot read.
Syntax read_syntax(Unit unit, Diagnostics& diagnostics);

}  // namespace mslt::mslc

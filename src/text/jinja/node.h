// The syntax tree of a template.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace mslt::jinja {

enum class NodeKind {
  // Expressions. Operands are children, in the order of the source.
  constant,
  name,
  list,
  tuple,
  dict,         // key, value, key, value, ...
  conditional,  // condition, value, and the other value or nothing
  logical_or,
  logical_and,
  logical_not,
  comparison,  // operands; `operators` between them
  binary,      // text is the operator
  concat,
  negative,
  positive,
  attribute,  // of the child; text is its name
  item,       // container, key
  slice,      // start, stop, step; null where absent
  call,       // function; arguments
  filter,     // value, or null in a filter block; text is the filter's name
  test,       // value; text is the test's name
  // Statements.
  block,         // statements
  data,          // text
  output,        // an expression
  loop,          // target, iterable, condition or null, body, alternative or null; `is_recursive`
  branch,        // condition, body, condition, body, ..., alternative or nothing
  set,           // target, value
  set_block,     // target, filter or null, body
  with_block,    // target, value, ..., body
  macro,         // body; text is the name
  call_block,    // call, body; parameters of the caller
  filter_block,  // filter, body
  scoped,        // body, in a scope of its own
  leave_loop,
  next_round,
  namespace_attribute,  // a target: text is the namespace, `member` its attribute
};

struct Node;
using NodePtr = std::unique_ptr<Node>;

struct Parameter {
  std::string name;
  NodePtr fallback;  // null: required
};

struct Node {
  Node(NodeKind of_kind, int at_line) : kind(of_kind), line(at_line) {}

  NodeKind kind;
  int line;
  std::string text = {};
  std::string member = {};
  Value value = {};  // of a constant
  std::vector<NodePtr> children = {};
  std::vector<std::string> operators = {};
  // Of calls, filters and tests, besides the first child.
  std::vector<std::pair<std::string, NodePtr>> named = {};
  std::vector<NodePtr> positional = {};
  NodePtr star = {};         // *arguments
  NodePtr double_star = {};  // **arguments
  std::vector<Parameter> parameters = {};
  // Which of these names a macro's body uses.
  bool uses_caller = false;
  bool uses_varargs = false;
  bool uses_kwargs = false;
  bool is_recursive = false;
  std::size_t depth = 1;  // of the tree below it
};

}  // namespace mslt::jinja

// Rules on file-scope data and threadgroup memory.
#include <algorithm>
#include <map>
#include <string_view>

#include "mslc/rules.h"

namespace mslt::mslc {
namespace {

void check_file_scope(const Syntax& syntax, Diagnostics& diagnostics) {
  for (const Variable& variable : syntax.variables) {
    const Location& at = syntax.token(variable.name_at).at;
    if (variable.name.empty()) {
      diagnostics.error(at, "cannot read this declaration; a constant is 'constant constexpr T name = value;'");
    } else if (!variable.has(syntax.unit, "constant")) {
      diagnostics.error(at, "'{}' at file scope is not in constant memory; write 'constant constexpr T {} = ...'",
                        variable.name, variable.name);
    } else if (variable.initialiser.empty()) {
      diagnostics.error(at, "constant '{}' has no value; give it one where it is declared", variable.name);
    } else if (split_at_commas(syntax.unit, variable.initialiser).size() > 1) {
      diagnostics.error(at, "one constant per declaration; give those after '{}' statements of their own",
                        variable.name);
    }
  }
  for (const Struct& type : syntax.structs) {
    for (const Variable& member : type.members) {
      const bool is_static = member.has(syntax.unit, "static");
      const bool is_constant = member.has(syntax.unit, "constant") && member.has(syntax.unit, "constexpr");
      const bool points = std::any_of(syntax.unit.tokens.begin() + static_cast<std::ptrdiff_t>(member.type.begin),
                                      syntax.unit.tokens.begin() + static_cast<std::ptrdiff_t>(member.type.end),
                                      [](const Token& t) { return t.is("*") || t.is("&"); });
      if (is_static && !is_constant) {
        diagnostics.error(syntax.token(member.name_at).at,
                          "class constant '{}' is declared 'static constant constexpr T {} = ...'", member.name,
                          member.name);
      } else if (!is_static && !points && member.has(syntax.unit, "threadgroup")) {
        diagnostics.error(syntax.token(member.name_at).at,
                          "member '{}' is threadgroup memory; declare the array in the kernel, keep a pointer to it",
                          member.name);
      }
    }
  }
}

void check_threadgroup_variables(const Syntax& syntax, Diagnostics& diagnostics) {
  for (const Function& function : syntax.functions) {
    for (const ThreadgroupDeclaration& declaration : threadgroup_declarations(syntax, function)) {
      const Location& at = syntax.token(declaration.name_at).at;
      if (!function.is_kernel) {
        diagnostics.error(at,
                          "threadgroup variable '{}' is declared in helper '{}'; declare it in the kernel and pass "
                          "a threadgroup pointer",
                          declaration.name, function.name);
      } else if (declaration.depth != 1) {
        diagnostics.error(at,
                          "threadgroup variable '{}' is declared in an inner block; move it to the outermost block "
                          "of the kernel",
                          declaration.name);
      }
      if (declaration.has_initialiser) {
        diagnostics.error(at,
                          "threadgroup variable '{}' has an initialiser; let the threads write it, then a "
                          "threadgroup_barrier",
                          declaration.name);
      }
      if (declaration.is_list) {
        diagnostics.error(at, "one threadgroup variable per declaration; give the others statements of their own");
      }
      const Token& before = syntax.token(declaration.whole.begin - 1);
      if (before.is("static") || before.is("const")) {
        diagnostics.error(before.at, "a threadgroup variable cannot be {}", before.text);
      }
    }
  }
}

// Names that `syntax` defines in its own .metal file, not in shared headers.
template <class Visit>
void own_names(const Syntax& syntax, const Visit& visit) {
  const auto offer = [&](std::string_view name, std::size_t at) {
    if (syntax.token(at).at.file == syntax.unit.file && !name.empty() && name != "operator") {
      visit(name, syntax.token(at).at);
    }
  };
  for (const Function& function : syntax.functions) {
    if (function.owner.empty()) {
      offer(function.name, function.name_at);
    }
  }
  for (const Variable& variable : syntax.variables) {
    offer(variable.name, variable.name_at);
  }
  for (const Struct& type : syntax.structs) {
    offer(type.name, type.name_at);
  }
}

}  // namespace

void check_data(const Syntax& syntax, Diagnostics& diagnostics) {
  check_file_scope(syntax, diagnostics);
  check_threadgroup_variables(syntax, diagnostics);
}

void check_entries(const std::vector<KernelEntry>& entries, Diagnostics& diagnostics) {
  for (const KernelEntry& entry : entries) {
    for (const ThreadgroupMemory& array : entry.arrays) {
      if (array.bytes == 0) {
        diagnostics.error({entry.syntax->token(entry.function->name_at).at.file, array.line, 1},
                          "the size of threadgroup variable '{}' of '{}' is not known here; extents are integer "
                          "constants, template values and sizeof, elements scalars, vectors and plain structs",
                          array.name, entry.host_name);
      }
    }
    if (entry.static_threadgroup_bytes > max_static_threadgroup_bytes) {
      diagnostics.error(entry.at, "kernel '{}' declares {} bytes of threadgroup memory; at most {} are valid",
                        entry.host_name, entry.static_threadgroup_bytes, max_static_threadgroup_bytes);
    }
  }
}

void check_names(const std::vector<const Syntax*>& units, Diagnostics& diagnostics) {
  std::map<std::string_view, Location> hosts;
  std::map<std::string_view, Location> names;
  for (const Syntax* syntax : units) {
    for (const KernelEntry& entry : kernel_entries(*syntax)) {
      const auto [first, is_new] = hosts.emplace(entry.host_name, entry.at);
      if (!is_new) {
        diagnostics.error(entry.at, "host name '{}' is taken at {}:{} already; host names are unique", entry.host_name,
                          first->second.file, first->second.line);
      }
    }
    own_names(*syntax, [&](std::string_view name, const Location& at) {
      const auto [first, is_new] = names.emplace(name, at);
      if (!is_new && first->second.file != at.file) {
        diagnostics.error(at,
                          "'{}' is defined at {}:{} too; Apple's compiler sees all files as one, so share it through a "
                          "header of kernels/lib or name it differently",
                          name, first->second.file, first->second.line);
      }
    });
  }
}

}  // namespace mslt::mslc

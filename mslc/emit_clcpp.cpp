// C++ for OpenCL: the four address spaces as clang knows them.
#include <fmt/format.h>

#include <array>
#include <iterator>
#include <string>

#include "mslc/emit.h"
#include "mslc/rewrite.h"

namespace mslt::mslc {
namespace {

std::string_view opencl_space(std::string_view word) {
  if (word == "device") return "__global";
  if (word == "constant") return "__constant";
  if (word == "threadgroup") return "__local";
  if (word == "thread") return "__private";
  return {};
}

// float4 and the like; this dialect has no such constructor calls.
bool is_vector_type(std::string_view name) {
  static constexpr std::array<std::string_view, 10> scalars = {"half",   "float", "int",   "uint", "short",
                                                               "ushort", "char",  "uchar", "long", "ulong"};
  if (name.size() < 4 || name.back() < '2' || name.back() > '4') {
    return false;
  }
  name.remove_suffix(1);
  for (const std::string_view scalar : scalars) {
    if (scalar == name) {
      return true;
    }
  }
  return false;
}

}  // namespace

std::string emit_clcpp(const Syntax& syntax, const std::vector<KernelEntry>& entries, const EmitOptions& options) {
  Rewrite rewrite(syntax);
  rewrite_common(syntax, rewrite);
  for (std::size_t i = 0; i + 1 < syntax.unit.tokens.size(); ++i) {
    const Token& token = syntax.token(i);
    if (is_unroll(token)) {
      rewrite.before(i, unroll_pragma);
    } else if (const std::string_view space = opencl_space(token.text); token.is_name() && !space.empty()) {
      rewrite.replace(i, std::string(space));
    } else if (is_vector_type(token.text) && syntax.token(i + 1).is("(")) {
      rewrite.replace(i, fmt::format("make_{}", token.text));
    }
  }
  for (const Function& function : syntax.functions) {
    if (!function.is_kernel) {
      // As GPU compilers do; an array that is still in memory is then the kernel's fault.
      rewrite.before(function.specifiers.begin, "__attribute__((always_inline)) ");
      continue;
    }
    for (const ThreadgroupDeclaration& array : threadgroup_declarations(syntax, function)) {
      rewrite.before(array.name_at, "(&");
      rewrite.after(array.name_at, ")");
      rewrite.before(array.whole.end - 1, fmt::format(" = mslt_threadgroup_array<{}{}>()", syntax.text(array.type),
                                                      syntax.text(array.extents)));
    }
  }
  std::string text = generated_notice(syntax.unit.file);
  auto out = std::back_inserter(text);
  text += "#include \"mslc/clcpp_prelude.h\"\n\n";
  fmt::format_to(out, "namespace metal {{\nnamespace {} {{\n", unit_namespace(syntax.unit, options));
  text += rewrite.text();
  for (const KernelEntry& entry : entries) {
    if (entry.instantiation != nullptr) {
      const Location& at = entry.at;
      fmt::format_to(out, "#line {0} \"{1}\"\ntemplate decltype({2}{3}) {2}{3};\n", at.line, at.file,
                     entry.function->name, entry.template_arguments);
    }
  }
  text += "}\n}\n";
  return text;
}

}  // namespace mslt::mslc

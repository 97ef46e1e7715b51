// Host C++: bodies as function templates, one entry per instantiation.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "mslc/emit.h"
#include "mslc/rewrite.h"

namespace mslt::mslc {
namespace {

std::string argument_expression(const KernelArgument& argument) {
  switch (argument.kind) {
    case KernelArgumentKind::buffer:
      return fmt::format("static_cast<{}>(bindings.buffers[{}])", argument.type, argument.index);
    case KernelArgumentKind::bytes:
      return fmt::format("*static_cast<const {}*>(bindings.buffers[{}])", argument.element, argument.index);
    case KernelArgumentKind::threadgroup:
      return fmt::format("static_cast<{}>(context.threadgroup_arguments[{}])", argument.type, argument.index);
    case KernelArgumentKind::builtin:
      break;
  }
  std::string member = fmt::format("context.{}", argument.builtin);
  if (!argument.is_extent) {
    return member;
  }
  switch (argument.lanes) {
    case 3:
      return fmt::format("uint3({0}.x, {0}.y, {0}.z)", member);
    case 2:
      return fmt::format("uint2({0}.x, {0}.y)", member);
    default:
      return member + ".x";
  }
}

std::string host_entry(const KernelEntry& entry) {
  std::string text = fmt::format(
      "void entry_{}([[maybe_unused]] const ::mslt::msl::host::Bindings& bindings,\n"
      "    const ::mslt::msl::host::ThreadContext& context) {{\n  {}{}(context",
      entry.host_name, entry.function->name, entry.template_arguments);
  for (const KernelArgument& argument : entry.arguments) {
    text += ",\n      " + argument_expression(argument);
  }
  return text + ");\n}\n";
}

}  // namespace

std::string emit_host(const Syntax& syntax, const std::vector<KernelEntry>& entries, const EmitOptions& options) {
  Rewrite rewrite(syntax);
  rewrite_common(syntax, rewrite);
  drop_address_spaces(syntax, rewrite);
  for (const Function& function : syntax.functions) {
    if (!function.is_kernel) {
      if (function.owner.empty() && !function.body.empty()) {
        rewrite.before(function.specifiers.begin, "[[maybe_unused]] ");
      }
      continue;
    }
    const std::string_view comma = function.parameters.empty() ? "" : ", ";
    rewrite.after(function.parentheses.begin,
                  fmt::format("[[maybe_unused]] const ::mslt::msl::host::ThreadContext& mslt_context{}", comma));
    std::size_t slot = 0;
    for (const ThreadgroupDeclaration& array : threadgroup_declarations(syntax, function)) {
      const std::string type = syntax.text(array.type);
      const std::string extents = syntax.text(array.extents);
      rewrite.before(array.name_at, "(&");
      rewrite.after(array.name_at, ")");
      rewrite.before(array.whole.end - 1, fmt::format(" = ::mslt::msl::host::threadgroup_array<{}{}>(mslt_context, {})",
                                                      type, extents, slot));
      ++slot;
    }
  }
  for (const Variable& variable : syntax.variables) {
    rewrite.before(variable.whole.begin, "[[maybe_unused]] ");
  }
  const std::string space = unit_namespace(syntax.unit, options);
  std::string text = generated_notice(syntax.unit.file);
  auto out = std::back_inserter(text);
  fmt::format_to(out, "#include \"backend/msl/drivers/host/msl_runtime.h\"\n\n#include <array>\n\n");
  fmt::format_to(out, "namespace metal::{} {{\nnamespace {{\n", space);
  text += rewrite.text();
  const std::string file = fmt::format("host_{}.cpp", syntax.unit.name);
  fmt::format_to(out, "#line {} \"{}\"\n", std::count(text.begin(), text.end(), '\n') + 2, file);
  for (const KernelEntry& entry : entries) {
    text += size_checks(entry) + host_entry(entry);
    fmt::format_to(out, "constexpr std::array<::mslt::msl::host::ThreadgroupArray, {}> arrays_{} = {{{{\n",
                   entry.arrays.size(), entry.host_name);
    for (const ThreadgroupMemory& array : entry.arrays) {
      fmt::format_to(out, "    {{\"{}\", {}, {}, {}}},\n", array.name, array.bytes, array.alignment, array.line);
    }
    text += "}};\n";
  }
  fmt::format_to(out, "constexpr std::array<::mslt::msl::host::HostKernel, {}> kernels = {{{{\n", entries.size());
  for (const KernelEntry& entry : entries) {
    fmt::format_to(out, "    {{\"{0}\", &entry_{0}, arrays_{0}}},\n", entry.host_name);
  }
  fmt::format_to(out,
                 "}}}};\n}}\n\nstd::span<const ::mslt::msl::host::HostKernel> unit_kernels();\n"
                 "std::span<const ::mslt::msl::host::HostKernel> unit_kernels() {{ return kernels; }}\n\n}}\n");
  return text;
}

std::string emit_host_table(const std::vector<const Unit*>& units, const EmitOptions& options) {
  std::string text = generated_notice("the .metal files");
  auto out = std::back_inserter(text);
  text += "#include \"backend/msl/drivers/host/entry.h\"\n\n#include <algorithm>\n#include <vector>\n\n";
  for (const Unit* unit : units) {
    fmt::format_to(out, "namespace metal::{} {{\nstd::span<const ::mslt::msl::host::HostKernel> unit_kernels();\n}}\n",
                   unit_namespace(*unit, options));
  }
  text += "\n" + table_namespace("mslt::msl::host", options);
  text +=
      "namespace {\n\nstd::vector<HostKernel> collect() {\n  std::vector<HostKernel> all;\n"
      "  [[maybe_unused]] const auto add = [&all](std::span<const HostKernel> kernels) {\n"
      "    all.insert(all.end(), kernels.begin(), kernels.end());\n  };\n";
  for (const Unit* unit : units) {
    fmt::format_to(out, "  add(::metal::{}::unit_kernels());\n", unit_namespace(*unit, options));
  }
  text +=
      "  std::sort(all.begin(), all.end(),\n"
      "            [](const HostKernel& a, const HostKernel& b) { return a.name < b.name; });\n  return all;\n}\n\n"
      "}  // namespace\n\nstd::span<const HostKernel> host_kernels();\n"
      "std::span<const HostKernel> host_kernels() {\n"
      "  static const std::vector<HostKernel> kernels = collect();\n  return kernels;\n}\n\n}\n";
  return text;
}

}  // namespace mslt::mslc

// The metadata table, and the common parts of all generated files.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "mslc/emit.h"

namespace mslt::mslc {
namespace {

std::string_view kind_name(KernelArgumentKind kind) {
  switch (kind) {
    case KernelArgumentKind::bytes:
      return "bytes";
    case KernelArgumentKind::threadgroup:
      return "threadgroup";
    default:
      return "buffer";
  }
}

}  // namespace

std::string generated_notice(std::string_view source) {
  return fmt::format("// Written by mslc from {}; edit that instead.\n", source);
}

std::string table_namespace(std::string_view inside, const EmitOptions& options) {
  return fmt::format("namespace {}{}{} {{\n", inside, options.set.empty() ? "" : "::", options.set);
}

std::string unit_namespace(const Unit& unit, const EmitOptions& options) {
  return fmt::format("msl_{}{}{}", options.set, options.set.empty() ? "" : "_", unit.name);
}

std::string size_checks(const KernelEntry& entry) {
  std::string text;
  for (const KernelArgument& argument : entry.arguments) {
    if (argument.kind == KernelArgumentKind::bytes) {
      fmt::format_to(std::back_inserter(text), "static_assert(sizeof({}) == {});\n", argument.element,
                     argument.element_bytes);
    }
  }
  return text;
}

std::string emit_metadata(const std::vector<KernelEntry>& entries, const EmitOptions& options) {
  std::vector<const KernelEntry*> sorted;
  sorted.reserve(entries.size());
  for (const KernelEntry& entry : entries) {
    sorted.push_back(&entry);
  }
  std::sort(sorted.begin(), sorted.end(),
            [](const KernelEntry* a, const KernelEntry* b) { return a->host_name < b->host_name; });
  std::string text = generated_notice("the .metal files");
  auto out = std::back_inserter(text);
  text += "#include <array>\n\n#include \"backend/msl/kernel_info.h\"\n\n";
  text += table_namespace("mslt::msl", options);
  text += "namespace {\n\n";
  for (const KernelEntry* entry : sorted) {
    const auto count = std::count_if(entry->arguments.begin(), entry->arguments.end(),
                                     [](const KernelArgument& a) { return a.kind != KernelArgumentKind::builtin; });
    fmt::format_to(out, "constexpr std::array<ArgumentInfo, {}> arguments_{} = {{{{\n", count, entry->host_name);
    for (const KernelArgument& argument : entry->arguments) {
      if (argument.kind != KernelArgumentKind::builtin) {
        fmt::format_to(out, "    {{\"{}\", ArgumentKind::{}, ArgumentAccess::{}, {}, \"{}\", {}}},\n",
                       argument.parameter->name, kind_name(argument.kind), argument.written ? "write" : "read",
                       argument.index, argument.element, argument.element_bytes);
      }
    }
    text += "}};\n";
  }
  fmt::format_to(out, "\nconstexpr std::array<KernelInfo, {}> kernels = {{{{\n", sorted.size());
  for (const KernelEntry* entry : sorted) {
    const Token& name = entry->syntax->token(entry->function->name_at);
    fmt::format_to(out, "    {{\"{0}\", \"{1}\", {2}, arguments_{0}, {3}, {4}}},\n", entry->host_name, name.at.file,
                   name.at.line, entry->static_threadgroup_bytes, entry->max_threads_per_threadgroup);
  }
  text += "}};\n\n}  // namespace\n\nstd::span<const KernelInfo> kernel_table() { return kernels; }\n\n}\n";
  return text;
}

}  // namespace mslt::mslc

// From signatures and instantiations to kernel entries.
#include "mslc/kernels.h"

#include <algorithm>
#include <array>

namespace mslt::mslc {
namespace {

constexpr std::array<Builtin, 9> builtins = {{
    {"thread_position_in_grid", true},
    {"thread_position_in_threadgroup", true},
    {"threadgroup_position_in_grid", true},
    {"threads_per_threadgroup", true},
    {"threadgroups_per_grid", true},
    {"thread_index_in_threadgroup", false},
    {"simdgroup_index_in_threadgroup", false},
    {"thread_index_in_simdgroup", false},
    {"simdgroups_per_threadgroup", false},
}};

// The type in C++: without address spaces and attributes, constant data const, template parameters replaced.
std::string cpp_type(Range type, const Scope& scope) {
  const Syntax& syntax = *scope.syntax;
  bool is_constant = false;
  bool is_const = false;
  for (std::size_t i = type.begin; i < type.end && !syntax.token(i).is("*") && !syntax.token(i).is("&"); ++i) {
    is_constant = is_constant || syntax.token(i).is("constant");
    is_const = is_const || syntax.token(i).is("const");
  }
  std::string text = is_constant && !is_const ? "const" : "";
  for (std::size_t i = type.begin; i < type.end; ++i) {
    const Token& token = syntax.token(i);
    if (is_address_space(token.text)) {
      continue;
    }
    const auto type_parameter = scope.types.find(token.text);
    const auto value_parameter = scope.values.find(token.text);
    const bool word = token.is_name();
    text += word && !text.empty() && !text.ends_with('<') ? " " : "";
    if (type_parameter != scope.types.end()) {
      text += type_parameter->second;
    } else if (value_parameter != scope.values.end()) {
      text += std::to_string(value_parameter->second);
    } else {
      text += token.text;
    }
  }
  return text;
}

Scope instantiation_scope(const Function& function, const Instantiation* instantiation, Scope scope) {
  const Syntax& syntax = *scope.syntax;
  for (std::size_t i = 0; i < function.template_parameters.size(); ++i) {
    const TemplateParameter& parameter = function.template_parameters[i];
    const bool given = instantiation != nullptr && i < instantiation->arguments.size();
    const Range argument = given ? instantiation->arguments[i] : parameter.default_value;
    if (argument.empty()) {
      continue;
    }
    if (parameter.is_type) {
      scope.types[parameter.name] = given ? syntax.text(argument) : resolved_type(argument, scope);
    } else if (const auto value = evaluate(argument, scope)) {
      scope.values[parameter.name] = *value;
    }
  }
  return scope;
}

KernelEntry read_entry(const Function& function, const Instantiation* instantiation, const Scope& file) {
  const Syntax& syntax = *file.syntax;
  KernelEntry entry;
  entry.syntax = &syntax;
  entry.function = &function;
  entry.instantiation = instantiation;
  entry.host_name = instantiation != nullptr ? instantiation->host_name : function.name;
  entry.at = syntax.token(instantiation != nullptr ? instantiation->at : function.name_at).at;
  if (instantiation != nullptr) {
    entry.template_arguments = "<";
    for (const Range argument : instantiation->arguments) {
      entry.template_arguments += (entry.template_arguments.size() > 1 ? ", " : "") + syntax.text(argument);
    }
    entry.template_arguments += ">";
  }
  Scope scope = instantiation_scope(function, instantiation, file);
  for (const Parameter& parameter : function.parameters) {
    if (std::optional<KernelArgument> argument = read_argument(parameter, scope)) {
      entry.arguments.push_back(std::move(*argument));
    }
  }
  add_local_constants(function, scope);
  for (const ThreadgroupDeclaration& declaration : threadgroup_declarations(syntax, function)) {
    const std::optional<TypeLayout> layout = layout_of(resolved_type(declaration.type, scope), scope);
    const std::optional<std::uint64_t> count = element_count(declaration.extents, scope);
    ThreadgroupMemory memory;
    memory.name = declaration.name;
    memory.line = syntax.token(declaration.name_at).at.line;
    if (layout && count && *count * layout->bytes <= (1U << 30U)) {
      memory.bytes = static_cast<std::uint32_t>(*count * layout->bytes);
      memory.alignment = layout->alignment;
    }
    entry.static_threadgroup_bytes = (entry.static_threadgroup_bytes + 15) / 16 * 16 + memory.bytes;
    entry.arrays.push_back(memory);
  }
  for (const Attribute& attribute : function.attributes) {
    if (attribute.name == "max_total_threads_per_threadgroup") {
      entry.max_threads_per_threadgroup = static_cast<std::uint32_t>(evaluate(attribute.argument, scope).value_or(0));
    }
  }
  return entry;
}

}  // namespace

std::optional<Builtin> find_builtin(std::string_view attribute) {
  const auto found =
      std::find_if(builtins.begin(), builtins.end(), [&](const Builtin& b) { return b.name == attribute; });
  return found == builtins.end() ? std::nullopt : std::optional(*found);
}

std::string builtin_names() {
  std::string names;
  for (const Builtin& builtin : builtins) {
    names += (names.empty() ? "" : ", ") + std::string(builtin.name);
  }
  return names;
}

std::optional<KernelArgument> read_argument(const Parameter& parameter, const Scope& scope) {
  const Syntax& syntax = *scope.syntax;
  if (parameter.attributes.size() != 1) {
    return std::nullopt;
  }
  const Attribute& attribute = parameter.attributes.front();
  KernelArgument argument;
  argument.parameter = &parameter;
  argument.type = cpp_type(parameter.type, scope);
  if (const std::optional<Builtin> builtin = find_builtin(attribute.name)) {
    argument.is_extent = builtin->is_extent;
    argument.kind = KernelArgumentKind::builtin;
    argument.builtin = attribute.name;
    argument.element = resolved_type(parameter.type, scope);
    argument.lanes = argument.element == "uint3" ? 3 : argument.element == "uint2" ? 2 : 1;
    return argument;
  }
  const std::optional<std::int64_t> index = evaluate(attribute.argument, scope);
  if ((attribute.name != "buffer" && attribute.name != "threadgroup") || !index || *index < 0 || *index > 1000) {
    return std::nullopt;
  }
  argument.index = static_cast<std::uint32_t>(*index);
  std::size_t declarator = parameter.type.begin;
  bool is_const = false;
  while (declarator < parameter.type.end && !syntax.token(declarator).is("*") && !syntax.token(declarator).is("&")) {
    is_const = is_const || syntax.token(declarator).is("const") || syntax.token(declarator).is("constant");
    ++declarator;
  }
  const bool is_reference = declarator < parameter.type.end && syntax.token(declarator).is("&");
  argument.kind = attribute.name == "threadgroup" ? KernelArgumentKind::threadgroup
                  : is_reference                  ? KernelArgumentKind::bytes
                                                  : KernelArgumentKind::buffer;
  argument.written = !is_const;
  argument.element = resolved_type({parameter.type.begin, declarator}, scope);
  if (const auto layout = layout_of(argument.element, scope)) {
    argument.element_bytes = layout->bytes;
  }
  return argument;
}

std::vector<ThreadgroupDeclaration> threadgroup_declarations(const Syntax& syntax, const Function& function) {
  std::vector<ThreadgroupDeclaration> declarations;
  std::size_t depth = 0;
  for (std::size_t i = function.body.begin; i < function.body.end; ++i) {
    const Token& token = syntax.token(i);
    depth += token.is("{") ? 1 : 0;
    depth -= token.is("}") && depth > 0 ? 1 : 0;
    if (!token.is("threadgroup")) {
      continue;
    }
    const Token& before = syntax.token(i - 1);
    const bool starts = before.is(";") || before.is("{") || before.is("}") || before.is(")") || before.is("else") ||
                        before.is("static") || before.is("const") || before.kind == TokenKind::directive;
    ThreadgroupDeclaration read;
    read.depth = depth;
    std::size_t end = i + 1;
    while (end < function.body.end) {
      const Token& t = syntax.token(end);
      if (t.is("<")) {
        const std::size_t close = matching_angle(syntax.unit, end, function.body.end);
        end = close < function.body.end ? close : end;
      } else if (!t.is_name() && !t.is("::")) {
        break;
      }
      ++end;
    }
    const bool is_variable = syntax.token(end).is("[") || syntax.token(end).is(";") || syntax.token(end).is("=") ||
                             syntax.token(end).is(",") || syntax.token(end).is("{");
    if (!starts || !is_variable || end < i + 3) {
      continue;
    }
    read.name_at = end - 1;
    read.name = syntax.token(end - 1).text;
    read.type = {i + 1, end - 1};
    const std::size_t first_extent = end;
    while (syntax.token(end).is("[")) {
      end = matching(syntax.unit, end) + 1;
    }
    read.extents = {first_extent, end};
    read.has_initialiser = syntax.token(end).is("=") || syntax.token(end).is("{");
    read.is_list = syntax.token(end).is(",");
    while (end < function.body.end && !syntax.token(end).is(";")) {
      ++end;
    }
    read.whole = {i, end + 1};
    declarations.push_back(read);
    i = end;
  }
  return declarations;
}

const Function* find_kernel(const Syntax& syntax, std::string_view name) {
  const auto found = std::find_if(syntax.functions.begin(), syntax.functions.end(),
                                  [&](const Function& f) { return f.is_kernel && f.name == name; });
  return found == syntax.functions.end() ? nullptr : &*found;
}

std::vector<KernelEntry> kernel_entries(const Syntax& syntax) {
  const Scope file = file_scope(syntax);
  std::vector<KernelEntry> entries;
  for (const Function& function : syntax.functions) {
    if (function.is_kernel && !function.is_template) {
      entries.push_back(read_entry(function, nullptr, file));
    }
  }
  for (const Instantiation& instantiation : syntax.instantiations) {
    const Function* function = find_kernel(syntax, instantiation.kernel);
    if (function != nullptr && function->is_template) {
      entries.push_back(read_entry(*function, &instantiation, file));
    }
  }
  return entries;
}

}  // namespace mslt::mslc

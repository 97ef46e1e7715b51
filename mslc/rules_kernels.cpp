// Rules on kernels: declarations, arguments and instantiations.
#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "mslc/rules.h"

namespace mslt::mslc {
namespace {

class KernelRules {
 public:
  KernelRules(const Syntax& syntax, Diagnostics& diagnostics)
      : syntax_(syntax), diagnostics_(diagnostics), scope_(file_scope(syntax)) {}

  void run() {
    std::map<std::string_view, const Function*> kernels;
    for (const Function& function : syntax_.functions) {
      if (!function.is_kernel) {
        check_helper_attributes(function);
        continue;
      }
      check_declaration(function);
      const auto [first, is_new] = kernels.emplace(function.name, &function);
      if (!is_new) {
        diagnostics_.error(
            place(function.name_at),
            "kernel '{}' is declared at line {} already; kernels are not overloaded, give it another name",
            function.name, place(first->second->name_at).line);
      }
      check_arguments(function);
      check_group_size(function);
    }
    for (const Instantiation& instantiation : syntax_.instantiations) {
      check_instantiation(instantiation);
    }
    for (const Function& function : syntax_.functions) {
      if (function.is_kernel && function.is_template && !is_instantiated(function)) {
        diagnostics_.error(place(function.name_at),
                           "kernel template '{0}' has no instantiation; write MSLT_INSTANTIATE({0}_f32, {0}, float)",
                           function.name);
      }
    }
  }

 private:
  const Location& place(std::size_t index) const { return syntax_.token(index).at; }

  bool is_instantiated(const Function& function) const {
    return std::any_of(syntax_.instantiations.begin(), syntax_.instantiations.end(),
                       [&](const Instantiation& i) { return i.kernel == function.name; });
  }

  void check_helper_attributes(const Function& function) {
    for (const Attribute& attribute : function.attributes) {
      if (attribute.name != "kernel" && attribute.name != "maybe_unused" && attribute.name != "host_name") {
        diagnostics_.error(place(attribute.at), "attribute '{}' is only valid on kernels", attribute.name);
      }
    }
    for (const Parameter& parameter : function.parameters) {
      for (const Attribute& attribute : parameter.attributes) {
        if (attribute.name != "maybe_unused") {
          diagnostics_.error(place(attribute.at), "attribute '{}' is only valid on arguments of kernels",
                             attribute.name);
        }
      }
    }
  }

  void check_declaration(const Function& function) {
    const Location& at = place(function.name_at);
    if (!function.owner.empty()) {
      diagnostics_.error(at, "kernel '{}' is a member of '{}'; declare it at file scope", function.name,
                         function.owner);
    }
    if (function.name == "main") {
      diagnostics_.error(at, "a kernel cannot be named main; name it after what it does");
    }
    if (function.body.empty()) {
      diagnostics_.error(at, "kernel '{}' has no body; define it where it is declared", function.name);
    }
    bool returns_void = false;
    for (std::size_t i = function.specifiers.begin; i < function.specifiers.end; ++i) {
      const Token& word = syntax_.token(i);
      returns_void = returns_void || (word.is("void") && !syntax_.token(i + 1).is("*"));
      if (word.is("static") || word.is("inline") || word.is("constexpr")) {
        diagnostics_.error(word.at, "kernel '{}' cannot be {}; write kernel void {}(...)", function.name, word.text,
                           function.name);
      }
    }
    if (!returns_void) {
      diagnostics_.error(at, "kernel '{}' does not return void; results go to device buffers", function.name);
    }
    for (const Attribute& attribute : function.attributes) {
      if (attribute.name == "max_total_threads_per_threadgroup") {
        const auto threads = evaluate(attribute.argument, scope_);
        if (!threads || *threads < 1 || *threads > 1024) {
          diagnostics_.error(place(attribute.at), "max_total_threads_per_threadgroup takes a constant from 1 to 1024");
        }
      } else if (attribute.name != "kernel" && attribute.name != "host_name") {
        diagnostics_.error(place(attribute.at),
                           "attribute '{}' is unknown on kernels; max_total_threads_per_threadgroup(n) is valid",
                           attribute.name);
      }
    }
  }

  void check_arguments(const Function& function) {
    std::map<std::pair<std::string_view, std::int64_t>, std::string_view> used;
    std::string_view first_extent;
    std::string_view first_type;
    for (const Parameter& parameter : function.parameters) {
      if (!check_attribute(parameter)) {
        continue;
      }
      const Attribute& attribute = parameter.attributes.front();
      if (const auto builtin = find_builtin(attribute.name)) {
        check_builtin(parameter, *builtin);
        const std::string_view type = syntax_.token(parameter.type.end - 1).text;
        if (builtin->is_extent && first_extent.empty()) {
          first_extent = parameter.name;
          first_type = type;
        } else if (builtin->is_extent && type != first_type) {
          diagnostics_.error(place(parameter.name_at),
                             "'{}' is {} where '{}' is {}; positions and sizes of one kernel have one type",
                             parameter.name, type, first_extent, first_type);
        }
        continue;
      }
      check_index(parameter, attribute, used);
      check_memory(parameter, attribute);
    }
  }

  // A kernel that uses positions within its group, but is not told the group's size, has that size in its code. Without
  // the attribute a device may allow it fewer threads.
  void check_group_size(const Function& function) {
    bool knows_places = false;
    bool knows_size = false;
    for (const Parameter& parameter : function.parameters) {
      for (const Attribute& attribute : parameter.attributes) {
        knows_size =
            knows_size || attribute.name == "threads_per_threadgroup" || attribute.name == "simdgroups_per_threadgroup";
        knows_places = knows_places || attribute.name == "thread_position_in_threadgroup" ||
                       attribute.name == "thread_index_in_threadgroup" ||
                       attribute.name == "simdgroup_index_in_threadgroup" ||
                       attribute.name == "thread_index_in_simdgroup";
      }
    }
    const bool has_most = std::any_of(function.attributes.begin(), function.attributes.end(),
                                      [](const Attribute& a) { return a.name == "max_total_threads_per_threadgroup"; });
    if (knows_places && !knows_size && !has_most) {
      diagnostics_.error(
          place(function.name_at),
          "kernel '{}' uses positions within its group but not the group's size, so its launch is fixed; write "
          "[[max_total_threads_per_threadgroup(n)]] before it, or take threads_per_threadgroup",
          function.name);
    }
  }

  // Whether the argument has exactly one attribute, with a name allowed for arguments.
  bool check_attribute(const Parameter& parameter) {
    if (parameter.name.empty()) {
      diagnostics_.error(place(parameter.declaration.begin), "an argument of a kernel needs a name");
      return false;
    }
    if (parameter.attributes.empty()) {
      diagnostics_.error(place(parameter.name_at),
                         "argument '{}' has no attribute; write [[buffer(n)]], [[threadgroup(n)]] or one of {}",
                         parameter.name, builtin_names());
      return false;
    }
    if (parameter.attributes.size() > 1) {
      diagnostics_.error(place(parameter.attributes[1].at), "argument '{}' has {} attributes; give it exactly one",
                         parameter.name, parameter.attributes.size());
      return false;
    }
    const Attribute& attribute = parameter.attributes.front();
    if (attribute.name != "buffer" && attribute.name != "threadgroup" && !find_builtin(attribute.name)) {
      diagnostics_.error(place(attribute.at),
                         "attribute '{}' is unknown; an argument has [[buffer(n)]], [[threadgroup(n)]] or one of {}",
                         attribute.name, builtin_names());
      return false;
    }
    return true;
  }

  void check_builtin(const Parameter& parameter, const Builtin& builtin) {
    const std::string type = resolved_type(parameter.type, scope_);
    const bool valid = type == "uint" || (builtin.is_extent && (type == "uint2" || type == "uint3"));
    if (!valid || parameter.type.size() > 2) {
      diagnostics_.error(place(parameter.type.begin), "[[{}]] is declared as {}, not '{}'", builtin.name,
                         builtin.is_extent ? "uint, uint2 or uint3" : "uint", syntax_.text(parameter.type));
    }
  }

  void check_index(const Parameter& parameter, const Attribute& attribute,
                   std::map<std::pair<std::string_view, std::int64_t>, std::string_view>& used) {
    const std::uint32_t largest = attribute.name == "buffer" ? max_buffer_index : max_threadgroup_index;
    const std::optional<std::int64_t> index = evaluate(attribute.argument, scope_);
    if (!index) {
      diagnostics_.error(place(attribute.at), "[[{0}(n)]] of '{1}' needs a constant number; write [[{0}(0)]]",
                         attribute.name, parameter.name);
      return;
    }
    if (*index < 0 || *index > largest) {
      diagnostics_.error(place(attribute.at), "[[{}({})]] is out of range; 0 to {} are valid", attribute.name, *index,
                         largest);
    }
    const auto [first, is_new] = used.emplace(std::pair(attribute.name, *index), parameter.name);
    if (!is_new) {
      diagnostics_.error(place(attribute.at), "[[{}({})]] is taken by '{}' already; give '{}' another number",
                         attribute.name, *index, first->second, parameter.name);
    }
  }

  // The number of `*` and `&` in the type, and its first address space.
  void check_memory(const Parameter& parameter, const Attribute& attribute) {
    std::string_view space;
    std::size_t pointers = 0;
    std::size_t references = 0;
    for (std::size_t i = parameter.type.begin; i < parameter.type.end; ++i) {
      const Token& token = syntax_.token(i);
      space = space.empty() && is_address_space(token.text) ? token.text : space;
      pointers += token.is("*") ? 1 : 0;
      references += token.is("&") ? 1 : 0;
    }
    const Location& at = place(parameter.type.begin);
    if (attribute.name == "threadgroup") {
      if (space != "threadgroup" || pointers != 1 || references != 0) {
        diagnostics_.error(at, "[[threadgroup(n)]] argument '{}' is a pointer: threadgroup T* {}", parameter.name,
                           parameter.name);
      }
      check_element(parameter);
      return;
    }
    const bool buffer = pointers == 1 && references == 0 && (space == "device" || space == "constant");
    const bool bytes = pointers == 0 && references == 1 && space == "constant";
    if (!buffer && !bytes) {
      diagnostics_.error(at, "[[buffer(n)]] argument '{}' is 'device T*', 'constant T*' or 'constant Args&', not '{}'",
                         parameter.name, syntax_.text(parameter.type));
    } else if (bytes) {
      check_struct(parameter);
    } else {
      check_element(parameter);
    }
  }

  Range element_type(const Parameter& parameter) const {
    std::size_t end = parameter.type.begin;
    while (end < parameter.type.end && !syntax_.token(end).is("*") && !syntax_.token(end).is("&")) {
      ++end;
    }
    return {parameter.type.begin, end};
  }

  void check_element(const Parameter& parameter) {
    const std::string type = resolved_type(element_type(parameter), scope_);
    const bool is_parameter =
        std::any_of(syntax_.functions.begin(), syntax_.functions.end(), [&](const Function& function) {
          return function.parentheses.contains(parameter.declaration.begin) &&
                 std::any_of(function.template_parameters.begin(), function.template_parameters.end(),
                             [&](const TemplateParameter& t) { return t.is_type && t.name == type; });
        });
    if (!is_parameter && !layout_of(type, scope_)) {
      diagnostics_.error(
          place(parameter.type.begin),
          "element type '{}' of '{}' is not a scalar, vector, struct of plain members or template parameter", type,
          parameter.name);
    }
  }

  void check_struct(const Parameter& parameter) {
    const std::string type = resolved_type(element_type(parameter), scope_);
    const Struct* structure = syntax_.find_struct(type);
    if (structure == nullptr || structure->is_template) {
      diagnostics_.error(place(parameter.type.begin),
                         "argument '{}' is a reference to '{}', which is not a struct included by this file; arguments "
                         "by reference are structs of NAME_args.h",
                         parameter.name, type);
      return;
    }
    check_argument_struct(*structure, parameter.name);
  }

  void check_argument_struct(const Struct& structure, std::string_view argument) {
    static constexpr std::array<std::string_view, 9> valid = {"uint8_t", "int8_t",   "uint16_t", "int16_t", "uint32_t",
                                                              "int32_t", "uint64_t", "int64_t",  "float"};
    for (const Variable& member : structure.members) {
      const bool plain = member.type.size() == 1 &&
                         std::find(valid.begin(), valid.end(), syntax_.token(member.type.begin).text) != valid.end();
      if (!plain) {
        diagnostics_.error(place(member.whole.begin),
                           "member '{}' of argument struct '{}' is '{}', whose size or alignment differs between host "
                           "and GPU compilers; use uint32_t, int32_t, uint64_t, int64_t or float, one per declaration",
                           member.name, structure.name, syntax_.text(member.type));
      }
    }
    const std::optional<TypeLayout> layout = layout_of(structure, scope_);
    if (layout && layout->bytes > max_bytes_argument) {
      diagnostics_.error(place(structure.name_at),
                         "argument struct '{}' of '{}' has {} bytes; at most {} can be passed", structure.name,
                         argument, layout->bytes, max_bytes_argument);
    }
  }

  void check_instantiation(const Instantiation& instantiation) {
    const Location& at = place(instantiation.kernel_at);
    const Function* kernel = find_kernel(syntax_, instantiation.kernel);
    if (kernel == nullptr) {
      diagnostics_.error(at, "there is no kernel template '{}' in this file", instantiation.kernel);
      return;
    }
    if (!kernel->is_template) {
      diagnostics_.error(at, "kernel '{}' is not a template; its host name is its own name", instantiation.kernel);
      return;
    }
    const std::size_t largest = kernel->template_parameters.size();
    const auto smallest =
        static_cast<std::size_t>(std::count_if(kernel->template_parameters.begin(), kernel->template_parameters.end(),
                                               [](const TemplateParameter& p) { return p.default_value.empty(); }));
    if (instantiation.arguments.size() > largest || instantiation.arguments.size() < smallest) {
      diagnostics_.error(at, "kernel template '{}' takes {} template arguments, not {}", instantiation.kernel, largest,
                         instantiation.arguments.size());
      return;
    }
    for (std::size_t i = 0; i < instantiation.arguments.size(); ++i) {
      check_template_argument(kernel->template_parameters[i], instantiation.arguments[i]);
    }
  }

  void check_template_argument(const TemplateParameter& parameter, Range argument) {
    if (argument.empty()) {
      return;
    }
    const Location& at = place(argument.begin);
    if (!parameter.is_type) {
      if (!evaluate(argument, scope_)) {
        diagnostics_.error(at, "template argument '{}' for '{}' is not an integer constant", syntax_.text(argument),
                           parameter.name);
      }
      return;
    }
    const std::string type = resolved_type(argument, scope_);
    static constexpr std::array<std::string_view, 8> valid = {"float", "half", "bfloat", "int",
                                                              "uint",  "char", "uchar",  "ushort"};
    if (std::find(valid.begin(), valid.end(), type) == valid.end() && syntax_.find_struct(type) == nullptr) {
      diagnostics_.error(
          at,
          "template argument '{}' for '{}' is not a storage type; float, half, bfloat, an integer type or a "
          "struct of this file are valid",
          syntax_.text(argument), parameter.name);
    }
  }

  const Syntax& syntax_;
  Diagnostics& diagnostics_;
  Scope scope_;
};

}  // namespace

void check_kernels(const Syntax& syntax, Diagnostics& diagnostics) {
  KernelRules(syntax, diagnostics).run();
}

}  // namespace mslt::mslc

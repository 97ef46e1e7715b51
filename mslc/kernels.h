// Kernels as dispatched: every instantiation with its arguments and its threadgroup memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mslc/evaluate.h"
#include "mslc/syntax.h"

namespace mslt::mslc {

inline constexpr std::uint32_t max_buffer_index = 30;
inline constexpr std::uint32_t max_threadgroup_index = 30;
inline constexpr std::uint32_t max_bytes_argument = 4096;
inline constexpr std::uint32_t max_static_threadgroup_bytes = 32768;

// The builtin arguments of the subset, and whether they are a position (uint, uint2 or uint3) or a number (uint).
struct Builtin {
  std::string_view name;
  bool is_extent = false;
};
std::optional<Builtin> find_builtin(std::string_view attribute);
// The names of all builtins, for messages.
std::string builtin_names();

enum class KernelArgumentKind : std::uint8_t { buffer, bytes, threadgroup, builtin };

struct KernelArgument {
  KernelArgumentKind kind = KernelArgumentKind::buffer;
  const Parameter* parameter = nullptr;
  std::string_view builtin;         // for builtin: the attribute
  bool is_extent = false;           // for builtin: a position or a size
  std::uint32_t lanes = 1;          // for builtin: 1, 2 or 3
  std::uint32_t index = 0;          // n of buffer(n) or threadgroup(n)
  bool written = false;             // a pointer to non-const
  std::string element;              // in MSL's spelling
  std::uint32_t element_bytes = 0;  // 0 if unknown
  std::string type;                 // in C++'s spelling, with template arguments: `const float*`
};

// A threadgroup variable that a kernel declares: `type name extents;`
struct ThreadgroupDeclaration {
  Range whole;  // from `threadgroup` to the semicolon
  Range type;
  std::string_view name;
  std::size_t name_at = 0;
  Range extents;
  std::size_t depth = 0;  // 1: in the function's outermost block
  bool has_initialiser = false;
  bool is_list = false;  // declares more than one variable
};

struct ThreadgroupMemory {
  std::string_view name;
  std::uint32_t bytes = 0;  // 0 if the extents could not be evaluated
  std::uint32_t alignment = 0;
  std::uint32_t line = 0;
};

struct KernelEntry {
  std::string_view host_name;
  Location at;  // position of the kernel's name, or of its instantiation
  const Syntax* syntax = nullptr;
  const Function* function = nullptr;
  const Instantiation* instantiation = nullptr;  // null for a kernel that is no template
  std::string template_arguments;                // `<float, 4>` or nothing
  std::vector<KernelArgument> arguments;         // in parameter order
  std::vector<ThreadgroupMemory> arrays;
  std::uint32_t static_threadgroup_bytes = 0;  // with each array aligned to 16 bytes
  std::uint32_t max_threads_per_threadgroup = 0;
};

// Threadgroup variables declared anywhere in the function's body, without pointers to threadgroup memory.
std::vector<ThreadgroupDeclaration> threadgroup_declarations(const Syntax& syntax, const Function& function);

// The kernel with this name in the unit; null if there is none.
const Function* find_kernel(const Syntax& syntax, std::string_view name);

// The entries of a unit whose signatures passed the rules. Unknown sizes are 0.
std::vector<KernelEntry> kernel_entries(const Syntax& syntax);

// Kind, index and type of one parameter; the scope holds the template arguments. None if the attributes are invalid.
std::optional<KernelArgument> read_argument(const Parameter& parameter, const Scope& scope);

}  // namespace mslt::mslc

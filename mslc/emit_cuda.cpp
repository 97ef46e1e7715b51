// CUDA: bodies as __device__ templates, one extern "C" __global__ entry per instantiation.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <set>

#include "mslc/emit.h"
#include "mslc/rewrite.h"

namespace mslt::mslc {
namespace {

constexpr std::string_view linear_thread = "threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)";
constexpr std::string_view linear_threads = "blockDim.x * blockDim.y * blockDim.z";

// Groups of this many threads can use all registers that a thread may have; a bound would only make nvcc spill some of
// them to fit more groups at once.
constexpr std::uint32_t threads_without_bounds = 256;

// One component of a builtin position or size.
std::string component(std::string_view builtin, char axis) {
  if (builtin == "thread_position_in_grid") {
    return fmt::format("blockIdx.{0} * blockDim.{0} + threadIdx.{0}", axis);
  }
  const std::string_view variable = builtin == "thread_position_in_threadgroup" ? "threadIdx"
                                    : builtin == "threadgroup_position_in_grid" ? "blockIdx"
                                    : builtin == "threads_per_threadgroup"      ? "blockDim"
                                                                                : "gridDim";
  return fmt::format("{}.{}", variable, axis);
}

std::string builtin_expression(const KernelArgument& argument) {
  if (argument.is_extent) {
    std::string x = component(argument.builtin, 'x');
    switch (argument.lanes) {
      case 3:
        return fmt::format("uint3({}, {}, {})", x, component(argument.builtin, 'y'), component(argument.builtin, 'z'));
      case 2:
        return fmt::format("uint2({}, {})", x, component(argument.builtin, 'y'));
      default:
        return x;
    }
  }
  if (argument.builtin == "thread_index_in_threadgroup") {
    return std::string(linear_thread);
  }
  if (argument.builtin == "simdgroup_index_in_threadgroup") {
    // A shuffle tells nvcc that the value is uniform in a simdgroup, so it need not expect lanes to diverge on it.
    return fmt::format("__shfl_sync(0xffffffffu, ({}) / 32u, 0)", linear_thread);
  }
  if (argument.builtin == "thread_index_in_simdgroup") {
    return fmt::format("({}) % 32u", linear_thread);
  }
  return fmt::format("({} + 31u) / 32u", linear_threads);
}

// Whether the kernel waits for those in front of it at a place of its own: see kernels/target/overlap.h.
bool waits_itself(const Syntax& syntax, const Function& kernel) {
  for (std::size_t i = kernel.body.begin; i < kernel.body.end; ++i) {
    if (syntax.token(i).text == "wait_for_earlier_kernels") {
      return true;
    }
  }
  return false;
}

std::string cuda_entry(const Syntax& syntax, const KernelEntry& entry) {
  std::string parameters;
  std::string offsets;
  std::string call;
  const auto append = [](std::string& list, const std::string& item) {
    list += list.empty() ? "" : ",\n    ";
    list += item;
  };
  for (std::size_t i = 0; i < entry.arguments.size(); ++i) {
    const KernelArgument& argument = entry.arguments[i];
    switch (argument.kind) {
      case KernelArgumentKind::buffer:
        append(parameters, fmt::format("{} mslt_argument_{}", argument.type, i));
        append(call, fmt::format("mslt_argument_{}", i));
        break;
      case KernelArgumentKind::bytes:
        append(parameters, fmt::format("const {} mslt_argument_{}", argument.element, i));
        append(call, fmt::format("mslt_argument_{}", i));
        break;
      case KernelArgumentKind::threadgroup:
        append(offsets, fmt::format("unsigned int mslt_argument_{}", i));
        append(call, fmt::format("reinterpret_cast<{}>(mslt_dynamic + mslt_argument_{})", argument.type, i));
        break;
      case KernelArgumentKind::builtin:
        append(call, builtin_expression(argument));
        break;
    }
  }
  if (!offsets.empty()) {
    append(parameters, offsets);
  }
  const std::string bounds = entry.max_threads_per_threadgroup > threads_without_bounds
                                 ? fmt::format("__launch_bounds__({}) ", entry.max_threads_per_threadgroup)
                                 : "";
  const std::string_view begin = waits_itself(syntax, *entry.function) ? "mslt_let_next_start" : "mslt_begin";
  return fmt::format("extern \"C\" __global__ void {}mslt_{}(\n    {}) {{\n  {}();\n  {}{}(\n    {});\n}}\n", bounds,
                     entry.host_name, parameters, begin, entry.function->name, entry.template_arguments, call);
}

// The driver's folder for its own versions of the headers in kernels/target/.
constexpr std::string_view target_folder = "backend/msl/drivers/cuda/target";

// Leaves out what the headers of a folder named target/ define and includes the driver's file of the same name there.
void replace_target_headers(const Syntax& syntax, Rewrite& rewrite) {
  std::set<std::string_view> replaced;
  for (std::size_t i = 0; i + 1 < syntax.unit.tokens.size(); ++i) {
    const Token& token = syntax.token(i);
    if (!is_target_header(token.at.file) || token.kind == TokenKind::directive) {
      continue;
    }
    rewrite.drop(i);
    if (replaced.insert(token.at.file).second) {
      const std::string name = std::filesystem::path(token.at.file).stem().string();
      rewrite.before(i, fmt::format("\n#include \"{}/{}.cuh\"\n", target_folder, name));
    }
  }
}

}  // namespace

std::string emit_cuda(const Syntax& syntax, const std::vector<KernelEntry>& entries, const EmitOptions& options) {
  Rewrite rewrite(syntax);
  rewrite_common(syntax, rewrite);
  drop_address_spaces(syntax, rewrite);
  for (std::size_t i = 0; i + 1 < syntax.unit.tokens.size(); ++i) {
    if (is_unroll(syntax.token(i)) && !is_target_header(syntax.token(i).at.file)) {
      rewrite.before(i, unroll_pragma);
    }
  }
  replace_target_headers(syntax, rewrite);
  for (const Function& function : syntax.functions) {
    if (is_target_header(syntax.token(function.name_at).at.file)) {
      continue;
    }
    rewrite.before(function.specifiers.begin, "__device__ ");
    if (function.is_kernel) {
      for (const ThreadgroupDeclaration& array : threadgroup_declarations(syntax, function)) {
        rewrite.before(array.whole.begin, "__shared__");
      }
    }
  }
  for (const Variable& variable : syntax.variables) {
    if (is_target_header(syntax.token(variable.name_at).at.file)) {
      continue;
    }
    rewrite.before(variable.whole.begin, "static __device__ ");
    for (std::size_t i = variable.type.begin; i < variable.type.end; ++i) {
      if (syntax.token(i).is("static") || syntax.token(i).is("inline")) {
        rewrite.drop(i);
      }
    }
  }
  std::string text = generated_notice(syntax.unit.file);
  auto out = std::back_inserter(text);
  text += "#include \"backend/msl/drivers/cuda/msl_cuda.cuh\"\n\n";
  fmt::format_to(out, "namespace metal::{} {{\n", unit_namespace(syntax.unit, options));
  const bool dynamic = std::any_of(entries.begin(), entries.end(), [](const KernelEntry& entry) {
    return std::any_of(entry.arguments.begin(), entry.arguments.end(),
                       [](const KernelArgument& a) { return a.kind == KernelArgumentKind::threadgroup; });
  });
  text += dynamic ? "extern __shared__ __align__(16) unsigned char mslt_dynamic[];\n" : "";
  text += rewrite.text();
  fmt::format_to(out, "#line {} \"cuda_{}.cu\"\n", std::count(text.begin(), text.end(), '\n') + 2, syntax.unit.name);
  for (const KernelEntry& entry : entries) {
    text += size_checks(entry) + cuda_entry(syntax, entry);
  }
  fmt::format_to(out, "static const ::mslt::msl::cuda::CudaKernel kernels[{}] = {{\n", entries.size() + 1);
  for (const KernelEntry& entry : entries) {
    fmt::format_to(out, "    {{\"{0}\", reinterpret_cast<const void*>(&mslt_{0})}},\n", entry.host_name);
  }
  fmt::format_to(
      out,
      "    {{}}}};\nstd::span<const ::mslt::msl::cuda::CudaKernel> cuda_unit_kernels();\n"
      "std::span<const ::mslt::msl::cuda::CudaKernel> cuda_unit_kernels() {{ return {{kernels, {}}}; }}\n\n}}\n",
      entries.size());
  return text;
}

std::string emit_cuda_table(const std::vector<const Unit*>& units, const EmitOptions& options) {
  std::string text = generated_notice("the .metal files");
  auto out = std::back_inserter(text);
  text += "#include \"backend/msl/drivers/cuda/entry.h\"\n\n#include <algorithm>\n#include <vector>\n\n";
  for (const Unit* unit : units) {
    fmt::format_to(out,
                   "namespace metal::{} {{\nstd::span<const ::mslt::msl::cuda::CudaKernel> cuda_unit_kernels();\n}}\n",
                   unit_namespace(*unit, options));
  }
  text += "\n" + table_namespace("mslt::msl::cuda", options);
  text +=
      "namespace {\n\nstd::vector<CudaKernel> collect() {\n  std::vector<CudaKernel> all;\n"
      "  const auto add = [&all](std::span<const CudaKernel> kernels) {\n"
      "    all.insert(all.end(), kernels.begin(), kernels.end());\n  };\n";
  for (const Unit* unit : units) {
    fmt::format_to(out, "  add(::metal::{}::cuda_unit_kernels());\n", unit_namespace(*unit, options));
  }
  text +=
      "  std::sort(all.begin(), all.end(),\n"
      "            [](const CudaKernel& a, const CudaKernel& b) { return a.name < b.name; });\n  return all;\n}\n\n"
      "}  // namespace\n\nstd::span<const CudaKernel> cuda_kernels();\n"
      "std::span<const CudaKernel> cuda_kernels() {\n"
      "  static const std::vector<CudaKernel> kernels = collect();\n  return kernels;\n}\n\n}\n";
  return text;
}

}  // namespace mslt::mslc

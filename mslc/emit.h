// The outputs of mslc: one function per kind of output, each returning the text of one file.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mslc/kernels.h"
#include "mslc/syntax.h"

namespace mslt::mslc {

// A set of kernels built together. The product's kernels have no set name; their tables are mslt::msl::kernel_table(),
// mslt::msl::metal_source(), mslt::msl::host::host_kernels() and mslt::msl::cuda::cuda_kernels(). The tables of a named
// set, such as the planted defects of the tests, are in a namespace of that name inside those.
struct EmitOptions {
  std::string set;
};

// The first lines of each output.
std::string generated_notice(std::string_view source);
// `namespace mslt::msl::host::SET {`, with SET only for a named set; `inside` is `mslt::msl::host`.
std::string table_namespace(std::string_view inside, const EmitOptions& options);
// The namespace of a unit's bodies, inside metal: msl_NAME or msl_SET_NAME.
std::string unit_namespace(const Unit& unit, const EmitOptions& options);

// static_asserts that the sizes of the argument structs match the metadata.
std::string size_checks(const KernelEntry& entry);

// kernel_table.cpp: kernel_info.h's table of all kernels.
std::string emit_metadata(const std::vector<KernelEntry>& entries, const EmitOptions& options);

// host_NAME.cpp and host_kernels.cpp: see src/backend/msl/drivers/host/entry.h.
std::string emit_host(const Syntax& syntax, const std::vector<KernelEntry>& entries, const EmitOptions& options);
std::string emit_host_table(const std::vector<const Unit*>& units, const EmitOptions& options);

// cuda_NAME.cu and cuda_kernels.cpp: see src/backend/msl/drivers/cuda/entry.h.
std::string emit_cuda(const Syntax& syntax, const std::vector<KernelEntry>& entries, const EmitOptions& options);
std::string emit_cuda_table(const std::vector<const Unit*>& units, const EmitOptions& options);

// clcpp_NAME.clcpp: the unit as C++ for OpenCL, where clang checks address spaces. Needs mslc/clcpp_prelude.h.
std::string emit_clcpp(const Syntax& syntax, const std::vector<KernelEntry>& entries, const EmitOptions& options);

// The text for Apple's compiler: all units in one, each header once, with #line directives.
std::string metal_text(const std::vector<const Syntax*>& units);
// embed.cpp: that text as metal_source() of kernel_source.h.
std::string emit_embed(const std::vector<const Syntax*>& units, const EmitOptions& options);
// kernels.metal: that text for compiling ahead of time, plus the kernel named by source_stamp() of kernel_source.h.
std::string emit_metal(const std::vector<const Syntax*>& units);

}  // namespace mslt::mslc

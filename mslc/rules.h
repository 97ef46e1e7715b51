// The rules of docs/msl-subset.md that the sources show, as checks of one unit.
#pragma once

#include <vector>

#include "mslc/diagnostics.h"
#include "mslc/kernels.h"
#include "mslc/syntax.h"

namespace mslt::mslc {

// Words and literals outside the subset, casts, swizzles, directives.
void check_language(const Syntax& syntax, Diagnostics& diagnostics);
// Every pointer and reference names its address space.
void check_address_spaces(const Syntax& syntax, Diagnostics& diagnostics);
// Kernels' names, types, attributes and arguments, and their instantiations.
void check_kernels(const Syntax& syntax, Diagnostics& diagnostics);
// File-scope data, argument structs and threadgroup variables.
void check_data(const Syntax& syntax, Diagnostics& diagnostics);
// Recursion, calls of kernels, and helpers that differ in address spaces only.
void check_calls(const Syntax& syntax, Diagnostics& diagnostics);
// Indices of a thread's arrays are constants after unrolling.
void check_arrays(const Syntax& syntax, Diagnostics& diagnostics);

// Each kernel's threadgroup memory and argument sizes, if nothing else is wrong.
void check_entries(const std::vector<KernelEntry>& entries, Diagnostics& diagnostics);
// Names that must be unique across units: kernels, host names, and the definitions of each .metal file.
void check_names(const std::vector<const Syntax*>& units, Diagnostics& diagnostics);

}  // namespace mslt::mslc

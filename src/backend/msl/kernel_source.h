// The MSL source of all kernels, carried by the program. Implemented by a file that mslc writes.
#pragma once

#include <string_view>

namespace mslt::msl {

// One translation unit for Apple's compiler, with #line directives that name the .metal files.
std::string_view metal_source();

}  // namespace mslt::msl

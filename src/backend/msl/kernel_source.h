// The MSL source of all kernels, embedded in the program. Implemented by a file that mslc writes.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace mslt::msl {

// One translation unit for Apple's compiler, with #line directives that name the .metal files.
std::string_view metal_source();

// "mslt_source_" and a 64-bit FNV-1a hash of the text: the name of an empty kernel that a library compiled ahead of
// time from `source` contains, so a library of another source is detected.
inline std::string source_stamp(std::string_view source) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char byte : source) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3u;
  return fmt::format("mslt_source_{:016x}", hash);
}

}  // namespace mslt::msl

// Numbers in people's units.
#pragma once

#include <cstdint>
#include <string>

namespace mslt::cli {

// "1.2 GB", "65 MB", "512 B": powers of ten.
std::string format_bytes(double bytes);
// "124 M", "1.78 k", "96": powers of ten.
std::string format_count(double count);
// "1 h 02 min", "3 min 20 s", "4.2 s", "12 ms".
std::string format_duration(double seconds);

}  // namespace mslt::cli

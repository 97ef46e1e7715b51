// What every device says where there is no room for a buffer.
#pragma once

#include <cstdint>
#include <string_view>

namespace mslt {

// Throws Error(memory): what was asked for, why it cannot be had ("3.0 GiB are used and 1.0 GiB free", say), and the
// flags that ask for less of what the label names.
[[noreturn]] void fail_no_room(std::string_view label, std::uint64_t bytes, std::string_view why);

}  // namespace mslt

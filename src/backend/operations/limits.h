// What the kernels have room for, whatever the device.
#pragma once

namespace mslt {

inline constexpr int max_head_size = 256;  // channels of a head that fit in registers

}  // namespace mslt

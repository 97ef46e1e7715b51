// The table of chips.
#include "profile/chip.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "base/fail.h"
#include "base/suggest.h"

namespace mslt {
namespace {

// Cores, FLOP/s and bytes per second as published by the makers. The shares of the H100 were measured with these
// kernels (docs/benchmarks.md). The Apple chip has not run anything yet: that six of ten instructions are issued which
// could be is an assumption; how many of them are arithmetic follows from the inner loops.
constexpr auto known_chips = std::to_array<Chip>({
    {.name = "m3-max",
     .device = "Apple M3 Max",
     .backend = "metal",
     .cores = 40,
     .memory_bytes = std::uint64_t{64} << 30,
     .threadgroup_memory_bytes = 32768,
     .flops = 14.1e12,
     .bandwidth = 410e9,
     .issue_share = 0.6,
     .bandwidth_share = 0.85,
     .dispatch_seconds = 2e-6},
    {.name = "h100",
     .device = "NVIDIA H100 80GB HBM3",
     .backend = "cuda",
     .cores = 132,
     .memory_bytes = std::uint64_t{80} << 30,
     .threadgroup_memory_bytes = 32768,
     .flops = 66.9e12,
     .bandwidth = 3350e9,
     .compute_share = 0.44,
     .attention_share = 0.08,
     .bandwidth_share = 0.85,
     .dispatch_seconds = 2e-6},
});

}  // namespace

DeviceInfo Chip::info() const {
  return {.backend = std::string(backend),
          .name = std::string(device),
          .memory_bytes = memory_bytes,
          .compute_units = cores,
          .trains_16_bit = true};
}

msl::DeviceLimits Chip::limits() const {
  return {.threadgroup_memory_bytes = threadgroup_memory_bytes, .max_buffer_bytes = memory_bytes};
}

std::span<const Chip> chips() {
  return known_chips;
}

const Chip& chip_from_name(std::string_view name) {
  const auto found =
      std::find_if(known_chips.begin(), known_chips.end(), [name](const Chip& chip) { return chip.name == name; });
  if (found == known_chips.end()) {
    std::vector<std::string_view> names;
    for (const Chip& chip : known_chips) names.push_back(chip.name);
    fail(ErrorKind::usage, "There is no chip '{}' to predict for. Known are {}.{}", name, fmt::join(names, ", "),
         near_name_hint(name, names));
  }
  return *found;
}

}  // namespace mslt

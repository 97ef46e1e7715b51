// What chips can do by their published figures, and the shares of it that kernels are assumed to reach.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "backend/msl/driver.h"

namespace mslt {

struct Chip {
  std::string_view name;    // as --predict takes it
  std::string_view device;  // as its driver calls it
  std::string_view backend;
  int cores = 0;
  std::uint64_t memory_bytes = 0;
  std::uint32_t threadgroup_memory_bytes = 0;
  double flops = 0.0;             // a second, in float
  double bandwidth = 0.0;         // bytes a second
  double issue_share = 0.0;       // assumed of the instructions that can be issued; 0 where the next two were measured
  double compute_share = 0.0;     // measured of `flops` where arithmetic is the bound
  double attention_share = 0.0;   // the same for attention's kernels
  double bandwidth_share = 0.0;   // assumed of `bandwidth` where memory is the bound
  double dispatch_seconds = 0.0;  // assumed between the end of one kernel and the start of the next

  DeviceInfo info() const;
  msl::DeviceLimits limits() const;
};

// Every chip that is known.
std::span<const Chip> chips();
// Throws Error(usage) listing the valid names.
const Chip& chip_from_name(std::string_view name);

}  // namespace mslt

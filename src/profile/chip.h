// The published figures of chips, and the shares of them that kernels are assumed to reach.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "backend/msl/driver.h"

namespace mslt {

struct Chip {
  std::string_view name;    // as in --predict
  std::string_view device;  // as its driver reports it
  std::string_view backend;
  int cores = 0;
  std::uint64_t memory_bytes = 0;
  std::uint32_t threadgroup_memory_bytes = 0;
  double flops = 0.0;            // per second, in float
  double bandwidth = 0.0;        // bytes per second
  double issue_share = 0.0;      // assumed share of the instructions that can be issued; 0 if the next two are measured
  double compute_share = 0.0;    // measured share of `flops` if arithmetic is the bound
  double attention_share = 0.0;  // the same for attention's kernels
  double bandwidth_share = 0.0;  // assumed share of `bandwidth` if memory traffic is the bound
  double dispatch_seconds = 0.0;  // assumed time between the end of a kernel and the start of the next

  DeviceInfo info() const;
  msl::DeviceLimits limits() const;
};

// All known chips.
std::span<const Chip> chips();
// Throws Error(usage) listing the valid names.
const Chip& chip_from_name(std::string_view name);

}  // namespace mslt

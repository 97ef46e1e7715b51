// Words for Metal's errors.
#include "backend/msl/drivers/metal/command_error.h"

#import <Metal/Metal.h>
#include <fmt/format.h>

#include <algorithm>

#include "backend/msl/drivers/metal/text.h"

namespace mslt::msl::metal {
namespace {

std::string_view meaning(NSInteger code) {
  switch (code) {
    case MTLCommandBufferErrorInternal:
      return "an internal error";
    case MTLCommandBufferErrorTimeout:
      return "it ran for too long and was stopped";
    case MTLCommandBufferErrorPageFault:
      return "a kernel accessed memory that is not mapped";
    case MTLCommandBufferErrorAccessRevoked:
      return "the process may not use the GPU any more, after too many faults";
    case MTLCommandBufferErrorNotPermitted:
      return "the process may not use the GPU now";
    case MTLCommandBufferErrorOutOfMemory:
      return "the GPU has no memory left for it";
    case MTLCommandBufferErrorInvalidResource:
      return "a buffer it uses was deleted";
    case MTLCommandBufferErrorDeviceRemoved:
      return "the GPU was removed";
    case MTLCommandBufferErrorStackOverflow:
      return "a kernel's stack overflowed";
    default:
      return "an unknown error";
  }
}

}  // namespace

void KernelCounts::add(std::string_view name) {
  const auto known =
      std::find_if(counts_.begin(), counts_.end(), [name](const auto& entry) { return entry.first == name; });
  if (known == counts_.end()) {
    counts_.emplace_back(name, 1);
  } else {
    ++known->second;
  }
}

std::string KernelCounts::describe(std::size_t most) const {
  if (counts_.empty()) return "no kernels";
  std::string text;
  for (std::size_t i = 0; i < std::min(most, counts_.size()); ++i) {
    const auto& [name, count] = counts_[i];
    if (i > 0) text += ", ";
    text += name;
    if (count > 1) text += fmt::format(" ({} times)", count);
  }
  if (counts_.size() > most) text += fmt::format(" and {} others", counts_.size() - most);
  return text;
}

std::string describe_command_error(NSError* error, const KernelCounts& kernels) {
  const bool known = error != nil && [[error domain] isEqualToString:MTLCommandBufferErrorDomain];
  return fmt::format("a command buffer failed: {} ({}). It held: {}.",
                     known ? meaning([error code]) : "an unknown error", describe(error), kernels.describe());
}

}  // namespace mslt::msl::metal

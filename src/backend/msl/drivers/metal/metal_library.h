// The kernels compiled by Metal: from the program's embedded source, or ahead of time. Objective-C++ only.
#pragma once

#import <Metal/Metal.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "backend/msl/driver.h"
#include "backend/msl/drivers/metal/retained.h"

namespace mslt::msl::metal {

// The library in the file `compiled`, if it exists and was made from exactly this source (see kernel_source.h);
// otherwise compiled from `source`, without fast math. Throws Error(device) if that does not compile, with the errors
// at their lines of the .metal files.
Retained<id<MTLLibrary>> load_library(id<MTLDevice> device, std::string_view source,
                                      const std::filesystem::path& compiled);

// A kernel of a library, ready to run.
class MetalPipeline final : public Pipeline {
 public:
  // Throws Error(device) if the library has no such kernel or the device cannot run it, including simdgroups of a width
  // other than 32.
  MetalPipeline(id<MTLDevice> device, id<MTLLibrary> library, std::string_view name);

  std::string_view name() const override { return name_; }
  std::uint32_t max_threads_per_threadgroup() const override { return max_threads_; }
  // Threadgroup memory of the kernel's own arrays.
  std::uint32_t static_threadgroup_bytes() const { return static_threadgroup_bytes_; }
  id<MTLComputePipelineState> state() const { return state_.get(); }

 private:
  std::string name_;
  Retained<id<MTLComputePipelineState>> state_;
  std::uint32_t max_threads_ = 0;
  std::uint32_t static_threadgroup_bytes_ = 0;
};

}  // namespace mslt::msl::metal

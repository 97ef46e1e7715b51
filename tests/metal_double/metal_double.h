// Configuring the test double of Metal, injecting faults, and querying its records.
//
// The double implements include/Metal/Metal.h. Its GPU runs the kernels that mslc wrote as C++, on a thread of its own,
// late and in commit order; unordered commands run in a random order. It is strict: everything that Metal leaves
// undefined, forbids or would report under its API validation is a violation, recorded and not carried out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/msl/drivers/host/entry.h"
#include "backend/msl/drivers/host/run_order.h"
#include "backend/msl/kernel_info.h"

namespace mslt::metal_double {

// The imitated machine.
struct Settings {
  std::vector<std::string> devices = {"Apple M3 Max"};  // names of its GPUs
  bool has_default = true;                              // the first is the system's default; else that is nil
  int family = 1009;                                    // MTLGPUFamilyApple9; the same for every GPU
  int macos = 15;                                       // from 15 on, compile options have a math mode
  std::uint32_t max_threads = 1024;                     // per threadgroup
  std::uint32_t pipeline_threads = 1024;                // the same for each kernel without a stated need
  std::uint32_t simdgroup_width = 32;
  std::uint32_t threadgroup_bytes = 32768;
  std::uint32_t threadgroup_factor = 1;  // multiplies the threadgroup memory of a kernel
  bool flush_subnormals = false;         // float and bfloat; half keeps them
  msl::host::RunOrder order;             // of threadgroups and of their threads
  std::uint64_t max_buffer_bytes = std::uint64_t{64} << 30;
  std::uint64_t working_set_bytes = std::uint64_t{96} << 30;
  std::uint64_t seed = 1;  // for delays and orders
  std::span<const msl::KernelInfo> kernels;
  std::span<const msl::host::HostKernel> host_kernels;
};

// The kernels of kernels/ on an Apple M3 Max.
Settings default_settings();

// That machine with the listed changes, names separated by commas:
//   nil-default  MTLCreateSystemDefaultDevice gives nil, as in programs without CoreGraphics and over SSH
//   threads-N    pipelines of kernels without max_total_threads_per_threadgroup take groups of N threads
//   flush        subnormal numbers are flushed to zero, except for half
//   validation   as under Metal's shader validation: twice the threadgroup memory, pipelines of 512 threads
//   reversed, random, random:SEED  the order of threadgroups and threads; see parse_run_order
// Throws Error(usage) for a name that does not exist.
Settings settings_of(std::string_view list);

// Finishes pending work, forgets everything and becomes this machine.
void reset(const Settings& settings);

// Returns when all committed work is done and its handlers have been called.
void finish();

// The violations since the last reset or call.
std::vector<std::string> take_violations();

// The number of living objects of each class.
std::map<std::string, int> live_objects();

// MTLDevice's currentAllocatedSize.
std::uint64_t allocated_bytes();

// Encoded work since the last reset.
struct Counts {
  std::uint64_t command_buffers = 0;
  std::uint64_t commits = 0;
  std::uint64_t compute_encoders = 0;
  std::uint64_t blit_encoders = 0;
  std::uint64_t dispatches = 0;
  std::uint64_t barriers = 0;
  std::uint64_t copies = 0;
  std::uint64_t fills = 0;
  std::uint64_t libraries_compiled = 0;
  std::uint64_t libraries_loaded = 0;
};
Counts counts();

// The number of autorelease pools that this thread has begun since the first call.
std::uint64_t pools_begun();

// Makes the next library fail to compile, with this log.
void fail_compile(const std::string& log);
// Makes the next pipeline fail, for this reason.
void fail_pipeline(const std::string& reason);
// After this many successful allocations, one fails.
void fail_allocation(std::uint64_t after);
// After this many successful command buffers, one does nothing and ends with this code of MTLCommandBufferErrorDomain.
void fail_command_buffer(std::uint64_t after, long code, const std::string& reason);

// A file that newLibraryWithURL accepts as a metallib with these functions.
std::string compiled_library(const std::vector<std::string>& functions);

// A dispatch's use of its buffers. Metal is not told, but without it the double's checks of concurrent commands and of
// accesses would have to assume that a kernel uses everything after the offset.
struct Announcement {
  struct Use {
    std::uint32_t index = 0;
    const void* address = nullptr;  // the first byte
    std::size_t bytes = 0;
  };
  std::string kernel;
  std::vector<Use> uses;
};
// The dispatches that this thread will encode, in order; other dispatches may come between them.
void announce(std::vector<Announcement> dispatches);

}  // namespace mslt::metal_double

// How the host driver calls the kernels that mslc wrote as C++: the entry signature and its arguments.
//
// For every kernels/NAME.metal mslc writes host_NAME.cpp:
//
//   #include "backend/msl/drivers/host/msl_runtime.h"    // the metal:: library on the host; includes this header
//   namespace metal::msl_NAME {                          // inside metal, so that its names come before the global ones
//   #line 12 "kernels/NAME.metal"
//   template <typename T>                                // `kernel void scale(device T* x [[buffer(0)]], ...)`
//   void scale(const mslt::msl::host::ThreadContext& mslt_context, T* x, const ScaleArgs& args, float* scratch,
//              uint3 group, uint lane) {
//     // `threadgroup float tile[64];` in the kernel:
//     float (&tile)[64] = ::mslt::msl::host::threadgroup_array<float[64]>(mslt_context, 0);
//     ...
//   }
//   void entry_scale_f32(const Bindings& bindings, const ThreadContext& context) {
//     scale<float>(context, static_cast<float*>(bindings.buffers[0]),
//                  *static_cast<const ScaleArgs*>(bindings.buffers[1]),
//                  static_cast<float*>(context.threadgroup_arguments[0]),
//                  uint3(context.threadgroup_position_in_grid.x, ...y, ...z), context.thread_index_in_simdgroup);
//   }
//   }
//
// The entry runs one thread of one threadgroup, once, start to end. The library calls inside (threadgroup_barrier,
// simd_sum, ...) get no context: the runtime knows the running thread itself, and takes file and line of the call from
// std::source_location, which follows the #line directives.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace mslt::msl::host {

inline constexpr std::size_t max_buffers = 31;
inline constexpr std::size_t max_threadgroup_arguments = 31;

// A position or a size in threads or threadgroups; converted to uint, uint2 or uint3 as the kernel declares it.
struct Extent {
  std::uint32_t x = 0;
  std::uint32_t y = 0;
  std::uint32_t z = 0;
};

// The binding of [[buffer(n)]]: an address inside a Buffer, or of the bytes of set_bytes. Shared by the dispatch.
struct Bindings {
  std::array<void*, max_buffers> buffers{};
};

// One thread of a dispatch. The members have the names of their MSL attributes.
struct ThreadContext {
  Extent thread_position_in_grid;
  Extent thread_position_in_threadgroup;
  Extent threadgroup_position_in_grid;
  Extent threads_per_threadgroup;
  Extent threadgroups_per_grid;
  std::uint32_t thread_index_in_threadgroup = 0;  // x + threads.x · (y + threads.y · z)
  std::uint32_t simdgroup_index_in_threadgroup = 0;
  std::uint32_t thread_index_in_simdgroup = 0;
  std::uint32_t simdgroups_per_threadgroup = 0;
  // [n] is the memory of [[threadgroup(n)]], exactly as large as set_threadgroup_memory requested.
  std::span<void* const> threadgroup_arguments;
  // [slot] is the memory of HostKernel::arrays[slot], exactly as large.
  std::span<void* const> threadgroup_arrays;
};

// A threadgroup array declared in a kernel. Each is a separate allocation with undefined contents at first.
struct ThreadgroupArray {
  std::string_view name;
  std::uint32_t bytes = 0;
  std::uint32_t alignment = 0;
  std::uint32_t line = 0;
};

using Entry = void (*)(const Bindings& bindings, const ThreadContext& context);

struct HostKernel {
  std::string_view name;  // the host name
  Entry entry = nullptr;
  std::span<const ThreadgroupArray> arrays;
};

// Every kernel of kernels/, sorted by name. Written by mslc.
std::span<const HostKernel> host_kernels();

// The array that a kernel declared, in the memory of its slot. T is its type, such as float[4][64].
template <class T>
T& threadgroup_array(const ThreadContext& context, std::uint32_t slot) {
  return *static_cast<T*>(context.threadgroup_arrays[slot]);
}

}  // namespace mslt::msl::host

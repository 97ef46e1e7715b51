// The driver interface of the MSL backend: what Metal, CUDA and the host provide to run kernels.
//
// It is shaped like Metal's own API, reduced to what the backend uses. One thread at a time unless said otherwise.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "backend/backend.h"
#include "backend/msl/kernel_info.h"
#include "base/fail.h"
#include "tensor/tensor.h"

namespace mslt::msl {

// The tiles of a device's own versions of the headers in kernels/target/, which launches must know; by default those of
// the headers themselves.
struct TargetTiles {
  std::uint32_t product_side = 64;  // rows and columns of a threadgroup's results in the staged products
  // Rows of a head that a threadgroup of the attention kernels has, for 16-bit types and heads of up to so many
  // elements. Elsewhere each simdgroup has eight.
  std::uint32_t attention_rows = 0;
  std::uint32_t attention_head = 0;
};

// The device's limits, read from the device itself.
struct DeviceLimits {
  std::uint32_t max_threads_per_threadgroup = 1024;
  std::uint32_t threadgroup_memory_bytes = 32768;
  std::uint64_t max_buffer_bytes = 0;
  std::uint32_t max_bytes_argument = 4096;  // largest struct for set_bytes
  // The recorder commits a command buffer after this many dispatches, or after dispatches and copies bound to this many
  // bytes: enough that commits cost nothing, few enough that the device starts early and no buffer runs for long.
  std::uint32_t batch_dispatches = 64;
  std::uint64_t batch_bytes = std::numeric_limits<std::uint64_t>::max();
  // A replay of fewer dispatches joins the commands around it: a command buffer of its own would cost more than it
  // saves.
  std::uint32_t least_replay = 8;
  // Of the host's memory through which data goes to the device and back. The recorder keeps no more for later, and
  // waits for older work before it has more in use, except for a single tensor that is larger.
  std::uint64_t staging_bytes = std::uint64_t{64} << 20;
  TargetTiles tiles = {};
};

struct GridSize {
  std::uint32_t x = 1;
  std::uint32_t y = 1;
  std::uint32_t z = 1;
};

// One kernel, ready to run. Owned by its Device.
class Pipeline {
 public:
  Pipeline() = default;
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;
  virtual ~Pipeline() = default;
  virtual std::string_view name() const = 0;
  // The most threads per group for this kernel, at most the device's limit (registers can lower it).
  virtual std::uint32_t max_threads_per_threadgroup() const = 0;
};

// The time of one command buffer, in seconds of the device's clock.
struct CommandTiming {
  double gpu_start = 0.0;
  double gpu_end = 0.0;
};

// A range of a buffer that a command accesses.
struct BufferAccess {
  Buffer* buffer = nullptr;
  std::size_t begin = 0;
  std::size_t end = 0;
  bool is_written = false;
};

// Arguments of a library's call.
struct LibraryContext {
  void* stream =
      nullptr;  // where to put the work: a cudaStream_t; null on the host, where the call does the work at once
  void* workspace = nullptr;  // undefined contents, aligned to 256 bytes; exclusive to the call until its work is done
  std::size_t workspace_bytes = 0;
};
struct LibraryCall {
  std::function<void(const LibraryContext&)> run;
  // Two calls of one name and identity with the same workspace do the same to the same memory; empty where that is not
  // known.
  std::string identity = {};
};

// The bits of numbers and addresses, for LibraryCall::identity.
template <class... Values>
std::string identity_of(const Values&... values) {
  std::string identity;
  const auto append = [&](const auto& value) {
    static_assert(std::is_scalar_v<std::remove_cvref_t<decltype(value)>>);
    identity.append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  (append(values), ...);
  return identity;
}

// A sequence of dispatches that run in order: each sees the memory written by earlier ones.
class Commands {
 public:
  Commands() = default;
  Commands(const Commands&) = delete;
  Commands& operator=(const Commands&) = delete;
  virtual ~Commands() = default;

  // Bindings hold until replaced; set_pipeline clears them all.
  virtual void set_pipeline(const Pipeline& pipeline) = 0;
  virtual void set_buffer(std::uint32_t index, Buffer& buffer, std::size_t offset) = 0;
  // set_buffer for drivers that run independent dispatches at the same time: the dispatch accesses only [offset, offset
  // + bytes) of `buffer`, and writes there only if `access` says so. set_buffer alone means read and write access from
  // `offset` to the end.
  virtual void set_buffer_range(std::uint32_t index, Buffer& buffer, std::size_t offset, std::size_t /*bytes*/,
                                ArgumentAccess /*access*/) {
    set_buffer(index, buffer, offset);
  }
  virtual void set_bytes(std::uint32_t index, std::span<const std::byte> bytes) = 0;
  virtual void set_threadgroup_memory(std::uint32_t index, std::uint32_t bytes) = 0;
  // Runs groups.x · groups.y · groups.z full threadgroups of threads.x · threads.y · threads.z threads.
  virtual void dispatch(GridSize groups, GridSize threads) = 0;
  // Copies and fills, in the order of the dispatches. A copy's ranges must not overlap. Both clear the pipeline and its
  // bindings.
  virtual void copy(Buffer& destination, std::size_t destination_offset, Buffer& source, std::size_t source_offset,
                    std::size_t bytes) = 0;
  virtual void fill(Buffer& destination, std::size_t offset, std::size_t bytes, std::uint8_t value) = 0;

  // Calls call.run with the device's stream and the workspace of `context`, so that its work runs in the order of the
  // dispatches: once, after this call and before wait() returns, from any thread. The work accesses only `accesses`,
  // which include the workspace, and waits for nothing. An exception from call.run fails the command buffer. Clears the
  // pipeline and its bindings. Throws Error(device) if the driver accepts no library work.
  virtual void library_call(std::string_view name, std::span<const BufferAccess> /*accesses*/,
                            const LibraryContext& /*context*/, LibraryCall /*call*/) {
    fail(ErrorKind::device, "The driver does not support library calls such as {}.", name);
  }

  // Notes the time when all commands before it are done, for Device::take_marks; nothing where that has no marks.
  virtual void mark() {}
};

class CommandList;

// Commands for the device. Encode, then commit once.
class CommandBuffer : public Commands {
 public:
  // Encodes a list of commands, with or without its marks, which may come again and again in other command buffers:
  // where a driver gains by keeping something of it, such as a graph, it does so here. The list may be gone once the
  // work is done.
  virtual void play(const CommandList& list, bool with_marks);

  // Called once when the work is done or has failed, from any thread, before wait() returns. `error` is empty on
  // success.
  virtual void on_completed(std::function<void(const CommandTiming&, std::string_view error)> handler) = 0;
  // Hands the work over and returns at once. Nothing can be encoded afterwards.
  virtual void commit() = 0;
  // After commit: blocks until done. Throws Error(device) naming the failure and the kernels in the buffer.
  virtual void wait() = 0;
};

class Device {
 public:
  Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  virtual ~Device() = default;

  virtual const DeviceInfo& info() const = 0;
  virtual const DeviceLimits& limits() const = 0;
  // Zeroed memory aligned to 256 bytes. If host_visible, Buffer::host() is its address (shared or pinned memory); on
  // devices without shared memory, other buffers have no host address. Throws Error(memory).
  virtual std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label, bool host_visible) = 0;
  // As Backend::peak_device_bytes.
  virtual std::size_t peak_bytes() const { return 0; }
  // As Backend::wrap.
  virtual std::unique_ptr<Buffer> wrap(std::span<const std::byte> /*memory*/, std::string_view /*label*/,
                                       std::shared_ptr<const void> /*owner*/) {
    return nullptr;
  }
  // The device's own address of a tensor's first byte, for libraries. Throws Error(device) if there is none.
  virtual void* address(const Tensor& tensor) const {
    fail(ErrorKind::device, "{} has no address for a library.", tensor.describe());
  }
  // The kernel with that host name, compiled at first use; lives as long as the device. Throws Error(device) if it does
  // not exist or does not compile, with the compiler's message and the line of the .metal file.
  virtual const Pipeline& pipeline(std::string_view name) = 0;
  // Command buffers of a device run one after another in the order of their commits.
  virtual std::unique_ptr<CommandBuffer> command_buffer() = 0;

  // Whether Commands::mark notes times. Where not, a command buffer's CommandTiming is all there is.
  virtual bool has_marks() const { return false; }
  // The times of the marks that ran since the last call, in order, in seconds of a clock of the device's own. Call it
  // when nothing runs. Some of the last are missing if there were more than fit the driver's memory.
  virtual std::vector<double> take_marks() { return {}; }
};

}  // namespace mslt::msl

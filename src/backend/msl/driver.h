// The driver interface of the MSL backend: what Metal, CUDA and the host have to offer for kernels to run.
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

#include "backend/backend.h"
#include "backend/msl/kernel_info.h"
#include "base/fail.h"
#include "tensor/tensor.h"

namespace mslt::msl {

// What a device allows, read from the device itself.
struct DeviceLimits {
  std::uint32_t max_threads_per_threadgroup = 1024;
  std::uint32_t threadgroup_memory_bytes = 32768;
  std::uint64_t max_buffer_bytes = 0;
  std::uint32_t max_bytes_argument = 4096;  // largest struct passed by set_bytes
  // After so many dispatches, or dispatches and copies bound to so many bytes, the recorder hands a command buffer
  // over: enough that commits cost nothing, few enough that the device starts early and no buffer runs for long.
  std::uint32_t batch_dispatches = 64;
  std::uint64_t batch_bytes = std::numeric_limits<std::uint64_t>::max();
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
  // Threads a group may have for this kernel, at most the device's limit (registers can lower it).
  virtual std::uint32_t max_threads_per_threadgroup() const = 0;
};

// What one command buffer did, in seconds of the device's clock.
struct CommandTiming {
  double gpu_start = 0.0;
  double gpu_end = 0.0;
};

// A part of a buffer that a command accesses.
struct BufferAccess {
  Buffer* buffer = nullptr;
  std::size_t begin = 0;
  std::size_t end = 0;
  bool is_written = false;
};

// What a library's call is given.
struct LibraryContext {
  void* stream = nullptr;     // where to put the work: a cudaStream_t; null on the host, where it is done at once
  void* workspace = nullptr;  // undefined contents, aligned to 256 bytes; the call's own until its work is done
  std::size_t workspace_bytes = 0;
};
using LibraryCall = std::function<void(const LibraryContext&)>;

// A sequence of dispatches that run in order: each sees the memory that earlier ones wrote.
class Commands {
 public:
  Commands() = default;
  Commands(const Commands&) = delete;
  Commands& operator=(const Commands&) = delete;
  virtual ~Commands() = default;

  // Bindings hold until replaced; set_pipeline forgets them all.
  virtual void set_pipeline(const Pipeline& pipeline) = 0;
  virtual void set_buffer(std::uint32_t index, Buffer& buffer, std::size_t offset) = 0;
  // set_buffer for drivers that run dispatches at the same time where they do not disturb one another: of `buffer` the
  // dispatch accesses [offset, offset + bytes) only, and writes there only if `access` says so. set_buffer alone means
  // everything from `offset` on, and writing.
  virtual void set_buffer_range(std::uint32_t index, Buffer& buffer, std::size_t offset, std::size_t /*bytes*/,
                                ArgumentAccess /*access*/) {
    set_buffer(index, buffer, offset);
  }
  virtual void set_bytes(std::uint32_t index, std::span<const std::byte> bytes) = 0;
  virtual void set_threadgroup_memory(std::uint32_t index, std::uint32_t bytes) = 0;
  // Runs groups.x · groups.y · groups.z full threadgroups of threads.x · threads.y · threads.z threads.
  virtual void dispatch(GridSize groups, GridSize threads) = 0;
  // Copies and fills in the order of the dispatches. A copy's ranges must not overlap. Both forget the pipeline and its
  // bindings.
  virtual void copy(Buffer& destination, std::size_t destination_offset, Buffer& source, std::size_t source_offset,
                    std::size_t bytes) = 0;
  virtual void fill(Buffer& destination, std::size_t offset, std::size_t bytes, std::uint8_t value) = 0;

  // Calls `call` with the device's stream, and the workspace of `context`, so that the work which it puts there runs in
  // the order of the dispatches: once, after this call and before wait() returns, from any thread. The work accesses no
  // more than `accesses`, which hold the workspace, and waits for nothing. What `call` throws fails the command buffer.
  // Forgets the pipeline and its bindings. Throws Error(device) where the driver takes no work of libraries.
  virtual void library_call(std::string_view name, std::span<const BufferAccess> /*accesses*/,
                            const LibraryContext& /*context*/, LibraryCall /*call*/) {
    fail(ErrorKind::device, "The driver takes no work of libraries, such as {}.", name);
  }
};

class CommandList;

// Commands for the device. Encode, then commit once.
class CommandBuffer : public Commands {
 public:
  // Encodes a list of commands, which may come again and again in other command buffers: where a driver gains by
  // keeping something of it, such as a graph, it does so here. The list may be gone once the work is done.
  virtual void play(const CommandList& list);

  // Called once when the work is done or has failed, from any thread, before wait() returns. `error` is empty on
  // success.
  virtual void on_completed(std::function<void(const CommandTiming&, std::string_view error)> handler) = 0;
  // Hands the work over and returns at once. Nothing can be encoded afterwards.
  virtual void commit() = 0;
  // After commit: blocks until done. Throws Error(device) naming what failed and the kernels it held.
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
  // Zeroed memory aligned to 256 bytes. Where host_visible, Buffer::host() is its address (shared or pinned memory); on
  // devices without such memory, others have none. Throws Error(memory).
  virtual std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label, bool host_visible) = 0;
  // As Backend::wrap.
  virtual std::unique_ptr<Buffer> wrap(std::span<const std::byte> /*memory*/, std::string_view /*label*/,
                                       std::shared_ptr<const void> /*owner*/) {
    return nullptr;
  }
  // The device's own address of a tensor's first byte, as libraries take it. Throws Error(device) where there is none.
  virtual void* address(const Tensor& tensor) const {
    fail(ErrorKind::device, "{} has no address that a library could take.", tensor.describe());
  }
  // The kernel of that host name, compiled at first use; lives as long as the device. Throws Error(device) where there
  // is none or it does not compile, with the compiler's message and the line of the .metal file.
  virtual const Pipeline& pipeline(std::string_view name) = 0;
  // Command buffers of a device run one after another in the order of their commits.
  virtual std::unique_ptr<CommandBuffer> command_buffer() = 0;
};

}  // namespace mslt::msl

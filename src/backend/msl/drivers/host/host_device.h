// HostDevice: the driver that runs kernels as C++ on the host's cores, for machines without a GPU and for sanitizers.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "backend/msl/driver.h"
#include "backend/msl/drivers/host/entry.h"
#include "backend/msl/drivers/host/run_order.h"

namespace mslt::msl::host {

class CommandQueue;

// Command buffers run on a thread of the device, one after another; the threadgroups of a dispatch run in parallel on
// the host's cores (as many as base/parallel.h says), each on one of them. All memory is host_visible.
//
// A kernel whose threads do not meet (a barrier that some do not reach, others of them elsewhere, a return while others
// wait) fails its command buffer with a message that names the kernel, the threads, file and line. Every other mistake
// is for the sanitizers to find: buffers and threadgroup memory are allocated at exactly their sizes, the latter filled
// with NaN bytes for each threadgroup.
//
// What no barrier or meeting orders runs in the order that the device is made with: a race of a kernel that one order
// hides shows in another. Results are the same in all.
class HostDevice final : public Device {
 public:
  // The kernels of kernels/.
  explicit HostDevice(const RunOrder& order = {});
  // Those given, which must outlive the device; `threads` 0 for as many as there are cores.
  explicit HostDevice(std::span<const HostKernel> kernels, int threads = 0, const RunOrder& order = {});
  // Finishes what was committed.
  ~HostDevice() override;

  const DeviceInfo& info() const override { return info_; }
  const DeviceLimits& limits() const override { return limits_; }
  std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label, bool host_visible) override;
  void* address(const Tensor& tensor) const override;
  const Pipeline& pipeline(std::string_view name) override;
  std::unique_ptr<CommandBuffer> command_buffer() override;

 private:
  std::span<const HostKernel> kernels_;
  RunOrder order_;
  DeviceInfo info_;
  DeviceLimits limits_;
  std::map<std::string, std::unique_ptr<Pipeline>, std::less<>> pipelines_;
  std::unique_ptr<CommandQueue> queue_;
};

}  // namespace mslt::msl::host

// HostDevice: the driver that runs kernels as C++ on the host's cores, for machines without a GPU and for sanitizers.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/msl/driver.h"
#include "backend/msl/drivers/host/entry.h"
#include "backend/msl/drivers/host/run_order.h"

namespace mslt::msl::host {

class CommandQueue;

// Command buffers run on a thread of the device, one after another. The threadgroups of a dispatch run in parallel on
// the host's cores (as many as base/parallel.h says), each on one of them. All memory is host_visible.
//
// If a kernel's threads do not meet (some miss a barrier or reach another one, or return while others wait), its
// command buffer fails with a message that names the kernel, the threads, file and line. Every other error is for the
// sanitizers to find: buffers and threadgroup memory are allocated at exactly their sizes, and threadgroup memory is
// filled with NaN bytes for each threadgroup.
//
// Whatever no barrier or meeting orders runs in the device's RunOrder: a race that one order hides shows in another.
// Correct kernels have the same results in all.
class HostDevice final : public Device {
 public:
  // Runs the kernels of kernels/.
  explicit HostDevice(const RunOrder& order = {});
  // Runs the given kernels, which must outlive the device; `threads` 0 for one per core.
  explicit HostDevice(std::span<const HostKernel> kernels, int threads = 0, const RunOrder& order = {});
  // Finishes committed work.
  ~HostDevice() override;

  const DeviceInfo& info() const override { return info_; }
  const DeviceLimits& limits() const override { return limits_; }
  std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label, bool host_visible) override;
  void* address(const Tensor& tensor) const override;
  const Pipeline& pipeline(std::string_view name) override;
  std::unique_ptr<CommandBuffer> command_buffer() override;
  bool has_marks() const override { return true; }
  // By the steady clock.
  std::vector<double> take_marks() override;

 private:
  std::span<const HostKernel> kernels_;
  RunOrder order_;
  DeviceInfo info_;
  DeviceLimits limits_;
  std::map<std::string, std::unique_ptr<Pipeline>, std::less<>> pipelines_;
  std::unique_ptr<CommandQueue> queue_;
};

}  // namespace mslt::msl::host

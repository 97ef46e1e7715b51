// CudaDevice: the driver that runs kernels on an NVIDIA GPU through the CUDA runtime.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/msl/driver.h"
#include "backend/msl/drivers/cuda/entry.h"
#include "backend/msl/kernel_info.h"

namespace mslt::msl::cuda {

class Queue;

// Bytes allocated in the GPU's own memory.
struct AllocatedBytes {
  std::size_t now = 0;
  std::size_t most = 0;
};

// The GPUs that this build's kernels run on, in CUDA's order. Throws Error(device) where there is no driver.
std::vector<DeviceInfo> cuda_devices();

// One GPU. Command buffers are recorded on the host and launched into one stream when they are
// committed, so that one that is dropped never runs and order is that of the commits; commit() returns as soon as CUDA
// has taken the launches, of which it holds about a thousand. Memory is the GPU's own; where host_visible, pinned
// memory of the host. Freeing a buffer waits for what was committed.
class CudaDevice final : public Device {
 public:
  enum class Memory {
    zeroed,
    undefined,  // as it comes, for compute-sanitizer's initcheck: zeroing counts as initialising
  };

  // The kernels of kernels/ on the GPU that `which` names by its number or by a part of its name, or on the first.
  // Throws Error(device) where there is no driver or no such GPU, or it is none that these kernels were compiled for.
  explicit CudaDevice(std::string_view which = {}, Memory memory = Memory::zeroed);
  // Those given, with what mslc learnt of them; both must outlive the device.
  CudaDevice(std::span<const CudaKernel> kernels, std::span<const KernelInfo> table, Memory memory = Memory::zeroed,
             std::string_view which = {});
  // Finishes what was committed.
  ~CudaDevice() override;

  const DeviceInfo& info() const override { return info_; }
  const DeviceLimits& limits() const override { return limits_; }
  std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label, bool host_visible) override;
  std::size_t peak_bytes() const override { return allocated_.most; }
  void* address(const Tensor& tensor) const override;
  const Pipeline& pipeline(std::string_view name) override;
  std::unique_ptr<CommandBuffer> command_buffer() override;
  bool has_marks() const override { return true; }
  std::vector<double> take_marks() override;
  // How many command buffers that had come before were launched as graphs.
  std::uint64_t graph_launches() const;

 private:
  // Lets CUDA's calls of this thread mean this GPU.
  void make_current() const;

  int number_ = 0;
  std::span<const CudaKernel> kernels_;
  std::span<const KernelInfo> table_;
  Memory memory_;
  DeviceInfo info_;
  DeviceLimits limits_;
  std::map<std::string, std::unique_ptr<Pipeline>, std::less<>> pipelines_;
  AllocatedBytes allocated_;
  std::unique_ptr<Queue> queue_;
};

}  // namespace mslt::msl::cuda

// The MSL backend over the CUDA driver.
#include "backend/msl/cuda_backend.h"

#include <utility>

#include "backend/cuda/cuda_backend.h"
#include "backend/msl/drivers/cuda/cuda_device.h"
#include "backend/msl/msl_backend.h"
#include "base/fail.h"

namespace mslt {

using msl::cuda::CudaDevice;

std::unique_ptr<msl::Device> make_msl_cuda_device(std::string_view which, bool zeroed) {
  try {
    return std::make_unique<CudaDevice>(which, zeroed ? CudaDevice::Memory::zeroed : CudaDevice::Memory::undefined);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::device) throw;
    fail(ErrorKind::device, "{} Other devices are cpu and msl-host.", error.what());
  }
}

std::unique_ptr<Backend> make_msl_cuda_backend(std::string_view which, bool zeroed, std::string_view tuning,
                                               const LibraryChoice& libraries) {
  std::unique_ptr<msl::Device> device = make_msl_cuda_device(which, zeroed);
  msl::ChosenTuning chosen = msl::choose_tuning(device->info(), tuning);
  return std::make_unique<CudaBackend>(std::move(device), std::move(chosen), libraries);
}

std::vector<DeviceInfo> msl_cuda_devices() {
  try {
    return msl::cuda::cuda_devices();
  } catch (const Error&) {
    return {};
  }
}

}  // namespace mslt

// Replaces the CUDA driver in builds without it.
#include "backend/msl/cuda_backend.h"
#include "backend/msl/host_backend.h"
#include "base/fail.h"

namespace mslt {

std::unique_ptr<msl::Device> make_msl_cuda_device(std::string_view /*which*/, bool /*zeroed*/) {
  fail(ErrorKind::device, "This build of mslt has no 'cuda' device. It has: cpu{}.",
       msl_host_devices().empty() ? "" : ", msl-host");
}

std::unique_ptr<Backend> make_msl_cuda_backend(std::string_view which, bool zeroed, std::string_view /*tuning*/,
                                               const LibraryChoice& /*libraries*/) {
  make_msl_cuda_device(which, zeroed);
  return nullptr;
}

std::vector<DeviceInfo> msl_cuda_devices() {
  return {};
}

}  // namespace mslt

// Choosing a backend by the name that --device takes.
#include "backend/registry.h"

#include <fmt/ranges.h>

#include "backend/cpu/cpu_backend.h"
#include "backend/msl/cuda_backend.h"
#include "backend/msl/host_backend.h"
#include "base/fail.h"

namespace mslt {

std::unique_ptr<Backend> make_backend(std::string_view device) {
  if (device == "auto") return msl_cuda_devices().empty() ? make_backend("cpu") : make_backend("cuda");
  if (device == "cpu") return std::make_unique<CpuBackend>();
  if (device == "cuda") return make_msl_cuda_backend();
  if (device == "msl-host") return make_msl_host_backend();
  if (device == "metal") {
    std::vector<std::string> names;
    for (const DeviceInfo& info : available_devices()) names.push_back(info.backend);
    fail(ErrorKind::device, "This build of mslt has no '{}' device. It has: {}.", device, fmt::join(names, ", "));
  }
  fail(ErrorKind::usage, "There is no device '{}'. Valid are auto, cpu, cuda, metal and msl-host.", device);
}

std::vector<DeviceInfo> available_devices() {
  std::vector<DeviceInfo> devices = msl_cuda_devices();
  devices.push_back(CpuBackend().device());
  for (const DeviceInfo& device : msl_host_devices()) devices.push_back(device);
  return devices;
}

}  // namespace mslt

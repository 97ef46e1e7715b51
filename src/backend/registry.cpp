// Choosing a backend by the name that --device takes.
#include "backend/registry.h"

#include "backend/cpu/cpu_backend.h"
#include "backend/msl/cuda_backend.h"
#include "backend/msl/host_backend.h"
#include "backend/msl/metal_backend.h"
#include "base/fail.h"

namespace mslt {

namespace {

constexpr std::string_view metal_prefix = "metal:";

}  // namespace

std::unique_ptr<Backend> make_backend(std::string_view device) {
  if (device == "auto") return make_backend(available_devices().front().backend);
  if (device == "cpu") return std::make_unique<CpuBackend>();
  if (device == "metal") return make_msl_metal_backend();
  if (device.starts_with(metal_prefix)) return make_msl_metal_backend(device.substr(metal_prefix.size()));
  if (device == "cuda") return make_msl_cuda_backend();
  if (device == "msl-host") return make_msl_host_backend();
  fail(ErrorKind::usage, "There is no device '{}'. Valid are auto, cpu, cuda, metal and msl-host.", device);
}

std::vector<DeviceInfo> available_devices() {
  std::vector<DeviceInfo> devices = msl_metal_devices();
  for (const DeviceInfo& device : msl_cuda_devices()) devices.push_back(device);
  devices.push_back(CpuBackend().device());
  for (const DeviceInfo& device : msl_host_devices()) devices.push_back(device);
  return devices;
}

}  // namespace mslt

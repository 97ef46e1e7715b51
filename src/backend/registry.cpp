// Choosing a backend by the name that --device takes.
#include "backend/registry.h"

#include <fmt/ranges.h>

#include "backend/cpu/cpu_backend.h"
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
  if (device == "msl-host") return make_msl_host_backend();
  if (device == "cuda") {
    std::vector<std::string> names;
    for (const DeviceInfo& info : available_devices()) names.push_back(info.backend);
    fail(ErrorKind::device, "This build of mslt has no '{}' device. It has: {}.", device, fmt::join(names, ", "));
  }
  fail(ErrorKind::usage, "There is no device '{}'. Valid are auto, cpu, cuda, metal and msl-host.", device);
}

std::vector<DeviceInfo> available_devices() {
  std::vector<DeviceInfo> devices = msl_metal_devices();
  devices.push_back(CpuBackend().device());
  for (const DeviceInfo& device : msl_host_devices()) devices.push_back(device);
  return devices;
}

}  // namespace mslt

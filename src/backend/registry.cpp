// Choosing a backend by the name that --device takes.
#include "backend/registry.h"

#include "backend/cpu/cpu_backend.h"
#include "backend/msl/drivers/host/host_device.h"
#include "backend/msl/msl_backend.h"
#include "base/fail.h"

namespace mslt {

std::unique_ptr<Backend> make_backend(std::string_view device) {
  if (device == "auto" || device == "cpu") return std::make_unique<CpuBackend>();
  if (device == "msl-host") return std::make_unique<MslBackend>(std::make_unique<msl::host::HostDevice>());
  if (device == "cuda" || device == "metal") {
    fail(ErrorKind::device, "This build of mslt has no '{}' device. It has: cpu, msl-host.", device);
  }
  fail(ErrorKind::usage, "There is no device '{}'. Valid are auto, cpu, cuda, metal and msl-host.", device);
}

std::vector<DeviceInfo> available_devices() {
  return {CpuBackend().device(), msl::host::HostDevice().info()};
}

}  // namespace mslt

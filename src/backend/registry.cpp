// Choosing a backend by the name that --device takes.
#include "backend/registry.h"

#include "backend/cpu/cpu_backend.h"
#include "base/fail.h"

namespace mslt {

std::unique_ptr<Backend> make_backend(std::string_view device) {
  if (device == "auto" || device == "cpu") return std::make_unique<CpuBackend>();
  if (device == "cuda" || device == "metal" || device == "msl-host") {
    fail(ErrorKind::device, "This build of mslt has no '{}' device. It has: cpu.", device);
  }
  fail(ErrorKind::usage, "There is no device '{}'. Valid are auto, cpu, cuda, metal and msl-host.", device);
}

std::vector<DeviceInfo> available_devices() {
  return {CpuBackend().device()};
}

}  // namespace mslt

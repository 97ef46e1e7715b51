// Replaces the Metal backend in builds without it.
#include "backend/msl/metal_backend.h"
#include "base/fail.h"

namespace mslt {

std::unique_ptr<msl::Device> make_msl_metal_device(std::string_view /*device*/) {
  fail(ErrorKind::device,
       "This build of mslt has no 'metal' device; 'mslt devices' lists the devices it has, including 'cpu'.");
}

std::unique_ptr<Backend> make_msl_metal_backend(std::string_view device, std::string_view /*tuning*/) {
  make_msl_metal_device(device);
  return nullptr;
}

std::vector<DeviceInfo> msl_metal_devices() {
  return {};
}

}  // namespace mslt

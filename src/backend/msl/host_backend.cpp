// The MSL backend over the host driver.
#include "backend/msl/host_backend.h"

#include "backend/msl/drivers/host/host_device.h"
#include "backend/msl/msl_backend.h"

namespace mslt {

std::unique_ptr<msl::Device> make_msl_host_device() {
  return std::make_unique<msl::host::HostDevice>();
}

std::unique_ptr<Backend> make_msl_host_backend(std::string_view tuning) {
  return make_tuned_backend(make_msl_host_device(), tuning);
}

std::vector<DeviceInfo> msl_host_devices() {
  return {msl::host::HostDevice().info()};
}

}  // namespace mslt

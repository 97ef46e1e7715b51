// The MSL backend over the host driver.
#include "backend/msl/host_backend.h"

#include "backend/msl/drivers/host/host_device.h"
#include "backend/msl/msl_backend.h"

namespace mslt {

std::unique_ptr<Backend> make_msl_host_backend() {
  return std::make_unique<MslBackend>(std::make_unique<msl::host::HostDevice>());
}

std::vector<DeviceInfo> msl_host_devices() {
  return {msl::host::HostDevice().info()};
}

}  // namespace mslt

// The MSL backend on the host driver.
#pragma once

#include <memory>
#include <vector>

#include "backend/backend.h"

namespace mslt {

// The MSL backend whose kernels run on this machine's cores.
std::unique_ptr<Backend> make_msl_host_backend();

// Its device.
std::vector<DeviceInfo> msl_host_devices();

}  // namespace mslt

// The MSL backend on the host driver, or its absence from this build.
#pragma once

#include <memory>
#include <vector>

#include "backend/backend.h"

namespace mslt {

// The MSL backend whose kernels run on this machine's cores. Throws Error(device) where this build has none.
std::unique_ptr<Backend> make_msl_host_backend();

// Its device, or nothing where this build has none.
std::vector<DeviceInfo> msl_host_devices();

}  // namespace mslt

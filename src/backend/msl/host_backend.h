// The MSL backend on the host driver.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "backend/msl/driver.h"

namespace mslt {

// The driver that runs kernels on this machine's cores.
std::unique_ptr<msl::Device> make_msl_host_device();

// The MSL backend on it; `tuning` as make_backend takes it.
std::unique_ptr<Backend> make_msl_host_backend(std::string_view tuning = "none");

// Its device.
std::vector<DeviceInfo> msl_host_devices();

}  // namespace mslt

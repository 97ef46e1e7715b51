// The MSL backend on Apple's GPUs, or its absence from this build.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "backend/msl/driver.h"

namespace mslt {

// The driver of a GPU: the default one where `device` is empty, otherwise that number of msl_metal_devices() or the one
// whose name contains it. Throws Error(device) where there is none such or this build has none.
std::unique_ptr<msl::Device> make_msl_metal_device(std::string_view device = {});

// The MSL backend on it; `tuning` as make_backend takes it.
std::unique_ptr<Backend> make_msl_metal_backend(std::string_view device = {}, std::string_view tuning = "none");

// Every GPU that it can run on; nothing where this build has none.
std::vector<DeviceInfo> msl_metal_devices();

}  // namespace mslt

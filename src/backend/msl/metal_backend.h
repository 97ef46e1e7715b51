// The MSL backend on Apple's GPUs, or its absence from this build.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "backend/msl/driver.h"

namespace mslt {

// The driver of a GPU: the default one if `device` is empty, otherwise the one with that number in msl_metal_devices()
// or whose name contains it. Throws Error(device) if there is none or this build has no Metal.
std::unique_ptr<msl::Device> make_msl_metal_device(std::string_view device = {});

// The MSL backend on it; `tuning` as make_backend takes it.
std::unique_ptr<Backend> make_msl_metal_backend(std::string_view device = {}, std::string_view tuning = "none");

// Every GPU that it can run on; empty if this build has no Metal.
std::vector<DeviceInfo> msl_metal_devices();

}  // namespace mslt

// The MSL backend on NVIDIA GPUs, or its absence from this build.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "backend/libraries.h"
#include "backend/msl/driver.h"

namespace mslt {

// The driver of the NVIDIA GPU that `which` names by its number or by a part of its name, or of the first. Throws
// Error(device) where this build or this machine has none. Where not `zeroed`, memory on the GPU is handed out as it
// comes, for tools that look for reads of memory that nothing wrote.
std::unique_ptr<msl::Device> make_msl_cuda_device(std::string_view which = {}, bool zeroed = true);

// The MSL backend on it, with NVIDIA's libraries; `tuning` and `libraries` as make_backend takes them.
std::unique_ptr<Backend> make_msl_cuda_backend(std::string_view which = {}, bool zeroed = true,
                                               std::string_view tuning = "none", const LibraryChoice& libraries = {});

// The GPUs, or nothing where this build or this machine has none.
std::vector<DeviceInfo> msl_cuda_devices();

}  // namespace mslt

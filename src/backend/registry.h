// Choosing a backend by the name that --device takes.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "backend/libraries.h"

namespace mslt {

namespace msl {
class Device;
}

// "auto" takes the best device that can be opened, and Backend::warning() says why better ones cannot; otherwise "cpu",
// "cuda", "metal" or "msl-host", or "metal:" and the number or a part of the name of one of several GPUs. Throws
// Error(usage) for a name that does not exist, Error(device) for one that this build or this machine does not have,
// saying which it has.
//
// `tuning` says how the kernels of devices other than "cpu" are launched: "none" by the built-in table, "auto" by what
// was stored for the device where that can be used (Backend::warning() says where not), else by the tuning file of that
// name. Throws Error(io) or Error(input) where that cannot be read or is of another device, Error(usage) where it is
// given for "cpu".
//
// `libraries` says which operations of "cuda" its libraries do. Throws Error(device) where one is named that this build
// does not have, and as check_libraries.
std::unique_ptr<Backend> make_backend(std::string_view device, std::string_view tuning = "none",
                                      const LibraryChoice& libraries = {});

// The driver alone, of the devices that run kernels. Throws as make_backend, and Error(usage) for "cpu".
std::unique_ptr<msl::Device> make_msl_device(std::string_view device);

// Every device that make_backend could return now, best first.
std::vector<DeviceInfo> available_devices();

}  // namespace mslt

// Choosing a backend by the name that --device takes.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"

namespace mslt {

// "auto" takes the best device there is; otherwise "cpu", "cuda", "metal" or "msl-host", or "metal:" and the number or
// a part of the name of one of several GPUs. Throws Error(usage) for a name that does not exist, Error(device) for one
// that this build or this machine does not have, saying which it has.
std::unique_ptr<Backend> make_backend(std::string_view device);

// Every device that make_backend could return now, best first.
std::vector<DeviceInfo> available_devices();

}  // namespace mslt

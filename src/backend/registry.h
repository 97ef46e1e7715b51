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

// "auto" takes the best device that can be opened; Backend::warning() says why better ones cannot. Otherwise "cpu",
// "cuda", "metal" or "msl-host", or "cuda:" or "metal:" with the number or a part of the name of one of several GPUs.
// Throws Error(usage) for an unknown name, Error(device) for one that this build or machine lacks, listing those it
// has.
//
// `tuning` gives the launch parameters of kernels on devices other than "cpu": "none" for the built-in table; "auto"
// for the stored tuning of the device if it is usable (else Backend::warning() says why not); or the name of a tuning
// file. Throws Error(io) or Error(input) if that file cannot be read or is for another device, Error(usage) if a file
// is given for "cpu".
//
// `libraries` chooses the operations of "cuda" that its libraries compute. Throws Error(device) if one is named that
// this build lacks, and as check_libraries.
std::unique_ptr<Backend> make_backend(std::string_view device, std::string_view tuning = "none",
                                      const LibraryChoice& libraries = {});

// Only the driver, for devices that run kernels. Throws as make_backend, and Error(usage) for "cpu".
std::unique_ptr<msl::Device> make_msl_device(std::string_view device);

struct AvailableDevice {
  std::string option;  // that make_backend takes: the backend's name, or "cuda:0", "cuda:1" where there are several
  DeviceInfo info;
};

// Every device that make_backend could return now, best first.
std::vector<AvailableDevice> available_devices();

}  // namespace mslt

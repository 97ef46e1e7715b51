// Choosing a backend by the name that --device takes.
#include "backend/registry.h"

#include <array>
#include <string_view>

#include "backend/cpu/cpu_backend.h"
#include "backend/msl/cuda_backend.h"
#include "backend/msl/host_backend.h"
#include "backend/msl/metal_backend.h"
#include "base/fail.h"
#include "base/parallel.h"
#include "base/suggest.h"

namespace mslt {

namespace {

constexpr std::string_view cuda_prefix = "cuda:";
constexpr std::string_view metal_prefix = "metal:";

[[noreturn]] void fail_unknown(std::string_view device) {
  constexpr std::array<std::string_view, 5> names = {"auto", "cpu", "cuda", "metal", "msl-host"};
  fail(ErrorKind::usage,
       "There is no device '{}'. Valid are auto, cpu, cuda, metal and msl-host, and cuda:1 or metal:1 of several "
       "GPUs.{}",
       device, near_name_hint(device, names));
}

// The best device that can be opened, with a warning that says why better ones cannot. A tuning file or a choice of
// libraries is for one device: with either, only the best device is tried.
std::unique_ptr<Backend> make_best_backend(std::string_view tuning, const LibraryChoice& libraries) {
  const std::vector<AvailableDevice> devices = available_devices();
  const bool may_take_another = (tuning == "auto" || tuning == "none") && libraries == LibraryChoice();
  std::string passed_over;
  for (std::size_t i = 0;; ++i) {
    try {
      std::unique_ptr<Backend> backend = make_backend(devices[i].option, tuning, libraries);
      if (!passed_over.empty()) backend->warn(fmt::format("{}The device is {}.", passed_over, devices[i].option));
      return backend;
    } catch (const Error& error) {
      const bool cannot_be_opened = error.kind() == ErrorKind::device || error.kind() == ErrorKind::memory;
      if (!may_take_another || !cannot_be_opened || i + 1 == devices.size()) throw;
      passed_over +=
          fmt::format("{} '{}' cannot be opened: {} ", devices[i].option, devices[i].info.name, error.what());
    }
  }
}

}  // namespace

std::unique_ptr<Backend> make_backend(std::string_view device, std::string_view tuning,
                                      const LibraryChoice& libraries) {
  if (device == "auto") return make_best_backend(tuning, libraries);
  check_libraries(libraries, device);
  if (device == "cpu") {
    if (tuning != "auto" && tuning != "none") {
      fail(ErrorKind::usage,
           "The tuning '{}' is for a GPU's kernels, but the device is cpu; name the GPU with --device.", tuning);
    }
    start_parallel_threads();
    return std::make_unique<CpuBackend>();
  }
  if (device == "metal") return make_msl_metal_backend({}, tuning);
  if (device.starts_with(metal_prefix)) return make_msl_metal_backend(device.substr(metal_prefix.size()), tuning);
  if (device == "cuda") return make_msl_cuda_backend({}, true, tuning, libraries);
  if (device.starts_with(cuda_prefix)) {
    return make_msl_cuda_backend(device.substr(cuda_prefix.size()), true, tuning, libraries);
  }
  if (device == "msl-host") return make_msl_host_backend(tuning);
  fail_unknown(device);
}

std::unique_ptr<msl::Device> make_msl_device(std::string_view device) {
  if (device == "auto") return make_msl_device(available_devices().front().option);
  if (device == "cpu") {
    fail(ErrorKind::usage,
         "The device cpu runs no kernels, so there is nothing to tune; valid are cuda, metal and msl-host.");
  }
  if (device == "metal") return make_msl_metal_device();
  if (device.starts_with(metal_prefix)) return make_msl_metal_device(device.substr(metal_prefix.size()));
  if (device == "cuda") return make_msl_cuda_device();
  if (device.starts_with(cuda_prefix)) return make_msl_cuda_device(device.substr(cuda_prefix.size()));
  if (device == "msl-host") return make_msl_host_device();
  fail_unknown(device);
}

std::vector<AvailableDevice> available_devices() {
  std::vector<AvailableDevice> devices;
  const auto add = [&](const std::vector<DeviceInfo>& infos) {
    for (std::size_t i = 0; i < infos.size(); ++i) {
      devices.push_back({infos.size() == 1 ? infos[i].backend : fmt::format("{}:{}", infos[i].backend, i), infos[i]});
    }
  };
  add(msl_metal_devices());
  add(msl_cuda_devices());
  add({CpuBackend().device()});
  add(msl_host_devices());
  return devices;
}

}  // namespace mslt

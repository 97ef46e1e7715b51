// The MSL backend over the Metal driver.
#include "backend/msl/metal_backend.h"

#include "backend/msl/drivers/metal/metal_device.h"
#include "backend/msl/drivers/metal/text.h"
#include "backend/msl/kernel_source.h"
#include "backend/msl/msl_backend.h"

namespace mslt {
namespace {

// The kernels compiled ahead of time, next to the running program.
std::filesystem::path compiled_kernels() {
  const msl::metal::AutoreleasePool pool;
  const std::filesystem::path program = msl::metal::to_string([[NSBundle mainBundle] executablePath]);
  return program.empty() ? program : program.parent_path() / "mslt.metallib";
}

}  // namespace

std::unique_ptr<msl::Device> make_msl_metal_device(std::string_view device) {
  const msl::metal::MetalOptions options = {
      .device = std::string(device), .source = msl::metal_source(), .compiled = compiled_kernels()};
  return std::make_unique<msl::metal::MetalDevice>(options);
}

std::unique_ptr<Backend> make_msl_metal_backend(std::string_view device, std::string_view tuning) {
  return make_tuned_backend(make_msl_metal_device(device), tuning);
}

std::vector<DeviceInfo> msl_metal_devices() {
  return msl::metal::metal_devices();
}

}  // namespace mslt

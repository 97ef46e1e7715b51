// Replaces src/backend/msl/metal_backend.mm in programs that run whole suites on the double.
#include <utility>

#include "backend/msl/drivers/metal/metal_device.h"
#include "backend/msl/kernel_source.h"
#include "backend/msl/metal_backend.h"
#include "backend/msl/msl_backend.h"
#include "tests/metal_double/announcing_device.h"

namespace mslt {

std::unique_ptr<msl::Device> make_msl_metal_device(std::string_view device) {
  auto driver = std::make_unique<msl::metal::MetalDevice>(
      msl::metal::MetalOptions{.device = std::string(device), .source = msl::metal_source(), .compiled = {}});
  return std::make_unique<metal_double::AnnouncingDevice>(std::move(driver));
}

std::unique_ptr<Backend> make_msl_metal_backend(std::string_view device, std::string_view tuning) {
  return make_tuned_backend(make_msl_metal_device(device), tuning);
}

std::vector<DeviceInfo> msl_metal_devices() {
  return msl::metal::metal_devices();
}

}  // namespace mslt

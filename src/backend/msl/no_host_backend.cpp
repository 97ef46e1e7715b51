// What takes the MSL backend's place in builds without it.
#include "backend/msl/host_backend.h"
#include "base/fail.h"

namespace mslt {

std::unique_ptr<Backend> make_msl_host_backend() {
  fail(ErrorKind::device, "This build of mslt has no 'msl-host' device. It has: cpu.");
}

std::vector<DeviceInfo> msl_host_devices() {
  return {};
}

}  // namespace mslt

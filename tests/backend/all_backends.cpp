// The suites run on every device of this build.
#include "backend/registry.h"
#include "tests/backend/backend_under_test.h"

namespace mslt::test {

std::vector<std::string> test_backends() {
  std::vector<std::string> names;
  for (const DeviceInfo& device : available_devices()) names.push_back(device.backend);
  return names;
}

}  // namespace mslt::test

// The suites run on the Metal driver alone.
#include "tests/backend/backend_under_test.h"

namespace mslt::test {

std::vector<std::string> test_backends() {
  return {"metal"};
}

}  // namespace mslt::test

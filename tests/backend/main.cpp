// Runs the suites; with --every_kernel, succeeds only where every kernel of kernels/ was used by a test that passed.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <set>
#include <sstream>
#include <string>
#include <string_view>

#include "backend/msl/kernel_info.h"
#include "tests/backend/backend_under_test.h"

namespace mslt::test {
namespace {

// Gathers what the tests recorded.
class KernelListener : public testing::EmptyTestEventListener {
 public:
  void OnTestEnd(const testing::TestInfo& info) override {
    const testing::TestResult& result = *info.result();
    if (!result.Passed()) return;
    for (int i = 0; i < result.test_property_count(); ++i) {
      const testing::TestProperty& property = result.GetTestProperty(i);
      if (property.key() != std::string_view(used_kernels_property)) continue;
      std::istringstream names(property.value());
      for (std::string name; names >> name;) used_.insert(name);
    }
  }

  // Prints the kernels that no test used; whether there are none.
  bool complete() const {
    const auto kernels = msl::kernel_table();
    std::size_t missing = 0;
    for (const msl::KernelInfo& kernel : kernels) {
      if (used_.contains(kernel.name)) continue;
      ++missing;
      fmt::print("No test runs the kernel {} ({}:{}).\n", kernel.name, kernel.file, kernel.line);
    }
    fmt::print("The tests that passed run {} of {} kernels.\n", kernels.size() - missing, kernels.size());
    return missing == 0;
  }

 private:
  std::set<std::string, std::less<>> used_;
};

}  // namespace
}  // namespace mslt::test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  bool every_kernel = false;
  for (int i = 1; i < argc; ++i) every_kernel = every_kernel || argv[i] == std::string_view("--every_kernel");
  // The framework owns it from here on.
  auto* listener = new mslt::test::KernelListener;
  testing::UnitTest::GetInstance()->listeners().Append(listener);
  const int result = RUN_ALL_TESTS();
  return every_kernel && !listener->complete() ? 1 : result;
}

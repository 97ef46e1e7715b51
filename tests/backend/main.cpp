// Runs the suites, on all devices or on some.
//   --devices=cuda,cuda-msl  only these; one that does not exist here is an error
//   --undefined-memory    does not zero memory of cuda, for compute-sanitizer's initcheck
//   --order=reversed      order of threadgroups and threads on msl-host; random chooses a seed and prints it,
//                         random:SEED repeats it; without it forward, or random:1 under ThreadSanitizer
//   --every_kernel        succeeds only if passing tests used every kernel of kernels/
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "backend/msl/drivers/host/run_order.h"
#include "backend/msl/drivers/host/sanitizer_hooks.h"
#include "backend/msl/kernel_info.h"
#include "backend/registry.h"
#include "mslt/error.h"
#include "tests/backend/backend_under_test.h"

namespace mslt::test {
namespace {

// Collects the records of the tests.
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

  // Prints the kernels that no test used; returns whether there are none.
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

std::vector<std::string> split(std::string_view list) {
  std::vector<std::string> items;
  while (!list.empty()) {
    const std::size_t end = list.find(',');
    items.emplace_back(list.substr(0, end));
    list.remove_prefix(end == std::string_view::npos ? list.size() : end + 1);
  }
  return items;
}

}  // namespace
}  // namespace mslt::test

int main(int argc, char** argv) {
  constexpr std::string_view devices = "--devices=";
  constexpr std::string_view order = "--order=";
  // ThreadSanitizer confuses threads of one number of different groups if they always start in the same order, and so
  // does not see their races.
  const std::string usual_order = mslt::msl::host::sanitizer::sees_races ? "random:1" : "forward";
  bool every_kernel = false;
  mslt::test::TestOptions& options = mslt::test::test_options();
  options.order = usual_order;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with(devices)) options.devices = mslt::test::split(argument.substr(devices.size()));
    if (argument.starts_with(order)) options.order = argument.substr(order.size());
    if (argument == "--undefined-memory") options.zeroed = false;
    if (argument == "--every_kernel") every_kernel = true;
  }
  try {
    // The seed of a random order is chosen once for all tests.
    options.order = mslt::msl::host::to_string(mslt::msl::host::parse_run_order(options.order));
    if (options.order != usual_order) fmt::print("msl-host runs groups and threads in the order {}.\n", options.order);
    for (const std::string& device : options.devices) mslt::test::make_test_backend(device);
  } catch (const mslt::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  testing::InitGoogleTest(&argc, argv);
  // The framework takes ownership.
  auto* listener = new mslt::test::KernelListener;
  testing::UnitTest::GetInstance()->listeners().Append(listener);
  const int result = RUN_ALL_TESTS();
  return every_kernel && !listener->complete() ? 1 : result;
}

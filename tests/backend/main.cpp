// The tests of the backends, on all devices or on some.
//   --devices=cuda,cpu    only these; one that does not exist here is an error
//   --undefined-memory    memory of cuda is not zeroed, for compute-sanitizer's initcheck
#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "backend/registry.h"
#include "mslt/error.h"
#include "tests/backend/backend_under_test.h"

namespace {

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

int main(int argc, char** argv) {
  constexpr std::string_view devices = "--devices=";
  mslt::test::TestOptions& options = mslt::test::test_options();
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with(devices)) options.devices = split(argument.substr(devices.size()));
    if (argument == "--undefined-memory") options.zeroed = false;
  }
  try {
    for (const std::string& device : options.devices) mslt::make_backend(device);
  } catch (const mslt::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}

// Resets the double before every test; after it there must be no violations and no objects left.
//
// MSLT_METAL_DOUBLE selects the machine, in the syntax of settings_of.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "mslt/error.h"
#include "tests/metal_double/metal_double.h"

namespace mslt::metal_double {
namespace {

class Listener final : public testing::EmptyTestEventListener {
  void OnTestProgramStart(const testing::UnitTest& /*program*/) override {
    const char* machine = std::getenv("MSLT_METAL_DOUBLE");
    if (machine == nullptr || *machine == 0) return;
    try {
      settings_ = settings_of(machine);
    } catch (const Error& error) {
      fmt::print(stderr, "MSLT_METAL_DOUBLE: {}\n", error.what());
      std::exit(2);
    }
    fmt::print("Metal's double is {}, its threads and groups run in the order {}.\n", machine,
               msl::host::to_string(settings_.order));
  }

  void OnTestStart(const testing::TestInfo& /*test*/) override { reset(settings_); }

  void OnTestEnd(const testing::TestInfo& /*test*/) override {
    finish();
    for (const std::string& text : take_violations()) ADD_FAILURE() << "Metal was used wrongly: " << text;
    for (const auto& [name, count] : live_objects()) ADD_FAILURE() << count << " of " << name << " were not released.";
  }

  Settings settings_ = default_settings();
};

const bool installed = [] {
  testing::UnitTest::GetInstance()->listeners().Append(new Listener);
  return true;
}();

}  // namespace
}  // namespace mslt::metal_double

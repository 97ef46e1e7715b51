// Before every test the double is reset; after it nothing may have been done wrong and nothing be left.
#include <gtest/gtest.h>

#include "tests/metal_double/metal_double.h"

namespace mslt::metal_double {
namespace {

class Listener final : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo& /*test*/) override { reset(default_settings()); }

  void OnTestEnd(const testing::TestInfo& /*test*/) override {
    finish();
    for (const std::string& text : take_violations()) ADD_FAILURE() << "Metal was used wrongly: " << text;
    for (const auto& [name, count] : live_objects()) ADD_FAILURE() << count << " of " << name << " were not released.";
  }
};

const bool installed = [] {
  testing::UnitTest::GetInstance()->listeners().Append(new Listener);
  return true;
}();

}  // namespace
}  // namespace mslt::metal_double

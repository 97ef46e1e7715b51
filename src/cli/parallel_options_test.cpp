// Tests of what --devices and --rendezvous refuse.
#include "cli/parallel_options.h"

#include "cli/cli_fixture.h"

namespace mslt::cli {
namespace {

std::string refusal(const std::string& option, const std::string& value) {
  const Outcome outcome = mslt({"train", "--data", "data", "--output", "run", "--device", "cpu", option, value});
  EXPECT_EQ(outcome.status, 2) << outcome.err;
  return outcome.err;
}

TEST(ParallelOptions, RefusesDevicesThatCannotBe) {
  EXPECT_EQ(refusal("--devices", "0"), "mslt: --devices is '0'; it must be a whole number from 1 to 1024 devices.\n");
  EXPECT_EQ(refusal("--devices", "two"),
            "mslt: --devices is 'two'; it must be a whole number from 1 to 1024 devices.\n");
  EXPECT_EQ(refusal("--devices", "1,1"), "mslt: --devices 1,1 names GPU 1 twice; each process needs one of its own.\n");
  EXPECT_NE(refusal("--devices", "1,"), "");
}

TEST(ParallelOptions, RefusesAMeetingOfOne) {
  EXPECT_NE(refusal("--rendezvous", "localhost:29500").find("no variable tells this one's number"), std::string::npos);
}

}  // namespace
}  // namespace mslt::cli

// Tests of what --devices and --rendezvous refuse.
#include "cli/parallel_options.h"

#include "base/test_errors.h"
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

TEST(ParallelOptions, RefusesMoreDevicesThanThereAre) {
  const auto message = [](const std::string& devices, const std::string& device, std::size_t gpus) {
    return test::error_of(ErrorKind::usage, [&] { require_devices({.devices = devices}, device, gpus); });
  };
  EXPECT_EQ(message("64", "auto", 2),
            "--devices 64 asks for 64 GPUs, but this machine has 2 NVIDIA GPUs, numbers 0 to 1.");
  EXPECT_EQ(message("0,5", "cuda", 1), "--devices 0,5 asks for GPU 5, but this machine has 1 NVIDIA GPU, number 0.");
  EXPECT_EQ(message("0,1", "auto", 0),
            "--devices 0,1 names NVIDIA GPUs, but this machine has none; valid is a number of processes.");
  EXPECT_EQ(message("0,1", "cpu", 2),
            "--devices 0,1 names NVIDIA GPUs, but --device is cpu; valid is a number of processes.");
  EXPECT_NE(message("2", "cuda:1", 2).find("--device cuda:1 is one GPU"), std::string::npos);
  require_devices({.devices = "2"}, "auto", 2);
  require_devices({.devices = "1,0"}, "cuda", 2);
  require_devices({.devices = "64"}, "cpu", 2);
}

TEST(ParallelOptions, RefusesAMeetingOfOne) {
  EXPECT_NE(refusal("--rendezvous", "localhost:29500").find("no variable tells this one's number"), std::string::npos);
}

}  // namespace
}  // namespace mslt::cli

// Tests of mslt profile and mslt doctor as the user runs them.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdlib>
#include <filesystem>
#include <optional>

#include "backend/registry.h"
#include "base/file.h"
#include "cli/cli_fixture.h"
#include "profile/device_peaks.h"

namespace mslt::cli {
namespace {

// Stores peaks in the test's own folder, since measuring them takes long.
class ProfileCommandTest : public CliTest {
 protected:
  ProfileCommandTest() {
    const char* before = std::getenv("XDG_CACHE_HOME");
    if (before != nullptr) before_ = before;
    setenv("XDG_CACHE_HOME", folder_.c_str(), 1);
    for (const char* device : {"cpu", "msl-host"}) {
      const DeviceInfo info = make_backend(device)->device();
      store_peaks(stored_peaks_file(info), info, DType::f32,
                  {.flops = 1e11, .bandwidth = 1e10, .dispatch_seconds = 1e-6});
    }
  }
  ~ProfileCommandTest() override {
    if (before_) {
      setenv("XDG_CACHE_HOME", before_->c_str(), 1);
    } else {
      unsetenv("XDG_CACHE_HOME");
    }
  }

  static std::vector<std::string> profile(const std::string& what, std::vector<std::string> more) {
    std::vector<std::string> arguments = {"profile",      what, "--device",     "cpu", "--layers",        "1",
                                          "--channels",   "16", "--heads",      "2",   "--max-positions", "16",
                                          "--batch-size", "1",  "--vocab-size", "64",  "--rounds",        "3"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  std::optional<std::string> before_;
};

TEST_F(ProfileCommandTest, SaysWhereTheTimeGoes) {
  const Outcome text = mslt(profile("train", {}));
  ASSERT_EQ(text.status, 0) << text.err;
  for (const char* part : {"a training step, 16 tokens", "attention_backward", "100 GFLOP/s", "of its roofline"}) {
    EXPECT_NE(text.out.find(part), std::string::npos) << part << text.out;
  }
  const Outcome host = mslt(profile("generate", {"--device", "msl-host", "--prompt-tokens", "4", "--json"}));
  ASSERT_EQ(host.status, 0) << host.err;
  const auto json = nlohmann::json::parse(host.out);
  EXPECT_EQ(json["subject"]["workload"], "a decoding step");
  EXPECT_EQ(json["tokens_per_step"], 1);
  EXPECT_FALSE(json["kernels"].empty());
  EXPECT_EQ(json["losses"].size(), 3u);
  for (const auto& row : json["operations"]) EXPECT_GT(row["median_seconds"], 0.0) << row;

  const Outcome serving = mslt(profile(
      "serve", {"--batch-size", "3", "--prompt-tokens", "5", "--prefill-tokens", "7", "--quantize", "int8", "--json"}));
  ASSERT_EQ(serving.status, 0) << serving.err;
  const auto step = nlohmann::json::parse(serving.out);
  EXPECT_EQ(step["subject"]["workload"], "a step of serving");
  EXPECT_EQ(step["subject"]["prefill tokens"], "7");
  EXPECT_EQ(step["tokens_per_step"], 10);
  // Its rows of logits are wider than the vocabulary.
  const Outcome wide = mslt(
      profile("serve", {"--device", "msl-host", "--batch-size", "3", "--prompt-tokens", "5", "--prefill-tokens", "7"}));
  EXPECT_EQ(wide.status, 0) << wide.err;
}

// A stored peak that was measured beside other work, say.
TEST_F(ProfileCommandTest, RaisesAPeakThatOperationsPass) {
  const DeviceInfo info = make_backend("cpu")->device();
  const std::filesystem::path file = stored_peaks_file(info);
  store_peaks(file, info, DType::f32, {.flops = 1e6, .bandwidth = 1e10, .dispatch_seconds = 1e-6});
  const Outcome outcome = mslt(profile("train", {"--channels", "128", "--max-positions", "64"}));
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("FLOP/s; products were faster than that, so it is raised."), std::string::npos)
      << outcome.out;
  const std::optional<DevicePeaks> raised = load_peaks(file, DType::f32);
  ASSERT_TRUE(raised);
  EXPECT_GT(raised->flops, 1e8);
  EXPECT_EQ(raised->bandwidth, 1e10);
}

TEST_F(ProfileCommandTest, WritesATraceAndAPage) {
  const Outcome outcome = mslt(profile(
      "generate", {"--prompt", "--prompt-tokens", "8", "--trace", path("trace.json"), "--report", path("page.html")}));
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(nlohmann::json::parse(read_file(path("trace.json"), 1 << 24)).contains("traceEvents"));
  EXPECT_TRUE(read_file(path("page.html"), 1 << 24).starts_with("<!DOCTYPE html>"));
}

TEST_F(ProfileCommandTest, ComparesWithABaselineOfTheSame) {
  ASSERT_EQ(mslt(profile("train", {"--save-baseline", path("base.json")})).status, 0);
  const Outcome same = mslt(profile("train", {"--baseline", path("base.json"), "--tolerance", "1000%"}));
  EXPECT_EQ(same.status, 0) << same.out << same.err;
  EXPECT_NE(same.out.find("Compared with the baseline"), std::string::npos) << same.out;

  // As if everything had taken a thousandth of the time.
  auto fast = nlohmann::ordered_json::parse(read_file(path("base.json"), 1 << 24));
  for (auto& row : fast["rows"]) {
    for (auto& seconds : row["seconds"]) seconds = 1e-3 * seconds.get<double>();
  }
  write_file(path("fast.json"), fast.dump());
  const Outcome slower = mslt(profile("train", {"--baseline", path("fast.json")}));
  EXPECT_EQ(slower.status, 1) << slower.out;
  EXPECT_NE(slower.out.find("slower: step"), std::string::npos) << slower.out;

  const Outcome other = mslt(profile("train", {"--baseline", path("base.json"), "--batch-size", "2"}));
  EXPECT_EQ(other.status, 2);
  EXPECT_NE(other.err.find("batch size was '1' and is '2'"), std::string::npos) << other.err;
  const Outcome missing = mslt(profile("train", {"--baseline", path("none.json")}));
  EXPECT_EQ(missing.status, 1);
  EXPECT_NE(missing.err.find("none.json"), std::string::npos) << missing.err;
}

TEST_F(ProfileCommandTest, RefusesWhatItCannotMeasure) {
  EXPECT_EQ(mslt(profile("train", {"--tolerance", "much"})).status, 2);
  const Outcome prompt = mslt(profile("generate", {"--prompt-tokens", "16"}));
  EXPECT_EQ(prompt.status, 2);
  EXPECT_NE(prompt.err.find("--prompt-tokens is 16"), std::string::npos) << prompt.err;
  const Outcome prefill = mslt(profile("serve", {"--prompt-tokens", "4", "--prefill-tokens", "17"}));
  EXPECT_EQ(prefill.status, 2);
  EXPECT_NE(prefill.err.find("--prefill-tokens is 17"), std::string::npos) << prefill.err;
  EXPECT_EQ(mslt({"doctor", "--device", "abacus"}).status, 2);
}

}  // namespace
}  // namespace mslt::cli

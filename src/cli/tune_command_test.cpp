// Tests of mslt tune, of the tuning that other commands load, and of their messages if it is unusable.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdlib>
#include <filesystem>
#include <optional>

#include "backend/msl/tuning_store.h"
#include "backend/registry.h"
#include "base/file.h"
#include "cli/cli_fixture.h"

namespace mslt::cli {
namespace {

// Stores tunings in the test's own folder.
class TuneCommandTest : public CliTest {
 protected:
  TuneCommandTest() {
    const char* before = std::getenv("XDG_CACHE_HOME");
    if (before != nullptr) before_ = before;
    setenv("XDG_CACHE_HOME", folder_.c_str(), 1);
    host_ = make_msl_device("msl-host")->info();
  }
  ~TuneCommandTest() override {
    if (before_) {
      setenv("XDG_CACHE_HOME", before_->c_str(), 1);
    } else {
      unsetenv("XDG_CACHE_HOME");
    }
  }

  std::filesystem::path stored() const { return msl::stored_tuning_file(host_); }

  // The tuning of msl-host as shown by mslt devices.
  static std::string shown_tuning() {
    const auto document = nlohmann::json::parse(mslt({"devices", "--json"}).out);
    for (const auto& device : document) {
      if (device["device"] == "msl-host") return device["tuning"].get<std::string>();
    }
    return "no msl-host";
  }

  static std::vector<std::string> bench(const std::string& device, const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"bench",        "kernels", "--device", device, "--layers",        "1",
                                          "--channels",   "8",       "--heads",  "1",    "--max-positions", "4",
                                          "--batch-size", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  std::optional<std::string> before_;
  DeviceInfo host_;
};

const std::vector<std::string> tiny = {"--preset",        "tiny", "--channels",   "16", "--heads",      "2",
                                       "--max-positions", "4",    "--batch-size", "1",  "--vocab-size", "64",
                                       "--repeats",       "3"};

std::vector<std::string> tune_arguments(std::vector<std::string> more) {
  std::vector<std::string> arguments = {"tune", "--device", "msl-host"};
  arguments.insert(arguments.end(), tiny.begin(), tiny.end());
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

TEST_F(TuneCommandTest, StoresWhatOtherCommandsLoad) {
  EXPECT_EQ(shown_tuning(), "the table's row 'msl-host'");
  const Outcome outcome = mslt(tune_arguments({}));
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  for (const char* part : {"direct_results_forward", "span_threads", "µs", "Stored in "}) {
    EXPECT_NE(outcome.out.find(part), std::string::npos) << outcome.out;
  }
  EXPECT_NE(outcome.err.find("Next: mslt "), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("direct_"), std::string::npos) << outcome.err;
  EXPECT_EQ(shown_tuning(), stored().string());
  const msl::TuningFile file = msl::read_tuning(stored());
  EXPECT_EQ(file.backend, "msl-host");
  EXPECT_EQ(file.device, host_.name);
  const Outcome used = mslt(bench("msl-host", {}));
  EXPECT_EQ(used.status, 0) << used.err;
  EXPECT_EQ(used.err, "");
}

TEST_F(TuneCommandTest, WritesAFileAndJson) {
  const std::string file = (folder_ / "my" / "tuning.json").string();
  const Outcome outcome = mslt(tune_arguments({"--output", file, "--json", "--dtype", "bf16"}));
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const auto document = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(document["output"], file);
  EXPECT_EQ(document["device"], "msl-host");
  const msl::Tuning tuning = msl::read_tuning(file).tuning;
  for (const auto& entry : document["fields"]) {
    const auto fields = msl::tuning_fields();
    const auto field = std::find_if(fields.begin(), fields.end(), [&](const msl::TuningField& f) {
      return f.name == entry["name"].get<std::string>();
    });
    ASSERT_NE(field, fields.end()) << entry;
    EXPECT_EQ(entry["chosen"].get<std::int64_t>(), tuning.*field->member) << entry;
  }
  EXPECT_FALSE(std::filesystem::exists(stored()));
  EXPECT_EQ(mslt(bench("msl-host", {"--tuning", file})).status, 0);
}

TEST_F(TuneCommandTest, AStoredTuningThatCannotBeUsedIsAWarning) {
  std::filesystem::create_directories(stored().parent_path());
  write_file(stored(), "{\"format\": \"mslt tuning\", \"version\": 99}");
  const Outcome outcome = mslt(bench("msl-host", {}));
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  for (const std::string& part : {std::string("Warning: "), stored().string(), std::string("'version' is 99")}) {
    EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
  }
  EXPECT_EQ(mslt(bench("msl-host", {"--tuning", "none"})).err, "");
  const Outcome devices = mslt({"devices"});
  EXPECT_NE(devices.err.find("'version' is 99"), std::string::npos) << devices.err;
  EXPECT_NE(devices.out.find("the table's row 'msl-host'"), std::string::npos) << devices.out;
}

TEST_F(TuneCommandTest, AFileThatCannotBeUsedIsAnError) {
  const std::string file = (folder_ / "other.json").string();
  msl::write_tuning(file, {.backend = "cuda", .device = "NVIDIA H100", .measured_with = "", .tuning = {}});
  const Outcome other = mslt(bench("msl-host", {"--tuning", file}));
  EXPECT_EQ(other.status, 1);
  EXPECT_NE(other.err.find(file + ": 'device' is 'NVIDIA H100' on 'cuda'"), std::string::npos) << other.err;
  EXPECT_EQ(mslt(bench("msl-host", {"--tuning", (folder_ / "missing.json").string()})).status, 1);
  const Outcome cpu = mslt(bench("cpu", {"--tuning", file}));
  EXPECT_EQ(cpu.status, 2);
  EXPECT_NE(cpu.err.find("the device is cpu"), std::string::npos) << cpu.err;
}

TEST_F(TuneCommandTest, TheCpuHasNothingToTune) {
  const Outcome outcome = mslt({"tune", "--device", "cpu"});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_NE(outcome.err.find("nothing to tune"), std::string::npos) << outcome.err;
  EXPECT_EQ(mslt({"tune", "--device", "abacus"}).status, 2);
  EXPECT_EQ(mslt({"tune", "--batch-size", "0"}).status, 2);
  EXPECT_NE(mslt({"tune", "--help"}).out.find("Examples:"), std::string::npos);
}

}  // namespace
}  // namespace mslt::cli

// Tests of the table of chip families, of tuning files, and of the choice of a device's tuning.
#include "backend/msl/tuning.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "backend/msl/msl_backend.h"
#include "backend/msl/test_kernels.h"
#include "backend/msl/tuning_store.h"
#include "backend/registry.h"
#include "base/file.h"

namespace mslt::msl {
namespace {

using test::error_of;

DeviceInfo device(std::string_view backend, std::string_view name) {
  return {.backend = std::string(backend), .name = std::string(name)};
}

TuningFile measured() {
  TuningFile file{.backend = "cuda", .device = "NVIDIA \"H100\" 80GB", .measured_with = "gpt2", .tuning = {}};
  std::int64_t step = 0;
  for (const TuningField& field : tuning_fields()) {
    // A different valid value for each field.
    const std::int64_t even = field.kind == TuningField::Kind::number ? ++step : 0;
    file.tuning.*field.member = std::min(field.most, 2 * field.least + even);
  }
  file.tuning.direct_results_weight = any_size;
  return file;
}

// The text of measured() with one member replaced.
std::string with(const std::string& pointer, const nlohmann::json& value) {
  nlohmann::json document = nlohmann::json::parse(format_tuning(measured()));
  document[nlohmann::json::json_pointer(pointer)] = value;
  return document.dump();
}

std::string without(const std::string& where, const std::string& name) {
  nlohmann::json document = nlohmann::json::parse(format_tuning(measured()));
  document[nlohmann::json::json_pointer(where)].erase(name);
  return document.dump();
}

TEST(TuningTable, TheFirstFamilyThatHoldsADeviceDecides) {
  const auto name = [](std::string_view backend, std::string_view chip) {
    return chip_family(device(backend, chip)).name;
  };
  EXPECT_EQ(name("metal", "Apple M1"), "Apple M1 and M2");
  EXPECT_EQ(name("metal", "Apple M1 Max"), "Apple M1 and M2");
  EXPECT_EQ(name("metal", "Apple M2 Ultra"), "Apple M1 and M2");
  EXPECT_EQ(name("metal", "Apple M3 Pro"), "Apple M3 and later");
  EXPECT_EQ(name("metal", "Apple M4"), "Apple M3 and later");
  EXPECT_EQ(name("metal", "Apple M10"), "other Apple");
  EXPECT_EQ(name("metal", "Apple A17 Pro"), "other Apple");
  EXPECT_EQ(name("cuda", "NVIDIA H100 80GB HBM3"), "NVIDIA Hopper");
  EXPECT_EQ(name("cuda", "NVIDIA H200"), "NVIDIA Hopper");
  EXPECT_EQ(name("cuda", "NVIDIA GeForce RTX 4090"), "other NVIDIA");
  EXPECT_EQ(name("cuda", "Apple M1"), "other NVIDIA");
  EXPECT_EQ(name("msl-host", "AMD EPYC"), "msl-host");
  EXPECT_EQ(name("abacus", "Beads"), "other");
}

TEST(TuningTable, EveryRowIsValid) {
  for (const ChipFamily& family : chip_families()) EXPECT_NO_THROW(check_tuning(family.tuning, family.name));
  EXPECT_TRUE(chip_families().back().holds(device("", "")));
}

TEST(TuningFileTest, WhatIsWrittenIsRead) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "mslt_tuning_file" / "inner";
  std::filesystem::remove_all(folder.parent_path());
  const TuningFile file = measured();
  write_tuning(folder / "tuning.json", file);
  const TuningFile read = read_tuning(folder / "tuning.json");
  EXPECT_EQ(read.backend, file.backend);
  EXPECT_EQ(read.device, file.device);
  EXPECT_EQ(read.measured_with, file.measured_with);
  EXPECT_EQ(read.tuning, file.tuning);
  // No temporary file remains.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
  std::filesystem::remove_all(folder.parent_path());
}

TEST(TuningFileTest, NamesWhatIsWrong) {
  const auto message = [](const std::string& text) {
    return error_of(ErrorKind::input, [&] { parse_tuning(text, "t.json"); });
  };
  const auto expect = [&](const std::string& text, const std::string& part) {
    EXPECT_TRUE(message(text).starts_with("t.json")) << message(text);
    EXPECT_NE(message(text).find(part), std::string::npos) << message(text);
  };
  EXPECT_NO_THROW(parse_tuning(format_tuning(measured()), "t.json"));
  expect("{", "t.json");
  expect("[]", "not a tuning file");
  expect("{}", "not a tuning file");
  expect(with("/format", 3), "not a tuning file");
  expect(with("/version", 0), "'version' is 0, but this mslt has version 3");
  expect(with("/version", "3"), "'version' is \"3\"");
  expect(without("", "version"), "'version' is missing");
  expect(with("/device", 5), "'device' is not a text");
  expect(without("", "backend"), "'backend' is missing");
  expect(with("/extra", 5), "no member 'extra'");
  expect(with("/launches", 5), "'launches' is not an object");
  expect(with("/launches/extra", 5), "no member 'launches.extra'");
  expect(without("/launches", "few_rows"), "'few_rows' is missing");
  expect(with("/launches/few_rows", -1), "'few_rows' is -1; valid are 0 to 4096");
  expect(with("/launches/few_rows", 1.5), "'few_rows' is 1.5");
  expect(with("/launches/few_rows", nullptr), "'few_rows' is null");
  expect(with("/launches/direct_results_input", 1.0e30), "'direct_results_input' is 1e+30; valid are 0 and more");
  expect(with("/launches/direct_results_input", std::uint64_t{1} << 63),
         "'direct_results_input' is 9223372036854775808");
  expect(with("/launches/span_threads", 100), "'span_threads' is 100; valid are multiples of 32, 32 to 1024");
  expect(with("/launches/span_threads", 2048), "'span_threads' is 2048");
  expect(with("/launches/tile_threads", 1024), "'tile_threads' is 1024; valid are powers of two, 32 to 512");
}

TEST(TuningFileTest, GroupsMustFitTheDevice) {
  Tuning tuning;
  tuning.norm_group_rows = 16;
  EXPECT_NO_THROW(check_tuning(tuning, "x", 1024));
  EXPECT_NE(error_of(ErrorKind::input, [&] { check_tuning(tuning, "x", 256); }), "");
  tuning = {};
  tuning.loss_threads_f32 = 512;
  tuning.norm_group_rows = 17;
  EXPECT_NE(error_of(ErrorKind::input, [&] { check_tuning(tuning, "x", 512); }).find("threadgroups of 544 threads"),
            std::string::npos);
}

// A separate cache folder, passed to the program by XDG_CACHE_HOME.
class TuningStore : public testing::Test {
 protected:
  TuningStore()
      : folder_(std::filesystem::path(testing::TempDir()) /
                (std::string("mslt_tuning_store_") + testing::UnitTest::GetInstance()->current_test_info()->name())) {
    std::filesystem::remove_all(folder_);
    const char* before = std::getenv("XDG_CACHE_HOME");
    if (before != nullptr) before_ = before;
    setenv("XDG_CACHE_HOME", folder_.c_str(), 1);
  }
  ~TuningStore() override {
    if (before_) {
      setenv("XDG_CACHE_HOME", before_->c_str(), 1);
    } else {
      unsetenv("XDG_CACHE_HOME");
    }
    std::filesystem::remove_all(folder_);
  }

  std::filesystem::path folder_;
  std::optional<std::string> before_;
};

TEST_F(TuningStore, AStoredTuningIsTakenWhereItFits) {
  const DeviceInfo gpu = device("cuda", "NVIDIA \"H100\" 80GB");
  EXPECT_EQ(stored_tuning_file(gpu), folder_ / "mslt/tuning/cuda-nvidia-h100-80gb.json");
  EXPECT_EQ(choose_tuning(gpu, "auto").tuning, chip_family(gpu).tuning);
  write_tuning(stored_tuning_file(gpu), measured());
  const ChosenTuning chosen = choose_tuning(gpu, "auto");
  EXPECT_EQ(chosen.tuning, measured().tuning);
  EXPECT_EQ(chosen.origin, stored_tuning_file(gpu).string());
  EXPECT_EQ(chosen.warning, "");
  EXPECT_EQ(choose_tuning(gpu, "none").tuning, chip_family(gpu).tuning);
}

TEST_F(TuningStore, AStoredTuningThatDoesNotFitIsPassedOverAndAFileIsAnError) {
  // Another name that gives the same file name.
  const DeviceInfo other = device("cuda", "NVIDIA H100-80GB");
  const std::filesystem::path file = stored_tuning_file(other);
  write_tuning(file, measured());
  const ChosenTuning chosen = choose_tuning(other, "auto");
  EXPECT_EQ(chosen.tuning, chip_family(other).tuning);
  for (const std::string& part : {file.string(), std::string("NVIDIA H100-80GB"), std::string("mslt tune")}) {
    EXPECT_NE(chosen.warning.find(part), std::string::npos) << chosen.warning;
  }
  EXPECT_NE(error_of(ErrorKind::input, [&] { choose_tuning(other, file.string()); }).find("'device' is"),
            std::string::npos);
  write_file(file, "{");
  EXPECT_NE(choose_tuning(other, "auto").warning, "");
  EXPECT_NE(error_of(ErrorKind::io, [&] { choose_tuning(other, (folder_ / "nothing.json").string()); }), "");
}

TEST_F(TuningStore, BackendsAreMadeWithIt) {
  const auto host = make_msl_device("msl-host");
  TuningFile file = {.backend = "msl-host", .device = host->info().name, .measured_with = "", .tuning = {}};
  file.tuning.span_threads = 64;
  write_tuning(stored_tuning_file(host->info()), file);
  const auto tuning_of = [](const std::unique_ptr<Backend>& backend) {
    return dynamic_cast<MslBackend&>(*backend).tuning();
  };
  EXPECT_EQ(tuning_of(make_backend("msl-host", "auto")), file.tuning);
  EXPECT_EQ(tuning_of(make_backend("msl-host")), chip_family(host->info()).tuning);
  EXPECT_EQ(make_backend("msl-host", "auto")->warning(), "");
  write_file(stored_tuning_file(host->info()), "");
  EXPECT_NE(make_backend("msl-host", "auto")->warning(), "");
  EXPECT_NE(error_of(ErrorKind::usage, [] { make_backend("cpu", "t.json"); }), "");
  EXPECT_NE(error_of(ErrorKind::usage, [] { make_msl_device("cpu"); }), "");
}

}  // namespace
}  // namespace mslt::msl

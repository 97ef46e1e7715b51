// Tests of what profiles write: baselines, stored peaks, traces and reports.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "mslt/error.h"
#include "profile/baseline.h"
#include "profile/device_peaks.h"
#include "profile/profile_report.h"
#include "profile/test_profiles.h"
#include "profile/trace.h"

namespace mslt {
namespace {

Baseline baseline_with(double seconds_of_product) {
  Baseline baseline;
  baseline.subject = {{"device", "cpu"}, {"dtype", "f32"}};
  BaselineRow step = {"step", "", {}};
  BaselineRow product = {"product", "[2, 3]", {}};
  BaselineRow small = {"small", "[1]", {}};
  for (int i = 0; i < 30; ++i) {
    const double noise = 1.0 + 0.001 * ((i * 7) % 10);
    product.seconds.push_back(seconds_of_product * noise);
    small.seconds.push_back(1e-6 * noise * seconds_of_product);
    step.seconds.push_back((9.0 + seconds_of_product) * noise);
  }
  baseline.rows = {step, product, small};
  return baseline;
}

TEST(BaselineTest, FindsWhatGotSlower) {
  const BaselineComparison comparison = compare_baselines(baseline_with(1.0), baseline_with(1.1), 0.05);
  EXPECT_TRUE(comparison.is_slower());
  for (const ComparedRow& row : comparison.rows) {
    EXPECT_EQ(row.judged, row.name != "small");
    // The step got 1 % slower only.
    if (row.judged) {
      EXPECT_EQ(row.comparison.change, row.name == "product" ? Change::slower : Change::none);
    }
  }
  EXPECT_FALSE(compare_baselines(baseline_with(1.0), baseline_with(1.0), 0.05).is_slower());
  EXPECT_FALSE(compare_baselines(baseline_with(1.0), baseline_with(1.1), 0.12).is_slower());
  EXPECT_FALSE(compare_baselines(baseline_with(1.1), baseline_with(1.0), 0.05).is_slower());
}

TEST(BaselineTest, RefusesToCompareOtherThings) {
  Baseline other = baseline_with(1.0);
  other.subject[1].second = "bf16";
  other.subject.emplace_back("threads", "2");
  try {
    compare_baselines(baseline_with(1.0), other, 0.05);
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    EXPECT_NE(std::string(error.what()).find("dtype was 'f32' and is 'bf16'"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("threads was absent and is '2'"), std::string::npos) << error.what();
  }
}

TEST(BaselineTest, SaysWhatCameAndWent) {
  Baseline other = baseline_with(1.0);
  other.rows[1].name = "another";
  const BaselineComparison comparison = compare_baselines(baseline_with(1.0), other, 0.05);
  EXPECT_EQ(comparison.missing, std::vector<std::string>{"product [2, 3]"});
  EXPECT_EQ(comparison.added, std::vector<std::string>{"another [2, 3]"});
}

TEST(BaselineTest, ReadsWhatItWrote) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "BaselineTest.ReadsWhatItWrote";
  std::filesystem::create_directories(folder);
  const Baseline written = baseline_with(1.0);
  write_baseline(folder / "baseline.json", written);
  const Baseline read = read_baseline(folder / "baseline.json");
  EXPECT_EQ(read.subject, written.subject);
  ASSERT_EQ(read.rows.size(), written.rows.size());
  EXPECT_EQ(read.rows[1].name, "product");
  EXPECT_EQ(read.rows[1].shape, "[2, 3]");
  EXPECT_EQ(read.rows[1].seconds, written.rows[1].seconds);
  std::filesystem::remove_all(folder);
}

TEST(BaselineTest, NamesWhatIsWrongInAFile) {
  const std::map<std::string, std::string> wrong = {
      {"{}", "not a baseline"},
      {R"({"format":"mslt profile baseline","version":2})", "'version'"},
      {R"({"format":"mslt profile baseline","version":1,"subject":[]})", "'subject'"},
      {R"({"format":"mslt profile baseline","version":1,"subject":{"a":1}})", "'subject.a'"},
      {R"({"format":"mslt profile baseline","version":1,"subject":{}})", "'rows'"},
      {R"({"format":"mslt profile baseline","version":1,"subject":{},"rows":[1]})", "'rows'"},
      {R"({"format":"mslt profile baseline","version":1,"subject":{},"rows":[{"name":"a","shape":"","seconds":[-1]}]})",
       "'seconds' of 'a'"},
      {R"({"format":"mslt profile baseline","version":1,"subject":{},"rows":[{"name":"a","shape":"[2]","seconds":[1]},)"
       R"({"name":"a","shape":"[2]","seconds":[2]}]})",
       "'a [2]' twice"}};
  for (const auto& [text, part] : wrong) {
    try {
      parse_baseline(text, "file.json");
      FAIL() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::input);
      EXPECT_NE(std::string(error.what()).find("file.json"), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
}

TEST(DevicePeaksTest, KnowsTheBound) {
  const DevicePeaks peaks = {.flops = 100.0, .bandwidth = 10.0, .dispatch_seconds = 0.5};
  EXPECT_EQ(peaks.bound({.flops = 1000.0, .bytes = 10.0}), Bound::arithmetic);
  EXPECT_EQ(peaks.seconds({.flops = 1000.0, .bytes = 10.0}), 10.0);
  EXPECT_EQ(peaks.bound({.flops = 0.0, .bytes = 20.0}), Bound::memory);
  EXPECT_EQ(peaks.seconds({.flops = 0.0, .bytes = 20.0}), 2.0);
  EXPECT_EQ(peaks.bound({.flops = 1.0, .bytes = 1.0}), Bound::dispatch);
}

TEST(DevicePeaksTest, AreStoredForEachElementType) {
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / "DevicePeaksTest.AreStoredForEachElementType";
  const std::filesystem::path file = folder / "peaks" / "cpu.json";
  EXPECT_FALSE(load_peaks(file, DType::f32));
  store_peaks(file, {.backend = "cpu", .name = "A"}, DType::f32,
              {.flops = 3.0, .bandwidth = 2.0, .dispatch_seconds = 1.0});
  store_peaks(file, {.backend = "cpu", .name = "A"}, DType::bf16,
              {.flops = 6.0, .bandwidth = 2.0, .dispatch_seconds = 1.0});
  ASSERT_TRUE(load_peaks(file, DType::f32));
  EXPECT_EQ(load_peaks(file, DType::f32)->flops, 3.0);
  EXPECT_EQ(load_peaks(file, DType::bf16)->flops, 6.0);
  EXPECT_FALSE(load_peaks(file, DType::f16));
  std::filesystem::resize_file(file, 20);
  EXPECT_FALSE(load_peaks(file, DType::f32));
  std::filesystem::remove_all(folder);
}

class TraceTest : public testing::TestWithParam<std::string> {};

// What Perfetto's importer requires of the Trace Event Format.
TEST_P(TraceTest, FollowsTheFormat) {
  const StepSamples samples = test::profile_of(test::small_gpt2(), GetParam(), WorkloadKind::train, 1);
  const nlohmann::json document = nlohmann::json::parse(trace_of(samples.timed.front(), "a \"device\""));
  const nlohmann::json& events = document.at("traceEvents");
  std::map<int, std::vector<std::pair<double, double>>> slices;
  std::map<std::int64_t, double> started;
  std::size_t ended = 0;
  std::size_t counters = 0;
  for (const nlohmann::json& event : events) {
    const auto phase = event.at("ph").get<std::string>();
    EXPECT_EQ(event.at("pid"), 1);
    EXPECT_TRUE(event.at("name").is_string());
    const int track = event.at("tid");
    if (phase == "M") {
      EXPECT_TRUE(event.at("args").at("name").is_string());
      continue;
    }
    const double time = event.at("ts");
    EXPECT_GE(time, 0.0);
    if (phase == "X") {
      const double duration = event.at("dur");
      EXPECT_GE(duration, 0.0);
      slices[track].emplace_back(time, time + duration);
    } else if (phase == "s") {
      started[event.at("id")] = time;
    } else if (phase == "f") {
      ASSERT_TRUE(started.contains(event.at("id")));
      EXPECT_GE(time, started[event.at("id")]);
      EXPECT_EQ(event.at("bp"), "e");
      ++ended;
    } else {
      ASSERT_EQ(phase, "C");
      ++counters;
      for (const auto& [holder, bytes] : event.at("args").items()) EXPECT_GE(bytes.get<double>(), 0.0) << holder;
    }
  }
  const std::size_t operations = samples.timed.front().operations.size();
  EXPECT_EQ(slices[2].size(), operations);
  EXPECT_EQ(started.size(), operations);
  EXPECT_EQ(ended, operations);
  EXPECT_EQ(counters, operations);
  EXPECT_EQ(slices.contains(3), GetParam() != "cpu");
  // Slices of a track lie beside one another or one in the other.
  for (auto& [track, all] : slices) {
    std::ranges::sort(
        all, [](const auto& a, const auto& b) { return a.first != b.first ? a.first < b.first : a.second > b.second; });
    std::vector<double> open;
    for (const auto& [begin, end] : all) {
      while (!open.empty() && open.back() <= begin + 1e-6) open.pop_back();
      if (!open.empty()) {
        EXPECT_LE(end, open.back() + 1e-6) << "track " << track;
      }
      open.push_back(end);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, TraceTest, testing::Values("cpu", "msl-host"),
                         [](const auto& each) { return each.param == "cpu" ? "Cpu" : "MslHost"; });

TEST(ProfileReportTest, IsOneWholePage) {
  const StepSamples samples = test::profile_of(test::small_gpt2(), "cpu", WorkloadKind::train, 2);
  const ProfileSummary summary = summarise(samples);
  const BaselineComparison comparison =
      compare_baselines(baseline_of(samples, summary), baseline_of(samples, summary), 0.05);
  const std::string page = render_profile(samples, summary, &comparison);
  for (const char* part :
       {"Roofline", "By layer", "One step", "Memory in use", "Compared with the baseline", "small &lt;model&gt;",
        "layer 1", "<polyline class=\"roof\"", "prefers-color-scheme: dark"}) {
    EXPECT_NE(page.find(part), std::string::npos) << part;
  }
  for (const char* part : {"<script", "src=", "href=", "<model>", "nan", "inf,"}) {
    EXPECT_EQ(page.find(part), std::string::npos) << part;
  }
  EXPECT_EQ(render_profile(samples, summary, nullptr).find("Compared with"), std::string::npos);
}

TEST(CpuCountersTest, CountOrSayWhyNot) {
  const CpuCounters counters;
  const CpuCounts counts = counters.read();
  if (counters.counts()) {
    EXPECT_GT(counts.instructions, 0u);
    EXPECT_GE(counters.read().instructions, counts.instructions);
  } else {
    EXPECT_TRUE(counters.refusal().ends_with(".")) << counters.refusal();
    EXPECT_EQ(counts.instructions, 0u);
  }
}

}  // namespace
}  // namespace mslt

// Tests of the autotuner: its choice follows the times of the test's own clock.
#include "backend/msl/autotuner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "backend/msl/drivers/idle/idle_device.h"
#include "backend/msl/test_kernels.h"
#include "backend/registry.h"

namespace mslt::msl {
namespace {

using test::error_of;

TuneShape tiny_shape(DType dtype = DType::f32) {
  return {.batch = 1,
          .steps = 4,
          .channels = 16,
          .ffn_size = 32,
          .vocab_size = 64,
          .heads = 2,
          .kv_heads = 2,
          .head_size = 8,
          .parameters = 500,
          .dtype = dtype};
}

// Milliseconds as a function of the timed tuning; nothing runs.
TuneOptions with_times(std::function<double(const Tuning&)> milliseconds) {
  TuneOptions options;
  options.repeats = 5;
  options.clock = [milliseconds = std::move(milliseconds)](MslBackend& backend, const std::function<void()>&) {
    return 1e-3 * milliseconds(backend.tuning());
  };
  return options;
}

TuneResult tune(const TuneOptions& options, const TuneShape& shape = tiny_shape()) {
  return autotune(make_msl_device("msl-host"), shape, options);
}

Tuning table() {
  return chip_family(make_msl_device("msl-host")->info()).tuning;
}

const TunedField& field(const TuneResult& result, std::string_view name) {
  return *std::find_if(result.fields.begin(), result.fields.end(), [&](const TunedField& f) { return f.name == name; });
}

TEST(Autotuner, TakesWhatIsFastest) {
  const TuneResult result = tune(with_times([](const Tuning& tuning) {
    double seconds = 1.0;
    if (tuning.span_threads != 128) seconds *= 2.0;
    if (tuning.adamw_threads != 512) seconds *= 2.0;
    if (tuning.norm_group_rows != 8) seconds *= 2.0;
    if (tuning.reduce_groups != 1024) seconds *= 2.0;
    return seconds;
  }));
  Tuning expected = table();
  expected.span_threads = 128;
  expected.adamw_threads = 512;
  expected.norm_group_rows = 8;
  expected.reduce_groups = 1024;
  EXPECT_EQ(result.tuning, expected);
  const TunedField& span = field(result, "span_threads");
  EXPECT_EQ(span.table, 256);
  EXPECT_EQ(span.chosen, 128);
  ASSERT_EQ(span.candidates.size(), 5u);
  for (const CandidateTime& candidate : span.candidates) {
    EXPECT_NEAR(candidate.seconds / span.candidates[1].seconds, candidate.value == 128 ? 1.0 : 2.0, 1e-9);
  }
}

TEST(Autotuner, StaysWithTheTableWithinTheNoise) {
  const auto faster_by = [](double share) {
    return with_times([share](const Tuning& tuning) { return tuning.span_threads == 64 ? 1.0 - share : 1.0; });
  };
  EXPECT_EQ(tune(faster_by(0.02)).tuning, table());
  EXPECT_EQ(tune(faster_by(0.05)).tuning.span_threads, 64);
  TuneOptions options = faster_by(0.05);
  options.noise = 0.1;
  EXPECT_EQ(tune(options).tuning, table());
}

TEST(Autotuner, ScatteredTimesAskForMore) {
  // The five samples of the table's value are 1.0 to 1.4: the median is 1.2, its median deviation 0.1.
  const auto faster_by = [](double share) {
    int calls = 0;
    return with_times([=](const Tuning& tuning) mutable {
      if (tuning.adamw_threads == 64) return 1.2 * (1.0 - share);
      return tuning.adamw_threads == 256 ? 1.0 + 0.1 * (++calls % 5) : 2.0;
    });
  };
  TuneOptions options = faster_by(0.05);
  const TuneResult result = tune(options);
  EXPECT_EQ(result.tuning.adamw_threads, 256);
  EXPECT_NEAR(field(result, "adamw_threads").noise, 0.1 / 1.2, 1e-9);
  EXPECT_EQ(tune(faster_by(0.2)).tuning.adamw_threads, 64);
}

TEST(Autotuner, ThresholdsAreWhereTheFasterDesignChanges) {
  std::string_view at;
  std::int64_t rows = 0;
  std::map<std::int64_t, int> timed;
  TuneOptions options;
  options.repeats = 5;
  options.progress = [&](const TuneProgress& progress) {
    at = progress.field;
    if (at == "few_rows") rows = std::stoll(std::string(progress.workload));
    return true;
  };
  options.clock = [&](MslBackend& backend, const std::function<void()>&) {
    if (at != "few_rows") return 1e-3;
    ++timed[rows];
    const bool by_matvec = rows <= backend.tuning().few_rows;
    return by_matvec == (rows <= 16) ? 1e-3 : 1.5e-3;
  };
  const TuneResult result = tune(options);
  EXPECT_EQ(result.tuning.few_rows, 16);
  // Two products by two designs, each warmed up twice and sampled five times, for any number of thresholds.
  EXPECT_EQ(timed.at(4), 2 * 2 * (2 + 5));
  EXPECT_EQ(field(result, "few_rows").candidates.size(), 7u);
}

TEST(Autotuner, OfValuesThatAreLaunchedAlikeTheNearestToTheTablesIsTaken) {
  TuneShape shape = tiny_shape();
  shape.steps = 2048;
  shape.vocab_size = 4096;
  std::string_view at;
  std::int64_t results = 0;
  TuneOptions options;
  options.progress = [&](const TuneProgress& progress) {
    at = progress.field;
    const std::string workload(progress.workload);
    if (at == "direct_results_forward") {
      results = std::stoll(workload) * std::stoll(workload.substr(workload.find('x') + 1));
    }
    return true;
  };
  // Only the head, which has 2^23 results, is faster by the staged design; the next product has 2^20.
  options.clock = [&](MslBackend& backend, const std::function<void()>&) {
    const bool direct = results <= backend.tuning().direct_results_forward;
    return at == "direct_results_forward" && direct != (results <= 1 << 20) ? 2e-3 : 1e-3;
  };
  const DeviceInfo info = {.backend = "metal", .name = "Apple M3 Max", .memory_bytes = std::uint64_t{1} << 36};
  const TuneResult result = autotune(std::make_unique<idle::IdleDevice>(info, DeviceLimits()), shape, options);
  EXPECT_EQ(field(result, "direct_results_forward").table, any_size);
  EXPECT_EQ(result.tuning.direct_results_forward, 2048 * 2048);
}

TEST(Autotuner, ProductsAreTimedWithoutMatvec) {
  std::string_view at;
  TuneOptions options = with_times([](const Tuning&) { return 1.0; });
  options.progress = [&](const TuneProgress& progress) {
    at = progress.field;
    return true;
  };
  std::set<std::int64_t> few_rows;
  options.clock = [&](MslBackend& backend, const std::function<void()>&) {
    if (at.starts_with("direct_results")) few_rows.insert(backend.tuning().few_rows);
    return 1e-3;
  };
  EXPECT_EQ(tune(options).tuning, table());
  EXPECT_EQ(few_rows, std::set<std::int64_t>{0});
}

TEST(Autotuner, ReportsEveryMemberOfTheTuningOnce) {
  const auto constant = with_times([](const Tuning&) { return 1.0; });
  std::set<std::string_view> names;
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const TuneResult result = tune(constant, tiny_shape(dtype));
    for (const TunedField& tuned : result.fields) names.insert(tuned.name);
    EXPECT_EQ(result.fields.size() + 1, tuning_fields().size());
  }
  EXPECT_EQ(names.size(), tuning_fields().size());
}

TEST(Autotuner, ProgressCountsAndStops) {
  std::vector<int> done;
  int total = 0;
  TuneOptions options = with_times([](const Tuning&) { return 1.0; });
  options.progress = [&](const TuneProgress& progress) {
    done.push_back(progress.done);
    total = progress.total;
    return true;
  };
  tune(options);
  ASSERT_EQ(done.size(), static_cast<std::size_t>(total));
  for (int i = 0; i < total; ++i) EXPECT_EQ(done[static_cast<std::size_t>(i)], i);
  options.progress = [&](const TuneProgress& progress) {
    return progress.done < 3;
  };
  EXPECT_NE(error_of(ErrorKind::interrupted, [&] { tune(options); }), "");
}

TEST(Autotuner, RefusesImpossibleShapes) {
  TuneShape shape = tiny_shape();
  shape.channels = 0;
  EXPECT_NE(error_of(ErrorKind::input, [&] { tune({}, shape); }), "");
  EXPECT_NE(error_of(ErrorKind::input, [&] { tune({}, tiny_shape(DType::i32)); }), "");
}

TEST(Autotuner, TimesEveryWorkloadOnADevice) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    TuneOptions options;
    options.repeats = 3;
    options.sample_seconds = 0.0;
    options.workload_seconds = 0.0;
    const TuneResult result = tune(options, tiny_shape(dtype));
    EXPECT_NO_THROW(check_tuning(result.tuning, "tuned"));
    for (const TunedField& tuned : result.fields) {
      for (const CandidateTime& candidate : tuned.candidates) EXPECT_GT(candidate.seconds, 1e-8) << tuned.name;
    }
  }
}

}  // namespace
}  // namespace mslt::msl

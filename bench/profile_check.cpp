// What profiling costs, whether its operations add up to the step, and whether a baseline tells a planted slow-down of
// one operation from none. Prints Markdown; exits with 1 where one of the limits that docs/benchmarks.md states is
// passed.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "backend/registry.h"
#include "backend/timed_backend.h"
#include "base/clock.h"
#include "bench/planted_backend.h"
#include "mslt/error.h"
#include "profile/baseline.h"
#include "profile/profile.h"
#include "profile/statistics.h"
#include "train/training_step.h"

namespace mslt::bench {
namespace {

struct Options {
  std::string device = "cpu";
  std::string preset = "mini";
  std::string dtype = "f32";
  std::int64_t batch_size = 16;
  std::int64_t seq_len = 0;
  std::int64_t vocab_size = 2048;
  std::string planted = "residual_norm_backward";
  double slow_down = 0.10;
  int rounds = 20;
  int comparisons = 10;
};

constexpr double most_while_off = 0.02;
constexpr double most_while_on = 0.05;
constexpr double most_difference = 0.05;
constexpr double tolerance = 0.05;

class Check {
 public:
  explicit Check(const Options& options)
      : options_(options), backend_(make_backend(options.device)), planted_(*backend_), timed_(planted_) {
    work_.model = preset(options.preset);
    work_.model.vocab_size = options.vocab_size;
    work_.dtype = options.dtype;
    work_.batch_size = options.batch_size;
    work_.seq_len = options.seq_len;
    work_.recompute = Recompute::none;
    peaks_ = device_peaks(*backend_, dtype_from_name(options.dtype));
    const DeviceInfo& info = backend_->device();
    fmt::print("{} ({}), {} {}, batch {}, {} rounds\n\n", info.name, info.software, options.preset, options.dtype,
               options.batch_size, options.rounds);
  }

  bool run() {
    bool good = costs();
    good = sums() && good;
    return baselines() && good;
  }

 private:
  // Plain steps of the backend, the same through the profiler while it does not measure, and while it does: in turns.
  bool costs() {
    const std::int64_t length = work_.seq_len > 0 ? work_.seq_len : work_.model.max_positions;
    Transformer transformer(*backend_, work_.model, dtype_from_name(work_.dtype));
    transformer.initialize(1);
    TrainingStep training(transformer,
                          {.batch_size = work_.batch_size, .seq_len = length, .recompute = Recompute::none});
    training.optimizer().initialize_master();
    const std::vector<std::int32_t> tokens = random_tokens(work_.batch_size * length, work_.model.vocab_size, 0);
    StepInput input = {.step = 0, .update = 0, .learning_rate = 1e-4, .tokens = tokens, .targets = tokens};
    const auto plain_step = [&] {
      ++input.step;
      ++input.update;
      training.run(input);
      backend_->wait();
    };
    const auto workload = make_workload(timed_, work_);
    const auto through_profiler = [&] {
      workload->step();
      timed_.wait();
    };
    const auto measured = [&] {
      timed_.begin_step();
      workload->step();
      timed_.end_step();
    };
    const auto seconds = [](const auto& step) {
      const double start = steady_seconds();
      step();
      return steady_seconds() - start;
    };
    for (int i = 0; i < 3; ++i) {
      plain_step();
      through_profiler();
      measured();
    }
    std::vector<double> plain;
    std::vector<double> off;
    std::vector<double> on;
    for (int round = 0; round < options_.rounds; ++round) {
      plain.push_back(seconds(plain_step));
      off.push_back(seconds(through_profiler));
      on.push_back(seconds(measured));
    }
    fmt::print("| step | ms | times a plain step | most |\n|---|---|---|---|\n");
    fmt::print("| plain | {:.2f} | | |\n", 1e3 * median_of(plain));
    const bool cheap_off = cost("through the profiler, which is off", plain, off, most_while_off);
    const bool cheap_on = cost("measured, operation by operation", plain, on, most_while_on);
    return cheap_off && cheap_on;
  }

  static bool cost(const char* name, const std::vector<double>& plain, const std::vector<double>& other, double most) {
    const Comparison comparison = compare_samples(plain, other, 0.0, 0.95);
    fmt::print("| {} | {:.2f} | {:.3f} ({:.3f} to {:.3f}) | {:.2f} |\n", name, 1e3 * median_of(other), comparison.ratio,
               comparison.low, comparison.high, 1.0 + most);
    std::fflush(stdout);
    return comparison.ratio <= 1.0 + most;
  }

  StepSamples sample(Workload& workload) {
    StepSamples samples;
    samples.what = describe(work_.kind);
    samples.peaks = peaks_;
    samples.subject = subject_of(backend_->device(), work_, options_.preset);
    sample_steps(samples, timed_, workload, options_.rounds);
    return samples;
  }

  bool sums() {
    const auto workload = make_workload(timed_, work_);
    first_ = sample(*workload);
    const ProfileSummary summary = summarise(first_);
    const double ratio = summary.operation_seconds / summary.whole.median;
    std::vector<double> shares;
    for (const StepTimeline& step : first_.timed) shares.push_back(step.operation_seconds() / step.seconds);
    fmt::print(
        "\nOperations take {:.2f} ms, the whole step {:.2f} ms: {:.3f} of it, and {:.3f} of the step they are in.\n",
        1e3 * summary.operation_seconds, 1e3 * summary.whole.median, ratio, median_of(shares));
    std::fflush(stdout);
    return ratio > 1.0 - most_difference && ratio < 1.0 + most_difference;
  }

  // Fills of so many elements take `slow_down` of a call of the operation.
  std::int64_t elements_to_plant() {
    const auto totals = first_.timed.back().totals();
    const auto found = totals.find(options_.planted);
    if (found == totals.end()) {
      throw Error(ErrorKind::usage, fmt::format("A step has no operation {}.", options_.planted));
    }
    const double call = found->second.seconds / static_cast<double>(found->second.calls);
    const auto memory = backend_->allocate(PlantedBackend::most_elements * sizeof(float), "memory to fill");
    const auto fill_seconds = [&](std::int64_t elements) {
      std::vector<double> times;
      for (int i = 0; i < 9; ++i) {
        timed_.begin_step();
        timed_.run(Fill{.out = Tensor(*memory, 0, DType::f32, {elements}), .value = 1.0f});
        times.push_back(timed_.end_step().operation_seconds());
      }
      return median_of(times);
    };
    std::int64_t least = 1;
    std::int64_t most = PlantedBackend::most_elements;
    while (most - least > least / 50 + 1) {
      const std::int64_t middle = least + (most - least) / 2;
      (fill_seconds(middle) < options_.slow_down * call ? least : most) = middle;
    }
    return least;
  }

  bool baselines() {
    const Baseline before = baseline_of(first_, summarise(first_));
    int alarms = 0;
    const auto compare = [&] {
      const auto workload = make_workload(timed_, work_);
      const StepSamples samples = sample(*workload);
      return compare_baselines(before, baseline_of(samples, summarise(samples)), tolerance);
    };
    for (int i = 0; i < options_.comparisons; ++i) {
      const BaselineComparison comparison = compare();
      if (!comparison.is_slower()) continue;
      ++alarms;
      for (const ComparedRow& row : comparison.rows) {
        if (!row.judged || row.comparison.change != Change::slower) continue;
        fmt::print("False alarm: {} {} {:.3f} ({:.3f} to {:.3f})\n", row.name, row.shape, row.comparison.ratio,
                   row.comparison.low, row.comparison.high);
      }
    }
    fmt::print("\n{} comparisons without a change: {} alarms.\n", options_.comparisons, alarms);
    planted_.plant(options_.planted, elements_to_plant());
    const BaselineComparison comparison = compare();
    bool found = false;
    for (const ComparedRow& row : comparison.rows) {
      if (row.name != options_.planted) continue;
      fmt::print("Planted in {} {}: {:.3f} times as long ({:.3f} to {:.3f}), {}.\n", row.name, row.shape,
                 row.comparison.ratio, row.comparison.low, row.comparison.high,
                 row.comparison.change == Change::slower ? "found" : "not found");
      found = found || row.comparison.change == Change::slower;
    }
    return alarms == 0 && found;
  }

  Options options_;
  std::unique_ptr<Backend> backend_;
  PlantedBackend planted_;
  TimedBackend timed_;
  WorkloadOptions work_;
  DevicePeaks peaks_;
  StepSamples first_;
};

int run(int argc, char** argv) {
  CLI::App app("What profiling costs, and what baselines find");
  Options options;
  app.add_option("--device", options.device);
  app.add_option("--preset", options.preset);
  app.add_option("--dtype", options.dtype);
  app.add_option("--batch-size", options.batch_size);
  app.add_option("--seq-len", options.seq_len);
  app.add_option("--vocab-size", options.vocab_size);
  app.add_option("--planted", options.planted, "The operation to slow down");
  app.add_option("--slow-down", options.slow_down, "By this share of its time");
  app.add_option("--rounds", options.rounds);
  app.add_option("--comparisons", options.comparisons);
  try {
    app.parse(argc, argv);
    return Check(options).run() ? 0 : 1;
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}

}  // namespace
}  // namespace mslt::bench

int main(int argc, char** argv) {
  return mslt::bench::run(argc, argv);
}

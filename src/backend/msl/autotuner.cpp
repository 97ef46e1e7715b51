// Timing the candidates and choosing among them.
#include "backend/msl/autotuner.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <utility>

#include "backend/msl/kernel_info.h"
#include "base/fail.h"

namespace mslt::msl {
namespace {

constexpr int most_in_a_sample = 256;
constexpr int fewest_repeats = 3;
// Of a logits tensor.
constexpr std::int64_t most_elements = std::int64_t{1} << 28;

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// The median deviation from the median, relative to the median.
double spread(const std::vector<double>& values) {
  const double centre = median(values);
  std::vector<double> distances(values.size());
  std::transform(values.begin(), values.end(), distances.begin(), [&](double v) { return std::abs(v - centre); });
  return centre > 0.0 ? median(std::move(distances)) / centre : 0.0;
}

// By the device's clock, or the host's if the device has none.
double time_on_device(MslBackend& backend, const std::function<void()>& record) {
  backend.wait();
  const double device_before = backend.device_seconds();
  const auto start = std::chrono::steady_clock::now();
  record();
  backend.wait();
  const double host = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double device = backend.device_seconds() - device_before;
  return device > 0.0 ? device : host;
}

// The samples of one path.
struct Timing {
  double seconds = 0.0;
  double spread = 0.0;
};

class Autotuner {
 public:
  Autotuner(MslBackend& backend, Device& device, const TuneOptions& options, TuneClock clock)
      : backend_(backend), device_(device), options_(options), clock_(std::move(clock)) {}

  TuneResult run(const std::vector<Tunable>& all) {
    result_.tuning = backend_.tuning();
    for (const Tunable& tunable : all) total_ += static_cast<int>(tunable.workloads.size());
    for (const Tunable& tunable : all) result_.fields.push_back(tune(tunable));
    return std::move(result_);
  }

 private:
  TunedField tune(const Tunable& tunable) {
    const TuningField& field = tuning_field(tunable.member);
    TunedField tuned;
    tuned.name = field.name;
    tuned.table = result_.tuning.*tunable.member;
    std::vector<std::int64_t> values = tunable.candidates;
    values.push_back(tuned.table);
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
    std::erase_if(values, [&](std::int64_t value) {
      const bool refused = value != tuned.table && !fits(field, tunable.kernels, value);
      if (refused) tuned.refused.push_back(value);
      return refused;
    });

    std::vector<double> logarithms(values.size());
    double spreads = 0.0;
    for (const Workload& workload : tunable.workloads) {
      std::vector<std::int64_t> paths;
      for (const std::int64_t value : values) paths.push_back(workload.path(with(tunable, value)));
      announce(field.name, workload.name);
      ++done_;
      // If all values launch it alike, there is nothing to compare.
      if (std::all_of(paths.begin(), paths.end(), [&](std::int64_t path) { return path == paths.front(); })) continue;
      tuned.workloads.push_back(workload.name);
      const std::map<std::int64_t, Timing> timings = time(tunable, workload, values, paths);
      for (std::size_t i = 0; i < values.size(); ++i) {
        const Timing& timing = timings.at(paths[i]);
        logarithms[i] += std::log(timing.seconds);
        if (values[i] == tuned.table) spreads += timing.spread;
      }
    }
    tuned.chosen = tuned.table;
    if (tuned.workloads.empty()) return tuned;
    const auto workloads = static_cast<double>(tuned.workloads.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      tuned.candidates.push_back({values[i], std::exp(logarithms[i] / workloads)});
    }
    tuned.noise = std::max(options_.noise, spreads / workloads);
    tuned.chosen = choose(tuned);
    result_.tuning.*tunable.member = tuned.chosen;
    backend_.set_tuning(result_.tuning);
    return tuned;
  }

  static std::int64_t choose(const TunedField& tuned) {
    // Values that launch every workload alike have exactly equal times. Among them, take the one nearest to the table's
    // value, which was chosen for other sizes too.
    const auto faster = [&](const CandidateTime& a, const CandidateTime& b) {
      if (a.seconds != b.seconds) return a.seconds < b.seconds;
      return std::abs(a.value - tuned.table) < std::abs(b.value - tuned.table);
    };
    const auto best = std::min_element(tuned.candidates.begin(), tuned.candidates.end(), faster);
    const auto table = std::find_if(tuned.candidates.begin(), tuned.candidates.end(),
                                    [&](const CandidateTime& c) { return c.value == tuned.table; });
    return best->seconds < table->seconds * (1.0 - tuned.noise) ? best->value : tuned.table;
  }

  // Whether the device and all kernels with these names, in every dtype, allow groups of that size.
  bool fits(const TuningField& field, const std::vector<std::string_view>& names, std::int64_t value) {
    const std::int64_t threads = value * field.threads_each;
    if (threads > device_.limits().max_threads_per_threadgroup) return false;
    const auto kernels = kernel_table();
    return std::all_of(kernels.begin(), kernels.end(), [&](const KernelInfo& kernel) {
      const bool concerned =
          std::any_of(names.begin(), names.end(), [&](std::string_view name) { return kernel.name.starts_with(name); });
      return !concerned || threads <= device_.pipeline(kernel.name).max_threads_per_threadgroup();
    });
  }

  // The tuning so far, with this value, for timing.
  Tuning with(const Tunable& tunable, std::int64_t value) const {
    Tuning tuning = result_.tuning;
    if (tunable.without_matvec) tuning.few_rows = 0;
    if (tunable.all_direct) {
      tuning.direct_results_forward = any_size;
      tuning.direct_results_input = any_size;
      tuning.direct_results_weight = any_size;
    }
    tuning.*tunable.member = value;
    return tuning;
  }

  void announce(std::string_view field, std::string_view workload) const {
    if (options_.progress && !options_.progress({field, workload, done_, total_})) {
      fail(ErrorKind::interrupted, "Tuning was stopped; nothing was stored.");
    }
  }

  // For each path that a value takes. `paths` are those of `values`.
  std::map<std::int64_t, Timing> time(const Tunable& tunable, const Workload& workload,
                                      const std::vector<std::int64_t>& values, const std::vector<std::int64_t>& paths) {
    std::map<std::int64_t, std::int64_t> value_of_path;
    for (std::size_t i = 0; i < values.size(); ++i) value_of_path.emplace(paths[i], values[i]);
    Workbench bench(backend_);
    const std::function<void()> work = workload.prepare(bench);
    backend_.wait();
    const auto sample = [&](std::int64_t value, int count) {
      backend_.set_tuning(with(tunable, value));
      const auto record = [&] {
        for (int i = 0; i < count; ++i) work();
      };
      return clock_(backend_, record) / count;
    };
    // The first call compiles, the second one gives the duration.
    double once = 0.0;
    for (const auto& [path, value] : value_of_path) {
      sample(value, 1);
      once = std::max(once, sample(value, 1));
    }
    const int count = static_cast<int>(
        std::clamp(options_.sample_seconds / std::max(once, 1e-9), 1.0, static_cast<double>(most_in_a_sample)));
    const double round = once * count * static_cast<double>(value_of_path.size());
    const int repeats = static_cast<int>(std::clamp(options_.workload_seconds / std::max(round, 1e-9),
                                                    static_cast<double>(fewest_repeats),
                                                    static_cast<double>(std::max(options_.repeats, fewest_repeats))));
    std::vector<std::pair<std::int64_t, std::int64_t>> order(value_of_path.begin(), value_of_path.end());
    std::map<std::int64_t, std::vector<double>> samples;
    for (int i = 0; i < repeats; ++i) {
      for (const auto& [path, value] : order) samples[path].push_back(sample(value, count));
      std::rotate(order.begin(), order.begin() + 1, order.end());
    }
    std::map<std::int64_t, Timing> timings;
    for (const auto& [path, seconds] : samples) {
      timings[path] = {.seconds = std::max(median(seconds), 1e-12), .spread = spread(seconds)};
    }
    return timings;
  }

  MslBackend& backend_;
  Device& device_;
  const TuneOptions& options_;
  TuneClock clock_;
  TuneResult result_;
  int done_ = 0;
  int total_ = 0;
};

void check_shape(const TuneShape& shape) {
  const std::int64_t least = std::min({shape.batch, shape.steps, shape.channels, shape.ffn_size, shape.vocab_size,
                                       shape.heads, shape.kv_heads, shape.head_size, shape.parameters});
  if (least < 1) fail(ErrorKind::input, "Tuning: a size of the model is {}, but all must be at least 1.", least);
  if (!is_floating(shape.dtype)) {
    fail(ErrorKind::input, "Tuning: activations cannot be {}; valid are f32, bf16 and f16.", name_of(shape.dtype));
  }
}

}  // namespace

TuneResult autotune(std::unique_ptr<Device> device, const TuneShape& shape, const TuneOptions& options) {
  check_shape(shape);
  Device& driver = *device;
  MslBackend backend(std::move(device));
  const auto memory =
      static_cast<std::int64_t>(std::min<std::uint64_t>(driver.info().memory_bytes, std::uint64_t{1} << 50));
  const std::int64_t logits = std::clamp(memory / 32, shape.vocab_size, std::max(most_elements, shape.vocab_size));
  Autotuner tuner(backend, driver, options, options.clock ? options.clock : time_on_device);
  return tuner.run(tunables(shape, logits));
}

}  // namespace mslt::msl

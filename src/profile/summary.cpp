// From samples to rows, layers and sentences.
#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "base/fail.h"
#include "profile/profile.h"

namespace mslt {
namespace {

// Gathers calls of one kind over the steps.
class Rows {
 public:
  explicit Rows(std::size_t steps) : steps_(steps) {}

  void add(std::size_t step, const std::string& name, const std::string& shape, const Work& work, double seconds,
           const CpuCounts& counts) {
    Gathered& one = rows_[{name, shape}];
    one.per_step.resize(steps_);
    one.per_step[step] += seconds;
    one.calls.push_back(seconds);
    one.least_work.push_back(work);
    one.row.work.flops += work.flops;
    one.row.work.bytes += work.bytes;
    one.row.counts += counts;
  }

  std::vector<ProfileRow> result(const DevicePeaks& peaks, double all_seconds) const {
    std::vector<ProfileRow> rows;
    const auto steps = static_cast<double>(steps_);
    for (const auto& [key, gathered] : rows_) {
      ProfileRow row = gathered.row;
      std::tie(row.name, row.shape) = key;
      row.calls = static_cast<double>(gathered.calls.size()) / steps;
      row.work.flops /= steps;
      row.work.bytes /= steps;
      row.counts = {.cycles = row.counts.cycles / steps_,
                    .instructions = row.counts.instructions / steps_,
                    .cache_misses = row.counts.cache_misses / steps_};
      row.call_seconds = median_of(gathered.calls);
      row.step_seconds = median_of(gathered.per_step);
      row.samples = gathered.per_step;
      row.share = all_seconds > 0.0 ? row.step_seconds / all_seconds : 0.0;
      double least = 0.0;
      for (const Work& work : gathered.least_work) least += peaks.seconds(work) / steps;
      row.roofline_share = row.step_seconds > 0.0 ? least / row.step_seconds : 0.0;
      row.lost_seconds = std::max(0.0, row.step_seconds - least);
      const Work call = {.flops = row.work.flops / row.calls, .bytes = row.work.bytes / row.calls};
      row.bound = peaks.bound(call);
      rows.push_back(std::move(row));
    }
    std::ranges::stable_sort(rows, std::greater(), &ProfileRow::lost_seconds);
    return rows;
  }

 private:
  struct Gathered {
    ProfileRow row;
    std::vector<double> per_step;
    std::vector<double> calls;
    std::vector<Work> least_work;
  };
  std::size_t steps_;
  std::map<std::pair<std::string, std::string>, Gathered> rows_;
};

std::vector<LayerTime> layers_of(const std::vector<StepTimeline>& steps) {
  std::vector<LayerTime> layers;
  std::vector<std::map<std::string, double>> operations;
  for (const StepTimeline& step : steps) {
    for (const OperationTime& one : step.operations) {
      const auto found = std::ranges::find(layers, one.layer, &LayerTime::layer);
      const auto index = static_cast<std::size_t>(found - layers.begin());
      if (found == layers.end()) {
        layers.push_back({one.layer, {}, 0.0});
        operations.emplace_back();
      }
      const double seconds = one.seconds / static_cast<double>(steps.size());
      layers[index].seconds += seconds;
      operations[index][std::string(one.operation)] += seconds;
    }
  }
  for (std::size_t i = 0; i < layers.size(); ++i) {
    layers[i].operations.assign(operations[i].begin(), operations[i].end());
    std::ranges::stable_sort(layers[i].operations, std::greater(), [](const auto& each) { return each.second; });
  }
  return layers;
}

std::string words_of(std::string_view name) {
  std::string words(name);
  std::ranges::replace(words, '_', ' ');
  return words;
}

// Operations of one name together, for sentences.
std::vector<std::string> sentences_about(const std::vector<ProfileRow>& rows, double all_seconds) {
  struct Loss {
    std::string name;
    double seconds = 0.0;
    double least = 0.0;
    double lost = 0.0;
    Bound bound = Bound::memory;
    double of_bound = 0.0;  // seconds of the row that gave the bound
  };
  std::vector<Loss> losses;
  for (const ProfileRow& row : rows) {
    auto found = std::ranges::find(losses, row.name, &Loss::name);
    if (found == losses.end()) found = losses.insert(losses.end(), Loss{.name = row.name});
    found->seconds += row.step_seconds;
    found->least += row.step_seconds * row.roofline_share;
    found->lost += row.lost_seconds;
    if (row.step_seconds > found->of_bound) {
      found->of_bound = row.step_seconds;
      found->bound = row.bound;
    }
  }
  std::ranges::stable_sort(losses, std::greater(), &Loss::lost);
  constexpr std::size_t most = 3;
  std::vector<std::string> sentences;
  for (const Loss& loss : losses) {
    if (sentences.size() == most || !(loss.seconds > 0.0) || !(all_seconds > 0.0)) break;
    std::string sentence = fmt::format("{} takes {:.0f} % of the step at {:.0f} % of its roofline", words_of(loss.name),
                                       100.0 * loss.seconds / all_seconds, 100.0 * loss.least / loss.seconds);
    const double lost_share = 100.0 * loss.lost / all_seconds;
    if (loss.bound == Bound::dispatch) {
      sentence += "; its calls are so small that starting them sets the time.";
    } else if (lost_share < 1.0) {
      sentence += fmt::format(", which {} sets; there is little to save.", name_of(loss.bound));
    } else {
      sentence +=
          fmt::format(", which {} sets; at that it would save {:.0f} % of the step.", name_of(loss.bound), lost_share);
    }
    sentences.push_back(std::move(sentence));
  }
  return sentences;
}

}  // namespace

ProfileSummary summarise(const StepSamples& samples) {
  ProfileSummary summary;
  const std::size_t steps = samples.timed.size();
  std::vector<double> sums;
  std::vector<double> gaps;
  Rows operations(steps);
  Rows kernels(steps);
  for (std::size_t step = 0; step < steps; ++step) {
    const StepTimeline& timeline = samples.timed[step];
    for (const OperationTime& one : timeline.operations) {
      operations.add(step, std::string(one.operation), one.shape, one.work, one.seconds, one.counts);
      for (const KernelTime& kernel : one.kernels)
        kernels.add(step, kernel.kernel, {}, kernel.work, kernel.seconds, {});
      summary.work.flops += one.work.flops / static_cast<double>(steps);
      summary.work.bytes += one.work.bytes / static_cast<double>(steps);
      summary.least_seconds += samples.peaks.seconds(one.work) / static_cast<double>(steps);
    }
    sums.push_back(timeline.operation_seconds());
    gaps.push_back(timeline.seconds - sums.back());
  }
  summary.operation_seconds = median_of(sums);
  summary.gap_seconds = median_of(gaps);
  summary.host = median_interval(samples.whole_seconds);
  const bool has_clock = median_of(samples.whole_device_seconds) > 0.0;
  summary.whole = has_clock ? median_interval(samples.whole_device_seconds) : summary.host;
  summary.operations = operations.result(samples.peaks, summary.operation_seconds);
  summary.kernels = kernels.result(samples.peaks, summary.operation_seconds);
  summary.layers = layers_of(samples.timed);
  summary.sentences = sentences_about(summary.operations, summary.operation_seconds);
  return summary;
}

double fastest_flops(const ProfileSummary& summary) {
  constexpr double least_call_seconds = 50e-6;
  double fastest = 0.0;
  for (const ProfileRow& row : summary.operations) {
    if (row.call_seconds > least_call_seconds) fastest = std::max(fastest, row.work.flops / row.step_seconds);
  }
  return fastest;
}

}  // namespace mslt

// Tables and JSON of a profile.
#include "cli/profile_output.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>

#include "cli/units.h"

namespace mslt::cli {
namespace {

std::string time_text(double seconds) {
  if (seconds >= 1.0) return fmt::format("{:.2f} s", seconds);
  if (seconds >= 1e-3) return fmt::format("{:.2f} ms", 1e3 * seconds);
  return fmt::format("{:.1f} us", 1e6 * seconds);
}

nlohmann::ordered_json row_json(const ProfileRow& row, const char* kind) {
  nlohmann::ordered_json json = {{kind, row.name}};
  if (!row.shape.empty()) json["shape"] = row.shape;
  json["calls"] = row.calls;
  json["median_seconds"] = row.call_seconds;
  json["step_seconds"] = row.step_seconds;
  json["bytes"] = row.work.bytes;
  json["flops"] = row.work.flops;
  json["bytes_per_second"] = row.step_seconds > 0.0 ? row.work.bytes / row.step_seconds : 0.0;
  json["flops_per_second"] = row.step_seconds > 0.0 ? row.work.flops / row.step_seconds : 0.0;
  json["share_of_step"] = row.share;
  json["share_of_roofline"] = row.roofline_share;
  json["lost_seconds"] = row.lost_seconds;
  json["bound"] = name_of(row.bound);
  if (row.counts.cycles > 0) {
    json["cycles"] = row.counts.cycles;
    json["instructions"] = row.counts.instructions;
    json["cache_misses"] = row.counts.cache_misses;
  }
  return json;
}

nlohmann::ordered_json interval_json(const MedianInterval& interval) {
  return {{"median", interval.median}, {"low", interval.low}, {"high", interval.high}};
}

void print_rows(std::ostream& out, const std::vector<ProfileRow>& rows, const char* kind) {
  const bool in_teraflops =
      std::ranges::any_of(rows, [](const ProfileRow& row) { return row.work.flops > 1e12 * row.step_seconds; });
  out << fmt::format("{:<40} {:>6} {:>9} {:>9} {:>6} {:>8} {:>8} {:>8} {:>8} {:>6}  {}\n", kind, "calls", "a call",
                     "a step", "share", "bytes", "FLOPs", "GB/s", in_teraflops ? "TFLOP/s" : "GFLOP/s", "roof",
                     "bound by");
  for (const ProfileRow& row : rows) {
    const double seconds = row.step_seconds;
    out << fmt::format("{:<40} {:>6.4g} {:>9} {:>9} {:>4.1f} % {:>8} {:>8} {:>8.2f} {:>8.2f} {:>4.0f} %  {}\n",
                       row.shape.empty() ? row.name : row.name + " " + row.shape, row.calls,
                       time_text(row.call_seconds), time_text(seconds), 100.0 * row.share, format_bytes(row.work.bytes),
                       format_count(row.work.flops), seconds > 0.0 ? 1e-9 * row.work.bytes / seconds : 0.0,
                       seconds > 0.0 ? (in_teraflops ? 1e-12 : 1e-9) * row.work.flops / seconds : 0.0,
                       100.0 * row.roofline_share, name_of(row.bound));
  }
}

nlohmann::ordered_json comparison_json(const BaselineComparison& comparison) {
  constexpr const char* names[] = {"none", "slower", "faster"};
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const ComparedRow& row : comparison.rows) {
    rows.push_back({{"name", row.name},
                    {"shape", row.shape},
                    {"before_seconds", row.before},
                    {"after_seconds", row.after},
                    {"ratio", row.comparison.ratio},
                    {"low", row.comparison.low},
                    {"high", row.comparison.high},
                    {"judged", row.judged},
                    {"change", names[static_cast<std::size_t>(row.comparison.change)]}});
  }
  return {{"slower", comparison.is_slower()},
          {"confidence", comparison.confidence},
          {"rows", rows},
          {"missing", comparison.missing},
          {"added", comparison.added}};
}

}  // namespace

nlohmann::ordered_json profile_json(const StepSamples& samples, const ProfileSummary& summary,
                                    const BaselineComparison* comparison) {
  nlohmann::ordered_json subject = nlohmann::ordered_json::object();
  for (const auto& [name, value] : samples.subject) subject[name] = value;
  nlohmann::ordered_json operations = nlohmann::ordered_json::array();
  for (const ProfileRow& row : summary.operations) operations.push_back(row_json(row, "operation"));
  nlohmann::ordered_json kernels = nlohmann::ordered_json::array();
  for (const ProfileRow& row : summary.kernels) kernels.push_back(row_json(row, "kernel"));
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (const LayerTime& layer : summary.layers) layers.push_back({{"layer", layer.layer}, {"seconds", layer.seconds}});
  nlohmann::ordered_json document = {{"subject", subject},
                                     {"peak_flops_per_second", samples.peaks.flops},
                                     {"peak_bytes_per_second", samples.peaks.bandwidth},
                                     {"dispatch_seconds", samples.peaks.dispatch_seconds},
                                     {"tokens_per_step", samples.tokens_per_step},
                                     {"step_seconds", interval_json(summary.host)},
                                     {"device_step_seconds", interval_json(summary.whole)},
                                     {"operation_seconds", summary.operation_seconds},
                                     {"gap_seconds", summary.gap_seconds},
                                     {"least_seconds", summary.least_seconds},
                                     {"flops", summary.work.flops},
                                     {"bytes", summary.work.bytes},
                                     {"operations", operations},
                                     {"kernels", kernels},
                                     {"layers", layers},
                                     {"losses", summary.sentences}};
  if (!samples.counters_refused.empty()) document["counters_refused"] = samples.counters_refused;
  if (comparison != nullptr) document["comparison"] = comparison_json(*comparison);
  return document;
}

void print_profile(std::ostream& out, const StepSamples& samples, const ProfileSummary& summary) {
  out << fmt::format(
      "{}, {} tokens, on {}; {} steps; all times are medians\nRoofline: {}FLOP/s and {}/s, measured; {} for the "
      "smallest work\n\n",
      samples.what, samples.tokens_per_step, samples.subject.at(1).second, samples.timed.size(),
      format_count(samples.peaks.flops), format_bytes(samples.peaks.bandwidth),
      time_text(samples.peaks.dispatch_seconds));
  print_rows(out, summary.operations, "operation, most time lost first");
  if (!summary.kernels.empty()) {
    out << '\n';
    print_rows(out, summary.kernels, "kernel, most time lost first");
  }
  out << fmt::format("\nA step as it usually runs: {} ({} to {}); {} tokens/s\n", time_text(summary.host.median),
                     time_text(summary.host.low), time_text(summary.host.high),
                     format_count(static_cast<double>(samples.tokens_per_step) / summary.host.median));
  if (summary.whole.median != summary.host.median) {
    out << fmt::format("By the device's clock: {}; the host adds {}\n", time_text(summary.whole.median),
                       time_text(summary.host.median - summary.whole.median));
  }
  out << fmt::format(
      "Its operations in a step that is timed: {}, {:.0f} % of that; between them {} of host and gaps\n"
      "At the roofline they would take {}\n",
      time_text(summary.operation_seconds), 100.0 * summary.operation_seconds / summary.whole.median,
      time_text(summary.gap_seconds), time_text(summary.least_seconds));
  if (samples.beaten_flops > 0.0) {
    out << fmt::format("The stored peak was {}FLOP/s; products were faster than that, so it is raised.\n",
                       format_count(samples.beaten_flops));
  }
  if (!samples.counters_refused.empty()) {
    out << fmt::format("No counts of cycles and cache misses. {}\n", samples.counters_refused);
  } else if (!samples.timed.empty()) {
    CpuCounts counts;
    for (const ProfileRow& row : summary.operations) counts += row.counts;
    if (counts.cycles > 0) {
      out << fmt::format("Counted a step: {} cycles, {:.2f} instructions a cycle, {} cache misses\n",
                         format_count(static_cast<double>(counts.cycles)),
                         static_cast<double>(counts.instructions) / static_cast<double>(counts.cycles),
                         format_count(static_cast<double>(counts.cache_misses)));
    }
  }
  out << '\n';
  for (const std::string& sentence : summary.sentences) out << sentence << '\n';
}

void print_comparison(std::ostream& out, const BaselineComparison& comparison, double tolerance) {
  out << fmt::format("\nCompared with the baseline (tolerance {:g} %, each interval {:.2f} %):\n", 100.0 * tolerance,
                     100.0 * comparison.confidence);
  bool any = false;
  for (const ComparedRow& row : comparison.rows) {
    if (!row.judged || row.comparison.change == Change::none) continue;
    any = true;
    out << fmt::format("  {}: {}, {} to {}, {:+.1f} % ({:+.1f} to {:+.1f} %)\n",
                       row.comparison.change == Change::slower ? "slower" : "faster",
                       row.shape.empty() ? row.name : row.name + " " + row.shape, time_text(row.before),
                       time_text(row.after), 100.0 * (row.comparison.ratio - 1.0), 100.0 * (row.comparison.low - 1.0),
                       100.0 * (row.comparison.high - 1.0));
  }
  if (!any) out << "  nothing that takes 1 % of the step or more got slower or faster beyond that\n";
  for (const std::string& name : comparison.missing) out << fmt::format("  no longer there: {}\n", name);
  for (const std::string& name : comparison.added) out << fmt::format("  new: {}\n", name);
}

}  // namespace mslt::cli

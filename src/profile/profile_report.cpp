// The page around the charts.
#include "profile/profile_report.h"

#include "base/fail.h"
#include "profile/profile_charts.h"
#include "train/chart.h"
#include "train/report_page.h"

namespace mslt {
namespace {

std::string time_text(double seconds) {
  if (seconds >= 1.0) return fmt::format("{:.2f} s", seconds);
  if (seconds >= 1e-3) return fmt::format("{:.2f} ms", 1e3 * seconds);
  return fmt::format("{:.1f} µs", 1e6 * seconds);
}

std::string cells(std::initializer_list<std::string> values) {
  std::string html;
  for (const std::string& value : values) html += fmt::format("<td>{}</td>", escape_html(value));
  return html;
}

std::string headings(std::initializer_list<std::string_view> names) {
  std::string html = "<tr>";
  for (const std::string_view name : names) html += fmt::format("<th scope=\"col\">{}</th>", escape_html(name));
  return html + "</tr>\n";
}

std::string rows_table(const std::vector<ProfileRow>& rows, std::string_view kind) {
  std::string html = "<div class=\"wide\"><table>\n" + headings({kind, "calls", "a call", "a step", "share", "GB/s",
                                                                 "GFLOP/s", "of roofline", "bound by"});
  for (const ProfileRow& row : rows) {
    const double seconds = row.step_seconds > 0.0 ? row.step_seconds : 1.0;
    html += fmt::format(
        "<tr><th scope=\"row\">{}</th>{}</tr>\n",
        escape_html(row.shape.empty() ? row.name : row.name + " " + row.shape),
        cells({fmt::format("{:g}", row.calls), time_text(row.call_seconds), time_text(row.step_seconds),
               fmt::format("{:.1f} %", 100.0 * row.share), fmt::format("{:.2f}", 1e-9 * row.work.bytes / seconds),
               fmt::format("{:.1f}", 1e-9 * row.work.flops / seconds),
               fmt::format("{:.0f} %", 100.0 * row.roofline_share), std::string(name_of(row.bound))}));
  }
  return html + "</table></div>\n";
}

std::string comparison_table(const BaselineComparison& comparison) {
  std::string html =
      "<div class=\"wide\"><table>\n" + headings({"operation", "before", "now", "change", "interval", "verdict"});
  for (const ComparedRow& row : comparison.rows) {
    if (!row.judged) continue;
    const Comparison& result = row.comparison;
    const char* const verdict = result.change == Change::slower   ? "slower"
                                : result.change == Change::faster ? "faster"
                                                                  : "as before";
    html += fmt::format(
        "<tr class=\"{}\"><th scope=\"row\">{}</th>{}</tr>\n",
        verdict == std::string_view("as before") ? "same" : verdict,
        escape_html(row.shape.empty() ? row.name : row.name + " " + row.shape),
        cells({time_text(row.before), time_text(row.after), fmt::format("{:+.1f} %", 100.0 * (result.ratio - 1.0)),
               fmt::format("{:+.1f} to {:+.1f} %", 100.0 * (result.low - 1.0), 100.0 * (result.high - 1.0)), verdict}));
  }
  return html + "</table></div>\n";
}

std::string figures(const StepSamples& samples, const ProfileSummary& summary) {
  const double step = summary.host.median > 0.0 ? summary.host.median : 1.0;
  std::string html = "<div class=\"figures\">\n";
  html += html_figure(time_text(summary.host.median),
                      fmt::format("a step, {} to {}", time_text(summary.host.low), time_text(summary.host.high)));
  html += html_figure(axis_label(static_cast<double>(samples.tokens_per_step) / step), "tokens per second");
  html += html_figure(time_text(summary.operation_seconds), "its operations");
  html += html_figure(time_text(summary.gap_seconds), "host and gaps between them");
  const double all = summary.operation_seconds > 0.0 ? summary.operation_seconds : 1.0;
  html += html_figure(fmt::format("{:.0f} %", 100.0 * summary.least_seconds / all), "of the roofline");
  return html + "</div>\n";
}

}  // namespace

std::string render_profile(const StepSamples& samples, const ProfileSummary& summary,
                           const BaselineComparison* comparison) {
  const OperationColours colours(summary);
  const std::string device = samples.subject.size() > 1 ? samples.subject[1].second : std::string("this device");
  std::string html = html_page_begin(fmt::format("Profile of {}", samples.what), chart_style());
  html += fmt::format("<h1>Profile of {}</h1>\n<p class=\"lead\">{}</p>\n", escape_html(samples.what),
                      escape_html(fmt::format("{} tokens on {}, {} steps measured", samples.tokens_per_step, device,
                                              samples.timed.size())));
  html += figures(samples, summary);
  std::string sentences;
  for (const std::string& sentence : summary.sentences) sentences += fmt::format("<p>{}</p>\n", escape_html(sentence));
  if (!sentences.empty()) html += html_panel("Where the most time is lost", sentences);
  if (comparison != nullptr) html += html_panel("Compared with the baseline", comparison_table(*comparison));
  html += "<h2>Against the limits of the device</h2>\n";
  html += html_panel("Roofline", roofline_chart(summary, samples.peaks, colours) + colours.legend());
  html += "<h2>Where the time goes</h2>\n";
  html += html_panel("By layer", layer_chart(summary, colours) + colours.legend());
  if (!samples.timed.empty()) {
    const StepTimeline& step = samples.timed.back();
    html += html_panel("One step, operation by operation", timeline_chart(step, colours) + colours.legend());
    html += html_panel("Memory in use during that step", memory_chart(memory_curve(step), step.seconds));
  }
  html += html_panel("Operations, the most time lost first", rows_table(summary.operations, "operation"));
  if (!summary.kernels.empty()) {
    html += html_panel("Kernels, the most time lost first", rows_table(summary.kernels, "kernel"));
  }
  html += "<h2>What was measured</h2>\n<div class=\"columns\">\n";
  html += html_panel("Subject", html_table(samples.subject));
  HtmlRows limits = {{"Large product", fmt::format("{:.4g} GFLOP/s", 1e-9 * samples.peaks.flops)},
                     {"Large copy", fmt::format("{:.3g} GB/s", 1e-9 * samples.peaks.bandwidth)},
                     {"Smallest operation", time_text(samples.peaks.dispatch_seconds)}};
  if (!samples.counters_refused.empty()) limits.emplace_back("Processor's counters", samples.counters_refused);
  html += html_panel("Limits, measured", html_table(limits));
  return html + "</div>\n" + html_page_end();
}

}  // namespace mslt

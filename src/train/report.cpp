// The page around the charts.
#include "train/report.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "train/chart.h"

namespace mslt {
namespace {

using Rows = std::vector<std::pair<std::string, std::string>>;

constexpr std::string_view style = R"css(
:root { color-scheme: light dark; --page: #fbfbfa; --card: #ffffff; --ink: #1d2127; --soft: #69707a; --rule: #e3e5e8;
  --train: #b9c8e6; --smooth: #2458b8; --valid: #d1620b; --rate: #6b4fb3; --speed: #14806a; --norm: #a8365f; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14171b; --card: #1c2026; --ink: #e8eaed; --soft: #9aa2ad; --rule: #323840;
    --train: #3c5078; --smooth: #7ba7f7; --valid: #f0a050; --rate: #b39af0; --speed: #4fc4a8; --norm: #ee86ac; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 36px 24px 56px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 40px 0 12px; }
.lead, .muted { color: var(--soft); }
.lead { margin: 0 0 24px; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px; margin-bottom: 20px; }
.figure, .panel { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; }
.figure { padding: 12px 16px; }
.figure b { display: block; font-size: 20px; white-space: nowrap; font-weight: 600; font-variant-numeric: tabular-nums; line-height: 1.3; }
.figure span { color: var(--soft); font-size: 13px; }
.panel { padding: 14px 16px 8px; margin-bottom: 16px; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 16px; align-items: start; }
.columns .panel { margin: 0; }
svg { display: block; width: 100%; height: auto; font-family: inherit; }
.chart-title { font-size: 14px; font-weight: 600; fill: var(--ink); }
.tick, .legend { font-size: 11px; fill: var(--soft); }
.grid { stroke: var(--rule); stroke-width: 1; }
.mark { stroke: var(--soft); stroke-width: 1; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
.line-train { stroke: var(--train); stroke-width: 1.2; } .key-train { fill: var(--train); }
.line-smooth { stroke: var(--smooth); } .key-smooth { fill: var(--smooth); }
.line-valid { stroke: var(--valid); } .key-valid { fill: var(--valid); }
.line-rate { stroke: var(--rate); } .line-speed { stroke: var(--speed); } .line-norm { stroke: var(--norm); }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: 5px 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
tr:last-child > * { border-bottom: 0; }
th { font-weight: 400; color: var(--soft); padding-right: 16px; width: 45%; }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
h3 { font-size: 14px; margin: 0 0 6px; }
pre { margin: 0; padding: 2px 0 8px; white-space: pre-wrap; overflow-wrap: anywhere;
  font: 13px/1.55 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
@media print {
  :root { --page: #ffffff; --card: #ffffff; --ink: #000000; --soft: #555555; --rule: #cccccc; --train: #b9c8e6;
    --smooth: #2458b8; --valid: #d1620b; --rate: #6b4fb3; --speed: #14806a; --norm: #a8365f; }
  main { padding: 0; max-width: none; } .panel, .figure, pre { break-inside: avoid; } h2 { break-after: avoid; } }
)css";

std::string table(const Rows& rows) {
  std::string html = "<table>\n";
  for (const auto& [name, value] : rows) {
    html += fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", escape_html(name), escape_html(value));
  }
  return html + "</table>\n";
}

std::string panel(std::string_view title, const std::string& body) {
  return fmt::format("<section class=\"panel\"><h3>{}</h3>\n{}</section>\n", escape_html(title), body);
}

std::string figure(const std::string& value, std::string_view label) {
  return fmt::format("<div class=\"figure\"><b>{}</b><span>{}</span></div>\n", escape_html(value), escape_html(label));
}

std::string duration(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{:.1f} s", seconds);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
}

double median(std::vector<double> values) {
  if (values.empty()) return 0.0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Smooths over a fortieth of the run, at most 50 steps: short runs are not delayed, long ones are smooth.
double smoothing(std::size_t steps) {
  const double span = std::clamp(static_cast<double>(steps) / 40.0, 1.0, 50.0);
  return 1.0 - 2.0 / (span + 1.0);
}

// The columns of a history.
struct Columns {
  std::vector<double> step, loss, rate, norm, speed;
  explicit Columns(const MetricsHistory& history) {
    for (const auto& one : history.steps) {
      step.push_back(static_cast<double>(one.step));
      loss.push_back(one.loss);
      rate.push_back(one.learning_rate);
      norm.push_back(one.gradient_norm);
      speed.push_back(one.tokens_per_second);
    }
  }
};

std::string figures(const ReportInput& input, const Columns& columns) {
  const MetricsHistory& history = input.history;
  std::string html = "<div class=\"figures\">\n";
  if (!history.steps.empty()) {
    const double loss = smoothed(columns.loss, smoothing(columns.loss.size())).back();
    html += figure(fmt::format("{:.4f}", loss), "training loss, smoothed");
  }
  if (!history.evaluations.empty()) {
    const auto best = std::min_element(history.evaluations.begin(), history.evaluations.end(),
                                       [](const auto& a, const auto& b) { return a.loss < b.loss; });
    html += figure(fmt::format("{:.4f}", best->loss), fmt::format("best validation loss, step {}", best->step));
    html += figure(fmt::format("{:.2f}", history.evaluations.back().perplexity), "perplexity, last evaluation");
    html += figure(fmt::format("{:.3f}", history.evaluations.back().bits_per_byte), "bits per byte, last evaluation");
  }
  if (!history.steps.empty()) {
    const double speed = median(columns.speed);
    std::string label = "tokens per second, median";
    if (input.peak_flops > 0.0) {
      label += fmt::format(", {:.0f} % of the peak", 100.0 * speed * input.plan.flops_per_token / input.peak_flops);
    }
    html += figure(axis_label(std::round(speed)), label);
    html += figure(duration(history.steps.back().time), "of training");
  }
  return html + "</div>\n";
}

AxisScale scale_for(std::span<const double> values) {
  double low = 0.0;
  double high = 0.0;
  for (const double value : values) {
    if (!std::isfinite(value) || value <= 0.0) continue;
    low = low == 0.0 ? value : std::min(low, value);
    high = std::max(high, value);
  }
  constexpr double wide = 20.0;
  return low > 0.0 && high / low > wide ? AxisScale::logarithmic : AxisScale::linear;
}

std::string charts(const ReportInput& input, const Columns& columns) {
  std::vector<ChartSeries> losses = {
      {"training", "train", columns.step, columns.loss, false},
      {"smoothed", "smooth", columns.step, smoothed(columns.loss, smoothing(columns.loss.size())), false}};
  ChartSeries validation{"validation", "valid", {}, {}, true};
  for (const EvaluationEvent& event : input.history.evaluations) {
    validation.x.push_back(static_cast<double>(event.step));
    validation.y.push_back(event.loss);
  }
  if (!validation.x.empty()) losses.push_back(validation);
  std::string html = "<section class=\"panel\">\n";
  html += render_chart(losses, {"Loss (nats per token)", "step", scale_for(columns.loss), false, 960, 380});
  html += "</section>\n<div class=\"columns\">\n";
  const auto small = [&](std::string title, const char* line, const std::vector<double>& values, AxisScale scale) {
    const std::vector<ChartSeries> series = {{"", line, columns.step, values, false}};
    html += "<section class=\"panel\">\n";
    html += render_chart(series, {std::move(title), "step", scale, scale == AxisScale::linear, 340, 220});
    html += "</section>\n";
  };
  small("Learning rate", "rate", columns.rate, AxisScale::linear);
  small("Tokens per second", "speed", columns.speed, AxisScale::linear);
  small("Gradient norm before clipping", "norm", columns.norm, scale_for(columns.norm));
  return html + "</div>\n";
}

std::string samples(const MetricsHistory& history) {
  if (history.samples.empty()) return {};
  constexpr std::size_t most = 24;
  std::string html = "<h2>Samples along the way</h2>\n";
  const std::size_t count = history.samples.size();
  const std::size_t shown = std::min(count, most);
  for (std::size_t i = 0; i < shown; ++i) {
    // The first and the last, and an even choice between.
    const SampleEvent& sample = history.samples[shown < 2 ? 0 : i * (count - 1) / (shown - 1)];
    html += panel(fmt::format("Step {}", sample.step), fmt::format("<pre>{}</pre>\n", escape_html(sample.text)));
  }
  return html;
}

}  // namespace

std::string render_report(const ReportInput& input) {
  const Columns columns(input.history);
  const std::int64_t done = input.history.steps.empty() ? 0 : input.history.steps.back().step;
  std::string html = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{} – training report</title>\n"
      "<style>{}</style>\n</head>\n<body>\n<main>\n",
      escape_html(input.name), style);
  html += fmt::format(
      "<h1>{}</h1>\n<p class=\"lead\">{}</p>\n", escape_html(input.name),
      escape_html(fmt::format("{:.2f} M parameters on {} · step {} of {} · {:.2f} M tokens seen",
                              static_cast<double>(input.plan.parameter_count) * 1e-6, input.plan.device, done,
                              input.plan.steps, static_cast<double>(done * input.plan.tokens_per_step) * 1e-6)));
  html += figures(input, columns);
  html += charts(input, columns);
  html += samples(input.history);
  html += "<h2>Settings</h2>\n<div class=\"columns\">\n";
  html += panel("Model", table(describe_model(input.plan.model)));
  html += panel("Training", table(describe_options(input.options)));
  html += "</div>\n<h2>Memory and environment</h2>\n<div class=\"columns\">\n";
  html += panel("Memory", table(describe_memory(input.plan.memory)));
  html += panel("Environment", table(input.environment));
  return html + "</div>\n</main>\n</body>\n</html>\n";
}

}  // namespace mslt

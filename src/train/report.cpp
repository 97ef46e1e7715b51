// The page around the charts.
#include "train/report.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "train/chart.h"
#include "train/report_page.h"

namespace mslt {
namespace {

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
    html += html_figure(fmt::format("{:.4f}", loss), "training loss, smoothed");
  }
  if (!history.evaluations.empty()) {
    const auto best = std::min_element(history.evaluations.begin(), history.evaluations.end(),
                                       [](const auto& a, const auto& b) { return a.loss < b.loss; });
    html += html_figure(fmt::format("{:.4f}", best->loss), fmt::format("best validation loss, step {}", best->step));
    html += html_figure(fmt::format("{:.2f}", history.evaluations.back().perplexity), "perplexity, last evaluation");
    html +=
        html_figure(fmt::format("{:.3f}", history.evaluations.back().bits_per_byte), "bits per byte, last evaluation");
  }
  if (!history.steps.empty()) {
    const double speed = median(columns.speed);
    std::string label = "tokens per second, median";
    if (input.peak_flops > 0.0) {
      label += fmt::format(", {:.0f} % of the peak", 100.0 * speed * input.plan.flops_per_token / input.peak_flops);
    }
    html += html_figure(axis_label(std::round(speed)), label);
    html += html_figure(duration(history.steps.back().time), "of training");
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
    html += html_panel(fmt::format("Step {}", sample.step), fmt::format("<pre>{}</pre>\n", escape_html(sample.text)));
  }
  return html;
}

}  // namespace

std::string render_report(const ReportInput& input) {
  const Columns columns(input.history);
  const std::int64_t done = input.history.steps.empty() ? 0 : input.history.steps.back().step;
  std::string html = html_page_begin(fmt::format("{} – training report", input.name));
  html += fmt::format(
      "<h1>{}</h1>\n<p class=\"lead\">{}</p>\n", escape_html(input.name),
      escape_html(fmt::format("{:.2f} M parameters on {} · step {} of {} · {:.2f} M tokens seen",
                              static_cast<double>(input.plan.parameter_count) * 1e-6, input.plan.device, done,
                              input.plan.steps, static_cast<double>(done * input.plan.tokens_per_step) * 1e-6)));
  html += figures(input, columns);
  html += charts(input, columns);
  html += samples(input.history);
  html += "<h2>Settings</h2>\n<div class=\"columns\">\n";
  html += html_panel("Model", html_table(describe_model(input.plan.model)));
  html += html_panel("Training", html_table(describe_options(input.options)));
  html += "</div>\n<h2>Memory and environment</h2>\n<div class=\"columns\">\n";
  html += html_panel("Memory", html_table(describe_memory(input.plan.memory)));
  html += html_panel("Environment", html_table(input.environment));
  return html + "</div>\n" + html_page_end();
}

}  // namespace mslt

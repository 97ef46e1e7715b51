// Axes, ticks and lines of SVG charts.
#include "train/chart.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/fail.h"

namespace mslt {
namespace {

constexpr double margin_left = 62;
constexpr double margin_right = 16;
constexpr double margin_top = 44;
constexpr double margin_bottom = 40;
constexpr std::size_t most_points = 1000;

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  bool empty() const { return low > high; }
  void include(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

bool drawable(double x, double y, AxisScale scale) {
  return std::isfinite(x) && std::isfinite(y) && (scale == AxisScale::linear || y > 0.0);
}

// Averages over spans of x, so that a long run's curve stays a small file.
ChartSeries thinned(const ChartSeries& series, AxisScale scale) {
  if (series.x.size() <= most_points) return series;
  ChartSeries result{series.label, series.style, {}, {}, series.dots};
  const std::size_t count = series.x.size();
  for (std::size_t i = 0; i < most_points; ++i) {
    const std::size_t begin = i * count / most_points;
    const std::size_t end = (i + 1) * count / most_points;
    double x = 0.0;
    double y = 0.0;
    double used = 0.0;
    for (std::size_t j = begin; j < end; ++j) {
      if (!drawable(series.x[j], series.y[j], scale)) continue;
      x += series.x[j];
      y += series.y[j];
      used += 1.0;
    }
    if (used == 0.0) continue;
    result.x.push_back(x / used);
    result.y.push_back(y / used);
  }
  return result;
}

// Maps values to pixels.
struct Axis {
  double low;
  double high;
  double begin;
  double end;
  AxisScale scale;
  double at(double value) const {
    const auto place = [&](double v) {
      return scale == AxisScale::logarithmic ? std::log10(v) : v;
    };
    return begin + (place(value) - place(low)) / (place(high) - place(low)) * (end - begin);
  }
};

Range y_range(std::span<const ChartSeries> series, const ChartOptions& options) {
  Range range;
  for (const ChartSeries& one : series) {
    for (std::size_t i = 0; i < one.x.size(); ++i) {
      if (drawable(one.x[i], one.y[i], options.y_scale)) range.include(one.y[i]);
    }
  }
  if (range.empty()) return range;
  if (options.y_scale == AxisScale::logarithmic) {
    const double slack = std::max(std::pow(range.high / range.low, 0.05), 1.05);
    return {range.low / slack, range.high * slack};
  }
  const double span = range.high - range.low;
  const double slack = span > 0.0 ? 0.06 * span : std::max(0.5 * std::abs(range.high), 1e-9);
  const double low = options.from_zero && range.low >= 0.0 ? 0.0 : range.low - slack;
  return {low, range.high + slack};
}

Range x_range(std::span<const ChartSeries> series) {
  Range range;
  for (const ChartSeries& one : series) {
    for (const double x : one.x) {
      if (std::isfinite(x)) range.include(x);
    }
  }
  if (!range.empty() && range.low == range.high) range = {range.low - 1.0, range.high + 1.0};
  return range;
}

std::string path_of(const ChartSeries& series, const Axis& x, const Axis& y) {
  std::string path;
  bool drawing = false;
  for (std::size_t i = 0; i < series.x.size(); ++i) {
    if (!drawable(series.x[i], series.y[i], y.scale)) {
      drawing = false;
      continue;
    }
    path += fmt::format("{}{:.1f} {:.1f}", drawing ? "L" : "M", x.at(series.x[i]), y.at(series.y[i]));
    drawing = true;
  }
  return path;
}

std::string draw_series(const ChartSeries& series, const Axis& x, const Axis& y) {
  std::string svg = fmt::format("<path class=\"line line-{}\" d=\"{}\"/>\n", series.style, path_of(series, x, y));
  if (!series.dots) return svg;
  for (std::size_t i = 0; i < series.x.size(); ++i) {
    if (!drawable(series.x[i], series.y[i], y.scale)) continue;
    svg += fmt::format("<circle class=\"key-{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.6\"/>\n", series.style,
                       x.at(series.x[i]), y.at(series.y[i]));
  }
  return svg;
}

std::string draw_grid(const Axis& x, const Axis& y, const ChartOptions& options) {
  std::string svg;
  for (const double tick : axis_ticks(y.low, y.high, 5, y.scale)) {
    const double at = y.at(tick);
    svg += fmt::format("<line class=\"grid\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>\n", x.begin, at,
                       x.end, at);
    svg += fmt::format("<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n", x.begin - 8,
                       at + 3.5, axis_label(tick));
  }
  for (const double tick : axis_ticks(x.low, x.high, options.width > 500 ? 8 : 4, AxisScale::linear)) {
    const double at = x.at(tick);
    svg += fmt::format("<line class=\"mark\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>\n", at, y.begin,
                       at, y.begin + 4);
    svg += fmt::format("<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n", at,
                       y.begin + 17, axis_label(tick));
  }
  svg += fmt::format("<line class=\"mark\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>\n", x.begin,
                     y.begin, x.end, y.begin);
  svg += fmt::format("<text class=\"tick\" x=\"{:.1f}\" y=\"{}\" text-anchor=\"end\">{}</text>\n", x.end,
                     options.height - 6, escape_html(options.x_label));
  return svg;
}

std::string draw_legend(std::span<const ChartSeries> series, const ChartOptions& options) {
  if (series.size() < 2) return {};
  std::string svg;
  double right = options.width - margin_right;
  for (std::size_t i = series.size(); i-- > 0;) {
    constexpr double letter_width = 6.2;
    const double text = right - letter_width * static_cast<double>(series[i].label.size());
    svg += fmt::format(
        "<rect class=\"key-{}\" x=\"{:.1f}\" y=\"15\" width=\"14\" height=\"3\" rx=\"1.5\"/>"
        "<text class=\"legend\" x=\"{:.1f}\" y=\"20\">{}</text>\n",
        series[i].style, text - 20, text, escape_html(series[i].label));
    right = text - 36;
  }
  return svg;
}

}  // namespace

std::vector<double> axis_ticks(double low, double high, int count, AxisScale scale) {
  std::vector<double> ticks;
  if (scale == AxisScale::logarithmic) {
    const double decades = std::log10(high / low);
    if (decades < 0.7) return axis_ticks(low, high, count, AxisScale::linear);
    const int stride = std::max(1, static_cast<int>(std::ceil(decades / count)));
    for (int power = static_cast<int>(std::floor(std::log10(low))); power <= std::ceil(std::log10(high)); ++power) {
      for (const double factor : {1.0, 2.0, 5.0}) {
        if (factor > 1.0 && decades > 2.0) continue;
        if (factor == 1.0 && power % stride != 0) continue;
        const double tick = factor * std::pow(10.0, power);
        if (tick >= low && tick <= high) ticks.push_back(tick);
      }
    }
    return ticks;
  }
  const double rough = (high - low) / count;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  const double lead = rough / power;
  const double step = (lead < 1.5 ? 1.0 : lead < 3.5 ? 2.0 : lead < 7.5 ? 5.0 : 10.0) * power;
  for (double i = std::ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i += 1.0) {
    ticks.push_back(i * step);
  }
  return ticks;
}

std::string axis_label(double value) {
  const double size = std::abs(value);
  if (size != 0.0 && size < 1e-4) return fmt::format("{:.3g}", value);
  if (size < 1e4) return fmt::format("{:.4g}", value);
  if (size < 1e6) return fmt::format("{:.4g}k", value / 1e3);
  if (size < 1e9) return fmt::format("{:.4g}M", value / 1e6);
  return fmt::format("{:.4g}G", value / 1e9);
}

std::string render_chart(std::span<const ChartSeries> series, const ChartOptions& options) {
  const Range ys = y_range(series, options);
  const Range xs = x_range(series);
  if (ys.empty() || xs.empty()) {
    return fmt::format("<p class=\"muted\">{}: nothing recorded yet.</p>\n", escape_html(options.title));
  }
  const Axis x{xs.low, xs.high, margin_left, options.width - margin_right, AxisScale::linear};
  const Axis y{ys.low, ys.high, options.height - margin_bottom, margin_top, options.y_scale};
  std::string svg = fmt::format(
      "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\" xmlns=\"http://www.w3.org/2000/svg\">\n"
      "<text class=\"chart-title\" x=\"{}\" y=\"20\">{}</text>\n",
      options.width, options.height, escape_html(options.title), 4, escape_html(options.title));
  svg += draw_grid(x, y, options);
  svg += draw_legend(series, options);
  for (const ChartSeries& one : series) svg += draw_series(thinned(one, options.y_scale), x, y);
  return svg + "</svg>\n";
}

std::vector<double> smoothed(std::span<const double> values, double a) {
  std::vector<double> result;
  result.reserve(values.size());
  double mean = 0.0;
  double weight = 0.0;
  for (const double value : values) {
    if (std::isfinite(value)) {
      mean = a * mean + (1.0 - a) * value;
      weight = a * weight + (1.0 - a);
    }
    result.push_back(weight > 0.0 ? mean / weight : std::numeric_limits<double>::quiet_NaN());
  }
  return result;
}

std::string escape_html(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      case '\'':
        result += "&#39;";
        break;
      default: {
        const auto byte = static_cast<unsigned char>(c);
        const bool control = (byte < 0x20 && c != '\n' && c != '\t' && c != '\r') || byte == 0x7F;
        if (control) {
          result += "\uFFFD";
        } else {
          result += c;
        }
      }
    }
  }
  return result;
}

}  // namespace mslt

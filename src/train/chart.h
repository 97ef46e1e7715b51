// Line charts as inline SVG.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mslt {

// One curve. `style` is the CSS class of its line: the page that holds the chart defines line-STYLE for the curve and
// key-STYLE for its sample in the legend. Points that are not finite break the line; on a logarithmic axis, points at
// or below 0 do so too.
struct ChartSeries {
  std::string label;
  std::string style;
  std::vector<double> x;
  std::vector<double> y;
  bool dots = false;  // mark each point, for few points
};

enum class AxisScale { linear, logarithmic };

struct ChartOptions {
  std::string title;
  std::string x_label = "step";
  AxisScale y_scale = AxisScale::linear;
  bool from_zero = false;  // a linear axis that begins at 0
  int width = 720;
  int height = 300;
};

// Round values that divide [low, high] into about `count` parts: multiples of 1, 2 or 5 times a power of ten, those
// within the range. Powers of ten (with 2 and 5 times them where the range is short) for a logarithmic axis. low <
// high.
std::vector<double> axis_ticks(double low, double high, int count, AxisScale scale);

// A number as an axis shows it: 0.0003, 12.5, 40k, 1.2M, 3e-06.
std::string axis_label(double value);

// An <svg> element, accessible by its title; a sentence in its place where there is nothing to draw. Curves of more
// than about a thousand points are thinned by averages over equal spans of x.
std::string render_chart(std::span<const ChartSeries> series, const ChartOptions& options);

// The exponentially weighted mean y'[i] = a y'[i-1] + (1 - a) y[i] with the start's bias removed; values that are not
// finite are passed over.
std::vector<double> smoothed(std::span<const double> values, double a);

// &, <, >, " and ' as entities; control characters except line ends and tabs as U+FFFD.
std::string escape_html(std::string_view text);

}  // namespace mslt

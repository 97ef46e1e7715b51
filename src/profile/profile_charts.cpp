// Drawing the charts.
#include "profile/profile_charts.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "base/fail.h"
#include "train/chart.h"

namespace mslt {
namespace {

constexpr std::string_view style = R"css(
:root { --k0: #2458b8; --k1: #d1620b; --k2: #14806a; --k3: #a8365f; --k4: #6b4fb3; --k5: #8a7a14; --k6: #2b93b8; --k7: #8d949d; }
@media (prefers-color-scheme: dark) {
  :root { --k0: #7ba7f7; --k1: #f0a050; --k2: #4fc4a8; --k3: #ee86ac; --k4: #b39af0; --k5: #d6c552; --k6: #6cc8ea; --k7: #8a929c; } }
@media print {
  :root { --k0: #2458b8; --k1: #d1620b; --k2: #14806a; --k3: #a8365f; --k4: #6b4fb3; --k5: #8a7a14; --k6: #2b93b8; --k7: #8d949d; }
  svg, .keys { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
.key-0 { fill: var(--k0); } .key-1 { fill: var(--k1); } .key-2 { fill: var(--k2); } .key-3 { fill: var(--k3); }
.key-4 { fill: var(--k4); } .key-5 { fill: var(--k5); } .key-6 { fill: var(--k6); } .key-7 { fill: var(--k7); }
.point { fill-opacity: 0.75; stroke: var(--card); stroke-width: 1; }
.roof { fill: none; stroke: var(--ink); stroke-width: 1.6; }
.band { fill: var(--rule); }
.keys { display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: 12px; color: var(--soft); padding: 4px 0 8px; }
.keys svg { display: inline-block; width: 10px; height: 10px; margin-right: 5px; }
.wide { overflow-x: auto; }
.wide th, .wide td { padding: 5px 12px 5px 0; width: auto; white-space: nowrap; }
.wide td { text-align: right; } .wide th:not(:first-child) { text-align: right; }
.slower { color: var(--k1); } .faster { color: var(--k2); }
)css";

constexpr int width = 960;
constexpr int left = 84;
constexpr int right = 16;

std::string text(double x, double y, std::string_view anchor, std::string_view words) {
  return fmt::format("<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor,
                     escape_html(words));
}

std::string begin_svg(std::string_view title, double height) {
  return fmt::format("<svg viewBox=\"0 0 {} {:.0f}\" role=\"img\" aria-label=\"{}\">\n", width, height,
                     escape_html(title));
}

// A rectangle with a title that shows on hovering.
std::string box(std::string_view kind, double x, double y, double w, double h, std::string_view title) {
  return fmt::format(
      "<rect class=\"{}\" x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\"><title>{}</title></rect>\n",
      kind, x, y, std::max(w, 0.0), h, escape_html(title));
}

std::string milliseconds(double seconds) {
  return fmt::format("{:.{}f} ms", 1e3 * seconds, seconds < 0.01 ? 3 : 1);
}

std::string keys(const std::vector<std::pair<int, std::string>>& entries) {
  std::string html = "<div class=\"keys\">\n";
  for (const auto& [key, name] : entries) {
    html += fmt::format(
        "<span><svg viewBox=\"0 0 10 10\" aria-hidden=\"true\"><rect class=\"key-{}\" width=\"10\" "
        "height=\"10\"/></svg>"
        "{}</span>\n",
        key, escape_html(name));
  }
  return html + "</div>\n";
}

// The vertical lines and numbers of a time axis, in milliseconds.
std::string time_axis(double seconds, double top, double bottom) {
  std::string svg;
  for (const double tick : axis_ticks(0.0, 1e3 * seconds, 8, AxisScale::linear)) {
    const double x = left + tick / (1e3 * seconds) * (width - left - right);
    svg += fmt::format("<line class=\"grid\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1:.1f}\" y2=\"{2:.1f}\"/>\n", x, top,
                       bottom);
    svg += text(x, bottom + 15, "middle", axis_label(tick));
  }
  return svg + text(width - right, bottom + 30, "end", "milliseconds");
}

// A decimal logarithm's range, in whole decades, and the place of a value on an axis of that range.
struct Decades {
  double low = 0.0;
  double high = 1.0;
  double place(double value, double from, double to) const {
    return from + (std::log10(value) - low) / (high - low) * (to - from);
  }
};

Decades decades_of(double least, double most) {
  Decades range{.low = std::floor(std::log10(least)), .high = std::ceil(std::log10(most))};
  if (range.high <= range.low) range.high = range.low + 1.0;
  return range;
}

}  // namespace

std::string_view chart_style() {
  return style;
}

OperationColours::OperationColours(const ProfileSummary& summary) {
  std::map<std::string, double> seconds;
  for (const ProfileRow& row : summary.operations) seconds[row.name] += row.step_seconds;
  std::vector<std::pair<std::string, double>> sorted(seconds.begin(), seconds.end());
  std::ranges::stable_sort(sorted, std::greater(), [](const auto& each) { return each.second; });
  constexpr std::size_t most = 7;
  for (const auto& [name, time] : sorted) {
    if (names_.size() < most) names_.push_back(name);
  }
}

int OperationColours::of(std::string_view operation) const {
  const auto found = std::ranges::find(names_, operation);
  return found == names_.end() ? 7 : static_cast<int>(found - names_.begin());
}

std::string OperationColours::legend() const {
  std::vector<std::pair<int, std::string>> entries;
  for (const std::string& name : names_) entries.emplace_back(of(name), name);
  entries.emplace_back(7, "others");
  return keys(entries);
}

std::string roofline_chart(const ProfileSummary& summary, const DevicePeaks& peaks, const OperationColours& colours) {
  struct Point {
    const ProfileRow* row;
    double intensity;
    double rate;
  };
  std::vector<Point> points;
  const double ridge = peaks.flops / peaks.bandwidth;
  double least_x = ridge / 10.0;
  double most_x = ridge * 10.0;
  double least_y = peaks.flops / 10.0;
  for (const ProfileRow& row : summary.operations) {
    if (!(row.work.flops > 0.0) || !(row.work.bytes > 0.0) || !(row.step_seconds > 0.0)) continue;
    points.push_back({&row, row.work.flops / row.work.bytes, row.work.flops / row.step_seconds});
    least_x = std::min(least_x, points.back().intensity);
    most_x = std::max(most_x, points.back().intensity);
    least_y = std::min(least_y, points.back().rate);
  }
  if (points.empty()) return "<p class=\"muted\">No operation has products.</p>\n";
  const Decades x = decades_of(least_x, most_x);
  const Decades y = decades_of(least_y, peaks.flops * 1.2);
  constexpr double top = 12;
  constexpr double bottom = 350;
  const auto place_x = [&](double value) {
    return x.place(value, left, width - right);
  };
  const auto place_y = [&](double value) {
    return y.place(value, bottom, top);
  };
  std::string svg = begin_svg("Roofline", bottom + 40);
  for (double decade = x.low; decade <= x.high; decade += 1.0) {
    const double at = place_x(std::pow(10.0, decade));
    svg += fmt::format("<line class=\"grid\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\"/>\n", at, top, bottom);
    svg += text(at, bottom + 15, "middle", axis_label(std::pow(10.0, decade)));
  }
  for (double decade = y.low; decade <= y.high; decade += 1.0) {
    const double at = place_y(std::pow(10.0, decade));
    svg += fmt::format("<line class=\"grid\" x1=\"{1}\" x2=\"{2}\" y1=\"{0:.1f}\" y2=\"{0:.1f}\"/>\n", at, left,
                       width - right);
    svg += text(left - 6, at + 4, "end", fmt::format("{:g}", std::pow(10.0, decade - 9.0)));
  }
  svg += text(left, bottom + 32, "start", "GFLOP/s, by FLOPs per byte");
  // Where the roof's slope enters the chart, the ridge, and the end.
  const double enter_x = std::max(std::pow(10.0, x.low), std::pow(10.0, y.low) / peaks.bandwidth);
  svg += fmt::format("<polyline class=\"roof\" points=\"{:.1f},{:.1f} {:.1f},{:.1f} {:.1f},{:.1f}\"/>\n",
                     place_x(enter_x), place_y(enter_x * peaks.bandwidth), place_x(ridge), place_y(peaks.flops),
                     static_cast<double>(width - right), place_y(peaks.flops));
  svg += text(width - right, place_y(peaks.flops) - 6, "end",
              fmt::format("{:.4g} GFLOP/s, {:.3g} GB/s", 1e-9 * peaks.flops, 1e-9 * peaks.bandwidth));
  for (const Point& point : points) {
    const ProfileRow& row = *point.row;
    svg += fmt::format(
        "<circle class=\"point key-{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.1f}\"><title>{}</title></circle>\n",
        colours.of(row.name), place_x(point.intensity), place_y(point.rate), 4.0 + 18.0 * std::sqrt(row.share),
        escape_html(fmt::format("{} {}: {} a step ({:.1f} %), {:.4g} GFLOP/s, {:.3g} GB/s, {:.0f} % of the roofline",
                                row.name, row.shape, milliseconds(row.step_seconds), 100.0 * row.share,
                                1e-9 * point.rate, 1e-9 * row.work.bytes / row.step_seconds,
                                100.0 * row.roofline_share)));
  }
  return svg + "</svg>\n";
}

std::string layer_chart(const ProfileSummary& summary, const OperationColours& colours) {
  constexpr double row_height = 22;
  constexpr double top = 4;
  double most = 0.0;
  for (const LayerTime& layer : summary.layers) most = std::max(most, layer.seconds);
  if (!(most > 0.0)) return "<p class=\"muted\">Nothing ran.</p>\n";
  const double bottom = top + row_height * static_cast<double>(summary.layers.size());
  std::string svg = begin_svg("Time of each layer", bottom + 36);
  svg += time_axis(most, top, bottom);
  double y = top;
  for (const LayerTime& layer : summary.layers) {
    svg += text(left - 6, y + 15, "end", layer.layer.empty() ? "no layer" : layer.layer);
    double x = left;
    for (const auto& [operation, seconds] : layer.operations) {
      const double w = seconds / most * (width - left - right);
      svg += box(fmt::format("key-{}", colours.of(operation)), x, y + 3, w, row_height - 6,
                 fmt::format("{}, {}: {} a step", layer.layer, operation, milliseconds(seconds)));
      x += w;
    }
    y += row_height;
  }
  return svg + "</svg>\n";
}

std::string timeline_chart(const StepTimeline& step, const OperationColours& colours) {
  constexpr double top = 8;
  constexpr double height = 26;
  constexpr double bottom = top + 2 * height + 8;
  const double scale = (width - left - right) / std::max(step.seconds, 1e-9);
  std::string svg = begin_svg("One step", bottom + 36);
  svg += time_axis(step.seconds, top, bottom);
  svg += text(left - 6, top + 17, "end", "device");
  svg += text(left - 6, top + height + 21, "end", "host");
  for (const OperationTime& one : step.operations) {
    svg += box(fmt::format("key-{}", colours.of(one.operation)), left + scale * one.begin, top,
               scale * (one.end - one.begin), height,
               fmt::format("{} {}, {}: {}", one.operation, one.shape, one.layer, milliseconds(one.seconds)));
    if (one.begin - one.handed_over > 1e-6) {
      svg += box("band", left + scale * one.handed_over, top + height + 4, scale * (one.begin - one.handed_over),
                 height, fmt::format("hands over {}", one.operation));
    }
  }
  for (const HostTime& one : step.host) {
    svg += box("key-7", left + scale * one.begin, top + height + 4, scale * (one.end - one.begin), height,
               fmt::format("{}: {}", one.what, milliseconds(one.end - one.begin)));
  }
  return svg + "</svg>\n";
}

std::string memory_chart(const MemoryCurve& memory, double seconds) {
  const double most = memory.most();
  if (!(most > 0.0)) return "<p class=\"muted\">No memory was used.</p>\n";
  constexpr double top = 10;
  constexpr double bottom = 260;
  constexpr double mebibyte = 1024.0 * 1024.0;
  const std::size_t count = memory.times.size();
  const auto place_x = [&](std::size_t i) {
    const double time = i < count ? memory.times[i] : seconds;
    return left + time / seconds * (width - left - right);
  };
  const auto place_y = [&](double bytes) {
    return bottom - bytes / most * (bottom - top);
  };
  std::string svg = begin_svg("Memory in use", bottom + 36);
  svg += time_axis(seconds, top, bottom);
  for (const double tick : axis_ticks(0.0, most / mebibyte, 5, AxisScale::linear)) {
    svg += text(left - 6, place_y(tick * mebibyte) + 4, "end", fmt::format("{} MiB", axis_label(tick)));
  }
  std::vector<std::pair<int, std::string>> entries;
  std::vector<double> base(count);
  for (std::size_t holder = 0; holder < memory.holders.size(); ++holder) {
    const std::vector<double>& bytes = memory.bytes[holder];
    // Steps, since what is in use changes where an operation begins.
    std::string upper;
    std::string lower;
    for (std::size_t i = 0; i < count; ++i) {
      const double y = place_y(base[i] + bytes[i]);
      upper += fmt::format("{:.1f},{:.1f} {:.1f},{:.1f} ", place_x(i), y, place_x(i + 1), y);
    }
    for (std::size_t i = count; i-- > 0;) {
      const double y = place_y(base[i]);
      lower += fmt::format("{:.1f},{:.1f} {:.1f},{:.1f} ", place_x(i + 1), y, place_x(i), y);
    }
    const double largest = *std::ranges::max_element(bytes);
    const int key = static_cast<int>(holder % 8);
    const std::string about = fmt::format("{}: {:.1f} MiB at most", memory.holders[holder], largest / mebibyte);
    svg += fmt::format("<polygon class=\"point key-{}\" points=\"{}{}\"><title>{}</title></polygon>\n", key, upper,
                       lower, escape_html(about));
    entries.emplace_back(key, about);
    for (std::size_t i = 0; i < count; ++i) base[i] += bytes[i];
  }
  return svg + "</svg>\n" + keys(entries);
}

}  // namespace mslt

// Axes, escaping and the report's page.
#include "train/chart.h"

#include <gtest/gtest.h>

#include <cmath>

#include "train/report.h"

namespace mslt {
namespace {

std::size_t count(std::string_view text, std::string_view part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(Chart, TicksAreRound) {
  EXPECT_EQ(axis_ticks(0.0, 10.0, 5, AxisScale::linear), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(axis_ticks(1.0, 1000.0, 5, AxisScale::logarithmic), (std::vector<double>{1, 10, 100, 1000}));
  EXPECT_EQ(axis_ticks(1.5, 60.0, 5, AxisScale::logarithmic), (std::vector<double>{2, 5, 10, 20, 50}));
  const auto tiny = axis_ticks(0.00013, 0.00071, 5, AxisScale::linear);
  EXPECT_EQ(tiny.size(), 6u);
  EXPECT_NEAR(tiny.front(), 0.0002, 1e-12);
}

TEST(Chart, TicksNeverRunAway) {
  for (const double low : {-1e6, -3.7, 0.0, 1e-9, 2.2, 1e12}) {
    for (const double span : {1e-6, 0.3, 7.0, 1e9}) {
      if (low + span <= low) continue;
      const double high = low + span;
      EXPECT_LE(axis_ticks(low, high, 5, AxisScale::linear).size(), 12u) << low << " " << span;
      if (low <= 0.0) continue;
      EXPECT_LE(axis_ticks(low, high, 5, AxisScale::logarithmic).size(), 12u) << low << " " << span;
    }
  }
}

TEST(Chart, LabelsAreShort) {
  EXPECT_EQ(axis_label(0.0), "0");
  EXPECT_EQ(axis_label(0.0003), "0.0003");
  EXPECT_EQ(axis_label(3e-6), "3e-06");
  EXPECT_EQ(axis_label(2.5), "2.5");
  EXPECT_EQ(axis_label(40000), "40k");
  EXPECT_EQ(axis_label(1.2e6), "1.2M");
}

TEST(Chart, BreaksTheLineWhereAValueIsMissing) {
  const std::vector<ChartSeries> series = {{"loss", "train", {1, 2, 3, 4}, {1.0, 2.0, NAN, 3.0}, false}};
  const std::string svg = render_chart(series, {"Loss", "step", AxisScale::linear, false, 400, 200});
  EXPECT_EQ(count(svg, "M"), 2u);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

TEST(Chart, ThinsLongCurvesAndDrawsShortOnes) {
  ChartSeries line{"loss", "train", {}, {}, false};
  for (int i = 0; i < 50000; ++i) {
    line.x.push_back(i);
    line.y.push_back(1.0 + 1.0 / (1 + i));
  }
  const std::vector<ChartSeries> series = {line};
  EXPECT_LT(render_chart(series, {"Loss", "step", AxisScale::linear, false, 400, 200}).size(), 30000u);
  for (const AxisScale scale : {AxisScale::linear, AxisScale::logarithmic}) {
    const std::vector<ChartSeries> one = {{"loss", "train", {7}, {2.5}, true}};
    const std::string svg = render_chart(one, {"Loss", "step", scale, false, 400, 200});
    EXPECT_EQ(count(svg, "<circle"), 1u);
    EXPECT_EQ(svg.find("nan"), std::string::npos);
    EXPECT_EQ(svg.find("inf"), std::string::npos);
  }
  EXPECT_NE(render_chart({}, {"Loss", "step", AxisScale::linear, false, 400, 200}).find("nothing recorded"),
            std::string::npos);
}

TEST(Chart, SmoothingHasNoBiasAtTheStart) {
  const std::vector<double> values = {4.0, 4.0, NAN, 4.0};
  for (const double value : smoothed(values, 0.95)) EXPECT_NEAR(value, 4.0, 1e-12);
  const std::vector<double> step = {0.0, 1.0};
  EXPECT_NEAR(smoothed(step, 0.5)[1], 0.5 / 0.75, 1e-12);
}

TEST(Report, EscapesEverythingFromOutside) {
  EXPECT_EQ(escape_html("<a href=\"x\">&'\x01\x7F\n"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;\uFFFD\uFFFD\n");
  ReportInput input;
  input.name = "<script>name</script>";
  input.options.data = "<script>data</script>";
  input.plan.device = "<script>device</script>";
  input.history.samples.push_back({1, "<script>sample</script>"});
  input.environment = {{"<script>key</script>", "<script>value</script>"}};
  const std::string html = render_report(input);
  EXPECT_EQ(count(html, "<script"), 0u);
  EXPECT_GE(count(html, "&lt;script&gt;"), 6u);
}

TEST(Report, StandsAlone) {
  ReportInput input;
  for (int step = 1; step <= 40; ++step) {
    input.history.steps.push_back({step, 7.0 / step, 1e-3, 1.0, 1000.0, 0.1 * step});
    if (step % 10 == 0) input.history.evaluations.push_back({step, 7.5 / step, 2.0, 1.5, false});
  }
  const std::string html = render_report(input);
  EXPECT_EQ(count(html, "<svg"), 4u);
  EXPECT_EQ(count(html, "<svg"), count(html, "</svg>"));
  EXPECT_EQ(count(html, "<circle"), 4u);
  for (const char* resource : {"src=", "href=", "url(", "@import", "<link"}) {
    EXPECT_EQ(count(html, resource), 0u) << resource;
  }
  EXPECT_EQ(count(html, "http"), count(html, "http://www.w3.org/2000/svg"));
}

}  // namespace
}  // namespace mslt

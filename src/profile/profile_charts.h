// The charts of a profile's report, as inline SVG.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "profile/memory_curve.h"
#include "profile/profile.h"

namespace mslt {

// The CSS classes that the charts use, key-0 to key-7 among them.
std::string_view chart_style();

// Gives each operation's name a colour: the names that take the most time have one each, the others share one.
class OperationColours {
 public:
  explicit OperationColours(const ProfileSummary& summary);
  // 0 to 7, for the class key-N.
  int of(std::string_view operation) const;
  // A line that names them.
  std::string legend() const;

 private:
  std::vector<std::string> names_;
};

// FLOP/s against FLOPs per byte, both logarithmic, under the roofline: one point for each row with products, as large
// as its share of the step.
std::string roofline_chart(const ProfileSummary& summary, const DevicePeaks& peaks, const OperationColours& colours);
// Time of each layer, one bar each, divided by operation.
std::string layer_chart(const ProfileSummary& summary, const OperationColours& colours);
// What ran when.
std::string timeline_chart(const StepTimeline& step, const OperationColours& colours);
// Stacked areas over the step's time.
std::string memory_chart(const MemoryCurve& memory, double seconds);

}  // namespace mslt

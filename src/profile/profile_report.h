// A profile on one page.
#pragma once

#include <string>

#include "profile/baseline.h"
#include "profile/profile.h"

namespace mslt {

// A complete HTML page without external resources or scripts: roofline, time by operation, kernel and layer, one step's
// timeline and memory, and the comparison with a baseline where `comparison` is given. Every text from outside is
// escaped.
std::string render_profile(const StepSamples& samples, const ProfileSummary& summary,
                           const BaselineComparison* comparison);

}  // namespace mslt

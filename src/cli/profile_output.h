// What mslt profile prints.
#pragma once

#include <iosfwd>
#include <nlohmann/json_fwd.hpp>

#include "profile/baseline.h"
#include "profile/profile.h"

namespace mslt::cli {

nlohmann::ordered_json profile_json(const StepSamples& samples, const ProfileSummary& summary,
                                    const BaselineComparison* comparison);
void print_profile(std::ostream& out, const StepSamples& samples, const ProfileSummary& summary);
void print_comparison(std::ostream& out, const BaselineComparison& comparison, double tolerance);

}  // namespace mslt::cli

// A profile in a file, to compare later ones with.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "profile/profile.h"

namespace mslt {

// Samples of one thing: seconds a step.
struct BaselineRow {
  std::string name;
  std::string shape;
  std::vector<double> seconds;
};

struct Baseline {
  ProfileSubject subject;
  std::vector<BaselineRow> rows;  // of each operation; the whole step is named "step"
};

Baseline baseline_of(const StepSamples& samples, const ProfileSummary& summary);

// A JSON file; docs/file-formats.md describes it. Throws Error(io).
void write_baseline(const std::filesystem::path& file, const Baseline& baseline);
// Throws Error(io) if it cannot be read, Error(input) naming what is wrong in it.
Baseline read_baseline(const std::filesystem::path& file);
Baseline parse_baseline(std::string_view text, std::string_view source);

struct ComparedRow {
  std::string name;
  std::string shape;
  double before = 0.0;  // medians, seconds a step
  double after = 0.0;
  Comparison comparison;
  bool judged = true;  // large enough to count
};

struct BaselineComparison {
  std::vector<ComparedRow> rows;     // the most time gained by the operation first
  std::vector<std::string> missing;  // in the baseline but not in this profile
  std::vector<std::string> added;    // the other way round
  double confidence = 0.0;           // of each row

  bool is_slower() const;
};

// The share of the step from which on an operation is judged.
inline constexpr double judged_share = 0.01;

// Compares by medians of the samples. All judged rows together say something untrue with a probability of about 1 %
// (Bonferroni), if their samples are independent. Throws Error(usage) naming each part of the subjects that differs.
BaselineComparison compare_baselines(const Baseline& before, const Baseline& after, double tolerance);

}  // namespace mslt

// Baseline files and comparisons.
#include "profile/baseline.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "base/file.h"
#include "base/json.h"

namespace mslt {
namespace {

constexpr std::string_view format_name = "mslt profile baseline";
constexpr int format_version = 1;
constexpr std::uint64_t largest_file = std::uint64_t{1} << 26;
constexpr double all_confidence = 0.99;

[[noreturn]] void refuse(std::string_view source, std::string_view what) {
  fail(ErrorKind::input, "{}: {}", source, what);
}

std::string title_of(const BaselineRow& row) {
  return row.shape.empty() ? row.name : row.name + " " + row.shape;
}

const BaselineRow* find(const Baseline& baseline, const BaselineRow& row) {
  const auto found = std::ranges::find_if(
      baseline.rows, [&](const BaselineRow& other) { return other.name == row.name && other.shape == row.shape; });
  return found == baseline.rows.end() ? nullptr : &*found;
}

std::string value_of(const ProfileSubject& subject, const std::string& name) {
  const auto found = std::ranges::find(subject, name, &ProfileSubject::value_type::first);
  return found == subject.end() ? "absent" : "'" + found->second + "'";
}

void require_same_subject(const ProfileSubject& before, const ProfileSubject& after) {
  std::vector<std::string> differences;
  const auto look_at = [&](const std::string& name) {
    const std::string first = value_of(before, name);
    const std::string second = value_of(after, name);
    if (first != second) differences.push_back(fmt::format("{} was {} and is {}", name, first, second));
  };
  for (const auto& [name, value] : before) look_at(name);
  for (const auto& [name, value] : after) {
    if (std::ranges::find(before, name, &ProfileSubject::value_type::first) == before.end()) look_at(name);
  }
  if (differences.empty()) return;
  fail(ErrorKind::usage, "The baseline is of something else: {}. Make one of the same with --save-baseline.",
       fmt::join(differences, "; "));
}

}  // namespace

Baseline baseline_of(const StepSamples& samples, const ProfileSummary& summary) {
  Baseline baseline;
  baseline.subject = samples.subject;
  const bool has_clock = median_of(samples.whole_device_seconds) > 0.0;
  baseline.rows.push_back({"step", "", has_clock ? samples.whole_device_seconds : samples.whole_seconds});
  for (const ProfileRow& row : summary.operations) baseline.rows.push_back({row.name, row.shape, row.samples});
  return baseline;
}

void write_baseline(const std::filesystem::path& file, const Baseline& baseline) {
  nlohmann::ordered_json subject = nlohmann::ordered_json::object();
  for (const auto& [name, value] : baseline.subject) subject[name] = value;
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const BaselineRow& row : baseline.rows) {
    rows.push_back({{"name", row.name}, {"shape", row.shape}, {"seconds", row.seconds}});
  }
  const nlohmann::ordered_json document = {
      {"format", format_name}, {"version", format_version}, {"subject", subject}, {"rows", rows}};
  write_file(file, document.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

Baseline parse_baseline(std::string_view text, std::string_view source) {
  const nlohmann::json document = parse_json(text, source);
  if (!document.is_object() || document.value("format", nlohmann::json()) != format_name) {
    refuse(source, "this is not a baseline; 'mslt profile' writes them with --save-baseline.");
  }
  if (document.value("version", nlohmann::json()) != format_version) {
    refuse(source, fmt::format("'version' is not {}, the only one that this mslt reads.", format_version));
  }
  Baseline baseline;
  const auto subject = document.find("subject");
  if (subject == document.end() || !subject->is_object()) refuse(source, "the member 'subject' is not an object.");
  for (const auto& [name, value] : subject->items()) {
    if (!value.is_string()) refuse(source, fmt::format("'subject.{}' is not a string.", name));
    baseline.subject.emplace_back(name, value.get<std::string>());
  }
  const auto rows = document.find("rows");
  if (rows == document.end() || !rows->is_array()) refuse(source, "the member 'rows' is not an array.");
  for (const nlohmann::json& row : *rows) {
    const auto member = [&](const char* name) {
      return row.is_object() ? row.value(name, nlohmann::json()) : nlohmann::json();
    };
    const nlohmann::json name = member("name");
    const nlohmann::json shape = member("shape");
    const nlohmann::json seconds = member("seconds");
    if (!name.is_string() || !shape.is_string() || !seconds.is_array() || seconds.empty()) {
      refuse(source, "each of 'rows' has a string 'name', a string 'shape' and numbers 'seconds'; one has not.");
    }
    BaselineRow read = {name.get<std::string>(), shape.get<std::string>(), {}};
    for (const nlohmann::json& one : seconds) {
      if (!one.is_number() || !(one.get<double>() >= 0.0)) {
        refuse(source, fmt::format("'seconds' of '{}' holds something other than a number from 0 on.", read.name));
      }
      read.seconds.push_back(one.get<double>());
    }
    if (find(baseline, read) != nullptr) refuse(source, fmt::format("'rows' holds '{}' twice.", title_of(read)));
    baseline.rows.push_back(std::move(read));
  }
  return baseline;
}

Baseline read_baseline(const std::filesystem::path& file) {
  return parse_baseline(read_file(file, largest_file), file.string());
}

bool BaselineComparison::is_slower() const {
  return std::ranges::any_of(
      rows, [](const ComparedRow& row) { return row.judged && row.comparison.change == Change::slower; });
}

BaselineComparison compare_baselines(const Baseline& before, const Baseline& after, double tolerance) {
  require_same_subject(before.subject, after.subject);
  double step_seconds = 0.0;
  for (const BaselineRow& row : after.rows) {
    if (row.name == "step") step_seconds = median_of(row.seconds);
  }
  BaselineComparison result;
  double judged = 0.0;
  for (const BaselineRow& row : after.rows) {
    const BaselineRow* const first = find(before, row);
    if (first == nullptr) {
      result.added.push_back(title_of(row));
      continue;
    }
    ComparedRow compared;
    compared.name = row.name;
    compared.shape = row.shape;
    compared.before = median_of(first->seconds);
    compared.after = median_of(row.seconds);
    compared.judged = std::max(compared.before, compared.after) >= judged_share * step_seconds;
    judged += compared.judged ? 1.0 : 0.0;
    result.rows.push_back(std::move(compared));
  }
  for (const BaselineRow& row : before.rows) {
    if (find(after, row) == nullptr) result.missing.push_back(title_of(row));
  }
  result.confidence = 1.0 - (1.0 - all_confidence) / std::max(judged, 1.0);
  for (ComparedRow& row : result.rows) {
    const BaselineRow key = {row.name, row.shape, {}};
    row.comparison =
        compare_samples(find(before, key)->seconds, find(after, key)->seconds, tolerance, result.confidence);
  }
  std::ranges::stable_sort(result.rows, std::greater(), [](const ComparedRow& row) { return row.after - row.before; });
  return result;
}

}  // namespace mslt

// report.html: one run on one page.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mslt/trainer.h"
#include "train/metrics.h"

namespace mslt {

// What the page shows.
struct ReportInput {
  std::string name;  // of the run: its folder
  TrainOptions options;
  TrainPlan plan;
  MetricsHistory history;
  double peak_flops = 0.0;                                       // measured; 0 if it was not
  std::vector<std::pair<std::string, std::string>> environment;  // name and value, such as compiler, threads
};

// A complete HTML page without external resources or scripts: loss curves, learning rate, throughput, gradient norm,
// samples, settings and memory. Every text from outside is escaped. Follows the reader's light or dark preference.
std::string render_report(const ReportInput& input);

// The environment of this process: the time in UTC, operating system, threads and compiler.
std::vector<std::pair<std::string, std::string>> describe_environment();

// The settings by the names of the command line's flags, in the order in which `--help` lists them.
std::vector<std::pair<std::string, std::string>> describe_options(const TrainOptions& options);
std::vector<std::pair<std::string, std::string>> describe_model(const Config& config);
std::vector<std::pair<std::string, std::string>> describe_memory(const MemoryEstimate& memory);

}  // namespace mslt

// The autotuner: times the candidates for a Tuning on a device and picks the fastest.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backend/msl/msl_backend.h"
#include "backend/msl/tunables.h"
#include "backend/msl/tuning.h"

namespace mslt::msl {

// The next measurement.
struct TuneProgress {
  std::string_view field;
  std::string_view workload;
  int done = 0;  // workloads before it
  int total = 0;
};

// Seconds of device time for the work that `record`, which is called once, records on the backend.
using TuneClock = std::function<double(MslBackend&, const std::function<void()>& record)>;

struct TuneOptions {
  int repeats = 15;                // samples of each candidate; their median counts
  double noise = 0.03;             // a value replaces the table's if it is faster by more than this share
  double sample_seconds = 500e-6;  // target duration of a sample, which repeats an operation
  double workload_seconds = 2.0;   // after this time fewer samples are taken, but at least three
  std::function<bool(const TuneProgress&)> progress = {};  // false stops with Error(interrupted)
  TuneClock clock = {};  // absent: the driver's GPU time, or the host's clock if the driver has none
};

struct CandidateTime {
  std::int64_t value = 0;
  double seconds = 0.0;  // geometric mean over the workloads of an operation's median time
};

// The choice of one member.
struct TunedField {
  std::string_view name;
  std::vector<std::string> workloads;     // those that the values launch differently
  std::vector<CandidateTime> candidates;  // by value; none without such workloads
  std::vector<std::int64_t> refused;      // values for which a kernel has too many registers on this device
  std::int64_t table = 0;                 // the table's value
  std::int64_t chosen = 0;
  double noise = 0.0;  // the share by which a value had to be faster
};

struct TuneResult {
  Tuning tuning;
  std::vector<TunedField> fields;
};

// Starts from the table's row for the device and takes one member after the other. Times its candidates at `shape`;
// samples alternate between candidates, each round starting with another one, so drift affects all equally. Keeps the
// fastest if it beats the table's value by more than the noise: options.noise, or the samples' median deviation if that
// is larger. Among values that were launched alike, keeps the nearest to the table's. Throws Error(input) for sizes
// that are not positive, Error(memory) and Error(device) as operations do, Error(interrupted).
TuneResult autotune(std::unique_ptr<Device> device, const TuneShape& shape, const TuneOptions& options);

}  // namespace mslt::msl

// The autotuner: times what a Tuning can be on a device and picks the fastest.
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

// What is about to be timed.
struct TuneProgress {
  std::string_view field;
  std::string_view workload;
  int done = 0;  // workloads before it
  int total = 0;
};

// Seconds that the device works on what `record` records on the backend, which is called once.
using TuneClock = std::function<double(MslBackend&, const std::function<void()>& record)>;

struct TuneOptions {
  int repeats = 15;                // samples of each candidate, of which the median counts
  double noise = 0.03;             // a value replaces the table's where it is faster by more than this share
  double sample_seconds = 500e-6;  // a sample repeats an operation for about so long
  double workload_seconds = 2.0;   // from here on fewer samples are taken, but three at least
  std::function<bool(const TuneProgress&)> progress = {};  // false stops with Error(interrupted)
  TuneClock clock = {};  // absent: the driver's GPU time, or the host's clock where the driver has none
};

struct CandidateTime {
  std::int64_t value = 0;
  double seconds = 0.0;  // the geometric mean over the workloads of an operation's median time
};

// How one member was chosen.
struct TunedField {
  std::string_view name;
  std::vector<std::string> workloads;     // those that not all values launch alike
  std::vector<CandidateTime> candidates;  // by value; none where there are no such workloads
  std::vector<std::int64_t> refused;      // that a kernel has too many registers for, on this device
  std::int64_t table = 0;                 // the table's value
  std::int64_t chosen = 0;
  double noise = 0.0;  // the share by which a value had to be faster
};

struct TuneResult {
  Tuning tuning;
  std::vector<TunedField> fields;
};

// Starting from the table's row for the device, takes one member after the other, times its candidates at `shape`
// (each sample of one followed by one of the next, starting with another one each time, so that drift hits all alike),
// and keeps the fastest where it beats the table's value by more than the noise: options.noise, or the samples' median
// deviation where that is larger; of values that were launched alike, the nearest to the table's. Throws Error(input)
// for sizes that are not positive, Error(memory) and Error(device) as operations do, Error(interrupted).
TuneResult autotune(std::unique_ptr<Device> device, const TuneShape& shape, const TuneOptions& options);

}  // namespace mslt::msl

// Measuring steps, and what a measurement says: where the time goes and what could be saved.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backend/timed_backend.h"
#include "backend/timeline.h"
#include "profile/device_peaks.h"
#include "profile/statistics.h"
#include "profile/workload.h"

namespace mslt {

// What a measurement is of. Two are comparable where all values are the same.
using ProfileSubject = std::vector<std::pair<std::string, std::string>>;

// Device, workload, model, element type, sizes, threads, versions.
ProfileSubject subject_of(const DeviceInfo& device, const WorkloadOptions& options, std::string_view model);

// Steps of one workload.
struct StepSamples {
  ProfileSubject subject;
  std::string what;  // "a training step"
  std::int64_t tokens_per_step = 0;
  DevicePeaks peaks;
  double beaten_flops = 0.0;                 // the stored peak that an operation of these steps passed, if one did
  std::vector<StepTimeline> timed;           // with the times of their operations
  std::vector<double> whole_seconds;         // steps as they usually run, by the host's clock
  std::vector<double> whole_device_seconds;  // the same by the device's clock; zeros where it has none
  std::string counters_refused;              // why the processor's counters say nothing; empty where they count
};

// Runs `rounds` whole steps and as many timed ones, in turn, after some that prepare the device. `progress` is called
// before each round, counted from 0.
void sample_steps(StepSamples& samples, TimedBackend& backend, Workload& workload, int rounds,
                  const std::function<void(int)>& progress = {});

// Calls of one operation on tensors of one shape, or of one kernel.
struct ProfileRow {
  std::string name;
  std::string shape;            // of the first tensor; empty for kernels
  double calls = 0.0;           // a step
  Work work;                    // of a step
  double call_seconds = 0.0;    // median of one call
  double step_seconds = 0.0;    // of all calls of a step: median over the steps
  double share = 0.0;           // of the step's time in operations
  double roofline_share = 0.0;  // least time over time; above 1 where caches hold what memory would have to give
  double lost_seconds = 0.0;    // time beyond the least, a step
  Bound bound = Bound::memory;
  CpuCounts counts;             // of a step, on average
  std::vector<double> samples;  // step_seconds of each step
};

struct LayerTime {
  std::string layer;
  std::vector<std::pair<std::string, double>> operations;  // name and seconds a step on average, longest first
  double seconds = 0.0;
};

struct ProfileSummary {
  std::vector<ProfileRow> operations;  // the most lost first
  std::vector<ProfileRow> kernels;     // the same; empty for devices without kernels
  std::vector<LayerTime> layers;       // in the order in which they first appear
  double operation_seconds = 0.0;      // of a step: median of the operations' sums
  MedianInterval whole;                // of a step as it usually runs, by the device's clock where it has one
  MedianInterval host;                 // the same by the host's clock
  double gap_seconds = 0.0;            // between the operations of a timed step: median
  double least_seconds = 0.0;          // of all operations at their rooflines
  Work work;                           // of a step
  std::vector<std::string> sentences;  // about the three largest losses
};

ProfileSummary summarise(const StepSamples& samples);

// FLOPs per second of the fastest operation of which a call takes long enough to be timed well; 0 if there is none.
double fastest_flops(const ProfileSummary& summary);

}  // namespace mslt

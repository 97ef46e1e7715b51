// Running the steps.
#include "profile/profile.h"

#include "base/clock.h"
#include "base/fail.h"
#include "train/report.h"

namespace mslt {
namespace {

// A device's first steps choose plans and record graphs.
constexpr int warm_steps = 4;
constexpr double enough_warm_seconds = 1.0;

}  // namespace

ProfileSubject subject_of(const DeviceInfo& device, const WorkloadOptions& options, std::string_view model) {
  ProfileSubject subject = {{"device", device.backend},
                            {"device name", device.name},
                            {"compute units", fmt::format("{}", device.compute_units)},
                            {"instructions", device.instructions},
                            {"software", device.software},
                            {"workload", std::string(describe(options.kind))},
                            {"model", std::string(model)},
                            {"dtype", options.dtype},
                            {"batch size", fmt::format("{}", options.batch_size)}};
  for (const auto& [name, value] : describe_model(options.model)) subject.emplace_back("model: " + name, value);
  if (options.kind == WorkloadKind::train) {
    subject.emplace_back("sequence length",
                         fmt::format("{}", options.seq_len > 0 ? options.seq_len : options.model.max_positions));
    subject.emplace_back("recompute", name_of(options.recompute));
    subject.emplace_back("master weights", name_of(options.master_weights));
    subject.emplace_back("gradient dtype", name_of(options.grad_dtype));
  } else {
    subject.emplace_back("prompt tokens", fmt::format("{}", options.prompt_tokens));
    subject.emplace_back("quantisation", options.quantize);
    if (options.kind == WorkloadKind::serve) {
      subject.emplace_back("prefill tokens", fmt::format("{}", options.prefill_tokens));
    }
  }
  for (const auto& [name, value] : describe_environment()) {
    if (name != "Written") subject.emplace_back(name, value);
  }
  return subject;
}

void sample_steps(StepSamples& samples, TimedBackend& backend, Workload& workload, int rounds,
                  const std::function<void(int)>& progress) {
  samples.tokens_per_step = workload.tokens_per_step();
  const bool prepares = backend.peak_device_bytes() > 0;
  const auto whole_step = [&] {
    workload.step();
    backend.wait();
  };
  const double start = steady_seconds();
  for (int i = 0; i < warm_steps && (prepares || i == 0 || steady_seconds() - start < enough_warm_seconds); ++i)
    whole_step();
  const auto timed_step = [&] {
    backend.begin_step();
    workload.step();
    return backend.end_step();
  };
  for (int i = 0; i < (prepares ? warm_steps : 1); ++i) timed_step();
  for (int round = 0; round < rounds; ++round) {
    if (progress) progress(round);
    const double device_before = backend.device_seconds();
    const double before = steady_seconds();
    whole_step();
    samples.whole_seconds.push_back(steady_seconds() - before);
    samples.whole_device_seconds.push_back(backend.device_seconds() - device_before);
    samples.timed.push_back(timed_step());
  }
}

}  // namespace mslt

// Profiles for tests: made up, or of small models that run.
#pragma once

#include <memory>
#include <string>

#include "backend/registry.h"
#include "model/test_models.h"
#include "profile/profile.h"

namespace mslt::test {

// Samples of a small step on `device`.
inline StepSamples profile_of(const Config& config, const std::string& device, WorkloadKind kind, int rounds) {
  const std::unique_ptr<Backend> backend = make_backend(device);
  TimedBackend timed(*backend);
  WorkloadOptions options;
  options.kind = kind;
  options.model = config;
  options.batch_size = 2;
  options.seq_len = 16;
  options.prompt_tokens = 8;
  StepSamples samples;
  samples.what = describe(kind);
  samples.peaks = {.flops = 1e11, .bandwidth = 1e10, .dispatch_seconds = 1e-6};
  samples.subject = subject_of(backend->device(), options, "small <model>");
  const std::unique_ptr<Workload> workload = make_workload(timed, options);
  sample_steps(samples, timed, *workload, rounds);
  return samples;
}

}  // namespace mslt::test

// Profiles for tests: made up, or of small models that run.
#pragma once

#include <memory>
#include <string>

#include "backend/registry.h"
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

inline Config profiled_gpt2() {
  Config config;
  config.vocab_size = 128;
  config.max_positions = 32;
  config.layers = 2;
  config.channels = 32;
  config.heads = config.kv_heads = 4;
  config.head_size = 8;
  config.ffn_size = 64;
  return config;
}

inline Config profiled_llama() {
  Config config = profiled_gpt2();
  config.kv_heads = 2;
  config.norm = NormType::rmsnorm;
  config.position = PositionType::rope;
  config.activation = ActivationType::swiglu;
  config.qkv_bias = config.attention_out_bias = config.ffn_bias = config.norm_bias = false;
  config.tied_embeddings = false;
  return config;
}

inline Config profiled_post_norm() {
  Config config = profiled_gpt2();
  config.layers = 3;
  config.norm_position = NormPosition::post;
  config.position = PositionType::sinusoidal;
  config.activation = ActivationType::relu;
  return config;
}

}  // namespace mslt::test

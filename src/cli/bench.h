// The measurements behind mslt bench.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "mslt/config.h"
#include "mslt/generator.h"
#include "mslt/trainer.h"
#include "parallel/communicator.h"

namespace mslt::cli {

// Throws Error(usage) naming `flag` unless `value` lies in [least, most].
void check_size(std::string_view flag, std::int64_t value, std::int64_t least, std::int64_t most);

// Wall-clock seconds of one call.
template <class Work>
double time_once(Work&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The median over `repeats` calls.
template <class Work>
double median_seconds(int repeats, Work&& work) {
  std::vector<double> seconds(static_cast<std::size_t>(repeats));
  for (double& one : seconds) one = time_once(work);
  std::nth_element(seconds.begin(), seconds.begin() + repeats / 2, seconds.end());
  return seconds[static_cast<std::size_t>(repeats / 2)];
}

// Timed steps at most.
inline constexpr std::int64_t most_timed_steps = 1'000'000;

struct TrainBenchOptions {
  Config model;
  std::string dtype = "f32";
  std::int64_t batch_size = 16;
  std::int64_t seq_len = 0;  // 0: the model's context
  std::int64_t vocab_size = 2048;
  std::int64_t steps = 5;
  Recompute recompute = Recompute::automatic;
  MasterWeights master_weights = MasterWeights::f32;
  GradientSums grad_dtype = GradientSums::as_parameters;
  std::int64_t zero = 0;
  // Those that train together with this process, each on a batch of its own; null where it is alone.
  Communicator* others = nullptr;
  // Called with true where the timed steps begin and with false where they have ended.
  std::function<void(bool)> timed = [](bool) {
  };
};
struct TrainBenchResult {
  double tokens_per_second = 0.0;  // of all processes
  double step_seconds = 0.0;       // of the timed steps together, until the device is done, over their number
  double device_seconds = 0.0;     // of a step by the device's own clock, on average; 0 where it has none
  double peak = 0.0;               // FLOP/s of a large product, the larger of one measured before and one after
  double flops_per_token = 0.0;
  MemoryEstimate plan;
  std::size_t resident_bytes = 0;  // the process at its largest
  std::size_t device_bytes = 0;    // of the device's own memory, at most; 0 where it works in the host's
};
// Whole training steps (forward, backward, clipping, AdamW) on random tokens. Throws as training does, and Error(usage)
// for a size out of range.
TrainBenchResult bench_train(Backend& backend, const TrainBenchOptions& options);

struct GenerateBenchOptions {
  Config model;
  std::string dtype = "f32";
  std::int64_t batch_size = 1;
  std::int64_t prompt_tokens = 64;
  std::int64_t new_tokens = 64;
  std::string quantize = "none";
  SamplingOptions sampling;
  std::function<void(bool)> timed = [](bool) {
  };  // as in TrainBenchOptions; of decoding
};
struct GenerateBenchResult {
  double first_prompt_seconds = 0.0;  // of the very first pass, which may include preparing the device
  double first_step_seconds = 0.0;    // of the first step of decoding, likewise
  double prefill_tokens_per_second = 0.0;
  double decode_tokens_per_second = 0.0;  // of the whole batch
  // Bytes per second of a large device copy, read and written bytes counted; on the CPU of a read loop, if that is
  // more.
  double bandwidth = 0.0;
  double bytes_per_step = 0.0;  // weights and half-filled cache that one decode step reads
};
// Prefill and decoding as `mslt generate` does them, draws included, with random weights. Throws Error(usage) for a
// size out of range.
GenerateBenchResult bench_generate(Backend& backend, const GenerateBenchOptions& options);

struct KernelBenchOptions {
  Config model;
  std::string dtype = "f32";
  std::int64_t batch_size = 16;
};
struct KernelBenchResult {
  std::string operation;
  double seconds = 0.0;  // median of one call
  double flops = 0.0;    // of one call
  double bytes = 0.0;    // read and written by one call, each tensor counted once
};
// Each operation of a training step alone, at the model's shapes. Throws Error(usage) for a size out of range.
std::vector<KernelBenchResult> bench_kernels(Backend& backend, const KernelBenchOptions& options);

}  // namespace mslt::cli

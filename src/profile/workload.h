// What is profiled: steps of training, of generation or of serving that do the same work each time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backend/timed_backend.h"
#include "mslt/config.h"
#include "mslt/trainer.h"

namespace mslt {

enum class WorkloadKind : std::uint8_t { train, decode, prompt, serve };
// "a training step", "a decoding step", "the pass over a prompt", "a step of serving".
std::string_view describe(WorkloadKind kind);

struct WorkloadOptions {
  WorkloadKind kind = WorkloadKind::train;
  Config model;
  std::string dtype = "f32";
  std::int64_t batch_size = 1;
  std::int64_t seq_len = 0;  // of training; 0: the model's context
  Recompute recompute = Recompute::automatic;
  MasterWeights master_weights = MasterWeights::f32;
  GradientSums grad_dtype = GradientSums::as_parameters;
  std::int64_t prompt_tokens = 64;   // of generation and serving; a decoding step goes on from them
  std::int64_t prefill_tokens = 64;  // of serving: of another prompt, read in the same step; 0: none
  std::string quantize = "none";
};

// Ids below vocab_size, the same for the same numbers.
std::vector<std::int32_t> random_tokens(std::int64_t count, std::int64_t vocab_size, std::uint32_t stream_number);

// Its tokens are random, its weights those of an untrained model. Holds the model; the backend must outlive it. One
// thread at a time.
class Workload {
 public:
  Workload() = default;
  Workload(const Workload&) = delete;
  Workload& operator=(const Workload&) = delete;
  virtual ~Workload() = default;

  // Hands one step over; what it left running may still run.
  virtual void step() = 0;
  virtual std::int64_t tokens_per_step() const = 0;
};

// Names the layers for the backend, too. Throws as training and generation do, and Error(usage) for sizes that the
// model does not have.
std::unique_ptr<Workload> make_workload(TimedBackend& backend, const WorkloadOptions& options);

}  // namespace mslt

// TrainingStep: one update of a model's weights, from the batch to AdamW.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "model/training_pass.h"
#include "model/transformer.h"
#include "mslt/trainer.h"
#include "parallel/communicator.h"
#include "train/optimizer.h"
#include "train/shard_plan.h"

namespace mslt {

struct TrainingStepOptions {
  std::int64_t batch_size = 1;  // sequences of a batch
  std::int64_t seq_len = 1;     // tokens of each
  std::int64_t grad_accum = 1;  // batches of a step
  // Where several ranks share a step: which of its batches the first one lies in, and how many there are on all ranks;
  // 0: grad_accum. They number dropout's masks.
  std::int64_t first_batch = 0;
  std::int64_t all_batches = 0;
  int rank = 0;
  int ranks = 1;
  // What each rank holds a part of instead of all of it: with 1 the optimiser's state, with 2 the gradients as well
  // (the stages of ZeRO).
  std::int64_t zero = 0;
  std::size_t bucket_bytes = std::size_t{1} << 25;  // of gradients that are reduced at once, about
  std::uint64_t seed = 1;                           // of dropout
  double clip = 1.0;                                // the largest global gradient norm; 0 clips nothing
  AdamWConfig adamw = {};
  Recompute recompute = Recompute::none;
  MasterWeights master_weights = MasterWeights::f32;
  GradientSums grad_dtype = GradientSums::as_parameters;
};

// What changes from step to step.
struct StepInput {
  std::int64_t step = 1;    // counts from 1; dropout's masks are a function of it
  std::int64_t update = 1;  // counts the steps that changed the weights, from 1
  double learning_rate = 0.0;
  double loss_scale = 1.0;  // LossScaler's
  // Of all batches, one after another. Targets below 0 count nothing; at least one must count.
  std::span<const std::int32_t> tokens = {};
  std::span<const std::int32_t> targets = {};
};

// What comes back of a step.
struct StepResult {
  std::int64_t step = 0;
  std::int64_t targets = 0;  // that count
  double learning_rate = 0.0;
  double loss_scale = 1.0;
  float loss_sum = 0.0f;
  float scaled_norm = 0.0f;  // of the gradients under the loss scale
  int missing = 2;           // values still to arrive from the device

  bool is_complete() const { return missing == 0; }
  // The mean over the targets, before the update.
  double loss() const { return static_cast<double>(loss_sum) / static_cast<double>(targets); }
  // Before clipping.
  double gradient_norm() const { return static_cast<double>(scaled_norm) * (1.0 / loss_scale); }
};

// The recipe of a step, for whoever trains, measures or predicts training: gradients of the mean loss over all batches,
// their global norm, clipping, AdamW. Its operations are recorded by the first step and replayed by all of them; what
// changes from step to step is uploaded. Owns gradients, activations and the optimiser's state. The transformer must
// outlive it. One thread at a time.
class TrainingStep {
 public:
  // With `others`, which must outlive it, the gradients, the loss and the number of targets are sums over all ranks, so
  // all of them make the same update; options name this rank and their number. Gradients are reduced in buckets while
  // the backward pass of the last batch goes on. Throws what TrainingPass and AdamW throw, and Error(usage) if
  // grad_accum is below 1.
  TrainingStep(Transformer& transformer, const TrainingStepOptions& options, Communicator* others = nullptr);
  TrainingStep(const TrainingStep&) = delete;
  TrainingStep& operator=(const TrainingStep&) = delete;
  // Waits: steps may be under way.
  ~TrainingStep();

  // What it will hold on a device like the backend's, the backend's own memory counted. Allocates nothing there. For
  // Recompute::automatic, of the first level that leaves a sixteenth of the device's memory to others, or of the last.
  static MemoryEstimate plan(const Backend& backend, const Config& config, DType dtype,
                             const TrainingStepOptions& options);

  // How many steps may be under way while the next one is handed over: enough that an asynchronous device never idles.
  // A loss scale that adapts to each gradient needs its norm before the next step.
  static std::size_t most_in_flight(DType dtype) { return dtype == DType::f16 ? 0 : 2; }

  // Hands one step to the device and returns; the result is complete once the device has come so far. Where the norm of
  // the gradients is not finite, the weights stay as they were. Throws Error(input) for batches of another size and
  // without targets, and what TrainingPass::set_batch and Communicator throw; the weights are between two steps then.
  std::shared_ptr<const StepResult> run(const StepInput& input);

  TrainingPass& pass() { return pass_; }
  AdamW& optimizer() { return optimizer_; }
  // Seconds that the last step took the host without waiting for other ranks. A device that works while the host goes
  // on is not in them.
  double own_seconds() const { return own_seconds_; }
  // Whether the optimiser has the state of this rank's elements alone.
  bool shards_state() const { return is_shared() && options_.zero >= 1; }

 private:
  static MemoryEstimate plan_level(const Backend& backend, const Config& config, DType dtype,
                                   const TrainingStepOptions& options);
  void record();
  // Steps of several ranks (shared_step.cpp).
  bool is_shared() const { return options_.ranks > 1; }
  bool shards_gradients() const { return places_.has_value(); }
  // What the optimiser is given.
  Tensor summed_gradients() const;
  // Elements of a bucket's gradients, or their sums over batches.
  Tensor bucket_tensor(std::size_t bucket) const;
  void record_parts();
  void record_taking_in(std::size_t bucket);
  void replay_parts(bool is_last_batch);
  void begin_bucket(std::size_t bucket);
  // Waits for a bucket's sums and adds this rank's part to its gradients.
  void take_in(std::size_t bucket);
  void finish_works();
  void gather_norms();
  void gather_parameters();
  void write_random_state(const StepInput& input, std::int64_t batch);

  Backend& backend_;
  TrainingStepOptions options_;
  Communicator* others_;
  std::vector<PassPart> parts_;         // empty where this process is alone
  std::vector<Bucket> buckets_;         // of the parts
  std::vector<OwnedPiece> owned_;       // with the optimiser's state in parts: what this rank updates
  std::optional<BucketPlaces> places_;  // with gradients in parts, where that saves memory: of the buckets
  TrainingPass pass_;
  AdamW optimizer_;
  std::unique_ptr<Buffer> sum_buffer_;
  // Of all batches' gradients, f32; absent where they are added up in the parameters' dtype. With gradients in parts,
  // of this rank's, in either.
  Tensor sums_;
  std::unique_ptr<Buffer> scalars_;
  Tensor loss_sum_;
  Tensor loss_scale_;
  Tensor random_state_;  // absent if nothing is dropped
  std::unique_ptr<UploadSlot> loss_scales_;
  std::unique_ptr<UploadSlot> random_states_;
  std::unique_ptr<Recording> batch_;   // adds the gradients of one batch
  std::unique_ptr<Recording> update_;  // of the weights
  std::vector<std::unique_ptr<Recording>> recorded_parts_;
  std::vector<std::unique_ptr<Recording>> taking_in_;
  std::unique_ptr<Recording> measuring_;
  double waited_ = 0.0;  // of a step
  double own_seconds_ = 0.0;
  std::unique_ptr<Buffer> norm_buffer_;
  Tensor norms_;  // of the ranks' gradients, far apart
};

}  // namespace mslt

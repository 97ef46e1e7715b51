// TrainingPass: forward and backward over batches of one shape, with planned activations.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "model/pass_parts.h"
#include "model/transformer.h"

namespace mslt {

class MemoryPlanner;

// What a pass needs, in bytes: the transformer's parameters, and what the pass itself allocates.
struct MemoryPlan {
  std::size_t parameters = 0;
  std::size_t gradients = 0;
  std::size_t activations = 0;
  std::size_t total() const { return parameters + gradients + activations; }
};

// Owns gradients and activations for batches of `batch` sequences of `seq_len` tokens. The transformer must outlive it.
// One thread at a time.
class TrainingPass {
 public:
  enum class Mode { train, evaluate };  // evaluate allocates no gradients and shares activations between layers

  // Throws Error(usage) where seq_len passes the model's max_positions or the device cannot train the parameters'
  // dtype, Error(memory) where it does not fit. `recompute` is a level other than automatic; it holds for training.
  // `under_way` batches may be on their way to the device at a time. With a `gradient_layout`, the parameters' own at
  // other offsets, gradients share memory; then zero_gradients() does not fit them, and forward_backward() is to be
  // called for its parts.
  TrainingPass(Transformer& transformer, std::int64_t batch, std::int64_t seq_len, Mode mode,
               Recompute recompute = Recompute::none, std::size_t under_way = 2,
               const std::optional<ArenaLayout>& gradient_layout = {});
  TrainingPass(const TrainingPass&) = delete;
  TrainingPass& operator=(const TrainingPass&) = delete;
  ~TrainingPass();

  // The same sums without allocating anything, for activations of the parameters' dtype. (A device that does not train
  // in 16 bits evaluates on f32 activations.)
  static MemoryPlan plan(const Config& config, DType dtype, std::int64_t batch, std::int64_t seq_len, Mode mode,
                         Recompute recompute = Recompute::none);
  const MemoryPlan& memory() const { return memory_; }
  const Transformer& transformer() const { return transformer_; }

  // Gradients under the parameters' names, in the parameters' dtype; absent in evaluate mode.
  const Arena& gradients() const { return gradients_; }
  void zero_gradients();

  // tokens, targets: batch · seq_len ids, row by row; targets below 0 count nothing. Throws Error(input) naming the
  // first id outside the vocabulary. A batch serves any number of the passes below.
  void set_batch(std::span<const std::int32_t> tokens, std::span<const std::int32_t> targets);

  // Adds the sum of the rows' losses to loss_sum f32 [1], and loss_scale f32 [1] times its gradient to gradients().
  // random_state u32 [4] as in Dropout; absent where dropout is off.
  void forward_backward(const Tensor& loss_sum, const Tensor& loss_scale, const Tensor& random_state);

  // One part of it; all parts of parts_of_pass, in order, are the whole.
  void forward_backward(const PassPart& part, const Tensor& loss_sum, const Tensor& loss_scale,
                        const Tensor& random_state);

  // Adds the sum of the rows' losses to loss_sum; no dropout, no gradient.
  void forward_loss(const Tensor& loss_sum);

  // The logits of the batch, f [B·T, V], valid until the next call; no dropout. Allocates them at first use, beside
  // what was planned.
  Tensor forward_logits();

 private:
  struct State;
  static MemoryPlanner plan_activations(const Config& config, DType dtype, std::int64_t batch, std::int64_t seq_len,
                                        Mode mode, Recompute recompute);

  Transformer& transformer_;
  MemoryPlan memory_;
  Arena gradients_;
  std::unique_ptr<Buffer> activations_;
  std::unique_ptr<Buffer> logits_;
  std::unique_ptr<State> state_;
  std::unique_ptr<UploadSlot> tokens_;
  std::unique_ptr<UploadSlot> targets_;
};

}  // namespace mslt

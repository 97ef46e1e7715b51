// The loop of a training run and all it holds in memory.
#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "data/loader.h"
#include "model/training_pass.h"
#include "model/transformer.h"
#include "train/metrics.h"
#include "train/optimizer.h"
#include "train/prepared_run.h"
#include "train/schedule.h"
#include "train/tensorboard.h"

namespace mslt {

// Allocates in its constructor, trains in run(). `prepared`, the callbacks and the backend must outlive it. One thread.
class TrainingRun {
 public:
  TrainingRun(PreparedRun& prepared, const TrainCallbacks& callbacks, Backend& backend, double peak_flops);
  TrainingRun(const TrainingRun&) = delete;
  TrainingRun& operator=(const TrainingRun&) = delete;
  ~TrainingRun();

  TrainResult run();

 private:
  using Clock = std::chrono::steady_clock;

  // A step whose results are on their way back from the device.
  struct Pending {
    std::int64_t step = 0;
    std::int64_t targets = 0;
    double learning_rate = 0.0;
    double gradient_scale = 1.0;
    float loss_sum = 0.0f;
    float norm = 0.0f;
    int arrived = 0;  // of two
  };

  // Setting up (training_setup.cpp).
  void load_weights();
  void open_logs();
  void allocate_scalars();

  // One step.
  void record_step(std::int64_t step);
  std::int64_t load_batches();
  // Waits for the results more than `late` steps old, and takes in all that have arrived.
  void collect(std::size_t late);
  void finish_step(const Pending& result, double seconds);
  [[noreturn]] void stop_not_finite(std::int64_t step, const char* what, double value) const;

  // Between steps.
  bool stop_requested() const;
  void after_step(std::int64_t step);
  void evaluate_now(std::int64_t step, bool whole);
  void sample_now(std::int64_t step);
  void save_now(std::int64_t step);
  void require_finite_weights(std::int64_t step);
  void publish(const std::filesystem::path& checkpoint) const;
  void write_report() const;
  void emit(const TrainEvent& event) const;
  double seconds() const;

  PreparedRun& prepared_;
  const TrainOptions& options_;
  const TrainCallbacks& callbacks_;
  Backend& backend_;
  double peak_flops_;
  DType dtype_;
  LearningRate schedule_;
  CheckpointStore store_;

  std::unique_ptr<Transformer> transformer_;
  std::unique_ptr<AdamW> optimizer_;
  std::unique_ptr<TrainingPass> pass_;
  std::unique_ptr<BatchLoader> loader_;
  std::unique_ptr<MetricsLog> metrics_;
  std::unique_ptr<TensorBoardWriter> tensorboard_;
  LossScaler scaler_;

  std::unique_ptr<Buffer> scalars_;
  Tensor loss_sum_;
  Tensor loss_scale_;
  Tensor random_state_;  // absent where nothing is dropped
  Tensor weight_norm_;

  std::vector<std::int32_t> tokens_;  // of all batches of a step
  std::vector<std::int32_t> targets_;
  std::vector<std::uint32_t> bytes_of_token_;

  RunState& state_;
  std::deque<std::shared_ptr<Pending>> pending_;
  std::optional<CheckpointInfo> last_saved_;
  std::optional<EvaluationEvent> last_evaluation_;
  double last_loss_;
  Clock::time_point begin_;
  Clock::time_point mark_;  // when the last result was taken in, or work between steps ended
  double step_seconds_ = 0.0;
  std::int64_t steps_done_ = 0;
};

}  // namespace mslt

// The loop of a training run and all it holds in memory.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/timed_backend.h"
#include "data/loader.h"
#include "formats/model_parts.h"
#include "model/transformer.h"
#include "mslt/error.h"
#include "parallel/communicator.h"
#include "train/metrics.h"
#include "train/prepared_run.h"
#include "train/schedule.h"
#include "train/tensorboard.h"
#include "train/training_step.h"

namespace mslt {

// Allocates in its constructor, trains in run(). `prepared`, the callbacks, the backend and the communicator must
// outlive it. One thread.
//
// Every rank of the communicator runs one, with the same steps. The leading rank alone reads and writes the run folder,
// evaluates, samples and tells events; the others get weights and optimiser from it and wait meanwhile.
class TrainingRun {
 public:
  TrainingRun(PreparedRun& prepared, const TrainCallbacks& callbacks, Backend& backend, Communicator& communicator,
              double peak_flops);
  TrainingRun(const TrainingRun&) = delete;
  TrainingRun& operator=(const TrainingRun&) = delete;
  ~TrainingRun();

  TrainResult run();

 private:
  using Clock = std::chrono::steady_clock;

  // What may fail without ending the run.
  enum class SideTask : std::uint8_t { metrics, tensorboard, evaluation, sample, publishing, report };
  static constexpr std::size_t side_tasks = 6;

  Transformer& transformer() { return *model_->parts().loaded.transformer; }

  // Setting up (training_setup.cpp).
  void load_weights();
  LoadedModel load_model();
  void share_weights();
  void take_over_folder();
  void open_logs();

  // Trains until the last step or until stopped; returns whether it was stopped before.
  bool train();

  // One step.
  void record_step(std::int64_t step);
  void profile_step(std::int64_t step, const StepTimeline& timeline);
  // Waits for the results more than `late` steps old, and takes in all that have arrived.
  void collect(std::size_t late);
  void finish_step(const StepResult& result, double seconds);
  [[noreturn]] void stop_not_finite(std::int64_t step, const char* what, double value) const;

  // Between steps.
  bool stop_requested() const;
  void after_step(std::int64_t step);
  // Whether the options ask for an evaluation after the step.
  bool evaluates_after(std::int64_t step) const;
  void evaluate_now(std::int64_t step);
  void sample_now(std::int64_t step);
  // All ranks take part where each has a part of the optimiser's state; otherwise the leading one alone may call it.
  void save_now(std::int64_t step);
  void save_optimizer_state(const std::filesystem::path& path);
  void write_optimizer_with_others(const std::filesystem::path& path);
  // Whether it holds on the leading rank, or on any that saves together with it.
  bool on_savers(bool value) { return step_->shards_state() ? communicator_.any(value) : value; }
  void require_finite_weights(std::int64_t step);
  void require_same_weights(std::int64_t step);
  // Tells of a rank that all others wait for, once for each.
  void compare_times();
  void publish(const CheckpointInfo& checkpoint);
  void write_report() const;
  double seconds() const;
  bool is_saved(std::int64_t step) const { return last_saved_ && last_saved_->step == step; }

  // When something goes wrong (training_faults.cpp).
  // An exception from the callback ends the run after the step, not within it.
  void emit(const TrainEvent& event);
  // Does the work. Where it fails, and did not fail the last time, a warning waits to be told and a checkpoint to be
  // saved. Errors that put the weights in doubt pass through.
  void attempt(SideTask task, const std::function<void()>& work);
  void tell_warnings();
  // Throws Error where the data folder was changed, or the run folder moved or removed.
  void check_surroundings();
  // Takes the paths to where the run folder is; returns whether it was moved. Throws Error(io) if it was removed.
  bool follow_run_folder();
  void require_run_folder();
  // Throws the error of another rank with a sentence about the last checkpoint.
  [[noreturn]] void end_with_others(const Error& error) const;
  // Saves the last step done, where the error leaves it sound, and throws the error with a sentence about that.
  [[noreturn]] void end_saved(const Error& error);

  PreparedRun& prepared_;
  const TrainOptions& options_;
  const TrainCallbacks& callbacks_;
  std::unique_ptr<TimedBackend> timed_;  // around the run's backend, if steps are profiled
  Backend& backend_;
  Communicator& communicator_;
  double peak_flops_;
  DType dtype_;
  LearningRate schedule_;
  CheckpointStore& store_;

  std::optional<Model> model_;  // as the sample callback is given it
  SaveModelOptions carried_;    // what of the model that the run began with stays as it was
  std::unique_ptr<TrainingStep> step_;
  std::unique_ptr<BatchLoader> loader_;
  std::unique_ptr<MetricsLog> metrics_;
  std::unique_ptr<TensorBoardWriter> tensorboard_;
  LossScaler scaler_;

  std::unique_ptr<Buffer> scalar_;
  Tensor weight_norm_;

  std::vector<std::int32_t> tokens_;  // of all batches of a step
  std::vector<std::int32_t> targets_;
  std::vector<std::uint32_t> bytes_of_token_;

  RunState& state_;
  std::deque<std::shared_ptr<const StepResult>> pending_;  // steps whose results are on their way
  std::int64_t first_step_;                                // steps done before this process
  bool recording_ = false;  // a step is half handed over: the weights are between two steps
  bool saving_ = false;
  bool options_written_ = false;
  std::optional<CheckpointInfo> last_saved_;
  std::array<bool, side_tasks> failing_{};
  std::vector<std::string> warnings_;  // still to be told
  std::exception_ptr callback_failure_;
  std::optional<EvaluationEvent> last_evaluation_;
  double last_loss_;
  Clock::time_point begin_;
  Clock::time_point mark_;    // when the last result was taken in, or work between steps ended
  double own_seconds_ = 0.0;  // of the steps since the ranks' times were compared, and of all of them together
  double compared_seconds_ = 0.0;
  std::string slowest_;
  double step_seconds_ = 0.0;
  std::int64_t steps_done_ = 0;
  std::int64_t tokens_done_ = 0;
};

}  // namespace mslt

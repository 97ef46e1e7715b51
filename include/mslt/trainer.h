// Training a model on prepared data: options, progress events, and the trainer itself.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "mslt/config.h"
#include "mslt/model.h"

namespace mslt {

// The shape of the learning rate after its warmup; train/schedule.h has the formulas.
enum class Schedule { cosine, linear, constant, wsd };

// The name as the command line spells it, and back. Throws Error(usage) listing the valid names.
std::string_view name_of(Schedule schedule);
Schedule schedule_from_name(std::string_view name);

// All options of `mslt train`. A value type.
struct TrainOptions {
  // Input and output.
  std::filesystem::path data;    // a folder written by `mslt data prepare`
  std::filesystem::path output;  // the run folder; created if missing
  bool resume = false;           // continue the run in `output` from its newest checkpoint; start one if there is none
  std::optional<std::int64_t> from_step;  // with resume: start at this step's checkpoint; newer ones are renamed
  bool discard_damaged = false;           // with resume: rename damaged checkpoints and go on without them
  // Start from the weights of this model folder, and use its configuration. Resuming does not need the folder.
  std::filesystem::path init_from;
  // With init_from: accept data of a tokenizer other than that model's. Each id keeps its embedding but means another
  // token, which training has to learn anew.
  bool force_tokenizer = false;

  // The model. vocab_size is replaced by the tokenizer's; ignored with init_from.
  Config model;
  std::optional<float> dropout;  // overrides the model's
  std::string device = "auto";
  std::string tuning = "none";     // launch parameters of a GPU's kernels: none, auto or a file, as in LoadOptions
  std::string attention = "auto";  // which libraries a GPU uses, as in LoadOptions
  std::string products = "auto";
  std::string dtype = "f32";  // f32, bf16 or f16, of parameters and activations
  Recompute recompute = Recompute::automatic;
  MasterWeights master_weights = MasterWeights::f32;  // none: with bf16 only
  GradientSums grad_dtype = GradientSums::as_parameters;
  // What each of several processes holds a part of instead of all: 1: the optimiser's state; 2: gradients as well (the
  // stages of ZeRO, Rajbhandari et al., 2020). Checkpoints are the same.
  std::int64_t zero = 0;

  // The work: `steps` updates, each on batch_size · grad_accum sequences of seq_len tokens. Examples are padded to
  // seq_len, and cut there.
  std::int64_t steps = 1000;
  std::int64_t batch_size = 16;
  // 0: the model's max_positions, with init_from at most 512, or what the longest example needs where that is less
  std::int64_t seq_len = 0;
  std::int64_t grad_accum = 1;
  std::uint64_t seed = 1;  // for the weights, the order of the data, and dropout

  // The optimiser.
  double lr = 1e-3;
  double min_lr_ratio = 0.1;           // the learning rate at the end, as a share of lr
  std::optional<std::int64_t> warmup;  // steps of linear warmup; absent: a tenth of `steps`, 100 at most
  Schedule schedule = Schedule::cosine;
  double decay_fraction = 0.2;  // wsd: the share of `steps` over which the rate falls at the end
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.1;
  double clip = 1.0;  // the largest global gradient norm; 0 clips nothing

  // Intervals in steps; 0: only at the end (samples: never).
  std::int64_t eval_every = 100;
  std::int64_t eval_batches = 50;  // batches of an evaluation, 0 for all
  std::int64_t sample_every = 0;
  std::string sample_prompt;  // what the samples begin with
  std::int64_t save_every = 500;
  std::int64_t keep_checkpoints = 2;  // how many of the newest to keep, in addition to the best
  std::int64_t profile_every = 0;     // time each operation of such a step by itself; 0: never
  bool tensorboard = true;
  bool report = true;

  bool operator==(const TrainOptions&) const = default;

  std::int64_t warmup_steps() const;
  // Throws Error(usage) listing every impossible setting, its value and what would be valid.
  void validate() const;
};

// Whether `folder` holds a run with a checkpoint, complete or damaged. Throws Error(io) if its checkpoints cannot be
// listed.
bool holds_run(const std::filesystem::path& folder);

// The options with which the run in `folder` was started or last resumed, as defaults for resuming it; `others` gives
// the options that the folder does not store. Throws Error(io) if there is no run.
TrainOptions load_run_options(const std::filesystem::path& folder, const TrainOptions& others);
// With the usual ones.
TrainOptions load_run_options(const std::filesystem::path& folder);

// Memory of a training run, in bytes.
struct MemoryEstimate {
  std::size_t parameters = 0;
  std::size_t gradients = 0;
  std::size_t moments = 0;
  std::size_t master_weights = 0;  // only with 16-bit parameters
  std::size_t activations = 0;
  Recompute recompute = Recompute::none;  // the level that makes them so few, never automatic
  std::size_t scratch = 0;  // partial results of the device's kernels, as far as they are known beforehand
  std::size_t staging = 0;  // batches and results on their way to and from the device
  std::size_t total() const {
    return parameters + gradients + moments + master_weights + activations + scratch + staging;
  }
  // A table of several lines, sizes in MiB.
  std::string describe() const;
};

// The plan of a Trainer, known before anything large is allocated.
struct TrainPlan {
  Config model;
  std::string device;  // its name
  std::int64_t parameter_count = 0;
  std::int64_t first_step = 1;  // 1, or the step after the checkpoint that is resumed
  std::int64_t steps = 0;
  std::int64_t tokens_per_step = 0;  // of examples on average; padding is not counted
  std::int64_t training_tokens = 0;  // in the training split
  std::int64_t validation_tokens = 0;
  double flops_per_token = 0.0;
  MemoryEstimate memory;
  std::filesystem::path resumed_from;  // the checkpoint, or empty
};

// Progress, in order of events. Steps are numbered from 1.
struct StepEvent {
  std::int64_t step = 0;
  std::int64_t steps = 0;
  double loss = 0.0;  // mean over the step's targets, in nats, before the update
  double learning_rate = 0.0;
  double gradient_norm = 0.0;  // before clipping
  std::int64_t tokens = 0;     // how many were predicted; padding is not counted
  double tokens_per_second = 0.0;
  double flops_per_second = 0.0;  // in the model's products and attention
  double seconds = 0.0;           // since run() began
  double eta_seconds = 0.0;
};
struct EvaluationEvent {
  std::int64_t step = 0;
  double loss = 0.0;
  double perplexity = 0.0;
  double bits_per_byte = 0.0;
  bool best = false;  // the lowest loss so far
};
// While an evaluation runs, after each batch.
struct EvaluationProgressEvent {
  std::int64_t step = 0;
  std::int64_t done = 0;
  std::int64_t batches = 0;
};
struct SampleEvent {
  std::int64_t step = 0;
  std::string text;
};
struct SaveEvent {
  std::int64_t step = 0;
  std::filesystem::path checkpoint;
  double seconds = 0.0;
};
// A notice that is no error: an option changed on resumption, or, as a warning, a failed evaluation or file other than
// a checkpoint; training goes on.
struct NoteEvent {
  std::string text;
  bool warning = false;
};
using TrainEvent = std::variant<StepEvent, EvaluationEvent, EvaluationProgressEvent, SampleEvent, SaveEvent, NoteEvent>;

// The caller's callbacks; each may be empty. All run on the thread that runs the trainer. An exception from `event`
// ends the run: the step's checkpoint is saved, then the exception propagates. An Error from `sample` becomes a
// warning, unless its kind is numeric, device or interrupted.
struct TrainCallbacks {
  std::function<void(const TrainEvent&)> event;
  // Generates text for sample_every from the model after the step, for example with a Generator. The model is the
  // trainer's.
  std::function<std::string(Model& model, std::int64_t step)> sample;
  // Set it (from another thread or a signal handler) to stop after the current step, saving a checkpoint. An evaluation
  // ends there as well; a resumed run makes it again.
  const std::atomic<bool>* stop = nullptr;
};

struct TrainResult {
  std::int64_t step = 0;  // the last finished step
  bool interrupted = false;
  double loss = 0.0;  // of the last step; NaN if no step ran
  std::optional<EvaluationEvent> validation;
  double best_validation_loss = 0.0;  // NaN without an evaluation
  double seconds = 0.0;
  double tokens_per_second = 0.0;    // mean over the steps, without evaluations, samples and saves
  std::filesystem::path checkpoint;  // the last complete one
  std::string how_to_resume;         // a sentence, if interrupted
};

// One training run in one folder. Training is a function of the options, the data, the device and its thread count: the
// same ones give the same bits, even if the run was killed at any moment and resumed. One thread at a time.
class Trainer {
 public:
  // Checks the options, opens and checks all data, locks the run folder, and finds the checkpoint to resume from. A run
  // has started once it has a checkpoint; until then its folder counts as empty. Throws Error(usage) for invalid
  // options, a folder that already holds a run (without resume), or a resumption with another model or other data,
  // naming the differences; Error(io) if another process writes the folder, or a checkpoint newer than the newest
  // complete one cannot be read; Error(input) for damaged data or if such a checkpoint is damaged. Changes nothing in
  // the folder.
  Trainer(const TrainOptions& options, TrainCallbacks callbacks);
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;
  ~Trainer();

  const TrainPlan& plan() const;

  // Allocates, trains to the last step or until stopped, evaluates, and saves. Call it once. Throws Error(numeric)
  // naming the step whose loss or gradient norm is not finite (the last good checkpoint stays), Error(memory) if the
  // model does not fit, Error(io) if a checkpoint cannot be saved (the previous one stays) or the run folder was
  // removed or moved, Error(input) if the data folder was changed or its files cannot be read any longer. If one of
  // the folders changed, the checkpoint of the last step is saved first if possible.
  // `peak_flops` is the throughput of large matrix products on the device in FLOP/s, with which the report compares; 0
  // if unknown.
  TrainResult run(double peak_flops = 0.0);

  // The parts, for the library's other layers.
  struct Parts;
  explicit Trainer(std::unique_ptr<Parts> parts);
  Parts& parts() const { return *parts_; }

 private:
  std::unique_ptr<Parts> parts_;
};

}  // namespace mslt

// Bringing a training run into memory: weights, optimiser, data, logs.
#include <limits>

#include "base/fail.h"
#include "base/file.h"
#include "formats/model_folder.h"
#include "train/agreement.h"
#include "train/evaluate.h"
#include "train/training_run.h"

namespace mslt {
namespace {

constexpr double first_f16_loss_scale = 65536.0;

std::unique_ptr<Transformer> take_transformer(Backend& backend, LoadedModel& model, const Config& config, DType dtype) {
  std::unique_ptr<Transformer> loaded = std::move(model.transformer);
  if (loaded->config() == config) return loaded;
  // Another dropout: the same weights under the configuration asked for.
  auto transformer = std::make_unique<Transformer>(backend, config, dtype);
  backend.run(Copy{.out = transformer->parameters().whole(), .in = loaded->parameters().whole()});
  backend.wait();
  return transformer;
}

}  // namespace

TrainingRun::TrainingRun(PreparedRun& prepared, const TrainCallbacks& callbacks, Backend& backend,
                         Communicator& communicator, double peak_flops)
    : prepared_(prepared),
      options_(prepared.options),
      callbacks_(callbacks),
      timed_(options_.profile_every > 0 ? std::make_unique<TimedBackend>(backend) : nullptr),
      backend_(timed_ ? *timed_ : backend),
      communicator_(communicator),
      peak_flops_(peak_flops),
      dtype_(storage_dtype(backend.device(), dtype_from_name(options_.dtype))),
      schedule_{options_.schedule,      options_.lr, options_.min_lr_ratio, options_.steps, options_.warmup_steps(),
                options_.decay_fraction},
      store_(*prepared.store),
      scaler_(dtype_ == DType::f16 ? first_f16_loss_scale : 1.0),
      state_(prepared.state),
      first_step_(prepared.state.step),
      last_saved_(prepared.checkpoint),
      last_loss_(std::numeric_limits<double>::quiet_NaN()) {
  for (const std::string& note : prepared_.notes) emit(NoteEvent{note});
  load_weights();
  scalar_ = backend_.allocate(sizeof(float), "norm of the weights");
  weight_norm_ = Tensor(*scalar_, 0, DType::f32, {1});
  LoaderOptions loading = training_loader_options(options_, prepared_.share);
  loading.prefetch = 1;
  loader_ = std::make_unique<BatchLoader>(prepared_.train_tokens, (options_.data / "train").string(), loading);
  loader_->restore(state_.loader);
  const auto count = static_cast<std::size_t>(loading.batch * options_.seq_len);
  tokens_.resize(count);
  targets_.resize(count);
  bytes_of_token_ = bytes_of_tokens(*prepared_.tokenizer, prepared_.data);
  if (!communicator_.leads()) return;
  take_over_folder();
  open_logs();
  if (!prepared_.checkpoint) return;
  write_run_options(prepared_);
  options_written_ = true;
}

TrainingRun::~TrainingRun() = default;

LoadedModel TrainingRun::load_model() {
  const Config& config = options_.model;
  const Tokenizer& tokenizer = *prepared_.tokenizer;
  LoadedModel model;
  if (!communicator_.leads()) {
    model.transformer = std::make_unique<Transformer>(backend_, config, dtype_);
  } else if (prepared_.checkpoint || !options_.init_from.empty()) {
    model =
        load_model_folder(backend_, prepared_.checkpoint ? prepared_.checkpoint->folder : options_.init_from, dtype_);
    for (const std::string& note : model.notes) emit(NoteEvent{note});
    carried_ = carried_over(model, &tokenizer);
    begin_texts_as(tokenizer, carried_);
    model.transformer = take_transformer(backend_, model, config, dtype_);
  } else {
    model.transformer = std::make_unique<Transformer>(backend_, config, dtype_);
    model.transformer->initialize(options_.seed);
  }
  return model;
}

void TrainingRun::load_weights() {
  const Tokenizer& tokenizer = *prepared_.tokenizer;
  LoadedModel model = load_model();
  if (carried_.generation.tokens.eos.empty()) carried_.generation.tokens.eos = {prepared_.data.eos_id};
  model.tokenizer = tokenizer;
  model.generation = carried_.generation;
  model.text_prefix.assign(tokenizer.text_prefix().begin(), tokenizer.text_prefix().end());
  model_.emplace(std::make_unique<Model::Parts>(Model::Parts{nullptr, std::move(model), prepared_.paths.run}));
  TrainingStepOptions step = step_options(options_, prepared_.share);
  step.recompute = prepared_.plan.memory.recompute;
  step_ = std::make_unique<TrainingStep>(transformer(), step, communicator_.is_alone() ? nullptr : &communicator_);
  if (step_->shards_state()) require_same_folder(communicator_, prepared_.paths.run);
  share_weights();
}

// The leading rank's weights and optimiser, on all ranks.
void TrainingRun::share_weights() {
  communicator_.broadcast(backend_, transformer().parameters().whole());
  if (!prepared_.checkpoint) {
    step_->optimizer().initialize_master();
    return;
  }
  if (step_->shards_state() || communicator_.leads()) {
    load_optimizer(prepared_.checkpoint->folder / "optimizer.safetensors", backend_, step_->optimizer());
  }
  if (!step_->shards_state()) {
    step_->optimizer().for_each_tensor(
        [&](const std::string&, const Tensor& tensor) { communicator_.broadcast(backend_, tensor); });
  }
  if (dtype_ == DType::f16) scaler_.restore(state_.loss_scale, state_.good_updates);
}

// Makes way in the run folder, once everything that could refuse has been read and allocated.
void TrainingRun::take_over_folder() {
  if (prepared_.choice.rewinds || !prepared_.checkpoint) {
    if (const auto kept = keep_metrics_after(prepared_.paths.metrics(), state_.metrics_bytes, state_.step)) {
      emit(NoteEvent{fmt::format("What {} held after step {} is kept in {}.", prepared_.paths.metrics().string(),
                                 state_.step, kept->string())});
    }
  }
  for (const CheckpointChoice::Aside& aside : prepared_.choice.aside) {
    const std::filesystem::path kept = store_.set_aside(aside.folder, aside.why);
    emit(NoteEvent{fmt::format("{} is kept as {}.", aside.folder.string(), kept.filename().string())});
  }
  if (prepared_.checkpoint) store_.prune(options_.keep_checkpoints);
}

void TrainingRun::open_logs() {
  metrics_ = std::make_unique<MetricsLog>(prepared_.paths.metrics(), state_.metrics_bytes);
  if (metrics_->bytes() < state_.metrics_bytes) {
    emit(NoteEvent{fmt::format("{} is shorter than at the checkpoint; earlier figures are missing from it.",
                               prepared_.paths.metrics().string())});
  }
  if (options_.tensorboard && state_.step < options_.steps) {
    tensorboard_ = std::make_unique<TensorBoardWriter>(prepared_.paths.tensorboard(), state_.step + 1);
  }
}

}  // namespace mslt

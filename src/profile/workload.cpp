// Training steps, decoding steps, prompts, and steps of serving.
#include "profile/workload.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <span>
#include <vector>

#include "base/fail.h"
#include "base/philox.h"
#include "generate/decode_steps.h"
#include "generate/row_draws.h"
#include "generate/token_drawer.h"
#include "model/inference_pass.h"
#include "train/training_step.h"

namespace mslt {
namespace {

TrainingStepOptions step_options(const TimedBackend& backend, const WorkloadOptions& options) {
  TrainingStepOptions shape = {.batch_size = options.batch_size,
                               .seq_len = options.seq_len > 0 ? options.seq_len : options.model.max_positions,
                               .recompute = options.recompute,
                               .master_weights = options.master_weights,
                               .grad_dtype = options.grad_dtype};
  shape.recompute = TrainingStep::plan(backend, options.model, dtype_from_name(options.dtype), shape).recompute;
  return shape;
}

class TrainingWorkload final : public Workload {
 public:
  TrainingWorkload(TimedBackend& backend, const WorkloadOptions& options)
      : transformer_(backend, options.model, dtype_from_name(options.dtype)),
        shape_(step_options(backend, options)),
        training_((transformer_.initialize(1), transformer_), shape_),
        tokens_(random_tokens(tokens_per_step(), options.model.vocab_size, 0)),
        targets_(random_tokens(tokens_per_step(), options.model.vocab_size, 1)) {
    training_.optimizer().initialize_master();
    backend.name_layers(transformer_.parameters());
    backend.name_layers(training_.pass().gradients());
  }

  void step() override {
    ++input_.step;
    ++input_.update;
    input_.tokens = tokens_;
    input_.targets = targets_;
    training_.run(input_);
  }
  std::int64_t tokens_per_step() const override { return shape_.batch_size * shape_.seq_len; }

 private:
  Transformer transformer_;
  TrainingStepOptions shape_;
  TrainingStep training_;
  std::vector<std::int32_t> tokens_;
  std::vector<std::int32_t> targets_;
  StepInput input_ = {.step = 0, .update = 0, .learning_rate = 1e-4};
};

// Each step goes on from the same prompt, so that all do the same work.
class GenerationWorkload final : public Workload {
 public:
  GenerationWorkload(TimedBackend& backend, const WorkloadOptions& options)
      : backend_(backend),
        kind_(options.kind),
        prompt_tokens_(options.prompt_tokens),
        transformer_(backend, options.model, dtype_from_name(options.dtype)),
        cache_(backend, options.model, dtype_from_name(options.dtype), static_cast<int>(options.batch_size),
               options.batch_size * (options.prompt_tokens + most_ahead)),
        pass_(prepared(options), cache_),
        drawer_(backend, SamplingOptions{.temperature = 0.0f}, options.batch_size, options.model.vocab_size),
        slots_(static_cast<std::size_t>(options.batch_size)),
        prompt_(random_tokens(options.prompt_tokens, options.model.vocab_size, 0)) {
    std::iota(slots_.begin(), slots_.end(), 0);
    backend.name_layers(transformer_.parameters());
    read_prompt();
  }

  void step() override {
    if (kind_ == WorkloadKind::prompt) {
      for (const int slot : slots_) cache_.truncate(slot, 0);
      read_prompt();
      return;
    }
    for (const int slot : slots_) cache_.truncate(slot, prompt_tokens_);
    const std::span<const std::int32_t> each(next_);
    std::vector<std::span<const std::int32_t>> last;
    for (std::size_t i = 0; i < slots_.size(); ++i) last.push_back(each.subspan(i, 1));
    DecodeSteps(backend_, pass_, drawer_, slots_, last).run(1, [](const auto&) { return true; });
  }
  std::int64_t tokens_per_step() const override {
    const auto sequences = static_cast<std::int64_t>(slots_.size());
    return kind_ == WorkloadKind::prompt ? sequences * prompt_tokens_ : sequences;
  }

 private:
  static constexpr std::int64_t most_ahead = 2;

  // The passes take the quantised matrices that they find.
  Transformer& prepared(const WorkloadOptions& options) {
    transformer_.initialize(1);
    transformer_.quantise(quantisation_from_name(options.quantize));
    return transformer_;
  }
  void read_prompt() {
    const std::vector<std::span<const std::int32_t>> prompts(slots_.size(), prompt_);
    drawer_.load(pass_.forward(slots_, prompts));
    next_ = drawer_.draw(slots_, prompts);
  }

  TimedBackend& backend_;
  WorkloadKind kind_;
  std::int64_t prompt_tokens_;
  Transformer transformer_;
  KvCache cache_;
  InferencePass pass_;
  TokenDrawer drawer_;
  std::vector<int> slots_;
  std::vector<std::int32_t> prompt_;
  std::vector<std::int32_t> next_;
};

// As the engine runs them: each request that decodes goes on by a token, part of another's prompt is read beside them,
// and the host receives the tokens that the device draws.
class ServingWorkload final : public Workload {
 public:
  ServingWorkload(TimedBackend& backend, const WorkloadOptions& options)
      : options_(options),
        transformer_(backend, options.model, dtype_from_name(options.dtype)),
        cache_(backend, options.model, dtype_from_name(options.dtype), static_cast<int>(options.batch_size) + 1,
               options.batch_size * (options.prompt_tokens + 1) + options.prefill_tokens),
        pass_(
            (transformer_.initialize(1), transformer_.quantise(quantisation_from_name(options.quantize)), transformer_),
            cache_, RowBits::independent),
        prompt_(random_tokens(std::max(options.prompt_tokens, options.prefill_tokens), options.model.vocab_size, 0)),
        sampler_({.temperature = 1.0f}, 0),
        draws_(backend, options.model.vocab_size, {}) {
    backend.name_layers(transformer_.parameters());
    const std::span<const std::int32_t> prompt(prompt_);
    for (std::int64_t i = 0; i < options.batch_size; ++i) {
      const int slot = static_cast<int>(i);
      const std::vector<Chunk> chunks = {{slot, prompt.first(static_cast<std::size_t>(options.prompt_tokens)), false}};
      pass_.run(chunks);
      chunks_.push_back({slot, prompt.first(1), true});
    }
    if (options.prefill_tokens > 0) {
      chunks_.push_back(
          {static_cast<int>(options.batch_size), prompt.first(static_cast<std::size_t>(options.prefill_tokens)), true});
    }
  }

  void step() override {
    for (const Chunk& chunk : chunks_) {
      cache_.truncate(chunk.slot, chunk.slot < options_.batch_size ? options_.prompt_tokens : 0);
    }
    const Tensor logits = pass_.run(chunks_);
    draws_.draw(std::vector<RowDraw>(static_cast<std::size_t>(logits.shape()[0]), {.sampler = &sampler_}), logits);
  }
  std::int64_t tokens_per_step() const override { return options_.batch_size + options_.prefill_tokens; }

 private:
  WorkloadOptions options_;
  Transformer transformer_;
  KvCache cache_;
  InferencePass pass_;
  std::vector<std::int32_t> prompt_;
  std::vector<Chunk> chunks_;
  Sampler sampler_;
  RowDraws draws_;
};

}  // namespace

std::string_view describe(WorkloadKind kind) {
  constexpr std::array<std::string_view, 4> names = {"a training step", "a decoding step", "the pass over a prompt",
                                                     "a step of serving"};
  return names[static_cast<std::size_t>(kind)];
}

std::vector<std::int32_t> random_tokens(std::int64_t count, std::int64_t vocab_size, std::uint32_t stream_number) {
  PhiloxStream stream(1, stream_number, 0);
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(count));
  for (std::int32_t& token : tokens) {
    token = static_cast<std::int32_t>(stream.below(static_cast<std::uint64_t>(vocab_size)));
  }
  return tokens;
}

std::unique_ptr<Workload> make_workload(TimedBackend& backend, const WorkloadOptions& options) {
  options.model.validate();
  if (options.kind == WorkloadKind::train) return std::make_unique<TrainingWorkload>(backend, options);
  if (options.prompt_tokens + 1 > options.model.max_positions) {
    fail(ErrorKind::usage, "--prompt-tokens is {}; the model's context holds {}, one of which the step adds.",
         options.prompt_tokens, options.model.max_positions);
  }
  if (options.kind == WorkloadKind::serve) {
    if (options.prefill_tokens > options.model.max_positions) {
      fail(ErrorKind::usage, "--prefill-tokens is {}; the model's context holds {}.", options.prefill_tokens,
           options.model.max_positions);
    }
    return std::make_unique<ServingWorkload>(backend, options);
  }
  return std::make_unique<GenerationWorkload>(backend, options);
}

}  // namespace mslt

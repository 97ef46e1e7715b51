// Training steps, decoding steps and prompts.
#include "profile/workload.h"

#include <array>
#include <numeric>
#include <span>
#include <vector>

#include "base/fail.h"
#include "base/philox.h"
#include "generate/decode_steps.h"
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
               options.batch_size * padded(options.prompt_tokens + most_ahead)),
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

  static std::int64_t padded(std::int64_t positions) {
    return (positions + KvCacheView::block_size - 1) / KvCacheView::block_size * KvCacheView::block_size;
  }
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

}  // namespace

std::string_view describe(WorkloadKind kind) {
  constexpr std::array<std::string_view, 3> names = {"a training step", "a decoding step", "the pass over a prompt"};
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
  return std::make_unique<GenerationWorkload>(backend, options);
}

}  // namespace mslt

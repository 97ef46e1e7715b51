// Planning and allocation of a TrainingPass, and its public operations.
#include "model/training_pass.h"

#include <algorithm>
#include <limits>
#include <memory>

#include "base/fail.h"
#include "base/overloaded.h"
#include "model/dry_run_backend.h"
#include "model/training_state.h"

namespace mslt {
namespace {

// Rows whose logits are computed at once: about as many as take the memory of four layers' feed-forward activations, or
// of one where memory is saved, but enough that products stay efficient; all chunks nearly equal, and of whole tiles of
// products. Each chunk reads and writes the gradient of lm_head.
std::int64_t rows_of_chunk(const Config& config, std::int64_t rows, Recompute recompute) {
  constexpr std::int64_t fewest = 256;
  constexpr std::int64_t tile = 128;
  const double layers = recompute == Recompute::none ? 4.0 : 1.0;
  const auto fitting =
      static_cast<std::int64_t>(layers * static_cast<double>(rows) * static_cast<double>(config.ffn_size) /
                                static_cast<double>(config.vocab_size));
  const std::int64_t largest = std::clamp(fitting, std::min(fewest, rows), rows);
  const std::int64_t chunks = (rows + largest - 1) / largest;
  const std::int64_t even = (rows + chunks - 1) / chunks;
  return std::min((even + tile - 1) / tile * tile, rows);
}

// Devices without 16-bit training still evaluate 16-bit parameters, on f32 activations.
DType activation_dtype(const Transformer& transformer) {
  return transformer.backend().device().trains_16_bit ? transformer.dtype() : DType::f32;
}

void check_shape(const Config& config, std::int64_t batch, std::int64_t seq_len) {
  if (batch < 1) fail(ErrorKind::usage, "The batch size is {}; it must be at least 1.", batch);
  if (seq_len < 1 || seq_len > config.max_positions) {
    fail(ErrorKind::usage, "The sequence length is {}; this model takes 1 to {} tokens.", seq_len,
         config.max_positions);
  }
  // Row and element counts of one activation stay far below 2^63 with this bound and Config's own.
  if (batch > std::numeric_limits<std::int32_t>::max() / seq_len) {
    fail(ErrorKind::usage, "A batch of {} sequences of {} tokens has more than 2^31 - 1 tokens.", batch, seq_len);
  }
}

}  // namespace

TrainingPass::State::State(Transformer& transformer, std::int64_t batch, std::int64_t seq_len, Mode mode,
                           Recompute recompute, DType dtype, const Arena& gradient_arena, const TensorMaker& make)
    : transformer(transformer),
      backend(transformer.backend()),
      config(transformer.config()),
      batch(batch),
      seq_len(seq_len),
      rows(batch * seq_len),
      mode(mode),
      stages(transformer.stages()),
      weights(bind_weights(config, stages, transformer.parameters(), transformer.quantised())),
      tensors(stages.size()) {
  if (gradient_arena) gradients = bind_weights(config, stages, gradient_arena);
  tokens = make("tokens", DType::i32, {batch, seq_len});
  targets = make("targets", DType::i32, {rows});
  losses = make("losses", DType::f32, {rows});
  logits = make("logits", dtype, {rows_of_chunk(config, rows, recompute), weights.padded_lm_head.values.shape()[0]});
  make_forward(dtype, make);
  if (mode != Mode::train) return;
  recomputed = recomputed_stages(config, stages, recompute);
  make_recomputed(dtype, make);
  make_backward(dtype, make);
}

void TrainingPass::State::make_forward(DType dtype, const TensorMaker& make) {
  embedded = make("embedded", dtype, {rows, config.channels});
  Tensor stream = embedded;
  for (std::size_t i = 0; i < stages.size(); ++i) make_stage(i, nullptr, stream, dtype, make);
}

// The planner lets what is made again share memory: it lives in the backward pass of its layer alone.
void TrainingPass::State::make_recomputed(DType dtype, const TensorMaker& make) {
  returned = tensors;
  const TensorMaker make_again = [&](std::string_view name, DType tensor_dtype, const Shape& shape) {
    return make(std::string(name) + ".again", tensor_dtype, shape);
  };
  for (const Recomputed& again : recomputed) {
    Tensor stream = again.first == 0 ? embedded : tensors[again.first - 1].out;
    for (std::size_t i = again.first; i <= again.last; ++i) make_stage(i, &again, stream, dtype, make_again);
    // What the backward pass has been through before read the result that was kept.
    if (again.before > again.last) returned[again.last + 1].in = returned[again.last].out;
  }
}

void TrainingPass::State::make_stage(std::size_t i, const Recomputed* again, Tensor& stream, DType dtype,
                                     const TensorMaker& make) {
  const bool train = mode == Mode::train;
  std::vector<StageTensors>& made = again != nullptr ? returned : tensors;
  const bool resumes = again != nullptr && again->first == i;
  const std::string& name = stages[i].name;
  const auto matrix = [&](const std::string& tensor, std::int64_t columns) {
    return make(tensor, dtype, {rows, columns});
  };
  const auto make_statistics = [&](const std::string& norm, StageTensors& t) {
    if (train && config.norm != NormType::rmsnorm) t.mean = make(norm + ".mean", DType::f32, {rows});
    if (train) t.rstd = make(norm + ".rstd", DType::f32, {rows});
  };
  const auto make_join = [&](const std::string& norm, const Join& join, StageTensors& t) {
    if (join.adds && !resumes) t.sum = matrix(norm + ".sum", config.channels);
    if (!join.normalizes) return;
    t.out = matrix(norm + ".out", config.channels);
    make_statistics(norm, t);
  };
  // Where the stage's result goes: a Join that normalises writes over what it reads.
  const auto result = [&](std::int64_t columns) {
    const auto* join = i + 1 < stages.size() ? stages[i + 1].as<Join>() : nullptr;
    const bool follows = join != nullptr && join->normalizes && (again == nullptr || i < again->last);
    if (!follows) return matrix(name, columns);
    make_join(stages[i + 1].name, *join, made[i + 1]);
    return made[i + 1].out;
  };

  StageTensors& t = made[i];
  t.weights = weights.stages[i];
  if (train) t.gradients = gradients.stages[i];
  t.in = i == 0 ? embedded : (resumes ? tensors : made)[i - 1].out;
  std::visit(Overloaded{[&](const Linear& linear) {
                          const Activate* const activate = fused_activation(stages, i);
                          if (activate == nullptr) {
                            t.out = result(linear.out);
                            return;
                          }
                          t.activation = activate->activation;
                          if (train) t.pre_activation = matrix(name, linear.out);
                          t.out = matrix(stages[i + 1].name, linear.out);
                        },
                        [&](const Activate& activate) {
                          if (resumes && !activate.gated()) t.in = tensors[i - 1].pre_activation;
                          t.out = resumes || activate.gated() ? matrix(name, activate.size) : t.in;
                        },
                        [&](const NormalizeHeads& heads) {
                          const auto make_part = [&](const std::string& part, const RowPieces& pieces,
                                                     const Tensor& weight) -> HeadNormTensors {
                            if (!train) return {};
                            const Shape raw = {rows * pieces.count, weight.elements()};
                            return {make(part + ".raw", dtype, raw), make(part + ".rstd", DType::f32, {raw[0]})};
                          };
                          t.queries = make_part(name, heads.queries, t.weights.weight);
                          t.keys = make_part(heads.key_name, heads.keys, t.weights.key_weight);
                          t.out = t.in;
                        },
                        [&](const Rotate&) { t.out = t.in; },
                        [&](const Attend& attend) {
                          t.out = matrix(name, attend.shape.query_columns());
                          if (!train) return;
                          t.log_sum_exp = make(name + ".log_sum_exp", DType::f32, {batch, attend.shape.heads, seq_len});
                        },
                        [&](const Normalize&) {
                          t.sum = t.in;
                          t.out = result(config.channels);
                          make_statistics(name, t);
                        },
                        [&](const Join& join) {
                          t.residual = stream;
                          const bool begun = join.adds && join.normalizes && !resumes;  // by the stage before
                          if (!begun) make_join(name, join, t);
                          if (!join.adds) t.sum = stream;
                          if (!join.normalizes) t.out = t.sum;
                          stream = join.stream_normalized ? t.out : t.sum;
                        }},
             stages[i].kind);
}

void TrainingPass::State::make_backward(DType dtype, const TensorMaker& make) {
  const Tensor& stream = final_hidden();
  Tensor d = stream;
  for (std::size_t i = stages.size(); i-- > 0;) {
    StageTensors& t = returned[i];
    const Stage* before = i > 0 ? &stages[i - 1] : nullptr;
    const auto make_din = [&] {
      return make("d." + before->name, dtype, t.in.shape());
    };
    t.dout = d;
    d = std::visit(Overloaded{[&](const Linear&) {
                                const auto* join = before != nullptr ? before->as<Join>() : nullptr;
                                t.accumulates = before == nullptr ||
                                                (join != nullptr && (!join->normalizes || join->stream_normalized));
                                if (before != nullptr && before->as<Activate>() != nullptr) {
                                  t.input_activation = returned[i - 2].activation;
                                  t.input_pre_activation = returned[i - 2].pre_activation;
                                }
                                return t.accumulates ? stream : make_din();
                              },
                              [&](const Activate& activate) { return activate.gated() ? t.in : d; },
                              [&](const NormalizeHeads&) { return d; }, [&](const Rotate&) { return d; },
                              [&](const Attend&) { return make_din(); },
                              [&](const Normalize&) { return config.dropout > 0 ? d : make_din(); },
                              [&](const Join& join) {
                                const bool goes_on = !join.stream_normalized && i + 1 < stages.size();
                                if (join.normalizes && goes_on) t.dstream = stream;
                                return stream;
                              }},
                   stages[i].kind);
    t.din = d;
    const auto* join = stages[i].as<Join>();
    if (join == nullptr || !join->adds) continue;
    if (config.dropout == 0) {
      // The norm's backward pass has its result at hand; the product would have to read it again.
      if (join->normalizes && before->as<Linear>() != nullptr) std::swap(t.dx_bias, returned[i - 1].gradients.bias);
      continue;
    }
    d = t.dbranch = make("d." + stages[i].name + ".branch", dtype, t.din.shape());
  }
}

// The activations' offsets, from a dry run of the passes that the mode allows.
MemoryPlanner TrainingPass::plan_activations(const Config& config, DType dtype, std::int64_t batch,
                                             std::int64_t seq_len, Mode mode, Recompute recompute) {
  DryRunBackend backend;
  Transformer transformer(backend, config, dtype);
  const ArenaLayout& layout = transformer.layout().arena;
  const Arena gradients = mode == Mode::train ? Arena(layout, backend.allocate(layout.bytes(), "gradients")) : Arena();
  State state(transformer, batch, seq_len, mode, recompute, dtype, gradients,
              [&](std::string_view name, DType tensor_dtype, const Shape& shape) {
                return backend.track(name, tensor_dtype, shape);
              });
  ArenaLayout scalars;
  scalars.add("loss_sum", DType::f32, {1});
  scalars.add("loss_scale", DType::f32, {1});
  scalars.add("random_state", DType::u32, {4});
  const Arena arena(scalars, backend.allocate(scalars.bytes(), "scalars"));
  const bool train = mode == Mode::train;
  const Tensor random_state = train && config.dropout > 0 ? arena.tensor("random_state") : Tensor();
  // The batch stays from set_batch on, for any number of passes over it.
  const auto touch_batch = [&] {
    backend.upload(state.tokens, {});
    backend.upload(state.targets, {});
  };
  touch_batch();
  state.forward(random_state);
  state.loss(arena.tensor("loss_sum"), train ? arena.tensor("loss_scale") : Tensor());
  if (train) {
    state.backward(0, state.stages.size(), random_state);
    state.backward_embeddings(random_state);
  }
  touch_batch();
  return MemoryPlanner(backend.lifetimes(), ArenaLayout::alignment);
}

MemoryPlan TrainingPass::plan(const Config& config, DType dtype, std::int64_t batch, std::int64_t seq_len, Mode mode,
                              Recompute recompute) {
  config.validate();
  check_shape(config, batch, seq_len);
  const std::size_t parameters = parameter_layout(config, dtype).arena.bytes();
  return {parameters, mode == Mode::train ? parameters : 0,
          plan_activations(config, dtype, batch, seq_len, mode, recompute).bytes()};
}

TrainingPass::TrainingPass(Transformer& transformer, std::int64_t batch, std::int64_t seq_len, Mode mode,
                           Recompute recompute, std::size_t under_way,
                           const std::optional<ArenaLayout>& gradient_layout)
    : transformer_(transformer) {
  const Config& config = transformer.config();
  Backend& backend = transformer.backend();
  check_shape(config, batch, seq_len);
  if (mode == Mode::train && transformer.dtype() != DType::f32 && !backend.device().trains_16_bit) {
    fail(ErrorKind::usage, "The device {} trains in f32 only, not in {}.", backend.device().backend,
         name_of(transformer.dtype()));
  }
  if (mode == Mode::train && transformer.packs()) {
    fail(ErrorKind::usage,
         "A model whose matrices stay as its file has them, packed or transposed, cannot be trained; load a copy.");
  }
  const DType dtype = activation_dtype(transformer);
  const MemoryPlanner planner = plan_activations(config, dtype, batch, seq_len, mode, recompute);
  const ArenaLayout& layout = gradient_layout ? *gradient_layout : transformer.layout().arena;
  if (mode == Mode::train) gradients_ = Arena(layout, backend.allocate(layout.bytes(), "gradients"));
  activations_ = backend.allocate(planner.bytes(), "activations");
  memory_ = {transformer.parameters().buffer().size(), gradients_ ? gradients_.buffer().size() : 0,
             activations_->size()};
  state_ = std::make_unique<State>(transformer, batch, seq_len, mode, recompute, dtype, gradients_,
                                   [&](std::string_view name, DType tensor_dtype, const Shape& shape) {
                                     return Tensor(*activations_, planner.offset(name), tensor_dtype, shape);
                                   });
  tokens_ = backend.upload_slot(state_->tokens, under_way, "tokens of a batch");
  targets_ = backend.upload_slot(state_->targets, under_way, "targets of a batch");
}

TrainingPass::~TrainingPass() = default;

void TrainingPass::zero_gradients() {
  if (gradients_) transformer_.backend().run(Fill{.out = gradients_.whole(), .value = 0.0f});
}

void TrainingPass::set_batch(std::span<const std::int32_t> tokens, std::span<const std::int32_t> targets) {
  const auto rows = static_cast<std::size_t>(state_->rows);
  if (tokens.size() != rows || targets.size() != rows) {
    fail(ErrorKind::input, "A batch of {} sequences of {} tokens needs {} tokens and targets; there are {} and {}.",
         state_->batch, state_->seq_len, rows, tokens.size(), targets.size());
  }
  const std::int64_t vocab_size = state_->config.vocab_size;
  for (std::size_t i = 0; i < rows; ++i) {
    if (tokens[i] < 0 || tokens[i] >= vocab_size) {
      fail(ErrorKind::input, "Token {} of the batch is {}; this model's ids are 0 to {}.", i, tokens[i],
           vocab_size - 1);
    }
    if (targets[i] >= vocab_size) {
      fail(ErrorKind::input, "Target {} of the batch is {}; this model's ids are 0 to {}, and below 0 is padding.", i,
           targets[i], vocab_size - 1);
    }
  }
  tokens_->write(std::as_bytes(tokens));
  targets_->write(std::as_bytes(targets));
}

void TrainingPass::forward_backward(const Tensor& loss_sum, const Tensor& loss_scale, const Tensor& random_state) {
  const PassPart whole = {.last_stage = state_->stages.size(), .begins = true, .ends = true};
  forward_backward(whole, loss_sum, loss_scale, random_state);
}

void TrainingPass::forward_backward(const PassPart& part, const Tensor& loss_sum, const Tensor& loss_scale,
                                    const Tensor& random_state) {
  if (state_->mode != Mode::train) fail(ErrorKind::usage, "A pass for evaluation has no gradients.");
  if (!loss_scale) fail(ErrorKind::input, "forward_backward needs loss_scale, f32 [1].");
  const bool drops = state_->config.dropout > 0;
  if (drops && !random_state) {
    fail(ErrorKind::input, "forward_backward needs random_state, u32 [4]: the model's dropout is {}.",
         state_->config.dropout);
  }
  const Tensor used_state = drops ? random_state : Tensor();
  if (part.begins) {
    state_->forward(used_state);
    state_->loss(loss_sum, loss_scale);
  }
  state_->backward(part.first_stage, part.last_stage, used_state);
  if (part.ends) state_->backward_embeddings(used_state);
}

void TrainingPass::forward_loss(const Tensor& loss_sum) {
  state_->forward({});
  state_->loss(loss_sum, {});
}

Tensor TrainingPass::forward_logits() {
  const Config& config = state_->config;
  Backend& backend = state_->backend;
  const DType dtype = state_->logits.dtype();
  const Shape shape = {state_->rows, config.vocab_size};
  if (!logits_) {
    logits_ = backend.allocate(static_cast<std::size_t>(shape.elements()) * size_of(dtype), "logits of a batch");
  }
  const Tensor logits(*logits_, 0, dtype, shape);
  state_->forward({});
  backend.run(MatmulForward{.out = logits, .in = state_->final_hidden(), .weight = state_->weights.lm_head});
  state_->cap(logits);
  return logits;
}

}  // namespace mslt

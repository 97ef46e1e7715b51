// Planning and allocation of a TrainingPass, and its public operations.
#include "model/training_pass.h"

#include <algorithm>
#include <limits>
#include <memory>

#include "base/fail.h"
#include "model/activation_of.h"
#include "model/dry_run_backend.h"
#include "model/training_state.h"

namespace mslt {
namespace {

// Rows whose logits are computed at once: about as many as take the memory of one layer's feed-forward activations, but
// enough that products stay efficient; all chunks nearly equal, and of whole tiles of products.
std::int64_t rows_of_chunk(const Config& config, std::int64_t rows) {
  constexpr std::int64_t fewest = 256;
  constexpr std::int64_t tile = 128;
  const auto fitting = static_cast<std::int64_t>(static_cast<double>(rows) * static_cast<double>(config.ffn_size) /
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

TrainingPass::State::State(Transformer& transformer, std::int64_t batch, std::int64_t seq_len, Mode mode, DType dtype,
                           const Arena& gradient_arena, const TensorMaker& make)
    : transformer(transformer),
      backend(transformer.backend()),
      config(transformer.config()),
      batch(batch),
      seq_len(seq_len),
      rows(batch * seq_len),
      mode(mode),
      attention_shape(transformer.attention_shape()),
      norm_kind(transformer.norm_kind()),
      activation(activation_of(config)),
      weights(bind_weights(config, transformer.parameters())) {
  if (gradient_arena) gradients = bind_weights(config, gradient_arena);
  tokens = make("tokens", DType::i32, {batch, seq_len});
  targets = make("targets", DType::i32, {rows});
  losses = make("losses", DType::f32, {rows});
  logits = make("logits", dtype, {rows_of_chunk(config, rows), weights.padded_lm_head.shape()[0]});
  make_forward(dtype, make);
  if (mode == Mode::train) make_backward(dtype, make);
}

void TrainingPass::State::make_forward(DType dtype, const TensorMaker& make) {
  const bool train = mode == Mode::train;
  const std::int64_t attention_width = config.heads * config.head_size;
  const std::int64_t qkv_width = attention_width + 2 * config.kv_heads * config.head_size;
  const auto make_norm = [&](const std::string& name, const Tensor& sum) {
    NormActivations norm;
    norm.sum = sum ? sum : make(name + ".sum", dtype, {rows, config.channels});
    norm.out = make(name + ".out", dtype, {rows, config.channels});
    if (train && !norm_kind.rms) norm.mean = make(name + ".mean", DType::f32, {rows});
    if (train) norm.rstd = make(name + ".rstd", DType::f32, {rows});
    return norm;
  };
  embedded = make("embedded", dtype, {rows, config.channels});
  for (std::int64_t i = 0; i < config.layers; ++i) {
    LayerActivations layer;
    layer.attention_norm = make_norm(layer_name(i, "attention_norm"), i == 0 && pre_norm() ? embedded : Tensor());
    layer.qkv = make(layer_name(i, "qkv"), dtype, {batch, seq_len, qkv_width});
    layer.attention = make(layer_name(i, "attention"), dtype, {batch, seq_len, attention_width});
    if (train) layer.log_sum_exp = make(layer_name(i, "log_sum_exp"), DType::f32, {batch, config.heads, seq_len});
    layer.ffn_norm = make_norm(layer_name(i, "ffn_norm"), {});
    if (activation == Activation::swiglu) {
      layer.ffn_up = make(layer_name(i, "ffn_up"), dtype, {rows, 2 * config.ffn_size});
    } else if (train) {
      layer.ffn_up = make(layer_name(i, "ffn_up"), dtype, {rows, config.ffn_size});
    }
    layer.ffn_hidden = make(layer_name(i, "ffn_hidden"), dtype, {rows, config.ffn_size});
    layers.push_back(layer);
  }
  if (pre_norm()) final_norm = make_norm("final_norm", {});
}

void TrainingPass::State::make_backward(DType dtype, const TensorMaker& make) {
  const Shape residual_shape = {rows, config.channels};
  for (std::int64_t i = 0; i < config.layers; ++i) {
    const LayerActivations& layer = layers[static_cast<std::size_t>(i)];
    LayerGradients d;
    const auto make_gradient = [&](std::string_view name, const Shape& shape) {
      return make("d." + layer_name(i, name), dtype, shape);
    };
    if (config.dropout > 0) d.ffn_branch = make_gradient("ffn_branch", residual_shape);
    if (activation == Activation::swiglu) {
      d.ffn_hidden = make_gradient("ffn_hidden", layer.ffn_hidden.shape());
    } else {
      d.ffn_up = make_gradient("ffn_up", layer.ffn_up.shape());
    }
    if (pre_norm()) d.ffn_in = make_gradient("ffn_in", residual_shape);
    if (config.dropout > 0) d.attention_branch = make_gradient("attention_branch", residual_shape);
    d.attention = make_gradient("attention", layer.attention.shape());
    d.qkv = make_gradient("qkv", layer.qkv.shape());
    if (pre_norm()) d.attention_in = make_gradient("attention_in", residual_shape);
    layer_gradients.push_back(d);
  }
}

// The activations' offsets, from a dry run of the passes that the mode allows.
MemoryPlanner TrainingPass::plan_activations(const Config& config, DType dtype, std::int64_t batch,
                                             std::int64_t seq_len, Mode mode) {
  DryRunBackend backend;
  Transformer transformer(backend, config, dtype);
  const ArenaLayout& layout = transformer.layout().arena;
  const Arena gradients = mode == Mode::train ? Arena(layout, backend.allocate(layout.bytes(), "gradients")) : Arena();
  State state(transformer, batch, seq_len, mode, dtype, gradients,
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
  if (train) state.backward(random_state);
  touch_batch();
  return MemoryPlanner(backend.lifetimes(), ArenaLayout::alignment);
}

MemoryPlan TrainingPass::plan(const Config& config, DType dtype, std::int64_t batch, std::int64_t seq_len, Mode mode) {
  config.validate();
  check_shape(config, batch, seq_len);
  const std::size_t parameters = parameter_layout(config, dtype).arena.bytes();
  return {parameters, mode == Mode::train ? parameters : 0,
          plan_activations(config, dtype, batch, seq_len, mode).bytes()};
}

TrainingPass::TrainingPass(Transformer& transformer, std::int64_t batch, std::int64_t seq_len, Mode mode)
    : transformer_(transformer) {
  const Config& config = transformer.config();
  Backend& backend = transformer.backend();
  check_shape(config, batch, seq_len);
  if (mode == Mode::train && transformer.dtype() != DType::f32 && !backend.device().trains_16_bit) {
    fail(ErrorKind::usage, "The device {} trains in f32 only, not in {}.", backend.device().backend,
         name_of(transformer.dtype()));
  }
  const DType dtype = activation_dtype(transformer);
  const MemoryPlanner planner = plan_activations(config, dtype, batch, seq_len, mode);
  const ArenaLayout& layout = transformer.layout().arena;
  if (mode == Mode::train) gradients_ = Arena(layout, backend.allocate(layout.bytes(), "gradients"));
  activations_ = backend.allocate(planner.bytes(), "activations");
  memory_ = {transformer.parameters().buffer().size(), gradients_ ? gradients_.buffer().size() : 0,
             activations_->size()};
  state_ = std::make_unique<State>(transformer, batch, seq_len, mode, dtype, gradients_,
                                   [&](std::string_view name, DType tensor_dtype, const Shape& shape) {
                                     return Tensor(*activations_, planner.offset(name), tensor_dtype, shape);
                                   });
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
  state_->backend.upload(state_->tokens, std::as_bytes(tokens));
  state_->backend.upload(state_->targets, std::as_bytes(targets));
}

void TrainingPass::forward_backward(const Tensor& loss_sum, const Tensor& loss_scale, const Tensor& random_state) {
  if (state_->mode != Mode::train) fail(ErrorKind::usage, "A pass for evaluation has no gradients.");
  if (!loss_scale) fail(ErrorKind::input, "forward_backward needs loss_scale, f32 [1].");
  const bool drops = state_->config.dropout > 0;
  if (drops && !random_state) {
    fail(ErrorKind::input, "forward_backward needs random_state, u32 [4]: the model's dropout is {}.",
         state_->config.dropout);
  }
  const Tensor used_state = drops ? random_state : Tensor();
  state_->forward(used_state);
  state_->loss(loss_sum, loss_scale);
  state_->backward(used_state);
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
  return logits;
}

}  // namespace mslt

// Prefill and decoding over the KV cache.
#include "model/inference_pass.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "base/fail.h"
#include "model/weights.h"

namespace mslt {
namespace {

// More rows than this are run in several batches, which bounds the activations.
constexpr std::int64_t max_batch_rows = 4096;

// Sequences that run together: `members` index the arguments of forward.
struct Batch {
  std::vector<std::size_t> members;
  std::int64_t width = 0;  // tokens of the longest
  bool continued = false;  // over a cache that holds something already
};

// What the device is told of a batch.
struct BatchInput {
  Tensor ids;           // i32 [members, width]
  Tensor counts;        // i32 [members]: tokens of each, absent where all have `width`
  Positions positions;  // of each one's first token
  Tensor last;          // i32 [members]: the rows of their last tokens; absent where width is 1
};

// Columns of a stage's result that is neither x nor the stream, or 0.
std::int64_t own_columns(const Stage& stage) {
  if (const auto* linear = stage.as<Linear>()) return linear->out;
  if (const auto* activate = stage.as<Activate>()) return activate->size;
  if (const auto* attend = stage.as<Attend>()) return attend->shape.query_columns();
  return 0;
}

// The memory of a stage's result: one for all layers, and for all branches.
std::string result_name(const Stage& stage) {
  const std::string_view role = stage.role();
  return std::string(role == "attention_out" || role == "ffn_down" ? "branch" : role);
}

}  // namespace

struct InferencePass::State {
  State(Transformer& transformer, KvCache& cache);

  Transformer& transformer;
  Backend& backend;
  KvCache& cache;
  const Config& config;
  const std::vector<Stage>& stages;
  DType dtype;
  ModelWeights weights;
  // Room for `capacity` rows of every activation, for `sequences` sequences where that is what a tensor counts.
  std::int64_t capacity = 0;
  std::int64_t sequences = 0;
  Arena activations;
  Arena outputs;

  static void check_slots(std::span<const int> slots);
  void check(std::span<const int> slots, std::span<const std::span<const std::int32_t>> tokens) const;
  // `count(i)` more tokens in slots[i].
  template <class Count>
  void reserve(std::span<const int> slots, const Count& count);
  std::vector<Batch> divide(std::span<const int> slots, std::span<const std::span<const std::int32_t>> tokens) const;
  void make_room(std::int64_t rows, std::int64_t sequence_count);
  Tensor rows_of(std::string_view name, std::int64_t rows) const { return activations.tensor(name).slice(0, rows); }
  Tensor upload(const Arena& arena, std::string_view name, std::span<const std::int32_t> values);
  void norm(const Tensor& out, const Tensor& residual, const Tensor& x, const StageWeights& weight);
  BatchInput upload_batch(const Batch& batch, std::span<const int> slots,
                          std::span<const std::span<const std::int32_t>> tokens);
  Positions upload_positions(std::span<const int> slots);
  void run_batch(const BatchInput& input, std::span<const int> slots, bool continued, const Tensor& hidden);
  Tensor in_order(std::span<const Batch> batches, std::int64_t count);
  Tensor output_head(const Tensor& hidden);
};

InferencePass::State::State(Transformer& transformer, KvCache& cache)
    : transformer(transformer),
      backend(transformer.backend()),
      cache(cache),
      config(transformer.config()),
      stages(transformer.stages()),
      dtype(backend.device().trains_16_bit ? transformer.dtype() : DType::f32),
      weights(bind_weights(stages, transformer.parameters())) {}

void InferencePass::State::check_slots(std::span<const int> slots) {
  std::vector<int> sorted(slots.begin(), slots.end());
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) fail(ErrorKind::input, "Slot {} is given twice in one pass.", *twice);
}

void InferencePass::State::check(std::span<const int> slots,
                                 std::span<const std::span<const std::int32_t>> tokens) const {
  if (slots.empty() || slots.size() != tokens.size()) {
    fail(ErrorKind::input, "A pass needs as many token sequences as slots, at least 1; there are {} for {}.",
         tokens.size(), slots.size());
  }
  check_slots(slots);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (tokens[i].empty()) fail(ErrorKind::input, "There are no tokens for slot {}.", slots[i]);
    for (const std::int32_t id : tokens[i]) {
      if (id >= 0 && id < config.vocab_size) continue;
      fail(ErrorKind::input, "Token {} for slot {} is outside the vocabulary; this model's ids are 0 to {}.", id,
           slots[i], config.vocab_size - 1);
    }
  }
}

template <class Count>
void InferencePass::State::reserve(std::span<const int> slots, const Count& count) {
  std::size_t done = 0;
  try {
    for (; done < slots.size(); ++done) cache.reserve(slots[done], count(done));
  } catch (...) {
    for (std::size_t i = 0; i < done; ++i) cache.truncate(slots[i], cache.length(slots[i]));
    throw;
  }
}

// Sequences that continue a cache run beside those of the same length only, since a padded row would look past its
// blocks. Fresh prompts may be padded on the right, where causality hides the padding, by a third of the rows at most.
std::vector<Batch> InferencePass::State::divide(std::span<const int> slots,
                                                std::span<const std::span<const std::int32_t>> tokens) const {
  const auto continued = [&](std::size_t i) {
    return cache.length(slots[i]) > 0;
  };
  const auto length = [&](std::size_t i) {
    return static_cast<std::int64_t>(tokens[i].size());
  };
  std::vector<std::size_t> order(slots.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    if (continued(a) != continued(b)) return continued(a);
    return length(a) != length(b) ? length(a) > length(b) : a < b;
  });
  std::vector<Batch> batches;
  std::int64_t tokens_in_batch = 0;
  for (const std::size_t i : order) {
    const auto rows = [](const Batch& batch) {
      return static_cast<std::int64_t>(batch.members.size() + 1) * batch.width;
    };
    const bool fits = !batches.empty() && batches.back().continued == continued(i) &&
                      rows(batches.back()) <= max_batch_rows &&
                      (continued(i) ? batches.back().width == length(i)
                                    : 2 * rows(batches.back()) <= 3 * (tokens_in_batch + length(i)));
    if (!fits) {
      batches.push_back({{}, length(i), continued(i)});
      tokens_in_batch = 0;
    }
    batches.back().members.push_back(i);
    tokens_in_batch += length(i);
  }
  return batches;
}

void InferencePass::State::make_room(std::int64_t rows, std::int64_t sequence_count) {
  if (rows > capacity) {
    ArenaLayout layout;
    layout.add("tokens", DType::i32, {rows});
    layout.add("first", DType::i32, {rows});
    layout.add("counts", DType::i32, {rows});
    layout.add("last_rows", DType::i32, {rows});
    for (const char* name : {"residual", "tail_residual", "x", "branch"})
      layout.add(name, dtype, {rows, config.channels});
    // Layers of one width share what they make.
    for (const Stage& stage : stages) {
      if (const auto* heads = stage.as<NormalizeHeads>(); heads != nullptr && !layout.contains("queries")) {
        for (const char* name : {"queries", "normal_queries"})
          layout.add(name, dtype, {rows, heads->shape.query_columns()});
        for (const char* name : {"keys", "normal_keys", "values"})
          layout.add(name, dtype, {rows, heads->shape.key_columns()});
      }
      const std::int64_t columns = own_columns(stage);
      if (columns == 0 || layout.contains(result_name(stage))) continue;
      layout.add(result_name(stage), dtype, {rows, columns});
      if (stage.as<Attend>() != nullptr) layout.add("tail_" + result_name(stage), dtype, {rows, columns});
    }
    backend.wait();
    activations = Arena();
    activations = Arena(layout, backend.allocate(layout.bytes(), "activations"));
    capacity = rows;
  }
  if (sequence_count > sequences) {
    ArenaLayout layout;
    layout.add("order", DType::i32, {sequence_count});
    layout.add("hidden", dtype, {sequence_count, config.channels});
    layout.add("ordered_hidden", dtype, {sequence_count, config.channels});
    // As wide as fast products want them.
    const Shape logits = {sequence_count, weights.padded_lm_head.shape()[0]};
    layout.add("logits", DType::f32, logits);
    if (dtype != DType::f32) layout.add("stored_logits", dtype, logits);
    backend.wait();
    outputs = Arena();
    outputs = Arena(layout, backend.allocate(layout.bytes(), "logits"));
    sequences = sequence_count;
  }
}

Tensor InferencePass::State::upload(const Arena& arena, std::string_view name, std::span<const std::int32_t> values) {
  const Tensor tensor = arena.tensor(name).slice(0, static_cast<std::int64_t>(values.size()));
  backend.upload(tensor, std::as_bytes(values));
  return tensor;
}

// out = norm(residual), where residual += x if there is an x.
void InferencePass::State::norm(const Tensor& out, const Tensor& residual, const Tensor& x,
                                const StageWeights& weight) {
  backend.run(ResidualNormForward{.out = out,
                                  .sum = x ? residual : Tensor(),
                                  .residual = residual,
                                  .x = x,
                                  .weight = weight.weight,
                                  .bias = weight.bias,
                                  .kind = norm_kind(config)});
}

// Where the next tokens of these slots stand.
Positions InferencePass::State::upload_positions(std::span<const int> slots) {
  std::vector<std::int32_t> firsts;
  firsts.reserve(slots.size());
  for (const int slot : slots) firsts.push_back(static_cast<std::int32_t>(cache.length(slot)));
  return {upload(activations, "first", firsts)};
}

BatchInput InferencePass::State::upload_batch(const Batch& batch, std::span<const int> slots,
                                              std::span<const std::span<const std::int32_t>> tokens) {
  std::vector<std::int32_t> padded;
  std::vector<std::int32_t> counts;
  std::vector<std::int32_t> last_rows;
  for (const std::size_t member : batch.members) {
    const auto length = static_cast<std::int64_t>(tokens[member].size());
    last_rows.push_back(static_cast<std::int32_t>(static_cast<std::int64_t>(padded.size()) + length - 1));
    padded.insert(padded.end(), tokens[member].begin(), tokens[member].end());
    padded.resize(padded.size() + static_cast<std::size_t>(batch.width - length));
    counts.push_back(static_cast<std::int32_t>(length));
  }
  const auto members = static_cast<std::int64_t>(batch.members.size());
  const bool is_padded = std::any_of(counts.begin(), counts.end(), [&](auto count) { return count < batch.width; });
  BatchInput input;
  input.ids = upload(activations, "tokens", padded).reshape({members, batch.width});
  if (is_padded) input.counts = upload(activations, "counts", counts);
  input.positions = upload_positions(slots);
  if (batch.width > 1) input.last = upload(activations, "last_rows", last_rows);
  return input;
}

// Writes the last hidden state of each slot's sequence to a row of `hidden` and fills the cache.
void InferencePass::State::run_batch(const BatchInput& input, std::span<const int> slots, bool continued,
                                     const Tensor& hidden) {
  const std::int64_t count = input.ids.shape()[0];
  const std::int64_t width = input.ids.shape()[1];
  const std::int64_t rows = count * width;
  Tensor stream = rows_of("residual", rows);
  const Tensor& table = transformer.position_table() ? transformer.position_table() : weights.position_embedding;
  backend.run(EmbeddingForward{.out = stream.reshape({count, width, config.channels}),
                               .tokens = input.ids,
                               .token_weight = weights.token_embedding,
                               .position_weight = table,
                               .positions = input.positions,
                               .scale = config.embedding_scale});
  // Rows as sequences.
  const auto sequences = [&](const Tensor& matrix) {
    return matrix.reshape({count, width, matrix.shape()[-1]});
  };
  Tensor spare = rows_of("x", rows);
  Tensor x = stream;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const Stage& stage = stages[i];
    const StageWeights& weight = weights.stages[i];
    const auto result = [&] {
      return rows_of(result_name(stage), x.shape()[0]);
    };
    std::visit(
        Overloaded{[&](const Linear&) {
                     const auto* activate = stages[i + 1].as<Activate>();
                     const bool activates = activate != nullptr && !activate->gated();
                     const Tensor out = activates ? rows_of(result_name(stages[i + 1]), x.shape()[0]) : result();
                     backend.run(MatmulForward{.out = out,
                                               .in = x,
                                               .weight = weight.weight,
                                               .bias = weight.bias,
                                               .activation = activates ? activate->activation : Activation::none});
                     x = out;
                   },
                   [&](const Activate& activate) {
                     if (!activate.gated()) return;
                     const Tensor out = result();
                     backend.run(ActivationForward{.activation = activate.activation, .out = out, .in = x});
                     x = out;
                   },
                   [&](const NormalizeHeads& heads) {
                     const auto part = [&](const char* name) {
                       return rows_of(name, x.shape()[0]);
                     };
                     const Tensor v = part("values");
                     backend.run(SplitQkv{.q = sequences(part("queries")),
                                          .k = sequences(part("keys")),
                                          .v = sequences(v),
                                          .qkv = sequences(x),
                                          .shape = heads.shape});
                     const auto normalise = [&](const Tensor& out, const Tensor& in, std::int64_t pieces,
                                                const Tensor& gain) {
                       const Shape shape = {in.shape()[0] * pieces, in.shape()[1] / pieces};
                       backend.run(ResidualNormForward{.out = out.reshape(shape),
                                                       .residual = in.reshape(shape),
                                                       .weight = gain,
                                                       .kind = head_norm_kind(config)});
                       return sequences(out);
                     };
                     backend.run(JoinQkv{
                         .qkv = sequences(x),
                         .q = normalise(part("normal_queries"), part("queries"), heads.query_pieces, weight.weight),
                         .k = normalise(part("normal_keys"), part("keys"), heads.key_pieces, weight.key_weight),
                         .v = sequences(v),
                         .shape = heads.shape});
                   },
                   [&](const Rotate& rotate) {
                     backend.run(Rope{.qkv = sequences(x),
                                      .inverse_frequencies = transformer.inverse_frequencies(),
                                      .positions = input.positions,
                                      .shape = rotate.shape});
                   },
                   [&](const Attend& attend) {
                     const Tensor out = result();
                     const KvCacheView view = cache.view(stage.layer, slots);
                     backend.run(KvCacheAppend{.cache = view,
                                               .qkv = sequences(x),
                                               .positions = input.positions,
                                               .counts = input.counts,
                                               .shape = attend.shape});
                     if (continued) {
                       backend.run(AttentionDecode{.out = sequences(out),
                                                   .qkv = sequences(x),
                                                   .cache = view,
                                                   .positions = input.positions,
                                                   .shape = attend.shape});
                     } else {
                       backend.run(AttentionForward{.out = sequences(out), .qkv = sequences(x), .shape = attend.shape});
                     }
                     x = out;
                     if (stage.layer + 1 < config.layers || !input.last) return;
                     // Nothing but each sequence's last row is needed from here on.
                     const auto tail_of = [&](const std::string& name, const Tensor& all) {
                       const Tensor tail = rows_of("tail_" + name, count);
                       backend.run(GatherRows{.out = tail, .in = all, .indices = input.last});
                       return tail;
                     };
                     x = tail_of(result_name(stage), x);
                     stream = tail_of("residual", stream);
                     spare = rows_of("x", count);
                   },
                   [&](const Normalize&) {
                     norm(spare, x, {}, weight);
                     x = spare;
                   },
                   [&](const Join& join) {
                     if (!join.normalizes) {
                       backend.run(Add{.out = stream, .in = x});
                       x = stream;
                       return;
                     }
                     const Tensor out = i + 1 == stages.size() ? hidden : spare;
                     norm(out, stream, join.adds ? x : Tensor(), weight);
                     if (join.stream_normalized) std::swap(stream, spare);
                     x = out;
                   }},
        stage.kind);
  }
}

// The batches' hidden states in the order of forward's arguments.
Tensor InferencePass::State::in_order(std::span<const Batch> batches, std::int64_t count) {
  std::vector<std::int32_t> row_of_argument(static_cast<std::size_t>(count));
  std::int32_t row = 0;
  for (const Batch& batch : batches) {
    for (const std::size_t member : batch.members) row_of_argument[member] = row++;
  }
  const Tensor hidden = outputs.tensor("hidden").slice(0, count);
  if (std::is_sorted(row_of_argument.begin(), row_of_argument.end())) return hidden;
  const Tensor order = upload(outputs, "order", row_of_argument);
  const Tensor ordered = outputs.tensor("ordered_hidden").slice(0, count);
  backend.run(GatherRows{.out = ordered, .in = hidden, .indices = order});
  return ordered;
}

Tensor InferencePass::State::output_head(const Tensor& hidden) {
  const std::int64_t count = hidden.shape()[0];
  const Tensor logits = outputs.tensor("logits").slice(0, count);
  if (dtype == DType::f32) {
    backend.run(MatmulForward{.out = logits, .in = hidden, .weight = weights.padded_lm_head});
  } else {
    const Tensor stored = outputs.tensor("stored_logits").slice(0, count);
    backend.run(MatmulForward{.out = stored, .in = hidden, .weight = weights.padded_lm_head});
    backend.run(Cast{.out = logits, .in = stored});
  }
  return logits;
}

InferencePass::InferencePass(Transformer& transformer, KvCache& cache)
    : state_(std::make_unique<State>(transformer, cache)) {
  if (!cache.fits(transformer.config())) {
    fail(ErrorKind::usage, "The KV cache was made for a model of other layers, key/value heads or positions.");
  }
}

InferencePass::~InferencePass() = default;

Tensor InferencePass::forward(std::span<const int> slots, std::span<const std::span<const std::int32_t>> tokens) {
  State& state = *state_;
  state.check(slots, tokens);
  state.reserve(slots, [&](std::size_t i) { return static_cast<std::int64_t>(tokens[i].size()); });
  const std::vector<Batch> batches = state.divide(slots, tokens);
  const auto count = static_cast<std::int64_t>(slots.size());
  std::int64_t rows = 0;
  for (const Batch& batch : batches) {
    rows = std::max(rows, static_cast<std::int64_t>(batch.members.size()) * batch.width);
  }
  state.make_room(rows, count);
  std::int64_t done = 0;
  for (const Batch& batch : batches) {
    const auto members = static_cast<std::int64_t>(batch.members.size());
    std::vector<int> batch_slots;
    for (const std::size_t member : batch.members) batch_slots.push_back(slots[member]);
    const BatchInput input = state.upload_batch(batch, batch_slots, tokens);
    state.run_batch(input, batch_slots, batch.continued, state.outputs.tensor("hidden").slice(done, members));
    done += members;
  }
  for (std::size_t i = 0; i < slots.size(); ++i) {
    state.cache.advance(slots[i], static_cast<std::int64_t>(tokens[i].size()));
  }
  return state.output_head(state.in_order(batches, count));
}

Tensor InferencePass::step(std::span<const int> slots, const Tensor& tokens) {
  State& state = *state_;
  const auto count = static_cast<std::int64_t>(slots.size());
  if (slots.empty() || !tokens || tokens.dtype() != DType::i32 || tokens.shape() != Shape{count}) {
    fail(ErrorKind::input, "A step of {} slots needs tokens i32 [{}], and at least 1 slot; they are {}.", count, count,
         tokens ? tokens.describe() : "absent");
  }
  State::check_slots(slots);
  state.reserve(slots, [](std::size_t) { return 1; });
  state.make_room(count, count);
  const BatchInput input = {tokens.reshape({count, 1}), {}, state.upload_positions(slots), {}};
  const Tensor hidden = state.outputs.tensor("hidden").slice(0, count);
  state.run_batch(input, slots, true, hidden);
  for (const int slot : slots) state.cache.advance(slot, 1);
  return state.output_head(hidden);
}

}  // namespace mslt

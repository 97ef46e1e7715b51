// Prefill and decoding over the KV cache.
#include "model/inference_pass.h"

#include <algorithm>
#include <map>
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

  void check(std::span<const int> slots, std::span<const std::span<const std::int32_t>> tokens) const;
  void reserve(std::span<const int> slots, std::span<const std::span<const std::int32_t>> tokens);
  std::vector<Batch> divide(std::span<const int> slots, std::span<const std::span<const std::int32_t>> tokens) const;
  void make_room(std::int64_t rows, std::int64_t sequence_count);
  Tensor rows_of(std::string_view name, std::int64_t rows) const { return activations.tensor(name).slice(0, rows); }
  Tensor upload(const Arena& arena, std::string_view name, std::span<const std::int32_t> values);
  void norm(const Tensor& out, const Tensor& residual, const Tensor& x, const StageWeights& weight);
  // What a batch's operations read: everything that changes from one batch of its shape to the next is uploaded.
  struct Uploaded {
    Tensor ids;     // i32 [sequences, width]
    Tensor counts;  // i32 [sequences]
    Positions positions;
    Tensor last;  // i32 [sequences]: the row of each one's last token
    std::vector<int> slots;
    bool continued = false;
  };
  Uploaded upload_batch(const Batch& batch, std::span<const int> slots,
                        std::span<const std::span<const std::int32_t>> tokens);
  void run_batch(const Uploaded& batch, const Tensor& hidden);
  void advance(std::span<const int> slots, std::span<const std::span<const std::int32_t>> tokens);
  // One more token for each sequence of the only batch.
  Tensor decode(const Batch& batch, std::span<const int> slots, std::span<const std::span<const std::int32_t>> tokens);
  // Its operations, which are the same every time, by the number of sequences.
  std::map<std::int64_t, std::unique_ptr<Recording>> decode_steps;
  Tensor output_head(std::span<const Batch> batches, std::int64_t count);
};

InferencePass::State::State(Transformer& transformer, KvCache& cache)
    : transformer(transformer),
      backend(transformer.backend()),
      cache(cache),
      config(transformer.config()),
      stages(transformer.stages()),
      dtype(backend.device().trains_16_bit ? transformer.dtype() : DType::f32),
      weights(bind_weights(stages, transformer.parameters(), transformer.quantised())) {}

void InferencePass::State::check(std::span<const int> slots,
                                 std::span<const std::span<const std::int32_t>> tokens) const {
  if (slots.empty() || slots.size() != tokens.size()) {
    fail(ErrorKind::input, "A pass needs as many token sequences as slots, at least 1; there are {} for {}.",
         tokens.size(), slots.size());
  }
  std::vector<int> sorted(slots.begin(), slots.end());
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) fail(ErrorKind::input, "Slot {} is given twice in one pass.", *twice);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (tokens[i].empty()) fail(ErrorKind::input, "There are no tokens for slot {}.", slots[i]);
    for (const std::int32_t id : tokens[i]) {
      if (id >= 0 && id < config.vocab_size) continue;
      fail(ErrorKind::input, "Token {} for slot {} is outside the vocabulary; this model's ids are 0 to {}.", id,
           slots[i], config.vocab_size - 1);
    }
  }
}

void InferencePass::State::reserve(std::span<const int> slots, std::span<const std::span<const std::int32_t>> tokens) {
  std::size_t done = 0;
  try {
    for (; done < slots.size(); ++done) cache.reserve(slots[done], static_cast<std::int64_t>(tokens[done].size()));
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
    // All layers share what they make: their widths are equal.
    const auto add = [&](const std::string& name, std::int64_t columns) {
      if (!layout.contains(name)) layout.add(name, dtype, {rows, columns});
    };
    for (const char* name : {"residual", "tail_residual", "x", "branch"}) add(name, config.channels);
    for (std::size_t i = 0; i < stages.size(); ++i) {
      if (fused_activation(stages, i) != nullptr) continue;
      const Stage& stage = stages[i];
      if (const std::int64_t columns = own_columns(stage); columns > 0) {
        add(result_name(stage), columns);
        if (stage.as<Attend>() != nullptr) add("tail_" + result_name(stage), columns);
      }
    }
    backend.wait();
    decode_steps.clear();
    activations = Arena();
    activations = Arena(layout, backend.allocate(layout.bytes(), "activations"));
    capacity = rows;
  }
  if (sequence_count > sequences) {
    ArenaLayout layout;
    layout.add("order", DType::i32, {sequence_count});
    layout.add("hidden", dtype, {sequence_count, config.channels});
    layout.add("ordered_hidden", dtype, {sequence_count, config.channels});
    layout.add("logits", DType::f32, {sequence_count, config.vocab_size});
    if (dtype != DType::f32) layout.add("stored_logits", dtype, {sequence_count, config.vocab_size});
    backend.wait();
    decode_steps.clear();
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

InferencePass::State::Uploaded InferencePass::State::upload_batch(
    const Batch& batch, std::span<const int> slots, std::span<const std::span<const std::int32_t>> tokens) {
  const auto count = static_cast<std::int64_t>(batch.members.size());
  std::vector<int> batch_slots;
  std::vector<std::int32_t> padded;
  std::vector<std::int32_t> firsts;
  std::vector<std::int32_t> counts;
  std::vector<std::int32_t> last_rows;
  for (const std::size_t member : batch.members) {
    const auto length = static_cast<std::int64_t>(tokens[member].size());
    last_rows.push_back(static_cast<std::int32_t>(static_cast<std::int64_t>(padded.size()) + length - 1));
    padded.insert(padded.end(), tokens[member].begin(), tokens[member].end());
    padded.resize(padded.size() + static_cast<std::size_t>(batch.width - length));
    batch_slots.push_back(slots[member]);
    firsts.push_back(static_cast<std::int32_t>(cache.length(slots[member])));
    counts.push_back(static_cast<std::int32_t>(length));
  }
  cache.view(0, batch_slots);  // uploads the block table
  return {.ids = upload(activations, "tokens", padded).reshape({count, batch.width}),
          .counts = upload(activations, "counts", counts),
          .positions = {upload(activations, "first", firsts)},
          .last = upload(activations, "last_rows", last_rows),
          .slots = std::move(batch_slots),
          .continued = batch.continued};
}

// Writes the last hidden state of each sequence to a row of `hidden` and fills the cache. Runs only operations.
void InferencePass::State::run_batch(const Uploaded& batch, const Tensor& hidden) {
  const std::int64_t count = batch.ids.shape()[0];
  const std::int64_t width = batch.ids.shape()[1];
  const std::int64_t rows = count * width;
  const Positions& positions = batch.positions;
  Tensor stream = rows_of("residual", rows);
  const Tensor& table = transformer.position_table() ? transformer.position_table() : weights.position_embedding;
  backend.run(EmbeddingForward{.out = stream.reshape({count, width, config.channels}),
                               .tokens = batch.ids,
                               .token_weight = weights.token_embedding,
                               .position_weight = table,
                               .positions = positions,
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
                     const Activate* const fused = fused_activation(stages, i);
                     const Tensor out = fused != nullptr ? rows_of(result_name(stages[i + 1]), x.shape()[0]) : result();
                     backend.run(MatmulForward{.out = out,
                                               .in = x,
                                               .weight = weight.product,
                                               .bias = weight.bias,
                                               .activation = fused != nullptr ? fused->activation : Activation::none});
                     x = out;
                   },
                   [&](const Activate& activate) {
                     if (!activate.gated()) return;
                     const Tensor out = result();
                     backend.run(ActivationForward{.activation = activate.activation, .out = out, .in = x});
                     x = out;
                   },
                   [&](const NormalizeHeads& heads) {
                     const auto normalise = [&](const RowPieces& pieces, const Tensor& gain) {
                       backend.run(ResidualNormForward{
                           .out = x, .residual = x, .weight = gain, .kind = head_norm_kind(config), .pieces = pieces});
                     };
                     normalise(heads.queries, weight.weight);
                     normalise(heads.keys, weight.key_weight);
                   },
                   [&](const Rotate& rotate) {
                     backend.run(Rope{.qkv = sequences(x),
                                      .inverse_frequencies = transformer.inverse_frequencies(rotate),
                                      .positions = positions,
                                      .shape = rotate.shape});
                   },
                   [&](const Attend& attend) {
                     const Tensor out = result();
                     const KvCacheView view = cache.view(stage.layer, batch.slots);
                     backend.run(KvCacheAppend{.cache = view,
                                               .qkv = sequences(x),
                                               .positions = positions,
                                               .counts = batch.counts,
                                               .shape = attend.shape});
                     if (batch.continued) {
                       backend.run(AttentionDecode{.out = sequences(out),
                                                   .qkv = sequences(x),
                                                   .cache = view,
                                                   .positions = positions,
                                                   .shape = attend.shape});
                     } else {
                       backend.run(AttentionForward{.out = sequences(out), .qkv = sequences(x), .shape = attend.shape});
                     }
                     x = out;
                     if (stage.layer + 1 < config.layers || width == 1) return;
                     // Nothing but each sequence's last row is needed from here on.
                     const auto tail_of = [&](const std::string& name, const Tensor& all) {
                       const Tensor tail = rows_of("tail_" + name, count);
                       backend.run(GatherRows{.out = tail, .in = all, .indices = batch.last});
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

// Logits of the batches' hidden states, back in the order of forward's arguments.
Tensor InferencePass::State::output_head(std::span<const Batch> batches, std::int64_t count) {
  std::vector<std::int32_t> row_of_argument(static_cast<std::size_t>(count));
  std::int32_t row = 0;
  for (const Batch& batch : batches) {
    for (const std::size_t member : batch.members) row_of_argument[member] = row++;
  }
  Tensor hidden = outputs.tensor("hidden").slice(0, count);
  if (!std::is_sorted(row_of_argument.begin(), row_of_argument.end())) {
    const Tensor order = upload(outputs, "order", row_of_argument);
    const Tensor ordered = outputs.tensor("ordered_hidden").slice(0, count);
    backend.run(GatherRows{.out = ordered, .in = hidden, .indices = order});
    hidden = ordered;
  }
  const Tensor logits = outputs.tensor("logits").slice(0, count);
  if (dtype == DType::f32) {
    backend.run(MatmulForward{.out = logits, .in = hidden, .weight = weights.lm_head});
  } else {
    const Tensor stored = outputs.tensor("stored_logits").slice(0, count);
    backend.run(MatmulForward{.out = stored, .in = hidden, .weight = weights.lm_head});
    backend.run(Cast{.out = logits, .in = stored});
  }
  if (config.logit_softcap > 0) {
    backend.run(SoftCap{.out = logits, .in = logits, .cap = config.logit_softcap});
  }
  return logits;
}

void InferencePass::State::advance(std::span<const int> slots, std::span<const std::span<const std::int32_t>> tokens) {
  for (std::size_t i = 0; i < slots.size(); ++i) {
    cache.advance(slots[i], static_cast<std::int64_t>(tokens[i].size()));
  }
}

Tensor InferencePass::State::decode(const Batch& batch, std::span<const int> slots,
                                    std::span<const std::span<const std::int32_t>> tokens) {
  const auto count = static_cast<std::int64_t>(slots.size());
  const Uploaded uploaded = upload_batch(batch, slots, tokens);
  std::unique_ptr<Recording>& step = decode_steps[count];
  if (!step) {
    step = backend.record([&] {
      run_batch(uploaded, outputs.tensor("hidden").slice(0, count));
      output_head({&batch, 1}, count);
    });
  }
  backend.replay(*step);
  advance(slots, tokens);
  return outputs.tensor("logits").slice(0, count);
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
  state.reserve(slots, tokens);
  const std::vector<Batch> batches = state.divide(slots, tokens);
  const auto count = static_cast<std::int64_t>(slots.size());
  std::int64_t rows = 0;
  for (const Batch& batch : batches) {
    rows = std::max(rows, static_cast<std::int64_t>(batch.members.size()) * batch.width);
  }
  state.make_room(rows, count);
  if (rows == count && batches.size() == 1 && batches.front().continued) {
    return state.decode(batches.front(), slots, tokens);
  }
  std::int64_t done = 0;
  for (const Batch& batch : batches) {
    const auto members = static_cast<std::int64_t>(batch.members.size());
    const State::Uploaded uploaded = state.upload_batch(batch, slots, tokens);
    state.run_batch(uploaded, state.outputs.tensor("hidden").slice(done, members));
    done += members;
  }
  state.advance(slots, tokens);
  return state.output_head(batches, count);
}

}  // namespace mslt

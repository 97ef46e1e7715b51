// Prefill and decoding over the KV cache.
#include "model/inference_pass.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>
#include <vector>

#include "base/fail.h"
#include "base/overloaded.h"
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

// Of the products of all layers.
std::int64_t least_fused_rows(const Backend& backend, const std::vector<Stage>& stages, const ModelWeights& weights,
                              DType dtype) {
  std::int64_t least = max_batch_rows;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    if (stages[i].as<Linear>() == nullptr) continue;
    const Join* const join = i > 0 ? stages[i - 1].as<Join>() : nullptr;
    const bool has_norm = join != nullptr && join->normalizes;
    least = std::min(least, backend.fused_rows(weights.stages[i].product, dtype, has_norm));
  }
  return least;
}

}  // namespace

struct InferencePass::State {
  State(Transformer& transformer, KvCache& cache, RowBits bits, std::int64_t longest);

  Transformer& transformer;
  Backend& backend;
  KvCache& cache;
  const Config& config;
  const std::vector<Stage>& stages;
  DType dtype;
  bool independent;
  std::int64_t longest;
  ModelWeights weights;
  std::int64_t fused_rows;  // up to which every product is faster with what is around it
  // Room for `capacity` rows of every activation, for `sequences` sequences where that is what a tensor counts.
  std::int64_t capacity = 0;
  std::int64_t sequences = 0;
  Arena activations;
  Arena outputs;
  // To outputs, for step().
  std::unique_ptr<UploadSlot> token_slot;
  std::unique_ptr<UploadSlot> position_slot;

  static void check_slots(std::span<const int> slots);
  void check(std::span<const int> slots, std::span<const std::span<const std::int32_t>> tokens) const;
  // tokens_of(i): how many come to slots[i].
  template <class TokensOf>
  void reserve(std::span<const int> slots, const TokensOf& tokens_of);
  std::vector<Batch> divide(std::span<const int> slots, std::span<const std::span<const std::int32_t>> tokens) const;
  void make_room(std::int64_t rows, std::int64_t sequence_count);
  Tensor rows_of(std::string_view name, std::int64_t rows) const { return activations.tensor(name).slice(0, rows); }
  Tensor upload(const Arena& arena, std::string_view name, std::span<const std::int32_t> values);
  void norm(const Tensor& out, const Tensor& residual, const Tensor& x, const StageWeights& weight);
  // Sequences of one width among those of a pass.
  struct Segment {
    std::int64_t row = 0;       // the first of its rows
    std::int64_t sequence = 0;  // and of its sequences
    std::int64_t count = 0;
    std::int64_t width = 0;
    bool continued = false;

    std::int64_t rows() const { return count * width; }
    // Its rows of a matrix, as sequences.
    Tensor of(const Tensor& matrix) const {
      return matrix.slice(row, rows()).reshape({count, width, matrix.shape()[-1]});
    }
    Tensor each(const Tensor& vector) const { return vector ? vector.slice(sequence, count) : vector; }
  };
  // What a pass's operations read: everything that changes from one pass of its shape to the next is uploaded.
  struct Uploaded {
    std::vector<Segment> segments;
    Tensor ids;     // i32 [rows]
    Tensor counts;  // i32 [sequences]; absent where all are continued
    Tensor firsts;  // i32 [sequences]
    Tensor last;    // i32 [outputs]: the rows that matter behind the last attention; absent for all
    std::vector<int> slots;
    bool wants_outputs = true;
    bool head_normalizes = false;  // whether the output head may do the last norm
  };
  // What the output head reads, and the norm that it has still to do.
  struct HeadInput {
    Tensor x;
    const StageWeights* norm = nullptr;
  };
  Uploaded upload_batch(const Batch& batch, std::span<const int> slots,
                        std::span<const std::span<const std::int32_t>> tokens);
  HeadInput run_batch(const Uploaded& batch, const Tensor& hidden);
  NextTokens next_tokens(std::int64_t count) const;
  // One more token for each slot, which has room for it.
  Tensor step(std::span<const int> slots, std::int64_t choices);
  // Its operations, which are the same every time, by the number of sequences and the choices.
  std::map<std::pair<std::int64_t, std::int64_t>, std::unique_ptr<Recording>> steps;
  Tensor in_order(std::span<const Batch> batches, std::int64_t count);
  Tensor output_head(const HeadInput& in);
  Tensor as_f32(const Tensor& logits);
};

InferencePass::State::State(Transformer& transformer, KvCache& cache, RowBits bits, std::int64_t longest)
    : transformer(transformer),
      backend(transformer.backend()),
      cache(cache),
      config(transformer.config()),
      stages(transformer.stages()),
      dtype(backend.device().trains_16_bit ? transformer.dtype() : DType::f32),
      independent(bits == RowBits::independent && backend.device().backend == "cpu"),
      longest(longest > 0 ? longest : std::min(config.max_positions, cache.blocks() * KvCacheView::block_size)),
      weights(bind_weights(config, stages, transformer.parameters(), transformer.quantised())),
      fused_rows(least_fused_rows(backend, stages, weights, dtype)) {}

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

template <class TokensOf>
void InferencePass::State::reserve(std::span<const int> slots, const TokensOf& tokens_of) {
  std::size_t done = 0;
  try {
    for (; done < slots.size(); ++done) cache.reserve(slots[done], tokens_of(done));
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
    steps.clear();
    activations = Arena();
    activations = Arena(layout, backend.allocate(layout.bytes(), "activations of prompts"));
    capacity = rows;
  }
  if (sequence_count > sequences) {
    ArenaLayout layout;
    layout.add("next_tokens", DType::i32, {2 * sequence_count});  // and their logits
    layout.add("next_positions", DType::i32, {sequence_count});
    layout.add("order", DType::i32, {sequence_count});
    layout.add("hidden", dtype, {sequence_count, config.channels});
    layout.add("ordered_hidden", dtype, {sequence_count, config.channels});
    // As wide as fast products want them.
    const Shape logits = {sequence_count, weights.padded_lm_head.values.shape()[0]};
    layout.add("logits", dtype, logits);
    if (dtype != DType::f32) layout.add("logits_f32", DType::f32, logits);
    backend.wait();
    steps.clear();
    token_slot.reset();
    position_slot.reset();
    outputs = Arena();
    outputs = Arena(layout, backend.allocate(layout.bytes(), "logits of the next tokens"));
    token_slot = backend.upload_slot(next_tokens(sequence_count).tokens, decode_steps_under_way, "tokens of a step");
    position_slot =
        backend.upload_slot(outputs.tensor("next_positions"), decode_steps_under_way, "positions of a step");
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
  return {.segments = {{.count = count, .width = batch.width, .continued = batch.continued}},
          .ids = upload(activations, "tokens", padded),
          .counts = upload(activations, "counts", counts),
          .firsts = upload(activations, "first", firsts),
          .last = batch.width > 1 ? upload(activations, "last_rows", last_rows) : Tensor(),
          .slots = std::move(batch_slots)};
}

// Writes the hidden states that matter to the rows of `hidden`, unless their norm is left, and fills the cache. Runs
// only operations.
InferencePass::State::HeadInput InferencePass::State::run_batch(const Uploaded& batch, const Tensor& hidden) {
  const std::int64_t rows = batch.ids.shape()[0];
  Tensor stream = rows_of("residual", rows);
  const Tensor& table = transformer.position_table() ? transformer.position_table() : weights.position_embedding;
  for (const Segment& segment : batch.segments) {
    backend.run(
        EmbeddingForward{.out = segment.of(stream),
                         .tokens = batch.ids.slice(segment.row, segment.rows()).reshape({segment.count, segment.width}),
                         .token_weight = weights.token_rows.values,
                         .token_scales = weights.token_rows.scales,
                         .position_weight = table,
                         .positions = {segment.each(batch.firsts)},
                         .scale = config.embedding_scale});
  }
  Tensor spare = rows_of("x", rows);
  Tensor x = stream;
  // In decoding, a product also does the norm before it and the addition of its branch to the stream.
  const bool fuses = std::ranges::all_of(batch.segments, &Segment::continued) && rows <= fused_rows;
  const StageWeights* norm_of_x = nullptr;  // that the next product has to do
  bool is_added = false;                    // whether the stream has the branch already
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const Stage& stage = stages[i];
    const StageWeights& weight = weights.stages[i];
    const auto result = [&] {
      return rows_of(result_name(stage), x.shape()[0]);
    };
    std::visit(
        Overloaded{[&](const Linear&) {
                     const Activate* const fused = fused_activation(stages, i);
                     Tensor out = fused != nullptr ? rows_of(result_name(stages[i + 1]), x.shape()[0]) : result();
                     if (fuses) {
                       const auto* const join = stages[i + 1].as<Join>();
                       is_added = join != nullptr && join->adds;
                       if (is_added) out = stream;
                       backend.run(FusedProduct{.out = out,
                                                .in = x,
                                                .norm_weight = norm_of_x != nullptr ? norm_of_x->weight : Tensor(),
                                                .norm_bias = norm_of_x != nullptr ? norm_of_x->bias : Tensor(),
                                                .norm = norm_kind(config),
                                                .weight = weight.product,
                                                .bias = weight.bias,
                                                .activation = fused != nullptr ? fused->activation : Activation::none,
                                                .accumulate = is_added});
                       norm_of_x = nullptr;
                       x = out;
                       return;
                     }
                     backend.run(MatmulForward{.out = out,
                                               .in = x,
                                               .weight = weight.product,
                                               .bias = weight.bias,
                                               .activation = fused != nullptr ? fused->activation : Activation::none,
                                               .independent_rows = independent});
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
                     for (const Segment& segment : batch.segments) {
                       if (segment.continued) continue;  // the attention does it
                       backend.run(Rope{.qkv = segment.of(x),
                                        .inverse_frequencies = transformer.inverse_frequencies(rotate, longest),
                                        .positions = {segment.each(batch.firsts)},
                                        .shape = rotate.shape,
                                        .scale = rotate.scale});
                     }
                   },
                   [&](const Attend& attend) {
                     const Tensor out = result();
                     const Rotate* const rotate = i > 0 ? stages[i - 1].as<Rotate>() : nullptr;
                     for (const Segment& segment : batch.segments) {
                       KvCacheView view = cache.view(stage.layer, batch.slots);
                       view.block_table = segment.each(view.block_table);
                       const Positions positions = {segment.each(batch.firsts)};
                       if (segment.continued) {
                         backend.run(AttentionDecode{
                             .out = segment.of(out),
                             .qkv = segment.of(x),
                             .cache = view,
                             .positions = positions,
                             .shape = attend.shape,
                             .inverse_frequencies =
                                 rotate != nullptr ? transformer.inverse_frequencies(*rotate, longest) : Tensor(),
                             .rotary_scale = rotate != nullptr ? rotate->scale : 1.0f,
                             .independent_rows = independent});
                         continue;
                       }
                       backend.run(KvCacheAppend{.cache = view,
                                                 .qkv = segment.of(x),
                                                 .positions = positions,
                                                 .counts = segment.each(batch.counts),
                                                 .shape = attend.shape});
                       backend.run(
                           AttentionForward{.out = segment.of(out), .qkv = segment.of(x), .shape = attend.shape});
                     }
                     x = out;
                     if (stage.layer + 1 < config.layers || !batch.last) return;
                     // Nothing but the rows that matter is needed from here on.
                     const std::int64_t count = batch.last.shape()[0];
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
                     const bool adds = join.adds && !is_added;
                     is_added = false;
                     if (!join.normalizes) {
                       if (adds) backend.run(Add{.out = stream, .in = x});
                       x = stream;
                       return;
                     }
                     const bool leaves_norm =
                         i + 1 < stages.size() ? stages[i + 1].as<Linear>() != nullptr : batch.head_normalizes;
                     if (fuses && !adds && !join.stream_normalized && leaves_norm) {
                       norm_of_x = &weight;
                       x = stream;
                       return;
                     }
                     const Tensor out = i + 1 == stages.size() ? hidden : spare;
                     norm(out, stream, adds ? x : Tensor(), weight);
                     if (join.stream_normalized) std::swap(stream, spare);
                     x = out;
                   }},
        stage.kind);
    if (!batch.wants_outputs && stage.layer + 1 == config.layers && stage.as<Attend>() != nullptr) return {};
  }
  return {.x = x, .norm = norm_of_x};
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

Tensor InferencePass::State::output_head(const HeadInput& in) {
  const Tensor logits = outputs.tensor("logits").slice(0, in.x.shape()[0]);
  if (in.norm != nullptr) {
    backend.run(FusedProduct{.out = logits,
                             .in = in.x,
                             .norm_weight = in.norm->weight,
                             .norm_bias = in.norm->bias,
                             .norm = norm_kind(config),
                             .weight = weights.padded_lm_head});
  } else {
    backend.run(
        MatmulForward{.out = logits, .in = in.x, .weight = weights.padded_lm_head, .independent_rows = independent});
  }
  if (config.logit_softcap > 0) {
    backend.run(SoftCap{.out = logits, .in = logits, .cap = config.logit_softcap});
  }
  return logits;
}

Tensor InferencePass::State::as_f32(const Tensor& logits) {
  if (dtype == DType::f32) return logits;
  const Tensor wide = outputs.tensor("logits_f32").slice(0, logits.shape()[0]);
  backend.run(Cast{.out = wide, .in = logits});
  return wide;
}

NextTokens InferencePass::State::next_tokens(std::int64_t count) const {
  return NextTokens(outputs.tensor("next_tokens").slice(0, 2 * count));
}

Tensor InferencePass::State::step(std::span<const int> slots, std::int64_t choices) {
  const auto count = static_cast<std::int64_t>(slots.size());
  std::vector<std::int32_t> firsts;
  firsts.reserve(slots.size());
  for (const int slot : slots) firsts.push_back(static_cast<std::int32_t>(cache.length(slot)));
  cache.view(0, slots);  // uploads the block table
  position_slot->write(std::as_bytes(std::span(firsts)));
  const Tensor logits = outputs.tensor("logits").slice(0, count);
  std::unique_ptr<Recording>& recorded = steps[{count, choices}];
  if (!recorded) {
    recorded = backend.record([&] {
      const NextTokens next = next_tokens(count);
      // A product with many rows of weights would do the norms of many rows too often.
      output_head(run_batch({.segments = {{.count = count, .width = 1, .continued = true}},
                             .ids = next.tokens,
                             .counts = {},
                             .firsts = outputs.tensor("next_positions").slice(0, count),
                             .last = {},
                             .slots = {slots.begin(), slots.end()},
                             .head_normalizes = count == 1},
                            outputs.tensor("hidden").slice(0, count)));
      if (choices > 0) {
        backend.run(Argmax{.values = next.logits, .indices = next.tokens, .logits = logits, .vocab = choices});
      }
    });
  }
  backend.replay(*recorded);
  for (const int slot : slots) cache.advance(slot, 1);
  return logits;
}

NextTokens::NextTokens(const Tensor& words)
    : words(words),
      tokens(words.slice(0, words.shape()[0] / 2)),
      logits(words.buffer(), words.offset() + tokens.bytes(), DType::f32, tokens.shape()) {}

InferencePass::InferencePass(Transformer& transformer, KvCache& cache, RowBits bits, std::int64_t longest)
    : state_(std::make_unique<State>(transformer, cache, bits, longest)) {
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
  if (rows == count && batches.size() == 1 && batches.front().continued) {
    std::vector<std::int32_t> ids;
    for (const std::span<const std::int32_t> each : tokens) ids.push_back(each.front());
    state.token_slot->write(std::as_bytes(std::span(ids)));
    return state.as_f32(state.step(slots, 0));
  }
  std::int64_t done = 0;
  for (const Batch& batch : batches) {
    const auto members = static_cast<std::int64_t>(batch.members.size());
    const State::Uploaded uploaded = state.upload_batch(batch, slots, tokens);
    state.run_batch(uploaded, state.outputs.tensor("hidden").slice(done, members));
    done += members;
  }
  for (std::size_t i = 0; i < slots.size(); ++i) {
    state.cache.advance(slots[i], static_cast<std::int64_t>(tokens[i].size()));
  }
  return state.as_f32(state.output_head({.x = state.in_order(batches, count)}));
}

Tensor InferencePass::run(std::span<const Chunk> chunks) {
  State& state = *state_;
  std::vector<int> slots;
  std::vector<std::span<const std::int32_t>> tokens;
  for (const Chunk& chunk : chunks) {
    slots.push_back(chunk.slot);
    tokens.push_back(chunk.tokens);
  }
  state.check(slots, tokens);
  state.reserve(slots, [&](std::size_t i) { return static_cast<std::int64_t>(tokens[i].size()); });
  State::Uploaded pass;
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> firsts;
  std::vector<std::int32_t> counts;
  std::vector<std::int32_t> last_rows;
  bool continues = true;
  for (const Chunk& chunk : chunks) {
    const auto width = static_cast<std::int64_t>(chunk.tokens.size());
    const std::int64_t first = state.cache.length(chunk.slot);
    const bool continued = first > 0 || width == 1 || state.independent;
    continues = continues && continued;
    // Neighbours of one token each are attended together.
    if (pass.segments.empty() || width > 1 || pass.segments.back().width > 1) {
      pass.segments.push_back({.row = static_cast<std::int64_t>(ids.size()),
                               .sequence = static_cast<std::int64_t>(firsts.size()),
                               .count = 0,
                               .width = width,
                               .continued = continued});
    }
    ++pass.segments.back().count;
    ids.insert(ids.end(), chunk.tokens.begin(), chunk.tokens.end());
    firsts.push_back(static_cast<std::int32_t>(first));
    counts.push_back(static_cast<std::int32_t>(width));
    if (chunk.wants_logits) last_rows.push_back(static_cast<std::int32_t>(ids.size()) - 1);
  }
  const auto rows = static_cast<std::int64_t>(ids.size());
  const auto wanted = static_cast<std::int64_t>(last_rows.size());
  state.make_room(rows, static_cast<std::int64_t>(chunks.size()));
  if (wanted == rows) {
    state.token_slot->write(std::as_bytes(std::span(ids)));
    return state.as_f32(state.step(slots, 0));
  }
  pass.slots = slots;
  pass.wants_outputs = wanted > 0;
  state.cache.view(0, slots);  // uploads the block table
  pass.ids = state.upload(state.activations, "tokens", ids);
  pass.firsts = state.upload(state.activations, "first", firsts);
  if (!continues) pass.counts = state.upload(state.activations, "counts", counts);
  if (wanted > 0) pass.last = state.upload(state.activations, "last_rows", last_rows);
  const State::HeadInput head =
      state.run_batch(pass, state.outputs.tensor("hidden").slice(0, std::max<std::int64_t>(wanted, 1)));
  for (const Chunk& chunk : chunks) state.cache.advance(chunk.slot, static_cast<std::int64_t>(chunk.tokens.size()));
  if (wanted == 0) return {};
  return state.as_f32(state.output_head(head));
}

NextTokens InferencePass::next_tokens(std::int64_t count) {
  if (count < 1) fail(ErrorKind::input, "A step needs at least 1 slot, not {}.", count);
  state_->make_room(count, count);
  return state_->next_tokens(count);
}

void InferencePass::set_next_tokens(std::span<const std::int32_t> tokens) {
  next_tokens(static_cast<std::int64_t>(tokens.size()));
  state_->token_slot->write(std::as_bytes(tokens));
}

Tensor InferencePass::step(std::span<const int> slots, std::int64_t choices) {
  next_tokens(static_cast<std::int64_t>(slots.size()));
  State::check_slots(slots);
  state_->reserve(slots, [](std::size_t) { return std::int64_t{1}; });
  return state_->step(slots, choices);
}

}  // namespace mslt

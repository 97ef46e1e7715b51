// The recipe of a step.
#include "train/training_step.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <exception>
#include <optional>
#include <vector>

#include "base/fail.h"

namespace mslt {
namespace {

// Scalars lie apart: devices bind buffers at aligned offsets.
constexpr std::size_t stride = 256;

template <class T>
void write(UploadSlot& slot, const T& value) {
  slot.write(std::as_bytes(std::span(&value, 1)));
}

// Steps whose uploads may be under way: those in flight, and the one that is handed over.
std::size_t steps_under_way(const Transformer& transformer) {
  return TrainingStep::most_in_flight(transformer.dtype()) + 1;
}

// Batches, of which a step may have many. With so many ahead of the device, the host may wait for it.
std::size_t batches_under_way(const Transformer& transformer, std::int64_t grad_accum) {
  constexpr std::size_t most = 16;
  const std::size_t a_step = std::clamp<std::int64_t>(grad_accum, 1, most);
  return std::min(steps_under_way(transformer) * a_step, most);
}

// Those to try, one after another.
std::vector<Recompute> levels_of(Recompute level) {
  if (level != Recompute::automatic) return {level};
  return {Recompute::none, Recompute::activations, Recompute::layers};
}

bool sums_in_f32(const TrainingStepOptions& options, DType dtype) {
  return options.grad_dtype == GradientSums::f32 && dtype != DType::f32;
}

std::optional<std::uint64_t> rounding_seed(const TrainingStepOptions& options) {
  if (options.master_weights == MasterWeights::f32) return std::nullopt;
  return options.seed;
}

bool fits(const MemoryEstimate& memory, const DeviceInfo& device) {
  return device.memory_bytes == 0 || memory.total() <= device.memory_bytes - device.memory_bytes / 16;
}

// The options with the level of recomputation that the device needs.
TrainingStepOptions with_level(const Transformer& transformer, TrainingStepOptions options) {
  if (options.recompute == Recompute::automatic) {
    options.recompute =
        TrainingStep::plan(transformer.backend(), transformer.config(), transformer.dtype(), options).recompute;
  }
  return options;
}

// The options with the place among the others.
TrainingStepOptions with_place(TrainingStepOptions options, const Communicator* others) {
  if (others != nullptr) {
    options.rank = others->rank();
    options.ranks = others->size();
  }
  return options;
}

std::optional<ArenaLayout> layout_of(const std::optional<BucketPlaces>& places) {
  if (!places) return std::nullopt;
  return places->layout;
}

// What of the arena a rank updates; empty for all of it.
std::vector<OwnedPiece> owned_of(const TrainingStepOptions& options, const std::vector<Bucket>& buckets) {
  if (options.zero < 1 || options.ranks == 1) return {};
  return owned_pieces(buckets, options.rank, options.ranks);
}

// Bytes that sums of gradients over batches and ranks take beside the gradients of a pass, which are in parts or not.
std::size_t sum_bytes(const TrainingStepOptions& options, const ArenaLayout& layout, DType dtype,
                      const std::vector<OwnedPiece>& owned, bool in_parts) {
  const bool in_f32 = sums_in_f32(options, dtype);
  if (!in_f32 && !in_parts) return 0;
  const std::size_t elements = in_parts ? elements_of(owned) : layout.bytes() / size_of(dtype);
  return elements * size_of(in_f32 ? DType::f32 : dtype);
}

// Where buckets take turns; nothing unless that is asked for and saves memory: a small model has few buckets. The same
// on all ranks, since all own as much.
std::optional<BucketPlaces> places_with(const TrainingStepOptions& options, const ArenaLayout& layout, DType dtype,
                                        const std::vector<Bucket>& buckets, const std::vector<OwnedPiece>& owned) {
  if (options.zero < 2 || options.ranks == 1) return std::nullopt;
  BucketPlaces places = places_of(layout, buckets);
  const std::size_t with = places.layout.bytes() + sum_bytes(options, layout, dtype, owned, true);
  const std::size_t without = layout.bytes() + sum_bytes(options, layout, dtype, owned, false);
  if (with >= without) return std::nullopt;
  return places;
}

// Reads a scalar of `result` back.
void read_back(Backend& backend, const Tensor& tensor, const std::shared_ptr<StepResult>& result,
               float StepResult::* value) {
  backend.read_back(tensor, [result, value](std::span<const std::byte> bytes) {
    std::memcpy(&((*result).*value), bytes.data(), sizeof(float));
    --result->missing;
  });
}

}  // namespace

TrainingStep::TrainingStep(Transformer& transformer, const TrainingStepOptions& options, Communicator* others)
    : backend_(transformer.backend()),
      options_(with_level(transformer, with_place(options, others))),
      others_(others),
      parts_(is_shared() ? parts_of_pass(transformer.config(), transformer.layout(), options_.bucket_bytes)
                         : std::vector<PassPart>()),
      buckets_(buckets_of(parts_, options_.ranks)),
      owned_(owned_of(options_, buckets_)),
      places_(places_with(options_, transformer.layout().arena, transformer.dtype(), buckets_, owned_)),
      pass_(transformer, options.batch_size, options.seq_len, TrainingPass::Mode::train, options_.recompute,
            batches_under_way(transformer, options.grad_accum), layout_of(places_)),
      optimizer_(backend_, transformer.parameters(), transformer.layout().decayed, options.adamw,
                 rounding_seed(options), steps_under_way(transformer), owned_),
      scalars_(backend_.allocate(3 * stride, "scalars of a step")),
      loss_sum_(*scalars_, 0, DType::f32, {1}),
      loss_scale_(*scalars_, stride, DType::f32, {1}) {
  if (options.grad_accum < 1) {
    fail(ErrorKind::usage, "A step needs at least 1 batch, not {}.", options.grad_accum);
  }
  const bool in_f32 = sums_in_f32(options, transformer.dtype());
  if (in_f32 || shards_gradients()) {
    const std::size_t bytes =
        sum_bytes(options_, transformer.layout().arena, transformer.dtype(), owned_, shards_gradients());
    const DType dtype = in_f32 ? DType::f32 : transformer.dtype();
    sum_buffer_ = backend_.allocate(bytes, "sums of gradients");
    sums_ = Tensor(*sum_buffer_, 0, dtype, {static_cast<std::int64_t>(bytes / size_of(dtype))});
  }
  if (shards_state()) {
    const std::int64_t elements = options_.ranks * static_cast<std::int64_t>(stride / sizeof(float));
    norm_buffer_ = backend_.allocate(static_cast<std::size_t>(elements) * sizeof(float), "norms of the ranks");
    norms_ = Tensor(*norm_buffer_, 0, DType::f32, {elements});
  }
  loss_scales_ = backend_.upload_slot(loss_scale_, steps_under_way(transformer), "loss scale");
  if (transformer.config().dropout == 0.0f) return;
  random_state_ = Tensor(*scalars_, 2 * stride, DType::u32, {4});
  random_states_ =
      backend_.upload_slot(random_state_, batches_under_way(transformer, options.grad_accum), "random state");
}

TrainingStep::~TrainingStep() {
  try {
    if (others_ != nullptr) others_->finish(backend_);
    backend_.wait();
  } catch (const std::exception&) {
    return;  // nobody is left to be told
  }
}

MemoryEstimate TrainingStep::plan(const Backend& backend, const Config& config, DType dtype,
                                  const TrainingStepOptions& options) {
  MemoryEstimate memory;
  for (const Recompute level : levels_of(options.recompute)) {
    TrainingStepOptions chosen = options;
    chosen.recompute = level;
    memory = plan_level(backend, config, dtype, chosen);
    if (fits(memory, backend.device())) break;
  }
  return memory;
}

MemoryEstimate TrainingStep::plan_level(const Backend& backend, const Config& config, DType dtype,
                                        const TrainingStepOptions& options) {
  const MemoryPlan pass = TrainingPass::plan(config, dtype, options.batch_size, options.seq_len,
                                             TrainingPass::Mode::train, options.recompute);
  const ParameterLayout table = parameter_layout(config, dtype);
  const ArenaLayout& layout = table.arena;
  const std::vector<Bucket> buckets = buckets_of(
      options.ranks > 1 ? parts_of_pass(config, table, options.bucket_bytes) : std::vector<PassPart>(), options.ranks);
  const std::vector<OwnedPiece> owned = owned_of(options, buckets);
  const std::optional<BucketPlaces> places = places_with(options, layout, dtype, buckets, owned);
  // As AdamW counts: two moments of four bytes each.
  const std::size_t moments = AdamW::moment_bytes(layout, owned);
  const std::size_t sums = sum_bytes(options, layout, dtype, owned, places.has_value());
  const WorkingMemory working = backend.rehearse([&](Backend& like) {
    Transformer transformer(like, config, dtype);
    TrainingStep step(transformer, options);
    like.wait();
    const std::vector<std::int32_t> ids(
        static_cast<std::size_t>(options.batch_size * options.seq_len * options.grad_accum));
    for (std::size_t i = 0; i <= most_in_flight(dtype) + 1; ++i) {
      step.run({.tokens = ids, .targets = ids});
      like.throttle(most_in_flight(dtype));
    }
  });
  return {.parameters = pass.parameters,
          .gradients = (places ? places->layout.bytes() : pass.gradients) + sums,
          .moments = moments,
          .master_weights = options.master_weights == MasterWeights::f32 ? AdamW::master_bytes(layout, owned) : 0,
          .activations = pass.activations,
          .recompute = options.recompute,
          .scratch = working.scratch,
          .staging = working.staging};
}

void TrainingStep::record() {
  if (update_) return;
  const bool has_whole_batches = !is_shared() || (options_.grad_accum > 1 && !shards_gradients());
  if (has_whole_batches) {
    batch_ = backend_.record([&] {
      pass_.forward_backward(loss_sum_, loss_scale_, random_state_);
      if (sums_) backend_.run(Add{.out = sums_, .in = pass_.gradients().whole()});
    });
  }
  if (is_shared()) record_parts();
  update_ = backend_.record([&] {
    if (shards_state()) {
      optimizer_.update_pieces(norms_, summed_gradients());
    } else {
      optimizer_.update(summed_gradients());
    }
  });
}

void TrainingStep::write_random_state(const StepInput& input, std::int64_t batch) {
  if (!random_state_) return;
  const std::int64_t all = options_.all_batches > 0 ? options_.all_batches : options_.grad_accum;
  const auto number = static_cast<std::uint32_t>((input.step - 1) * all + options_.first_batch + batch);
  write(*random_states_, std::array<std::uint32_t, 4>{static_cast<std::uint32_t>(options_.seed),
                                                      static_cast<std::uint32_t>(options_.seed >> 32), number, 0});
}

std::shared_ptr<const StepResult> TrainingStep::run(const StepInput& input) {
  const auto count = static_cast<std::size_t>(options_.batch_size * options_.seq_len);
  const std::size_t all = count * static_cast<std::size_t>(options_.grad_accum);
  if (input.tokens.size() != all || input.targets.size() != all) {
    fail(ErrorKind::input, "A step of {} batches needs {} tokens and targets; there are {} and {}.",
         options_.grad_accum, all, input.tokens.size(), input.targets.size());
  }
  const auto result = std::make_shared<StepResult>();
  result->step = input.step;
  result->targets = std::ranges::count_if(input.targets, [](std::int32_t target) { return target >= 0; });
  if (others_ != nullptr) result->targets = others_->sum(result->targets);
  const auto begin = std::chrono::steady_clock::now();
  waited_ = 0.0;
  result->learning_rate = input.learning_rate;
  result->loss_scale = input.loss_scale;
  if (result->targets == 0) fail(ErrorKind::input, "Step {} has no target that counts.", input.step);

  record();
  optimizer_.set_update(input.update, input.learning_rate, static_cast<float>(1.0 / input.loss_scale),
                        static_cast<float>(options_.clip));
  backend_.run(Fill{.out = loss_sum_, .value = 0.0f});
  write(*loss_scales_, static_cast<float>(input.loss_scale / static_cast<double>(result->targets)));
  if (sums_) backend_.run(Fill{.out = sums_, .value = 0.0f});
  for (std::int64_t batch = 0; batch < options_.grad_accum; ++batch) {
    const bool is_last = batch + 1 == options_.grad_accum;
    if (!shards_gradients() && (batch == 0 || sums_)) pass_.zero_gradients();
    const std::size_t first = static_cast<std::size_t>(batch) * count;
    pass_.set_batch(input.tokens.subspan(first, count), input.targets.subspan(first, count));
    write_random_state(input, batch);
    if (is_shared() && (is_last || shards_gradients())) {
      replay_parts(is_last);
    } else {
      backend_.replay(*batch_);
    }
  }
  if (shards_state()) gather_norms();
  backend_.replay(*update_);
  if (shards_state()) gather_parameters();
  read_back(backend_, loss_sum_, result, &StepResult::loss_sum);
  read_back(backend_, optimizer_.norm(), result, &StepResult::scaled_norm);
  backend_.submit();
  own_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() - waited_;
  return result;
}

}  // namespace mslt

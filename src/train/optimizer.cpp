// AdamW's state and steps.
#include "train/optimizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "base/fail.h"

namespace mslt {
namespace {

std::size_t arena_elements(const ArenaLayout& layout) {
  return layout.segments().empty() ? 0 : layout.bytes() / size_of(layout.segments().front().dtype);
}

// The first number of the random words of rounding.
constexpr std::uint32_t rounding_operation = 0x8000'0000u;

std::size_t owned_elements(const ArenaLayout& layout, const std::vector<OwnedPiece>& owned) {
  return owned.empty() ? arena_elements(layout) : elements_of(owned);
}

Tensor slice(const Tensor& all, const OwnedPiece& piece) {
  return all.slice(static_cast<std::int64_t>(piece.first), static_cast<std::int64_t>(piece.count));
}

bool has_master(const ArenaLayout& layout) {
  return !layout.segments().empty() && layout.segments().front().dtype != DType::f32;
}

}  // namespace

std::size_t AdamW::moment_bytes(const ArenaLayout& parameters, const std::vector<OwnedPiece>& owned) {
  return 2 * sizeof(float) * owned_elements(parameters, owned);
}

std::size_t AdamW::master_bytes(const ArenaLayout& parameters, const std::vector<OwnedPiece>& owned) {
  return has_master(parameters) ? sizeof(float) * owned_elements(parameters, owned) : 0;
}

AdamW::AdamW(Backend& backend, const Arena& parameters, std::size_t decayed, const AdamWConfig& config,
             std::optional<std::uint64_t> rounding_seed, std::size_t under_way, const std::vector<OwnedPiece>& owned)
    : backend_(backend),
      parameters_(parameters),
      decayed_segments_(decayed),
      config_(config),
      owned_(owned),
      rounding_seed_(rounding_seed) {
  if (rounding_seed && parameters.whole().dtype() != DType::bf16) {
    fail(ErrorKind::usage, "Only bf16 parameters can do without f32 master weights; these are {}.",
         name_of(parameters.whole().dtype()));
  }
  const ArenaLayout& layout = parameters.layout();
  const std::size_t all = arena_elements(layout);
  decayed_ = decayed < layout.segments().size()
                 ? layout.segments()[decayed].offset / size_of(layout.segments()[decayed].dtype)
                 : all;
  if (owned_.empty()) owned_ = {{0, all, false}};
  const std::size_t bytes = sizeof(float) * owned_elements(layout, owned_);
  first_moment_ = backend.allocate(bytes, "first moments");
  second_moment_ = backend.allocate(bytes, "second moments");
  if (has_master(layout) && !rounding_seed) master_ = backend.allocate(bytes, "master weights");
  constexpr std::size_t norm_offset = 256;
  scalars_ = backend.allocate(3 * norm_offset, "optimiser scalars");
  state_ = Tensor(*scalars_, 0, DType::f32, {static_cast<std::int64_t>(adamw_state_size)});
  norm_ = Tensor(*scalars_, norm_offset, DType::f32, {1});
  update_ = backend.upload_slot(state_, under_way, "settings of an update");
  if (!rounding_seed) return;
  random_state_ = Tensor(*scalars_, 2 * norm_offset, DType::u32, {4});
  random_states_ = backend.upload_slot(random_state_, under_way, "random state of an update");
}

Tensor AdamW::view(Buffer& buffer, std::size_t offset, std::size_t count) {
  return {buffer, offset * sizeof(float), DType::f32, {static_cast<std::int64_t>(count)}};
}

void AdamW::initialize_master() {
  if (master_ == nullptr) return;
  std::size_t offset = 0;
  for (const OwnedPiece& piece : owned_) {
    backend_.run(Cast{.out = view(*master_, offset, piece.count), .in = slice(parameters_.whole(), piece)});
    offset += piece.count;
  }
}

void AdamW::set_update(std::int64_t update, double learning_rate, float gradient_scale, float max_norm) {
  const auto inverse_correction = [&](float beta) {
    return static_cast<float>(1.0 / (1.0 - std::pow(static_cast<double>(beta), static_cast<double>(update))));
  };
  std::array<float, adamw_state_size> state{};
  state[adamw_learning_rate] = static_cast<float>(learning_rate);
  state[adamw_inverse_correction1] = inverse_correction(config_.beta1);
  state[adamw_inverse_correction2] = inverse_correction(config_.beta2);
  state[adamw_gradient_scale] = gradient_scale;
  state[adamw_max_norm] = max_norm;
  update_->write(std::as_bytes(std::span(state)));
  if (!rounding_seed_) return;
  const std::array<std::uint32_t, 4> random = {static_cast<std::uint32_t>(*rounding_seed_),
                                               static_cast<std::uint32_t>(*rounding_seed_ >> 32),
                                               static_cast<std::uint32_t>(update), 0};
  random_states_->write(std::as_bytes(std::span(random)));
}

void AdamW::update(const Tensor& gradients) {
  backend_.run(GlobalNorm{.out = norm_, .gradients = gradients});
  update_owned(gradients);
}

void AdamW::measure(const Tensor& out, const Tensor& gradients, bool with_shared) {
  backend_.run(Fill{.out = out, .value = 0.0f});
  std::size_t offset = 0;
  for (const OwnedPiece& piece : owned_) {
    const Tensor own = gradients_of(gradients, piece.first, piece.count, offset);
    offset += piece.count;
    if (piece.is_shared && !with_shared) continue;
    backend_.run(GlobalNorm{.out = out, .gradients = own, .accumulate = true});
  }
}

// Of elements from `first` on, which are those from `offset` on of what is owned.
Tensor AdamW::gradients_of(const Tensor& gradients, std::size_t first, std::size_t count, std::size_t offset) const {
  const bool are_all = gradients.elements() == parameters_.whole().elements();
  return gradients.slice(static_cast<std::int64_t>(are_all ? first : offset), static_cast<std::int64_t>(count));
}

void AdamW::update_pieces(const Tensor& norms, const Tensor& gradients) {
  backend_.run(GlobalNorm{.out = norm_, .gradients = norms});
  update_owned(gradients);
}

void AdamW::update_owned(const Tensor& gradients) {
  std::size_t offset = 0;
  for (const OwnedPiece& piece : owned_) {
    const std::size_t before = std::clamp(decayed_, piece.first, piece.first + piece.count) - piece.first;
    if (before > 0) update_range(piece.first, before, offset, gradients);
    if (before < piece.count) update_range(piece.first + before, piece.count - before, offset + before, gradients);
    offset += piece.count;
  }
}

void AdamW::update_range(std::size_t first, std::size_t count, std::size_t offset, const Tensor& gradients) {
  const bool decays = first < decayed_;
  const OwnedPiece range = {first, count, false};
  AdamWConfig config = config_;
  if (!decays) config.weight_decay = 0.0f;
  const std::size_t begin = decays ? 0 : decayed_;
  backend_.run(AdamWUpdate{.parameters = slice(parameters_.whole(), range),
                           .gradients = gradients_of(gradients, first, count, offset),
                           .first_moment = view(*first_moment_, offset, count),
                           .second_moment = view(*second_moment_, offset, count),
                           .master = master_ != nullptr ? view(*master_, offset, count) : Tensor(),
                           .random_state = random_state_,
                           // Dropout's numbers count from 0.
                           .operation = rounding_operation + static_cast<std::uint32_t>(decays ? 0 : decayed_segments_),
                           .first = static_cast<std::int64_t>(first - begin),
                           .state = state_,
                           .norm = norm_,
                           .config = config});
}

std::vector<AdamW::State> AdamW::states() const {
  std::vector<State> states = {{"first_moment.", *first_moment_}, {"second_moment.", *second_moment_}};
  if (master_ != nullptr) states.push_back({"master.", *master_});
  return states;
}

void AdamW::for_each_tensor(const std::function<void(const std::string&, const Tensor&)>& visit) const {
  for (const State& state : states()) {
    for (const Segment& segment : parameters_.layout().segments()) {
      const Tensor tensor(state.buffer, segment.offset / size_of(segment.dtype) * sizeof(float), DType::f32,
                          segment.shape);
      visit(state.prefix + segment.name, tensor);
    }
  }
}

void AdamW::for_each_name(const std::function<void(const std::string&, const Shape&)>& visit) const {
  for (const State& state : states()) {
    for (const Segment& segment : parameters_.layout().segments()) visit(state.prefix + segment.name, segment.shape);
  }
}

void AdamW::for_each_part(
    const std::function<void(const std::string&, std::int64_t, const Tensor&, bool)>& visit) const {
  for (const State& state : states()) {
    std::size_t offset = 0;
    for (const OwnedPiece& piece : owned_) {
      for (const Segment& segment : parameters_.layout().segments()) {
        const std::size_t begin = segment.offset / size_of(segment.dtype);
        const std::size_t end = begin + static_cast<std::size_t>(segment.shape.elements());
        const std::size_t first = std::max(begin, piece.first);
        const std::size_t last = std::min(end, piece.first + piece.count);
        if (first >= last) continue;
        visit(state.prefix + segment.name, static_cast<std::int64_t>(first - begin),
              view(state.buffer, offset + first - piece.first, last - first), piece.is_shared);
      }
      offset += piece.count;
    }
  }
}

bool LossScaler::update(bool finite) {
  if (!finite) {
    scale_ *= 0.5;
    good_updates_ = 0;
    return scale_ < 0x1p-14;
  }
  if (++good_updates_ == interval_) {
    scale_ *= 2.0;
    good_updates_ = 0;
  }
  return false;
}

void LossScaler::restore(double scale, std::int64_t good_updates) {
  scale_ = scale;
  good_updates_ = good_updates;
}

}  // namespace mslt

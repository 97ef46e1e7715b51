// AdamW's state and steps.
#include "train/optimizer.h"

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

bool has_master(const ArenaLayout& layout) {
  return !layout.segments().empty() && layout.segments().front().dtype != DType::f32;
}

}  // namespace

std::size_t AdamW::moment_bytes(const ArenaLayout& parameters) {
  return 2 * sizeof(float) * arena_elements(parameters);
}

std::size_t AdamW::master_bytes(const ArenaLayout& parameters) {
  return has_master(parameters) ? sizeof(float) * arena_elements(parameters) : 0;
}

AdamW::AdamW(Backend& backend, const Arena& parameters, std::size_t decayed, const AdamWConfig& config,
             std::optional<std::uint64_t> rounding_seed, std::size_t under_way)
    : backend_(backend), parameters_(parameters), decayed_(decayed), config_(config), rounding_seed_(rounding_seed) {
  if (rounding_seed && parameters.whole().dtype() != DType::bf16) {
    fail(ErrorKind::usage, "Only bf16 parameters can do without f32 master weights; these are {}.",
         name_of(parameters.whole().dtype()));
  }
  const std::size_t bytes = sizeof(float) * arena_elements(parameters.layout());
  first_moment_ = backend.allocate(bytes, "first moments");
  second_moment_ = backend.allocate(bytes, "second moments");
  if (has_master(parameters.layout()) && !rounding_seed) master_ = backend.allocate(bytes, "master weights");
  constexpr std::size_t norm_offset = 256;
  scalars_ = backend.allocate(3 * norm_offset, "optimiser scalars");
  state_ = Tensor(*scalars_, 0, DType::f32, {static_cast<std::int64_t>(adamw_state_size)});
  norm_ = Tensor(*scalars_, norm_offset, DType::f32, {1});
  update_ = backend.upload_slot(state_, under_way, "settings of an update");
  if (!rounding_seed) return;
  random_state_ = Tensor(*scalars_, 2 * norm_offset, DType::u32, {4});
  random_states_ = backend.upload_slot(random_state_, under_way, "random state of an update");
}

// The f32 elements of `buffer` that stand for the parameters in `like`, whose dtype may be narrower.
Tensor AdamW::view(Buffer& buffer, const Tensor& like) const {
  return {buffer, like.offset() / size_of(like.dtype()) * sizeof(float), DType::f32, like.shape()};
}

void AdamW::initialize_master() {
  if (master_ == nullptr) return;
  const Tensor parameters = parameters_.whole();
  backend_.run(Cast{.out = view(*master_, parameters), .in = parameters});
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
  const std::size_t count = parameters_.layout().segments().size();
  if (decayed_ > 0) update_range(0, decayed_ - 1, gradients, config_.weight_decay);
  if (decayed_ < count) update_range(decayed_, count - 1, gradients, 0);
}

void AdamW::update_range(std::size_t first, std::size_t last, const Tensor& gradients, float weight_decay) {
  const Tensor parameters = parameters_.range(first, last);
  const std::size_t begin = (parameters.offset() - parameters_.whole().offset()) / size_of(parameters.dtype());
  AdamWConfig config = config_;
  config.weight_decay = weight_decay;
  backend_.run(AdamWUpdate{.parameters = parameters,
                           .gradients = gradients.slice(static_cast<std::int64_t>(begin), parameters.elements()),
                           .first_moment = view(*first_moment_, parameters),
                           .second_moment = view(*second_moment_, parameters),
                           .master = master_ != nullptr ? view(*master_, parameters) : Tensor(),
                           .random_state = random_state_,
                           // Dropout's numbers count from 0.
                           .operation = rounding_operation + static_cast<std::uint32_t>(first),
                           .state = state_,
                           .norm = norm_,
                           .config = config});
}

void AdamW::for_each_tensor(const std::function<void(const std::string&, const Tensor&)>& visit) const {
  const auto visit_buffer = [&](Buffer& buffer, const std::string& prefix) {
    for (const Segment& segment : parameters_.layout().segments()) {
      visit(prefix + segment.name, view(buffer, parameters_.tensor(segment)));
    }
  };
  visit_buffer(*first_moment_, "first_moment.");
  visit_buffer(*second_moment_, "second_moment.");
  if (master_ != nullptr) visit_buffer(*master_, "master.");
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

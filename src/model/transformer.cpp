// Allocation of a model's parameters and of its constant tables.
#include "model/transformer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>
#include <utility>
#include <vector>

#include "base/fail.h"
#include "model/weights.h"

namespace mslt {
namespace {

Config validated(Config config) {
  config.validate();
  return config;
}

// How much of frequency i is kept by yarn: all below the number whose frequency turns beta_fast times in the original
// positions, nothing above that of beta_slow (Peng et al., 2023).
double yarn_share(const Rotate& rotate, std::int64_t i) {
  const auto size = static_cast<double>(rotate.size);
  const auto number = [&](double turns) {
    const auto original = static_cast<double>(rotate.scaling.original_max_positions);
    return size * std::log(original / (turns * 2.0 * std::numbers::pi)) / (2.0 * std::log(rotate.theta));
  };
  const double low = std::max(std::floor(number(rotate.scaling.beta_fast)), 0.0);
  double high = std::min(std::ceil(number(rotate.scaling.beta_slow)), size - 1.0);
  if (low == high) high += 0.001;
  return 1.0 - std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
}

// How much of a frequency is kept, where the rest is divided by the factor. `llama3` divides those whose wavelength
// passes original / low_freq_factor, keeps those below original / high_freq_factor, and blends between.
double kept_share(const Rotate& rotate, std::int64_t i, double frequency) {
  const RopeScaling& scaling = rotate.scaling;
  switch (scaling.type) {
    case RopeScalingType::none:
      return 1.0;
    case RopeScalingType::linear:
    case RopeScalingType::longrope:
      return 0.0;
    case RopeScalingType::yarn:
      return yarn_share(rotate, i);
    case RopeScalingType::llama3:
      break;
  }
  const double turns = static_cast<double>(scaling.original_max_positions) * frequency / (2.0 * std::numbers::pi);
  return std::clamp((turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor), 0.0, 1.0);
}

// RoPE's frequencies theta^(-2i/R) of R rotated channels, rescaled as Hugging Face does.
std::vector<float> rope_frequencies(const Rotate& rotate, bool is_long) {
  std::vector<float> result;
  const RopeScaling& scaling = rotate.scaling;
  const std::vector<double>& factors = is_long ? scaling.long_factors : scaling.short_factors;
  const bool has_factors = scaling.type == RopeScalingType::longrope;
  for (std::int64_t i = 0; i < rotate.size / 2; ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(rotate.size);
    const double frequency = 1.0 / std::pow(rotate.theta, exponent);
    const double kept = kept_share(rotate, i, frequency);
    const double factor = has_factors ? factors[static_cast<std::size_t>(i)] : scaling.factor;
    result.push_back(static_cast<float>((1.0 - kept) * frequency / factor + kept * frequency));
  }
  return result;
}

// Vaswani et al. (2017): sin(p / 10000^(2i/C)) in channel 2i, the cosine in channel 2i + 1.
std::vector<float> sinusoidal_positions(const Config& config) {
  std::vector<float> result;
  result.reserve(static_cast<std::size_t>(config.max_positions * config.channels));
  for (std::int64_t position = 0; position < config.max_positions; ++position) {
    for (std::int64_t channel = 0; channel < config.channels; ++channel) {
      const std::int64_t even = channel - channel % 2;
      const double exponent = static_cast<double>(even) / static_cast<double>(config.channels);
      const double angle = static_cast<double>(position) / std::pow(10000.0, exponent);
      result.push_back(static_cast<float>(channel % 2 == 0 ? std::sin(angle) : std::cos(angle)));
    }
  }
  return result;
}

void upload_rounded(Backend& backend, const Tensor& tensor, const std::vector<float>& values) {
  if (tensor.dtype() == DType::f32) {
    backend.upload(tensor, std::as_bytes(std::span(values)));
    return;
  }
  std::vector<std::uint16_t> halves(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    halves[i] = tensor.dtype() == DType::bf16 ? to_bfloat16(values[i]).bits : to_float16(values[i]).bits;
  }
  backend.upload(tensor, std::as_bytes(std::span(halves)));
}

}  // namespace

Transformer::Transformer(Backend& backend, const Config& config, DType dtype, MappedSegments mapped,
                         std::span<const PackedMatrix> packed)
    : backend_(backend),
      config_(validated(config)),
      dtype_(dtype),
      stages_(stages_of(config_)),
      layout_(parameter_layout(config, dtype)),
      quantised_(backend, packed) {
  ArenaLayout plain;
  for (const Segment& segment : layout_.arena.segments()) {
    if (quantised_.holds(segment.name) || mapped.transposed.contains(segment.name)) continue;
    plain.add(segment.name, segment.dtype, segment.shape, segment.spare_rows);
  }
  std::unique_ptr<Buffer> memory = backend.allocate(plain.without(mapped).bytes(), "parameters");
  parameters_ = Arena(std::move(plain), std::move(memory), std::move(mapped));
  for (const Stage& stage : stages_) {
    const auto* rotate = stage.as<Rotate>();
    if (rotate == nullptr || std::any_of(frequencies_.begin(), frequencies_.end(), [&](const Frequencies& known) {
          return known.rotate.rotates_like(*rotate);
        })) {
      continue;
    }
    frequencies_.push_back({*rotate, {}, {}});
  }
  const bool sinusoidal = config.position == PositionType::sinusoidal;
  if (frequencies_.empty() && !sinusoidal) return;
  ArenaLayout constants;
  const auto name = [](std::size_t i, bool is_long) {
    return fmt::format("inverse_frequencies.{}{}", i, is_long ? ".long" : "");
  };
  const auto has_long = [&](std::size_t i) {
    return frequencies_[i].rotate.scaling.type == RopeScalingType::longrope;
  };
  for (std::size_t i = 0; i < frequencies_.size(); ++i) {
    const Shape pairs = {frequencies_[i].rotate.size / 2};
    constants.add(name(i, false), DType::f32, pairs);
    if (has_long(i)) constants.add(name(i, true), DType::f32, pairs);
  }
  if (sinusoidal) constants.add("position_table", dtype, {config.max_positions, config.channels});
  constants_ = Arena(constants, backend.allocate(constants.bytes(), "position constants"));
  for (std::size_t i = 0; i < frequencies_.size(); ++i) {
    Frequencies& made = frequencies_[i];
    made.inverse = constants_.tensor(name(i, false));
    upload_rounded(backend, made.inverse, rope_frequencies(made.rotate, false));
    if (!has_long(i)) continue;
    made.long_inverse = constants_.tensor(name(i, true));
    upload_rounded(backend, made.long_inverse, rope_frequencies(made.rotate, true));
  }
  if (sinusoidal) {
    position_table_ = constants_.tensor("position_table");
    upload_rounded(backend, position_table_, sinusoidal_positions(config));
  }
}

const Tensor& Transformer::inverse_frequencies(const Rotate& rotate, std::int64_t longest) const {
  const auto found = std::find_if(frequencies_.begin(), frequencies_.end(),
                                  [&](const Frequencies& known) { return known.rotate.rotates_like(rotate); });
  if (found == frequencies_.end()) fail(ErrorKind::usage, "The model has no such rotation.");
  const bool is_long = found->long_inverse && longest > rotate.scaling.original_max_positions;
  return is_long ? found->long_inverse : found->inverse;
}

void Transformer::quantise(Quantisation quantisation) {
  if (packs()) {
    if (quantisation == Quantisation::none) return;
    fail(ErrorKind::usage, "The model's matrices stay as its file has them, packed or transposed.");
  }
  std::vector<std::string> matrices = {std::string(head_name(layout_.arena))};
  for (const Stage& stage : stages_) {
    if (stage.as<Linear>() != nullptr) matrices.push_back(stage.name + ".weight");
  }
  quantised_ = QuantisedWeights(backend_, parameters_, matrices, matrices.front(), quantisation);
}

}  // namespace mslt

// Allocation of a model's parameters and of its constant tables.
#include "model/transformer.h"

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

// RoPE's frequencies theta^(-2i/D), rescaled as Hugging Face does: `linear` divides all by the factor; `llama3` divides
// those whose wavelength passes original / low_freq_factor, keeps those below original / high_freq_factor, and blends
// between.
std::vector<float> rope_frequencies(const Config& config) {
  const RopeScaling& scaling = config.rope_scaling;
  const auto original = static_cast<double>(scaling.original_max_positions);
  std::vector<float> result;
  for (std::int64_t i = 0; i < config.head_size / 2; ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(config.head_size);
    const double frequency = 1.0 / std::pow(config.rope_theta, exponent);
    double scaled = frequency;
    if (scaling.type == RopeScalingType::linear) scaled = frequency / scaling.factor;
    if (scaling.type == RopeScalingType::llama3) {
      const double turns = original * frequency / (2.0 * std::numbers::pi);
      const double share = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
      const double kept = std::clamp(share, 0.0, 1.0);
      scaled = (1.0 - kept) * frequency / scaling.factor + kept * frequency;
    }
    result.push_back(static_cast<float>(scaled));
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

Transformer::Transformer(Backend& backend, const Config& config, DType dtype, MappedSegments mapped)
    : backend_(backend),
      config_(validated(config)),
      dtype_(dtype),
      stages_(stages_of(config_)),
      layout_(parameter_layout(config, dtype)) {
  std::unique_ptr<Buffer> memory = backend.allocate(layout_.arena.without(mapped).bytes(), "parameters");
  parameters_ = Arena(layout_.arena, std::move(memory), std::move(mapped));
  const bool rope = config.position == PositionType::rope;
  const bool sinusoidal = config.position == PositionType::sinusoidal;
  if (!rope && !sinusoidal) return;
  ArenaLayout constants;
  if (rope) constants.add("inverse_frequencies", DType::f32, {config.head_size / 2});
  if (sinusoidal) constants.add("position_table", dtype, {config.max_positions, config.channels});
  constants_ = Arena(constants, backend.allocate(constants.bytes(), "position constants"));
  if (rope) {
    inverse_frequencies_ = constants_.tensor("inverse_frequencies");
    upload_rounded(backend, inverse_frequencies_, rope_frequencies(config));
  } else {
    position_table_ = constants_.tensor("position_table");
    upload_rounded(backend, position_table_, sinusoidal_positions(config));
  }
}

void Transformer::quantise(Quantisation quantisation) {
  std::vector<std::string> matrices = {std::string(head_name(layout_.arena))};
  for (const Stage& stage : stages_) {
    if (stage.as<Linear>() != nullptr) matrices.push_back(stage.name + ".weight");
  }
  quantised_ = QuantisedWeights(backend_, parameters_, matrices, matrices.front(), quantisation);
}

}  // namespace mslt

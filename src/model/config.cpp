// Validation, presets and counts of model configurations.
#include "mslt/config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "base/fail.h"
#include "base/suggest.h"
#include "model/config_fields.h"
#include "model/stages.h"

namespace mslt {
namespace {

// Collects what is wrong with a configuration, one sentence each.
class Problems {
 public:
  template <class... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    if (!text_.empty()) text_ += ' ';
    text_ += fmt::format(format, std::forward<Args>(args)...);
  }

  // Asked this way round, NaN is in no range.
  static bool is_in_range(const ConfigField& field, double number) {
    const bool enough = field.above_least ? number > field.least : number >= field.least;
    return enough && (field.below_most ? number < field.most : number <= field.most);
  }

  // Numbers outside their field's range.
  template <class T>
  void check_range(const ConfigField& field, const T& value) {
    if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
      if (is_in_range(field, static_cast<double>(value))) return;
      add("{} is {}; it must be {} {}{} {}.", field.path, value, field.above_least ? "above" : "from", field.least,
          field.below_most    ? " and below"
          : field.above_least ? " and up to"
                              : " to",
          field.most);
    } else if constexpr (std::is_same_v<T, std::vector<double>>) {
      for (const double number : value) {
        if (is_in_range(field, number)) continue;
        add("{} has {}; all must be from {} to {}.", field.path, number, field.least, field.most);
        return;
      }
    }
  }

  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

void check_rope_scaling(const Config& config, Problems& problems) {
  const RopeScaling& scaling = config.rope_scaling;
  if (scaling.type == RopeScalingType::none) return;
  if (config.position != PositionType::rope) {
    problems.add("rope_scaling is set, but position is {}; it must be rope.", name_of(config.position));
  }
  if (scaling.type == RopeScalingType::llama3 && scaling.high_freq_factor <= scaling.low_freq_factor) {
    problems.add("rope_scaling has low_freq_factor {} and high_freq_factor {}; it needs low < high.",
                 scaling.low_freq_factor, scaling.high_freq_factor);
  }
  if (scaling.type == RopeScalingType::yarn && config.rope_theta <= 1) {
    problems.add("rope_theta is {}; rope_scaling yarn needs it above 1.", config.rope_theta);
  }
  if (scaling.type == RopeScalingType::yarn && scaling.beta_fast <= scaling.beta_slow) {
    problems.add("rope_scaling has beta_fast {} and beta_slow {}; it needs slow < fast.", scaling.beta_fast,
                 scaling.beta_slow);
  }
  if (scaling.type == RopeScalingType::longrope) {
    const auto pairs = static_cast<std::size_t>((config.rotary_size > 0 ? config.rotary_size : config.head_size) / 2);
    if (scaling.short_factors.size() != pairs || scaling.long_factors.size() != pairs) {
      problems.add("rope_scaling longrope has {} short_factors and {} long_factors; it needs {} of each.",
                   scaling.short_factors.size(), scaling.long_factors.size(), pairs);
    }
  }
}

// Settings of heads and of single layers that need RoPE.
void check_rotated_layers(const Config& config, Problems& problems) {
  if (config.rotary_size > config.head_size || config.rotary_size % 2 != 0) {
    problems.add("rotary_size is {}; it must be even and at most head_size, which is {}.", config.rotary_size,
                 config.head_size);
  }
  if (config.local_rope_theta != 0 && !(config.local_rope_theta >= 1)) {
    problems.add("local_rope_theta is {}; it must be 0 or from 1.", config.local_rope_theta);
  }
  if (config.position == PositionType::rope) return;
  if (config.no_rope_every != 0) {
    problems.add("no_rope_every is {}, but position is {}; it must be rope.", config.no_rope_every,
                 name_of(config.position));
  }
  if (config.rotary_size != 0) {
    problems.add("rotary_size is {}, but position is {}; it must be rope.", config.rotary_size,
                 name_of(config.position));
  }
  if (config.local_rope_theta != 0) {
    problems.add("local_rope_theta is {}, but position is {}; it must be rope.", config.local_rope_theta,
                 name_of(config.position));
  }
}

Config gpt2_like(std::int64_t layers, std::int64_t heads, std::int64_t channels, std::int64_t positions,
                 std::int64_t vocab_size) {
  Config config;
  config.layers = layers;
  config.heads = config.kv_heads = heads;
  config.channels = channels;
  config.head_size = channels / heads;
  config.ffn_size = 4 * channels;
  config.max_positions = positions;
  config.vocab_size = vocab_size;
  return config;
}

Config llama_like(std::int64_t layers, std::int64_t heads, std::int64_t kv_heads, std::int64_t channels,
                  std::int64_t ffn_size, std::int64_t positions, std::int64_t vocab_size) {
  Config config = gpt2_like(layers, heads, channels, positions, vocab_size);
  config.kv_heads = kv_heads;
  config.ffn_size = ffn_size;
  config.norm = NormType::rmsnorm;
  config.position = PositionType::rope;
  config.activation = ActivationType::swiglu;
  config.qkv_bias = config.attention_out_bias = config.ffn_bias = config.norm_bias = false;
  return config;
}

constexpr std::array<std::string_view, 10> all_preset_names = {
    "tiny", "mini", "base", "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "llama-15m", "llama-110m", "smollm-135m"};

struct Names {
  std::string_view what;
  std::vector<std::string_view> names;  // in the order of the values
};

template <class T>
Names names_of();

template <>
Names names_of<NormType>() {
  return {"norm", {"layernorm", "rmsnorm"}};
}
template <>
Names names_of<NormPosition>() {
  return {"norm_position", {"pre", "post", "sandwich", "output"}};
}
template <>
Names names_of<PositionType>() {
  return {"position", {"learned", "sinusoidal", "rope", "none"}};
}
template <>
Names names_of<ActivationType>() {
  return {"activation", {"gelu", "gelu_erf", "relu", "swiglu", "geglu"}};
}
template <>
Names names_of<QkNormType>() {
  return {"qk_norm", {"none", "head", "row"}};
}
template <>
Names names_of<RopeScalingType>() {
  return {"RoPE scaling", {"none", "linear", "llama3", "yarn", "longrope"}};
}
template <>
Names names_of<Recompute>() {
  return {"level of recomputation", {"none", "activations", "layers", "auto"}};
}
template <>
Names names_of<MasterWeights>() {
  return {"kind of master weights", {"f32", "none"}};
}
template <>
Names names_of<GradientSums>() {
  return {"data type of sums of gradients", {"auto", "f32"}};
}

}  // namespace

void Config::validate() const {
  Problems problems;
  visit_fields(*this, [&](const ConfigField& field, const auto& value) { problems.check_range(field, value); });
  if (heads >= 1 && kv_heads >= 1 && heads % kv_heads != 0) {
    problems.add("kv_heads is {}; it must divide heads, which is {}.", kv_heads, heads);
  }
  if (position == PositionType::rope && head_size % 2 != 0) {
    problems.add("head_size is {}; with position rope it must be even.", head_size);
  }
  check_rope_scaling(*this, problems);
  check_rotated_layers(*this, problems);
  if (norm == NormType::rmsnorm && norm_bias) {
    problems.add("norm_bias is true; norm rmsnorm has no bias, so it must be false.");
  }
  if (!problems.text().empty()) fail(ErrorKind::usage, "The model configuration is not valid. {}", problems.text());
}

LayerConfig Config::layer(std::int64_t i) const {
  const auto is_every = [&](std::int64_t n) {
    return n > 0 && (i + 1) % n == 0;
  };
  const bool windowed = window > 0 && i >= window_from && !is_every(full_attention_every);
  const bool rotary = position == PositionType::rope && !is_every(no_rope_every);
  const bool local = windowed && local_rope_theta > 0;
  const RopeScaling scaling = local ? RopeScaling() : rope_scaling;
  float scale = attention_scale > 0 ? attention_scale : 1.0f / std::sqrt(static_cast<float>(head_size));
  // What both queries and keys are multiplied by. Where that is all of them, attention can do it.
  const bool multiplies = scaling.type == RopeScalingType::yarn || scaling.type == RopeScalingType::longrope;
  const double factor = rotary && multiplies ? scaling.attention_factor : 1.0;
  const std::int64_t rotated = rotary_size > 0 ? rotary_size : head_size;
  if (rotated == head_size) scale *= static_cast<float>(factor * factor);
  return {.attention = {.heads = heads,
                        .kv_heads = kv_heads,
                        .head_size = head_size,
                        .window = windowed ? window : 0,
                        .rotary = rotary,
                        .rope_theta = local ? local_rope_theta : rope_theta,
                        .rope_scaling = scaling,
                        .rotary_size = rotated,
                        .rotary_scale = rotated == head_size ? 1.0f : static_cast<float>(factor),
                        .qk_norm = qk_norm,
                        .qkv_bias = qkv_bias,
                        .out_bias = attention_out_bias,
                        .scale = scale,
                        .softcap = attention_softcap},
          .feed_forward = {.activation = activation, .size = ffn_size, .bias = ffn_bias},
          .norm_position = norm_position};
}

std::int64_t Config::parameter_count() const {
  const std::int64_t positions = position == PositionType::learned ? max_positions : 0;
  return (vocab_size + positions) * channels + non_embedding_parameter_count();
}

std::int64_t Config::non_embedding_parameter_count() const {
  std::int64_t count = tied_embeddings ? 0 : vocab_size * channels;
  for (const Stage& stage : stages_of(*this)) {
    for (const StageParameter& parameter : parameters_of(stage, *this)) count += parameter.shape.elements();
  }
  return count;
}

double Config::training_flops_per_token(std::int64_t seq_len) const {
  double multiplications = static_cast<double>(vocab_size) * static_cast<double>(channels);
  for (const Stage& stage : stages_of(*this)) {
    if (const auto* linear = stage.as<Linear>()) multiplications += static_cast<double>(linear->in * linear->out);
    // Scores and weighted values: two products of D multiply-adds a head and key, over half of seq_len keys on average,
    // fewer with a window.
    if (const auto* attend = stage.as<Attend>()) {
      const auto length = static_cast<double>(seq_len);
      const double seen = attend->shape.window > 0 ? std::min<double>(attend->shape.window, length) : length;
      multiplications += static_cast<double>(attend->shape.query_columns()) * seen * (2.0 - seen / length);
    }
  }
  // A multiply-add is two operations, and the backward pass costs two forward passes.
  return 6.0 * multiplications;
}

Config preset(std::string_view name) {
  if (name == "tiny") return gpt2_like(4, 4, 128, 128, 1776);
  if (name == "mini") return gpt2_like(6, 6, 384, 256, 2048);
  if (name == "base") return gpt2_like(6, 8, 512, 512, 8192);
  if (name == "gpt2") return gpt2_like(12, 12, 768, 1024, 50257);
  if (name == "gpt2-medium") return gpt2_like(24, 16, 1024, 1024, 50257);
  if (name == "gpt2-large") return gpt2_like(36, 20, 1280, 1024, 50257);
  if (name == "gpt2-xl") return gpt2_like(48, 25, 1600, 1024, 50257);
  if (name == "llama-15m") return llama_like(6, 6, 6, 288, 768, 256, 32000);
  if (name == "llama-110m") return llama_like(12, 12, 12, 768, 2048, 1024, 32000);
  if (name == "smollm-135m") return llama_like(30, 9, 3, 576, 1536, 2048, 49152);
  fail(ErrorKind::usage, "There is no preset '{}'; valid are {}.{}", name, fmt::join(all_preset_names, ", "),
       near_name_hint(name, all_preset_names));
}

std::span<const std::string_view> preset_names() {
  return all_preset_names;
}

template <Setting T>
std::string_view name_of(T value) {
  const auto [what, names] = names_of<T>();
  const auto index = static_cast<std::size_t>(value);
  if (index >= names.size()) fail(ErrorKind::usage, "{} has no value {}.", what, index);
  return names[index];
}

template <Setting T>
T from_name(std::string_view name) {
  const auto [what, names] = names_of<T>();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found != names.end()) return static_cast<T>(found - names.begin());
  fail(ErrorKind::usage, "'{}' is no {}; valid are {}.{}", name, what, fmt::join(names, ", "),
       near_name_hint(name, names));
}

template std::string_view name_of(NormType);
template std::string_view name_of(NormPosition);
template std::string_view name_of(PositionType);
template std::string_view name_of(ActivationType);
template std::string_view name_of(QkNormType);
template std::string_view name_of(RopeScalingType);
template std::string_view name_of(Recompute);
template std::string_view name_of(MasterWeights);
template std::string_view name_of(GradientSums);
template NormType from_name(std::string_view);
template NormPosition from_name(std::string_view);
template PositionType from_name(std::string_view);
template ActivationType from_name(std::string_view);
template QkNormType from_name(std::string_view);
template RopeScalingType from_name(std::string_view);
template Recompute from_name(std::string_view);
template MasterWeights from_name(std::string_view);
template GradientSums from_name(std::string_view);

}  // namespace mslt

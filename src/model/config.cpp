// Validation, presets and counts of model configurations.
#include "mslt/config.h"

#include <fmt/ranges.h>

#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "base/fail.h"
#include "base/suggest.h"
#include "model/config_limits.h"
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

  bool in_range(std::string_view name, std::int64_t value, std::int64_t largest) {
    if (value >= 1 && value <= largest) return true;
    add("{} is {}; it must be from 1 to {}.", name, value, largest);
    return false;
  }

  void positive(std::string_view name, double value) {
    if (!std::isfinite(value) || value <= 0) add("{} is {}; it must be a positive number.", name, value);
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
  if (!std::isfinite(scaling.factor) || scaling.factor < 1) {
    problems.add("rope_scaling.factor is {}; it must be at least 1.", scaling.factor);
  }
  if (scaling.type != RopeScalingType::llama3) return;
  const double low = scaling.low_freq_factor;
  const double high = scaling.high_freq_factor;
  if (!std::isfinite(low) || !std::isfinite(high) || low <= 0 || high <= low) {
    problems.add("rope_scaling has low_freq_factor {} and high_freq_factor {}; it needs 0 < low < high.", low, high);
  }
  problems.in_range("rope_scaling.original_max_positions", scaling.original_max_positions, max_config_positions);
}

// Parts that can be said, but that no operation computes.
void check_operations(const Config& config, Problems& problems) {
  if (config.activation == ActivationType::geglu) {
    problems.add("activation is geglu, which cannot be run; valid are gelu, gelu_erf, relu and swiglu.");
  }
  if (config.qk_norm != QkNormType::none) {
    problems.add("qk_norm is {}; norms of queries and keys cannot be run, so it must be none.",
                 name_of(config.qk_norm));
  }
  if (config.window < 0 || (config.window > 0 && config.window < config.max_positions)) {
    problems.add("window is {}; sliding windows cannot be run, so it must be 0 or at least max_positions, which is {}.",
                 config.window, config.max_positions);
  }
  for (const auto& [name, softcap] :
       {std::pair("attention_softcap", config.attention_softcap), std::pair("logit_softcap", config.logit_softcap)}) {
    if (softcap != 0) problems.add("{} is {}; soft caps cannot be run, so it must be 0.", name, softcap);
  }
  // Asked this way round, NaN is not valid either.
  const bool scale_valid = config.attention_scale >= 0 && std::isfinite(config.attention_scale);
  if (!scale_valid) {
    problems.add("attention_scale is {}; it must be a positive number, or 0 for 1 / sqrt(head_size).",
                 config.attention_scale);
  }
}

std::int64_t elements_of(const Shape& shape) {
  return shape.rank() == 0 ? 0 : shape.elements();
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

template <class T, std::size_t N>
using Names = std::array<std::pair<T, std::string_view>, N>;

constexpr Names<NormType, 2> norm_names = {{{NormType::layernorm, "layernorm"}, {NormType::rmsnorm, "rmsnorm"}}};
constexpr Names<NormPosition, 4> norm_position_names = {{{NormPosition::pre, "pre"},
                                                         {NormPosition::post, "post"},
                                                         {NormPosition::sandwich, "sandwich"},
                                                         {NormPosition::output, "output"}}};
constexpr Names<PositionType, 4> position_names = {{{PositionType::learned, "learned"},
                                                    {PositionType::sinusoidal, "sinusoidal"},
                                                    {PositionType::rope, "rope"},
                                                    {PositionType::none, "none"}}};
constexpr Names<ActivationType, 5> activation_names = {{{ActivationType::gelu, "gelu"},
                                                        {ActivationType::gelu_erf, "gelu_erf"},
                                                        {ActivationType::relu, "relu"},
                                                        {ActivationType::swiglu, "swiglu"},
                                                        {ActivationType::geglu, "geglu"}}};
constexpr Names<QkNormType, 3> qk_norm_names = {
    {{QkNormType::none, "none"}, {QkNormType::head, "head"}, {QkNormType::row, "row"}}};
constexpr Names<RopeScalingType, 3> rope_scaling_names = {
    {{RopeScalingType::none, "none"}, {RopeScalingType::linear, "linear"}, {RopeScalingType::llama3, "llama3"}}};

template <class T, std::size_t N>
std::string_view find_name(const Names<T, N>& names, T value, std::string_view what) {
  for (const auto& [candidate, name] : names) {
    if (candidate == value) return name;
  }
  fail(ErrorKind::usage, "{} has no value {}.", what, static_cast<int>(value));
}

template <class T, std::size_t N>
T find_value(const Names<T, N>& names, std::string_view name, std::string_view what) {
  std::vector<std::string_view> valid;
  for (const auto& [value, candidate] : names) {
    if (candidate == name) return value;
    valid.push_back(candidate);
  }
  fail(ErrorKind::usage, "'{}' is no {}; valid are {}.{}", name, what, fmt::join(valid, ", "),
       near_name_hint(name, valid));
}

}  // namespace

void Config::validate() const {
  Problems problems;
  problems.in_range("vocab_size", vocab_size, max_config_vocab_size);
  problems.in_range("max_positions", max_positions, max_config_positions);
  problems.in_range("layers", layers, max_config_layers);
  problems.in_range("channels", channels, max_config_channels);
  const bool heads_valid = problems.in_range("heads", heads, max_config_heads);
  const bool kv_heads_valid = problems.in_range("kv_heads", kv_heads, max_config_heads);
  const bool head_size_valid = problems.in_range("head_size", head_size, max_config_head_size);
  problems.in_range("ffn_size", ffn_size, max_config_ffn_size);
  if (heads_valid && kv_heads_valid && heads % kv_heads != 0) {
    problems.add("kv_heads is {}; it must divide heads, which is {}.", kv_heads, heads);
  }
  if (position == PositionType::rope) {
    if (head_size_valid && head_size % 2 != 0) {
      problems.add("head_size is {}; with position rope it must be even.", head_size);
    }
    problems.positive("rope_theta", rope_theta);
  }
  check_rope_scaling(*this, problems);
  check_operations(*this, problems);
  // Asked this way round, NaN is not valid either.
  const bool epsilon_valid = norm_epsilon > 0 && norm_epsilon < 1;
  const bool dropout_valid = dropout >= 0 && dropout < 1;
  if (!epsilon_valid) {
    problems.add("norm_epsilon is {}; it must be above 0 and below 1.", norm_epsilon);
  }
  if (norm == NormType::rmsnorm && norm_bias) {
    problems.add("norm_bias is true; norm rmsnorm has no bias, so it must be false.");
  }
  problems.positive("embedding_scale", embedding_scale);
  if (!dropout_valid) problems.add("dropout is {}; it must be at least 0 and below 1.", dropout);
  if (!problems.text().empty()) fail(ErrorKind::usage, "The model configuration is not valid. {}", problems.text());
}

LayerConfig Config::layer(std::int64_t /*i*/) const {
  const float scale = attention_scale > 0 ? attention_scale : 1.0f / std::sqrt(static_cast<float>(head_size));
  return {.attention = {.heads = heads,
                        .kv_heads = kv_heads,
                        .head_size = head_size,
                        .window = window,
                        .rotary = position == PositionType::rope,
                        .rope_theta = rope_theta,
                        .rope_scaling = rope_scaling,
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
    const auto [weight, bias] = parameters_of(stage, *this);
    count += elements_of(weight) + elements_of(bias);
  }
  return count;
}

double Config::training_flops_per_token(std::int64_t seq_len) const {
  double multiplications = static_cast<double>(vocab_size) * static_cast<double>(channels);
  for (const Stage& stage : stages_of(*this)) {
    if (const auto* linear = stage.as<Linear>()) multiplications += static_cast<double>(linear->in * linear->out);
    // Scores and weighted values: two products of D multiply-adds a head and key, over half of seq_len keys on average.
    if (const auto* attend = stage.as<Attend>()) {
      multiplications += static_cast<double>(attend->shape.query_columns()) * static_cast<double>(seq_len);
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

std::string_view name_of(NormType value) {
  return find_name(norm_names, value, "norm");
}

std::string_view name_of(NormPosition value) {
  return find_name(norm_position_names, value, "norm_position");
}

std::string_view name_of(PositionType value) {
  return find_name(position_names, value, "position");
}

std::string_view name_of(ActivationType value) {
  return find_name(activation_names, value, "activation");
}

std::string_view name_of(QkNormType value) {
  return find_name(qk_norm_names, value, "qk_norm");
}

std::string_view name_of(RopeScalingType value) {
  return find_name(rope_scaling_names, value, "RoPE scaling");
}

NormType norm_type_from_name(std::string_view name) {
  return find_value(norm_names, name, "norm");
}

NormPosition norm_position_from_name(std::string_view name) {
  return find_value(norm_position_names, name, "norm_position");
}

PositionType position_type_from_name(std::string_view name) {
  return find_value(position_names, name, "position");
}

ActivationType activation_type_from_name(std::string_view name) {
  return find_value(activation_names, name, "activation");
}

QkNormType qk_norm_type_from_name(std::string_view name) {
  return find_value(qk_norm_names, name, "qk_norm");
}

RopeScalingType rope_scaling_type_from_name(std::string_view name) {
  return find_value(rope_scaling_names, name, "RoPE scaling");
}

}  // namespace mslt

// The configuration of a model: it determines all parameters and the computation.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace mslt {

enum class NormType { layernorm, rmsnorm };
enum class NormPosition { pre, post };
enum class PositionType { learned, sinusoidal, rope, none };
enum class ActivationType { gelu, gelu_erf, relu, swiglu };  // gelu: the tanh form; gelu_erf: the exact form

// Rescaling of RoPE's frequencies for long contexts: none, `linear` (all divided by factor) or `llama3` (low
// frequencies divided by factor, high ones kept, smooth between).
enum class RopeScalingType { none, linear, llama3 };
struct RopeScaling {
  RopeScalingType type = RopeScalingType::none;
  double factor = 1.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  std::int64_t original_max_positions = 8192;
  bool operator==(const RopeScaling&) const = default;
};

// A value type. Defaults describe GPT-2's family. One layer is attention, then feed-forward, each with its norm and
// residual connection.
struct Config {
  std::int64_t vocab_size = 1776;
  std::int64_t max_positions = 128;  // the longest sequence (T)
  std::int64_t layers = 4;
  std::int64_t channels = 128;  // embedding width (C)
  std::int64_t heads = 4;
  std::int64_t kv_heads = 4;    // fewer than heads: grouped-query attention
  std::int64_t head_size = 32;  // channels / heads in most models
  std::int64_t ffn_size = 512;  // feed-forward width (F)
  NormType norm = NormType::layernorm;
  NormPosition norm_position = NormPosition::pre;
  float norm_epsilon = 1e-5f;
  PositionType position = PositionType::learned;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  ActivationType activation = ActivationType::gelu;
  bool qkv_bias = true;
  bool attention_out_bias = true;
  bool ffn_bias = true;
  bool norm_bias = true;         // LayerNorm only
  bool tied_embeddings = true;   // the output head is the token embedding
  float embedding_scale = 1.0f;  // sqrt(channels) in the original Transformer
  float dropout = 0.0f;          // on embeddings, attention probabilities and both residual branches
  bool operator==(const Config&) const = default;

  // Throws Error(usage) listing every impossible or unsafe setting, its value and what would be valid: sizes below 1 or
  // so large that a byte count overflows, heads that kv_heads does not divide, odd head sizes with RoPE, biases on
  // RMSNorm, a dropout outside [0, 1), and the like.
  void validate() const;

  // Numbers of trainable parameters: all, and all except the embeddings.
  std::int64_t parameter_count() const;
  std::int64_t non_embedding_parameter_count() const;
  // FLOPs of the matrix products and attention, forward and backward, per token of a sequence of seq_len tokens. Causal
  // attention counts as half of the square.
  double training_flops_per_token(std::int64_t seq_len) const;
};

// tiny, mini, base, gpt2, gpt2-medium, gpt2-large, gpt2-xl, llama-15m, llama-110m, smollm-135m.
// vocab_size is the preset's usual one; train replaces it by the tokenizer's. Throws Error(usage) listing the names.
Config preset(std::string_view name);
std::span<const std::string_view> preset_names();

std::string_view name_of(NormType value);
std::string_view name_of(NormPosition value);
std::string_view name_of(PositionType value);
std::string_view name_of(ActivationType value);
NormType norm_type_from_name(std::string_view name);
NormPosition norm_position_from_name(std::string_view name);
PositionType position_type_from_name(std::string_view name);
ActivationType activation_type_from_name(std::string_view name);

}  // namespace mslt

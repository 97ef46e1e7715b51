// The configuration of a model: it determines all parameters and the computation.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace mslt {

enum class NormType { layernorm, rmsnorm };
// Where a layer normalises: pre, what a branch reads; post, the sum that it ends in; sandwich, what a branch reads and
// what it makes; output, what it makes alone.
enum class NormPosition { pre, post, sandwich, output };
enum class PositionType { learned, sinusoidal, rope, none };
// gelu is its tanh form, gelu_erf the exact one. swiglu and geglu multiply half of the rows by the other's activation.
enum class ActivationType { gelu, gelu_erf, relu, swiglu, geglu };
// RMSNorm of queries and keys before they are rotated: of each head, or of all heads together.
enum class QkNormType { none, head, row };

// What the backward pass of a training computes again instead of keeping it, least first: nothing; what costs a layer
// no product (the norms' results, the activations of feed-forward); whole layers from their inputs. automatic is the
// first whose memory plan fits the device. Losses and gradients have the same bits with each.
enum class Recompute { none, activations, layers, automatic };
// What a training keeps beside bf16 parameters: f32 weights, which updates change, or none: updates round at random.
enum class MasterWeights { f32, none };
// What the gradients of a step's batches are added up in: as the parameters, or in f32.
enum class GradientSums { as_parameters, f32 };

// Rescaling of RoPE's frequencies for long contexts: none, `linear` (all divided by factor), `llama3` (low frequencies
// divided by factor, high ones kept, smooth between), `yarn` (the same by the number of a frequency) or `longrope`
// (each divided by a number of its own: of short_factors, or of long_factors where sequences may be longer than
// original_max_positions). The last two multiply rotated queries and keys by attention_factor.
enum class RopeScalingType { none, linear, llama3, yarn, longrope };
struct RopeScaling {
  RopeScalingType type = RopeScalingType::none;
  double factor = 1.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  std::int64_t original_max_positions = 8192;
  double beta_fast = 32.0;                 // yarn: keeps what turns more often in original_max_positions
  double beta_slow = 1.0;                  // yarn: divides what turns less often
  double attention_factor = 1.0;           // yarn, longrope
  std::vector<double> short_factors = {};  // longrope: one for each pair that is rotated
  std::vector<double> long_factors = {};
  bool operator==(const RopeScaling&) const = default;
};

// One layer of a model: attention, then feed-forward, each a branch of the residual stream with its norms.
struct AttentionConfig {
  std::int64_t heads = 1;
  std::int64_t kv_heads = 1;
  std::int64_t head_size = 1;
  std::int64_t window = 0;  // positions that a token sees, its own included; 0 for all up to its own
  bool rotary = false;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  std::int64_t rotary_size = 0;  // channels of a head that are rotated, the first ones
  float rotary_scale = 1.0f;     // of rotated channels
  QkNormType qk_norm = QkNormType::none;
  bool qkv_bias = false;
  bool out_bias = false;
  float scale = 1.0f;    // of the products of queries and keys
  float softcap = 0.0f;  // scores s become softcap · tanh(s / softcap); 0 for none
};
struct FeedForwardConfig {
  ActivationType activation = ActivationType::gelu;
  std::int64_t size = 1;
  bool bias = false;
};
struct LayerConfig {
  AttentionConfig attention;
  FeedForwardConfig feed_forward;
  NormPosition norm_position = NormPosition::pre;
};

// A value type. Defaults describe GPT-2's family. Its fields are listed once more, in src/model/config_fields.h.
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
  QkNormType qk_norm = QkNormType::none;
  std::int64_t window = 0;         // as AttentionConfig has it
  float attention_scale = 0.0f;    // of q·k; 0 for 1 / sqrt(head_size)
  float attention_softcap = 0.0f;  // of scores, 0 for none
  float logit_softcap = 0.0f;      // of logits, 0 for none
  // Layers that differ, counted from 1: every n-th, or none where it is 0.
  std::int64_t window_from = 0;           // layers before the first that has the window; others see all
  std::int64_t full_attention_every = 0;  // of the rest, every n-th layer sees all, too
  std::int64_t no_rope_every = 0;         // every n-th layer does not rotate queries and keys
  double local_rope_theta = 0.0;          // of layers with a window, without rescaling; 0 for rope_theta
  float norm_weight_offset = 0.0f;        // added to the weights of norms; 1 in Gemma
  std::int64_t rotary_size = 0;           // channels of each head that RoPE rotates, the first ones; 0 for all
  bool operator==(const Config&) const = default;

  // Layer i, from 0 on.
  LayerConfig layer(std::int64_t i) const;

  // Throws Error(usage) listing every setting that is impossible or unsafe, with its value and what would be valid:
  // sizes below 1 or so large that a byte count overflows or a kernel cannot hold them, heads that kv_heads does not
  // divide, odd head sizes with RoPE, biases on RMSNorm, a dropout outside [0, 1), what no backend runs, and the like.
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

// Settings have names, in files and flags.
template <class T>
concept Setting =
    std::is_same_v<T, NormType> || std::is_same_v<T, NormPosition> || std::is_same_v<T, PositionType> ||
    std::is_same_v<T, ActivationType> || std::is_same_v<T, QkNormType> || std::is_same_v<T, RopeScalingType> ||
    std::is_same_v<T, Recompute> || std::is_same_v<T, MasterWeights> || std::is_same_v<T, GradientSums>;
template <Setting T>
std::string_view name_of(T value);
// Throws Error(usage) listing the valid names.
template <Setting T>
T from_name(std::string_view name);

}  // namespace mslt

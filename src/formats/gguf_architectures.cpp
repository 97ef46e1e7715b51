// The table of architectures, and of the names of tensors.
#include "formats/gguf_architectures.h"

#include <algorithm>
#include <array>

#include "base/fail.h"

namespace mslt {
namespace {

constexpr auto gpt2_keys = std::to_array<GgufKey>({
    {"block_count", "n_layer"},
    {"context_length", "n_positions"},
    {"embedding_length", "n_embd"},
    {"feed_forward_length", "n_inner"},
    {"attention.head_count", "n_head"},
    {"attention.layer_norm_epsilon", "layer_norm_epsilon", GgufKey::Kind::real},
});

// What all other families share comes first.
constexpr auto gemma_keys = std::to_array<GgufKey>({
    {"block_count", "num_hidden_layers"},
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads", GgufKey::Kind::size, false},
    {"attention.key_length", "head_dim", GgufKey::Kind::size, false},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", GgufKey::Kind::real},
    {"rope.freq_base", "rope_theta", GgufKey::Kind::real, false},
    {"attention.sliding_window", "sliding_window"},
    {"attn_logit_softcapping", "attn_logit_softcapping", GgufKey::Kind::real, false},
    {"final_logit_softcapping", "final_logit_softcapping", GgufKey::Kind::real, false},
});
// Phi-3's files say 0 where there is no window.
constexpr auto phi3_keys = [] {
  std::array<GgufKey, 10> keys{};
  std::copy_n(gemma_keys.begin(), keys.size(), keys.begin());
  keys.back().is_required = false;
  return keys;
}();
constexpr std::span<const GgufKey> llama_keys = std::span(gemma_keys).first(9);

constexpr auto architectures = std::to_array<GgufArchitecture>({
    {"llama", ModelFamily::llama, llama_keys, true},
    {"mistral", ModelFamily::mistral, llama_keys, true},
    {"qwen2", ModelFamily::qwen2, llama_keys},
    {"gpt2", ModelFamily::gpt2, gpt2_keys},
    {"qwen3", ModelFamily::qwen3, llama_keys},
    {"smollm3", ModelFamily::smollm3, llama_keys, true},
    {"olmo2", ModelFamily::olmo2, llama_keys},
    {"phi3", ModelFamily::phi3, phi3_keys},
    {"gemma2", ModelFamily::gemma2, gemma_keys},
    {"gemma3", ModelFamily::gemma3, gemma_keys},
});

struct GgufName {
  std::string_view theirs;  // Hugging Face's, without prefix, number of the layer, and kind
  std::string_view gguf;
};

constexpr auto outer_names = std::to_array<GgufName>({
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},
    {"transformer.wte", "token_embd"},
    {"transformer.wpe", "position_embd"},
    {"transformer.ln_f", "output_norm"},
});

constexpr auto layer_names = std::to_array<GgufName>({
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.qkv_proj", "attn_qkv"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"self_attn.o_proj", "attn_output"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.gate_up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
    {"input_layernorm", "attn_norm"},
    {"post_attention_layernorm", "ffn_norm"},
    {"pre_feedforward_layernorm", "ffn_norm"},
    {"post_feedforward_layernorm", "post_ffw_norm"},
    {"attn.c_attn", "attn_qkv"},
    {"attn.c_proj", "attn_output"},
    {"mlp.c_fc", "ffn_up"},
    {"mlp.c_proj", "ffn_down"},
    {"ln_1", "attn_norm"},
    {"ln_2", "ffn_norm"},
});

std::string_view translated(std::span<const GgufName> names, std::string_view theirs) {
  const auto found = std::ranges::find(names, theirs, &GgufName::theirs);
  if (found == names.end()) fail(ErrorKind::input, "The tensor '{}' has no name in GGUF files.", theirs);
  return found->gguf;
}

}  // namespace

std::span<const GgufArchitecture> gguf_architectures() {
  return architectures;
}

const GgufArchitecture* written_architecture(ModelFamily family) {
  // llama.cpp knows no architecture of that name.
  if (family == ModelFamily::mistral) family = ModelFamily::llama;
  const auto* const found = std::ranges::find(architectures, family, &GgufArchitecture::family);
  return found == architectures.end() ? nullptr : found;
}

std::int64_t gemma_scalar(ModelFamily family, std::int64_t layers, std::int64_t channels, std::int64_t heads,
                          std::int64_t head_size) {
  const std::int64_t largest = family == ModelFamily::gemma2 ? 46 : 62;
  return layers == largest ? channels / heads : head_size;
}

std::string gguf_tensor_name(const WeightPiece& piece) {
  const std::string_view theirs = piece.file_name;
  const std::size_t end = theirs.rfind('.');
  const std::string_view kind = theirs.substr(end);
  std::string_view stem = theirs.substr(0, end);
  for (const std::string_view prefix : {"model.layers.", "transformer.h."}) {
    if (!stem.starts_with(prefix)) continue;
    stem.remove_prefix(prefix.size());
    const std::size_t dot = stem.find('.');
    // Hugging Face's name of the norm behind attention is that of the one before the feed-forward product elsewhere.
    const std::string_view name = piece.parameter.ends_with(".attention_out_norm.weight")
                                      ? "post_attention_norm"
                                      : translated(layer_names, stem.substr(dot + 1));
    return fmt::format("blk.{}.{}{}", stem.substr(0, dot), name, kind);
  }
  return fmt::format("{}{}", translated(outer_names, stem), kind);
}

}  // namespace mslt

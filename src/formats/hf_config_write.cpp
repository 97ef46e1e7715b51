// Writing each family's config.json.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/fail.h"
#include "formats/hf_families.h"
#include "formats/rope_members.h"
#include "model/config_fields.h"

namespace mslt {
namespace {

using Json = nlohmann::ordered_json;

Json format_gpt2(const Config& config) {
  Json json;
  json["architectures"] = {"GPT2LMHeadModel"};
  json["model_type"] = "gpt2";
  json["vocab_size"] = config.vocab_size;
  json["n_positions"] = config.max_positions;
  json["n_ctx"] = config.max_positions;
  json["n_embd"] = config.channels;
  json["n_layer"] = config.layers;
  json["n_head"] = config.heads;
  json["n_inner"] = config.ffn_size == 4 * config.channels ? Json(nullptr) : Json(config.ffn_size);
  json["activation_function"] = activation_name(config.activation);
  for (const char* name : {"attn_pdrop", "embd_pdrop", "resid_pdrop"}) json[name] = shortest_double(config.dropout);
  json["layer_norm_epsilon"] = shortest_double(config.norm_epsilon);
  json["initializer_range"] = 0.02;
  json["scale_attn_weights"] = true;
  json["scale_attn_by_inverse_layer_idx"] = false;
  json["reorder_and_upcast_attn"] = false;
  return json;
}

Json rope_settings(double theta, const RopeScaling& scaling) {
  Json json = rope_settings(scaling);
  json["rope_theta"] = theta;
  return json;
}

// Both forms, so that any version of transformers and programs beside it find the one they know.
void format_rope(Json& json, const Config& config, ModelFamily family) {
  json["rope_parameters"] = rope_settings(config.rope_theta, config.rope_scaling);
  json["rope_theta"] = config.rope_theta;
  const RopeScaling& scaling = config.rope_scaling;
  json["rope_scaling"] = scaling.type != RopeScalingType::none ? rope_settings(scaling) : Json(nullptr);
  if (scaling.type == RopeScalingType::longrope) {
    json["original_max_position_embeddings"] = scaling.original_max_positions;
    // Earlier versions of transformers allow Phi-3 these three alone, where they say all.
    const double growth =
        static_cast<double>(config.max_positions) / static_cast<double>(scaling.original_max_positions);
    if (family == ModelFamily::phi3 &&
        scaling.attention_factor == usual_longrope_factor(growth, scaling.original_max_positions)) {
      json["rope_scaling"] = {
          {"type", "longrope"}, {"short_factor", scaling.short_factors}, {"long_factor", scaling.long_factors}};
    }
  }
  if (config.rotary_size > 0) {
    json["rope_parameters"]["partial_rotary_factor"] = json["partial_rotary_factor"] =
        rotary_part(config.rotary_size, config.head_size);
  }
}

// What all families but GPT-2 share.
Json format_common(const Config& config, std::string_view architecture, ModelFamily family) {
  Json json;
  json["architectures"] = {architecture};
  json["model_type"] = name_of(family);
  json["vocab_size"] = config.vocab_size;
  json["max_position_embeddings"] = config.max_positions;
  json["hidden_size"] = config.channels;
  json["intermediate_size"] = config.ffn_size;
  json["num_hidden_layers"] = config.layers;
  json["num_attention_heads"] = config.heads;
  json["num_key_value_heads"] = config.kv_heads;
  json["head_dim"] = config.head_size;
  json["rms_norm_eps"] = shortest_double(config.norm_epsilon);
  json["attention_dropout"] = shortest_double(config.dropout);
  json["initializer_range"] = 0.02;
  return json;
}

Json layer_types(const Config& config) {
  Json types = Json::array();
  for (std::int64_t i = 0; i < config.layers; ++i) {
    types.push_back(config.layer(i).attention.window > 0 ? "sliding_attention" : "full_attention");
  }
  return types;
}

Json format_llama_like(const Config& config, ModelFamily family) {
  constexpr std::array<std::pair<ModelFamily, std::string_view>, 7> architectures = {
      {{ModelFamily::llama, "LlamaForCausalLM"},
       {ModelFamily::qwen2, "Qwen2ForCausalLM"},
       {ModelFamily::mistral, "MistralForCausalLM"},
       {ModelFamily::qwen3, "Qwen3ForCausalLM"},
       {ModelFamily::smollm3, "SmolLM3ForCausalLM"},
       {ModelFamily::phi3, "Phi3ForCausalLM"},
       {ModelFamily::olmo2, "Olmo2ForCausalLM"}}};
  const auto* const architecture = std::find_if(architectures.begin(), architectures.end(),
                                                [&](const auto& entry) { return entry.first == family; });
  Json json = format_common(config, architecture->second, family);
  json["hidden_act"] = "silu";
  format_rope(json, config, family);
  const auto set_windows = [&] {
    json["use_sliding_window"] = config.window > 0;
    json["sliding_window"] = config.window > 0 ? Json(config.window) : Json(nullptr);
    json["layer_types"] = layer_types(config);
  };
  switch (family) {
    case ModelFamily::mistral:
    case ModelFamily::phi3:
      json["sliding_window"] = config.window > 0 ? Json(config.window) : Json(nullptr);
      break;
    case ModelFamily::qwen2:
      set_windows();
      json["max_window_layers"] = config.window > 0 ? config.window_from : config.layers;
      break;
    case ModelFamily::smollm3: {
      json["attention_bias"] = config.qkv_bias;
      json["mlp_bias"] = config.ffn_bias;
      json["no_rope_layer_interval"] = config.no_rope_every;
      Json& rotates = json["no_rope_layers"] = Json::array();
      for (std::int64_t i = 0; i < config.layers; ++i) rotates.push_back(config.layer(i).attention.rotary ? 1 : 0);
      json["use_sliding_window"] = false;
      json["sliding_window"] = nullptr;
      json["layer_types"] = layer_types(config);
      break;
    }
    case ModelFamily::qwen3:
      set_windows();
      json["attention_bias"] = config.qkv_bias;
      break;
    default:
      json["attention_bias"] = config.qkv_bias;
      if (family == ModelFamily::llama) json["mlp_bias"] = config.ffn_bias;
  }
  return json;
}

Json format_gemma(const Config& config, ModelFamily family) {
  const bool third = family == ModelFamily::gemma3;
  Json json = format_common(config, third ? "Gemma3ForCausalLM" : "Gemma2ForCausalLM", family);
  json["hidden_activation"] = "gelu_pytorch_tanh";
  json["attention_bias"] = config.qkv_bias;
  json["query_pre_attn_scalar"] = pre_attention_scalar(config);
  const auto cap = [](float value) {
    return value > 0 ? Json(shortest_double(value)) : Json(nullptr);
  };
  json["attn_logit_softcapping"] = cap(config.attention_softcap);
  json["final_logit_softcapping"] = cap(config.logit_softcap);
  json["sliding_window"] = config.window > 0 ? config.window : config.max_positions;
  json["layer_types"] = layer_types(config);
  if (!third) {
    format_rope(json, config, family);
    return json;
  }
  const double local = config.local_rope_theta;
  json["rope_parameters"]["full_attention"] = rope_settings(config.rope_theta, config.rope_scaling);
  json["rope_parameters"]["sliding_attention"] = rope_settings(local > 0 ? local : config.rope_theta, RopeScaling());
  return json;
}

Json format_mslt(const Config& config) {
  Json json;
  json["architectures"] = {"MsltTransformer"};
  json["model_type"] = name_of(ModelFamily::mslt);
  visit_fields(config, Config(), [&]<class T>(const ConfigField& field, const T& value, const T& usual) {
    if (field.later && value == usual) return;
    Json& member = (field.is_nested() ? json["rope_scaling"] : json)[std::string(field.member())];
    if constexpr (std::is_enum_v<T>) {
      member = name_of(value);
    } else if constexpr (std::is_same_v<T, float>) {
      member = shortest_double(value);
    } else {
      member = value;
    }
  });
  return json;
}

}  // namespace

// The double with the fewest digits that is this float, so that 1e-5f is written as 1e-05.
double shortest_double(float value) {
  if (!std::isfinite(value)) return value;
  std::array<char, 32> text{};
  const auto written = std::to_chars(text.data(), text.data() + text.size(), value);
  // Apple's library has no std::from_chars for floating point.
  return Json::parse(text.data(), written.ptr).get<double>();
}

double rotary_part(std::int64_t channels, std::int64_t head_size) {
  const auto size = static_cast<double>(head_size);
  const double part = static_cast<double>(channels) / size;
  return static_cast<std::int64_t>(part * size) == channels ? part : std::nextafter(part, 1.0);
}

double usual_yarn_factor(double factor) {
  return factor <= 1 ? 1.0 : 0.1 * std::log(factor) + 1.0;
}

double usual_longrope_factor(double growth, std::int64_t original) {
  if (growth <= 1.0 || original < 2) return 1.0;
  return std::sqrt(1.0 + std::log(growth) / std::log(static_cast<double>(original)));
}

Json rope_settings(const RopeScaling& scaling) {
  Json json;
  json["rope_type"] = scaling.type == RopeScalingType::none ? "default" : name_of(scaling.type);
  visit_rope_members(scaling.type, [&](const char* name, auto member) { json[name] = scaling.*member; });
  return json;
}

Json write_family(ModelFamily family, const Config& config) {
  switch (family) {
    case ModelFamily::gpt2:
      return format_gpt2(config);
    case ModelFamily::llama:
    case ModelFamily::qwen2:
    case ModelFamily::mistral:
    case ModelFamily::qwen3:
    case ModelFamily::smollm3:
    case ModelFamily::phi3:
    case ModelFamily::olmo2:
      return format_llama_like(config, family);
    case ModelFamily::gemma2:
    case ModelFamily::gemma3:
      return format_gemma(config, family);
    case ModelFamily::mslt:
      break;
  }
  return format_mslt(config);
}

}  // namespace mslt

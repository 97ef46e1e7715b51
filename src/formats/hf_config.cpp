// The families of config.json: which one a file is of, and which one computes a configuration.
#include "formats/hf_config.h"

#include <fmt/ranges.h>

#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/fail.h"
#include "base/json.h"
#include "formats/hf_families.h"
#include "formats/json_members.h"
#include "model/config_fields.h"

namespace mslt {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::string_view, 11> family_names = {
    "gpt2", "llama", "qwen2",  "mistral",     "qwen3",           "smollm3",
    "phi3", "olmo2", "gemma2", "gemma3_text", "mslt-transformer"};

void reject_quantised(const JsonMembers& json) {
  if (json.has("quantization_config"))
    json.reject("quantization_config", "only models that are not quantised are read");
}

// The settings that no other family's form says.
std::vector<std::string_view> own_settings(const Config& config) {
  std::vector<std::string_view> names;
  visit_fields(config, Config(), [&](const ConfigField& field, const auto& value, const auto& usual) {
    if (field.later && !(value == usual)) names.push_back(field.name);
  });
  return names;
}

// Whether these are all of them, except RoPE's, which every rotary family says.
bool says_all(std::initializer_list<std::string_view> names, const Config& config) {
  const std::vector<std::string_view> own = own_settings(config);
  return std::all_of(own.begin(), own.end(), [&](std::string_view name) {
    return name.starts_with("rope_") || std::find(names.begin(), names.end(), name) != names.end();
  });
}

bool computes_gpt2(const Config& config) {
  return says_all({}, config) && config.norm == NormType::layernorm && config.norm_position == NormPosition::pre &&
         config.position == PositionType::learned && config.activation != ActivationType::swiglu &&
         config.activation != ActivationType::geglu && config.embedding_scale == 1.0f &&
         config.kv_heads == config.heads && config.heads * config.head_size == config.channels && config.qkv_bias &&
         config.attention_out_bias && config.ffn_bias && config.norm_bias;
}

// Gemma 2 and 3, but for what their layers have of their own.
bool computes_gemma(const Config& config) {
  return config.norm_position == NormPosition::sandwich && config.activation == ActivationType::geglu &&
         config.norm_weight_offset == 1.0f && !config.ffn_bias && config.channels % config.heads == 0 &&
         config.embedding_scale == static_cast<float>(std::sqrt(static_cast<double>(config.channels))) &&
         pre_attention_scalar(config) > 0;
}

// What rotates as only Phi-3 can, or as programs beside transformers expect of Phi-3 alone.
bool computes_phi3(const Config& config) {
  return (config.rope_scaling.type == RopeScalingType::longrope || config.rotary_size > 0) &&
         (config.rope_scaling.type == RopeScalingType::longrope || config.rope_scaling.type == RopeScalingType::none) &&
         config.norm == NormType::rmsnorm && config.norm_position == NormPosition::pre &&
         config.position == PositionType::rope && config.activation == ActivationType::swiglu &&
         config.embedding_scale == 1.0f && !config.qkv_bias && !config.attention_out_bias && !config.ffn_bias &&
         config.heads * config.head_size == config.channels && says_all({"window", "rotary_size"}, config);
}

// Whether transformers' model of this family computes exactly what `config` says.
bool computes(ModelFamily family, const Config& config) {
  const bool is_phi3 = computes_phi3(config);
  if (is_phi3 || family == ModelFamily::phi3) return is_phi3 && family == ModelFamily::phi3;
  if (family == ModelFamily::gpt2) return computes_gpt2(config);
  if (config.norm != NormType::rmsnorm || config.position != PositionType::rope) return false;
  const bool even_biases = config.qkv_bias == config.attention_out_bias;
  if (family == ModelFamily::gemma2) {
    return computes_gemma(config) && even_biases &&
           says_all({"window", "window_from", "full_attention_every", "attention_scale", "attention_softcap",
                     "logit_softcap", "norm_weight_offset"},
                    config);
  }
  if (family == ModelFamily::gemma3) {
    return computes_gemma(config) && even_biases && config.qk_norm == QkNormType::head &&
           (config.window == 0 || config.local_rope_theta > 0) &&
           says_all({"qk_norm", "window", "window_from", "full_attention_every", "local_rope_theta", "attention_scale",
                     "attention_softcap", "logit_softcap", "norm_weight_offset"},
                    config);
  }
  if (config.activation != ActivationType::swiglu || config.embedding_scale != 1.0f) return false;
  if (family == ModelFamily::olmo2) {
    return config.norm_position == NormPosition::output && config.qk_norm == QkNormType::row && even_biases &&
           !config.ffn_bias && says_all({"qk_norm"}, config);
  }
  if (config.norm_position != NormPosition::pre) return false;
  switch (family) {
    case ModelFamily::llama:
      // transformers refuses Llama models whose heads do not divide the width, even with head_dim given.
      return even_biases && config.channels % config.heads == 0 && says_all({}, config);
    case ModelFamily::qwen2:
      return config.qkv_bias && !config.attention_out_bias && !config.ffn_bias &&
             says_all({"window", "window_from", "full_attention_every"}, config);
    case ModelFamily::mistral:
      return !config.qkv_bias && even_biases && !config.ffn_bias && says_all({"window"}, config);
    case ModelFamily::qwen3:
      return config.qk_norm == QkNormType::head && even_biases && !config.ffn_bias &&
             says_all({"qk_norm", "window", "window_from", "full_attention_every"}, config);
    case ModelFamily::smollm3:
      return config.no_rope_every > 0 && even_biases && says_all({"no_rope_every"}, config);
    default:
      return false;
  }
}

std::string_view torch_name(DType dtype) {
  switch (dtype) {
    case DType::bf16:
      return "bfloat16";
    case DType::f16:
      return "float16";
    default:
      return "float32";
  }
}

}  // namespace

std::string_view name_of(ModelFamily family) {
  return family_names[static_cast<std::size_t>(family)];
}

std::int64_t pre_attention_scalar(const Config& config) {
  if (config.attention_scale == 0) return config.head_size;
  const double inverse = std::round(std::pow(static_cast<double>(config.attention_scale), -2));
  // The largest number that is read back.
  if (!(inverse <= std::numeric_limits<std::int32_t>::max())) return 0;
  const auto scalar = static_cast<std::int64_t>(inverse);
  return scalar > 0 && 1.0f / std::sqrt(static_cast<float>(scalar)) == config.attention_scale ? scalar : 0;
}

ModelFamily family_of(const Config& config) {
  for (std::size_t i = 0; i + 1 < family_names.size(); ++i) {
    const auto family = static_cast<ModelFamily>(i);
    if (computes(family, config)) return family;
  }
  return ModelFamily::mslt;
}

std::string own_form_note(const Config& config) {
  if (family_of(config) != ModelFamily::mslt) return {};
  std::vector<std::string_view> differences = own_settings(config);
  const auto differs = [&](bool has, std::string_view what) {
    if (has) differences.push_back(what);
  };
  const bool like_gpt2 = config.norm == NormType::layernorm;
  differs(config.norm_position != NormPosition::pre, "norms in other places");
  differs(config.embedding_scale != 1.0f, "scaled embeddings");
  if (like_gpt2) {
    differs(config.position != PositionType::learned, "positions that are not learned");
    differs(config.activation == ActivationType::swiglu, "SwiGLU");
    differs(config.kv_heads != config.heads, "fewer heads for keys and values than for queries");
    differs(config.heads * config.head_size != config.channels, "heads that are not as wide as the model together");
    differs(!config.qkv_bias || !config.attention_out_bias || !config.ffn_bias || !config.norm_bias,
            "parts without biases");
  } else {
    differs(config.position != PositionType::rope, "positions other than RoPE");
    differs(config.activation != ActivationType::swiglu, "an activation other than SwiGLU");
    differs(config.qkv_bias != config.attention_out_bias || (config.ffn_bias && !config.qkv_bias),
            "biases in other places");
    differs(config.channels % config.heads != 0, "a width that is no multiple of the number of heads, with biases");
  }
  return fmt::format("The model is saved in mslt's own form, which transformers does not open: unlike {} it has {}.",
                     like_gpt2 ? "GPT-2" : "Llama", fmt::join(differences, ", "));
}

HfConfig parse_hf_config(std::string_view text, std::string_view source) {
  const nlohmann::json object = parse_json(text, source);
  const JsonMembers json(object, source);
  reject_quantised(json);
  const auto* const found = std::find(family_names.begin(), family_names.end(), json.text("model_type"));
  if (found == family_names.end()) {
    json.reject("model_type", fmt::format("supported are {}; of gemma3, which sees images, too, only the text model",
                                          fmt::join(family_names, ", ")));
  }
  HfConfig result;
  result.family = static_cast<ModelFamily>(found - family_names.begin());
  result.config = read_family(result.family, object, source, result.notes);
  result.tokens = parse_token_ids(json, result.notes);
  try {
    result.config.validate();
  } catch (const Error& error) {
    fail(ErrorKind::input, "{} describes a model that cannot be: {}", source, error.what());
  }
  return result;
}

std::string format_hf_config(const Config& config, DType dtype, const ModelTokenIds& tokens, const Json& others) {
  const ModelFamily family = family_of(config);
  Json json = write_family(family, config);
  if (family != ModelFamily::mslt) json["tie_word_embeddings"] = config.tied_embeddings;
  json["torch_dtype"] = torch_name(dtype);
  json["use_cache"] = true;
  format_token_ids(json, tokens);
  if (others.value("model_type", "") == name_of(family)) {
    for (const auto& [name, value] : others.items()) {
      // Another spelling of torch_dtype.
      if (name != "dtype" && !json.contains(name)) json[name] = value;
    }
  }
  return json.dump(2) + "\n";
}

std::string format_hf_config(const Config& config, DType dtype, const ModelTokenIds& tokens) {
  return format_hf_config(config, dtype, tokens, Json::object());
}

}  // namespace mslt

// Reading and writing config.json for each model family.
#include "formats/hf_config.h"

#include <fmt/ranges.h>

#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/fail.h"
#include "base/json.h"
#include "formats/json_members.h"
#include "model/config_fields.h"

namespace mslt {
namespace {

using Json = nlohmann::ordered_json;

// The double with the fewest digits that is this float, so that 1e-5f is written as 1e-05.
double shortest_double(float value) {
  if (!std::isfinite(value)) return value;
  std::array<char, 32> text{};
  const auto written = std::to_chars(text.data(), text.data() + text.size(), value);
  // Apple's library has no std::from_chars for floating point.
  return Json::parse(text.data(), written.ptr).get<double>();
}

// The names of transformers' activations; the first of each is the one that is written.
constexpr std::array<std::pair<std::string_view, ActivationType>, 8> activation_names = {
    {{"gelu_new", ActivationType::gelu},
     {"gelu_pytorch_tanh", ActivationType::gelu},
     {"gelu_python_tanh", ActivationType::gelu},
     {"gelu_fast", ActivationType::gelu},
     {"gelu_accurate", ActivationType::gelu},
     {"gelu", ActivationType::gelu_erf},
     {"gelu_python", ActivationType::gelu_erf},
     {"relu", ActivationType::relu}}};

ActivationType gelu_or_relu(const JsonMembers& json) {
  const std::string name = json.text("activation_function", "gelu_new");
  for (const auto& [known, type] : activation_names) {
    if (known == name) return type;
  }
  json.reject("activation_function", "supported are gelu_new (or gelu_pytorch_tanh), gelu and relu");
}

std::string_view activation_name(ActivationType type) {
  for (const auto& [name, known] : activation_names) {
    if (known == type) return name;
  }
  fail(ErrorKind::input, "GPT-2 has no activation {}.", name_of(type));
}

void reject_quantised(const JsonMembers& json) {
  if (json.has("quantization_config"))
    json.reject("quantization_config", "only models that are not quantised are read");
}

Config parse_gpt2(const JsonMembers& json) {
  Config config;
  config.vocab_size = json.size("vocab_size");
  config.max_positions = json.size("n_positions", 1024);
  config.layers = json.size("n_layer");
  config.channels = json.size("n_embd");
  config.heads = config.kv_heads = json.size("n_head");
  if (config.channels % config.heads != 0)
    json.reject("n_head", fmt::format("it must divide n_embd, {}", config.channels));
  config.head_size = config.channels / config.heads;
  config.ffn_size = json.size("n_inner", 4 * config.channels);
  config.norm_epsilon = static_cast<float>(json.number("layer_norm_epsilon", 1e-5));
  config.activation = gelu_or_relu(json);
  config.tied_embeddings = json.boolean("tie_word_embeddings", true);
  config.dropout = static_cast<float>(json.number("resid_pdrop", 0.1));
  if (!json.boolean("scale_attn_weights", true)) json.reject("scale_attn_weights", "supported is true");
  for (const std::string_view name : {"scale_attn_by_inverse_layer_idx", "add_cross_attention"}) {
    if (json.boolean(name, false)) json.reject(name, "supported is false");
  }
  return config;
}

// rope_scaling replaces rope_parameters where both exist, as in transformers.
void parse_rope(const JsonMembers& json, Config& config) {
  config.position = PositionType::rope;
  config.rope_theta = json.number("rope_theta", 10000.0);
  if (json.number("partial_rotary_factor", 1.0) != 1.0) json.reject("partial_rotary_factor", "supported is 1");
  auto rope = json.object("rope_scaling");
  if (!rope) rope = json.object("rope_parameters");
  if (!rope) return;
  config.rope_theta = rope->number("rope_theta", config.rope_theta);
  if (rope->number("partial_rotary_factor", 1.0) != 1.0) rope->reject("partial_rotary_factor", "supported is 1");
  const std::string_view type_member = rope->has("rope_type") ? "rope_type" : "type";
  const std::string type = rope->text(type_member, "default");
  if (type == "default") return;
  RopeScaling& scaling = config.rope_scaling;
  if (type == "linear") {
    scaling.type = RopeScalingType::linear;
    scaling.factor = rope->number("factor");
  } else if (type == "llama3") {
    scaling.type = RopeScalingType::llama3;
    scaling.factor = rope->number("factor");
    scaling.low_freq_factor = rope->number("low_freq_factor");
    scaling.high_freq_factor = rope->number("high_freq_factor");
    scaling.original_max_positions = rope->size("original_max_position_embeddings", config.max_positions);
  } else {
    rope->reject(type_member, "supported are default, linear and llama3");
  }
}

// What LlamaForCausalLM, Qwen2ForCausalLM and MistralForCausalLM share.
Config parse_llama_like(const JsonMembers& json) {
  Config config;
  config.vocab_size = json.size("vocab_size");
  config.max_positions = json.size("max_position_embeddings");
  config.layers = json.size("num_hidden_layers");
  config.channels = json.size("hidden_size");
  config.heads = json.size("num_attention_heads");
  config.kv_heads = json.size("num_key_value_heads", config.heads);
  if (!json.has("head_dim") && config.channels % config.heads != 0) {
    json.reject("num_attention_heads", fmt::format("it must divide hidden_size, {}", config.channels));
  }
  config.head_size = json.has("head_dim") ? json.size("head_dim") : config.channels / config.heads;
  config.ffn_size = json.size("intermediate_size");
  config.norm = NormType::rmsnorm;
  config.norm_bias = false;
  config.norm_epsilon = static_cast<float>(json.number("rms_norm_eps", 1e-6));
  config.activation = ActivationType::swiglu;
  if (const std::string name = json.text("hidden_act", "silu"); name != "silu" && name != "swish") {
    json.reject("hidden_act", "supported is silu");
  }
  config.tied_embeddings = json.boolean("tie_word_embeddings", false);
  config.dropout = static_cast<float>(json.number("attention_dropout", 0.0));
  parse_rope(json, config);
  return config;
}

Config parse_llama(const JsonMembers& json) {
  Config config = parse_llama_like(json);
  config.qkv_bias = config.attention_out_bias = json.boolean("attention_bias", false);
  config.ffn_bias = json.boolean("mlp_bias", false);
  return config;
}

Config parse_qwen2(const JsonMembers& json, const nlohmann::json& object) {
  Config config = parse_llama_like(json);
  config.qkv_bias = true;
  config.attention_out_bias = config.ffn_bias = false;
  if (json.has("layer_types")) {
    const nlohmann::json& types = object["layer_types"];
    for (const auto& type : types) {
      if (type != "full_attention") json.reject("layer_types", "supported is full_attention for every layer");
    }
    return config;
  }
  const bool window = json.boolean("use_sliding_window", false) && json.has("sliding_window") &&
                      json.number("max_window_layers", 28) < static_cast<double>(config.layers);
  if (window) json.reject("use_sliding_window", "supported is false");
  return config;
}

Config parse_mistral(const JsonMembers& json) {
  Config config = parse_llama_like(json);
  config.qkv_bias = config.attention_out_bias = config.ffn_bias = false;
  // transformers' defaults where a file says nothing.
  if (!json.has("num_key_value_heads")) config.kv_heads = 8;
  const bool null_window = json.is_null("sliding_window");
  if (!null_window && json.number("sliding_window", 4096) < static_cast<double>(config.max_positions)) {
    json.reject("sliding_window", fmt::format("supported are null and numbers from max_position_embeddings, {}, on",
                                              config.max_positions));
  }
  return config;
}

// Every member is required, so that a misspelt one cannot silently take a default, except those that earlier versions
// did not write.
Config parse_mslt(const JsonMembers& json) {
  Config config;
  const auto rope = json.object("rope_scaling");
  if (!rope) fail(ErrorKind::input, "{}: the member 'rope_scaling' is missing.", json.source());
  visit_fields(config, [&]<class T>(const ConfigField& field, T& value) {
    const JsonMembers& from = field.is_nested() ? *rope : json;
    if (field.later && !from.has(field.member())) return;
    if constexpr (std::is_enum_v<T>) {
      try {
        value = from_name<T>(from.text(field.member()));
      } catch (const Error& error) {
        fail(ErrorKind::input, "{}: the member '{}': {}", json.source(), field.path, error.what());
      }
    } else if constexpr (std::is_same_v<T, bool>) {
      value = from.boolean(field.member());
    } else if constexpr (std::is_integral_v<T>) {
      value = from.size(field.member());
    } else {
      value = static_cast<T>(from.number(field.member()));
    }
  });
  return config;
}

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

// Both forms, so that any version of transformers and programs beside it find the one they know.
void format_rope(Json& json, const Config& config) {
  Json scaling;
  switch (config.rope_scaling.type) {
    case RopeScalingType::none:
      break;
    case RopeScalingType::linear:
      scaling["rope_type"] = "linear";
      scaling["factor"] = config.rope_scaling.factor;
      break;
    case RopeScalingType::llama3:
      scaling["rope_type"] = "llama3";
      scaling["factor"] = config.rope_scaling.factor;
      scaling["low_freq_factor"] = config.rope_scaling.low_freq_factor;
      scaling["high_freq_factor"] = config.rope_scaling.high_freq_factor;
      scaling["original_max_position_embeddings"] = config.rope_scaling.original_max_positions;
      break;
  }
  json["rope_theta"] = config.rope_theta;
  json["rope_scaling"] = scaling;
  Json parameters = scaling.is_null() ? Json{{"rope_type", "default"}} : scaling;
  parameters["rope_theta"] = config.rope_theta;
  json["rope_parameters"] = parameters;
}

Json format_llama_like(const Config& config, ModelFamily family) {
  Json json;
  json["architectures"] = {family == ModelFamily::llama   ? "LlamaForCausalLM"
                           : family == ModelFamily::qwen2 ? "Qwen2ForCausalLM"
                                                          : "MistralForCausalLM"};
  json["model_type"] = name_of(family);
  json["vocab_size"] = config.vocab_size;
  json["max_position_embeddings"] = config.max_positions;
  json["hidden_size"] = config.channels;
  json["intermediate_size"] = config.ffn_size;
  json["num_hidden_layers"] = config.layers;
  json["num_attention_heads"] = config.heads;
  json["num_key_value_heads"] = config.kv_heads;
  json["head_dim"] = config.head_size;
  json["hidden_act"] = "silu";
  json["rms_norm_eps"] = shortest_double(config.norm_epsilon);
  json["attention_dropout"] = shortest_double(config.dropout);
  json["initializer_range"] = 0.02;
  format_rope(json, config);
  if (family == ModelFamily::llama) {
    json["attention_bias"] = config.qkv_bias;
    json["mlp_bias"] = config.ffn_bias;
  } else if (family == ModelFamily::mistral) {
    json["sliding_window"] = nullptr;
  } else {
    json["use_sliding_window"] = false;
    json["sliding_window"] = nullptr;
    json["max_window_layers"] = config.layers;
  }
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

// The settings that no other family's form says.
std::vector<std::string_view> own_settings(const Config& config) {
  std::vector<std::string_view> names;
  visit_fields(config, Config(), [&](const ConfigField& field, const auto& value, const auto& usual) {
    if (field.later && !(value == usual)) names.push_back(field.name);
  });
  return names;
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
  constexpr std::array<std::string_view, 5> names = {"gpt2", "llama", "qwen2", "mistral", "mslt-transformer"};
  return names[static_cast<std::size_t>(family)];
}

ModelFamily family_of(const Config& config) {
  const bool pre_norm =
      config.norm_position == NormPosition::pre && config.embedding_scale == 1.0f && own_settings(config).empty();
  if (pre_norm && config.norm == NormType::layernorm && config.position == PositionType::learned &&
      config.activation != ActivationType::swiglu && config.kv_heads == config.heads &&
      config.heads * config.head_size == config.channels && config.qkv_bias && config.attention_out_bias &&
      config.ffn_bias && config.norm_bias) {
    return ModelFamily::gpt2;
  }
  if (pre_norm && config.norm == NormType::rmsnorm && config.position == PositionType::rope &&
      config.activation == ActivationType::swiglu) {
    // transformers refuses Llama models whose heads do not divide the width, even with head_dim given.
    const bool divides = config.channels % config.heads == 0;
    if (config.qkv_bias == config.attention_out_bias && divides) return ModelFamily::llama;
    if (config.qkv_bias && !config.attention_out_bias && !config.ffn_bias) return ModelFamily::qwen2;
    if (!config.qkv_bias && !config.attention_out_bias && !config.ffn_bias) return ModelFamily::mistral;
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
  HfConfig result;
  const std::string type = json.text("model_type");
  if (type == name_of(ModelFamily::gpt2)) {
    result = {parse_gpt2(json), ModelFamily::gpt2, {}, {}};
  } else if (type == name_of(ModelFamily::llama)) {
    result = {parse_llama(json), ModelFamily::llama, {}, {}};
  } else if (type == name_of(ModelFamily::qwen2)) {
    result = {parse_qwen2(json, object), ModelFamily::qwen2, {}, {}};
  } else if (type == name_of(ModelFamily::mistral)) {
    result = {parse_mistral(json), ModelFamily::mistral, {}, {}};
  } else if (type == name_of(ModelFamily::mslt)) {
    result = {parse_mslt(json), ModelFamily::mslt, {}, {}};
  } else {
    json.reject("model_type", "supported are gpt2, llama, qwen2, mistral and mslt-transformer");
  }
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
  Json json;
  switch (family) {
    case ModelFamily::gpt2:
      json = format_gpt2(config);
      break;
    case ModelFamily::llama:
    case ModelFamily::qwen2:
    case ModelFamily::mistral:
      json = format_llama_like(config, family);
      break;
    case ModelFamily::mslt:
      json = format_mslt(config);
      break;
  }
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

// Reading each family's config.json.
#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/fail.h"
#include "formats/hf_families.h"
#include "model/config_fields.h"

namespace mslt {
namespace {

constexpr std::array<std::pair<std::string_view, ActivationType>, 8> activation_names = {
    {{"gelu_new", ActivationType::gelu},
     {"gelu_pytorch_tanh", ActivationType::gelu},
     {"gelu_python_tanh", ActivationType::gelu},
     {"gelu_fast", ActivationType::gelu},
     {"gelu_accurate", ActivationType::gelu},
     {"gelu", ActivationType::gelu_erf},
     {"gelu_python", ActivationType::gelu_erf},
     {"relu", ActivationType::relu}}};

// One config.json.
class Reader {
 public:
  Reader(ModelFamily family, const nlohmann::json& object, std::string_view source, std::vector<std::string>& notes)
      : family_(family), object_(object), json_(object, source), notes_(notes) {}

  Config gpt2() const;
  Config llama() const;
  Config qwen2() const;
  Config qwen3() const;
  Config mistral() const;
  Config smollm3() const;
  Config phi3() const;
  Config olmo2() const;
  Config gemma2() const;
  Config gemma3() const;
  Config mslt() const;

 private:
  void require_absent_or(std::string_view name, bool value) const {
    if (json_.boolean(name, value) != value) json_.reject(name, fmt::format("supported is {}", value));
  }
  // What all families but GPT-2 share.
  Config common() const;
  Config llama_like(double usual_theta = 10000.0) const;
  Config gemma(double usual_theta) const;
  void head_size(Config& config) const;
  void attention_biases(Config& config) const {
    config.qkv_bias = config.attention_out_bias = json_.boolean("attention_bias", false);
  }
  void rope(Config& config, double usual_theta) const;
  void rope_settings(const JsonMembers& rope, Config& config) const;
  void yarn(const JsonMembers& rope, Config& config) const;
  void longrope(const JsonMembers& rope, Config& config) const;
  void rotated_part(const JsonMembers& rope, Config& config) const;
  void windows(Config& config, std::vector<bool> slides) const;
  std::vector<bool> layer_types(const Config& config) const;
  float soft_cap(std::string_view name, double usual) const;

  ModelFamily family_;
  const nlohmann::json& object_;
  JsonMembers json_;
  std::vector<std::string>& notes_;
};

Config Reader::gpt2() const {
  Config config;
  config.vocab_size = json_.size("vocab_size");
  config.max_positions = json_.size("n_positions", 1024);
  config.layers = json_.size("n_layer");
  config.channels = json_.size("n_embd");
  config.heads = config.kv_heads = json_.size("n_head");
  if (config.channels % config.heads != 0)
    json_.reject("n_head", fmt::format("it must divide n_embd, {}", config.channels));
  config.head_size = config.channels / config.heads;
  config.ffn_size = json_.size("n_inner", 4 * config.channels);
  config.norm_epsilon = static_cast<float>(json_.number("layer_norm_epsilon", 1e-5));
  config.activation = activation_of(json_, "activation_function", "gelu_new");
  config.tied_embeddings = json_.boolean("tie_word_embeddings", true);
  config.dropout = static_cast<float>(json_.number("resid_pdrop", 0.1));
  require_absent_or("scale_attn_weights", true);
  require_absent_or("scale_attn_by_inverse_layer_idx", false);
  require_absent_or("add_cross_attention", false);
  return config;
}

void Reader::yarn(const JsonMembers& rope, Config& config) const {
  RopeScaling& scaling = config.rope_scaling;
  scaling.type = RopeScalingType::yarn;
  scaling.original_max_positions = rope.size("original_max_position_embeddings", config.max_positions);
  scaling.factor = rope.number(
      "factor", static_cast<double>(config.max_positions) / static_cast<double>(scaling.original_max_positions));
  scaling.beta_fast = rope.number("beta_fast", 32.0);
  scaling.beta_slow = rope.number("beta_slow", 1.0);
  if (!rope.boolean("truncate", true)) rope.reject("truncate", "supported is true");
  const auto stretch = [&](double weight) {
    return weight * (usual_yarn_factor(scaling.factor) - 1.0) + 1.0;
  };
  const double mscale = rope.number("mscale", 0.0);
  const double mscale_all = rope.number("mscale_all_dim", 0.0);
  const double usual = mscale != 0 && mscale_all != 0 ? stretch(mscale) / stretch(mscale_all) : stretch(1.0);
  scaling.attention_factor = rope.number("attention_factor", usual);
}

// As in transformers, Phi-3's own original_max_position_embeddings goes before that of the scaling, and its own code
// calls the type su or yarn in some files.
void Reader::longrope(const JsonMembers& rope, Config& config) const {
  RopeScaling& scaling = config.rope_scaling;
  scaling.type = RopeScalingType::longrope;
  scaling.short_factors = rope.numbers("short_factor");
  scaling.long_factors = rope.numbers("long_factor");
  constexpr std::string_view original = "original_max_position_embeddings";
  const bool is_phi3 = family_ == ModelFamily::phi3;
  const JsonMembers& first = is_phi3 ? json_ : rope;
  const JsonMembers& second = is_phi3 ? rope : json_;
  scaling.original_max_positions =
      first.has(original) ? first.size(original) : second.size(original, is_phi3 ? 4096 : config.max_positions);
  for (const std::string_view other : {"short_mscale", "long_mscale"}) {
    if (rope.has(other)) rope.reject(other, "supported is attention_factor");
  }
  const double growth = rope.number(
      "factor", static_cast<double>(config.max_positions) / static_cast<double>(scaling.original_max_positions));
  scaling.attention_factor =
      rope.number("attention_factor", usual_longrope_factor(growth, scaling.original_max_positions));
}

// Only Phi-3's layers rotate a part of each head; those of the others would not run.
void Reader::rotated_part(const JsonMembers& rope, Config& config) const {
  constexpr std::string_view name = "partial_rotary_factor";
  const double part = rope.number(name, 1.0);
  if (part == 1.0) return;
  if (family_ != ModelFamily::phi3) {
    rope.reject(name, fmt::format("supported is 1; of these families only {} rotates a part of each head",
                                  mslt::name_of(ModelFamily::phi3)));
  }
  config.rotary_size =
      part > 0 && part < 1 ? static_cast<std::int64_t>(part * static_cast<double>(config.head_size)) : 0;
  if (config.rotary_size == 0 || config.rotary_size % 2 != 0) {
    rope.reject(name, fmt::format("it must leave an even number of the {} channels of a head", config.head_size));
  }
}

void Reader::rope_settings(const JsonMembers& rope, Config& config) const {
  config.rope_theta = rope.number("rope_theta", config.rope_theta);
  rotated_part(rope, config);
  const std::string_view type_member = rope.has("rope_type") ? "rope_type" : "type";
  const std::string type = rope.text(type_member, "default");
  if (type == "default") return;
  if (family_ == ModelFamily::phi3) {
    if (type == "longrope" || type == "su" || type == "yarn") return longrope(rope, config);
    rope.reject(type_member, "supported are default and longrope");
  }
  RopeScaling& scaling = config.rope_scaling;
  if (type == "linear") {
    scaling.type = RopeScalingType::linear;
    scaling.factor = rope.number("factor");
  } else if (type == "llama3") {
    scaling.type = RopeScalingType::llama3;
    scaling.factor = rope.number("factor");
    scaling.low_freq_factor = rope.number("low_freq_factor");
    scaling.high_freq_factor = rope.number("high_freq_factor");
    scaling.original_max_positions = rope.size("original_max_position_embeddings", config.max_positions);
  } else if (type == "yarn") {
    yarn(rope, config);
  } else if (type == "longrope") {
    longrope(rope, config);
  } else if (type == "dynamic") {
    notes_.push_back(rope.ignored(type_member, fmt::format("it changes nothing up to max_position_embeddings, {}, "
                                                           "where sequences end",
                                                           config.max_positions)));
  } else {
    rope.reject(type_member, "supported are default, linear, llama3, yarn, longrope and dynamic");
  }
}

// rope_scaling replaces rope_parameters where both exist, as in transformers.
void Reader::rope(Config& config, double usual_theta) const {
  config.position = PositionType::rope;
  config.rope_theta = json_.number("rope_theta", usual_theta);
  rotated_part(json_, config);
  auto rope = json_.object("rope_scaling");
  if (!rope) rope = json_.object("rope_parameters");
  if (rope) rope_settings(*rope, config);
}

void Reader::head_size(Config& config) const {
  if (!json_.has("head_dim") && config.channels % config.heads != 0) {
    json_.reject("num_attention_heads", fmt::format("it must divide hidden_size, {}", config.channels));
  }
  config.head_size = json_.has("head_dim") ? json_.size("head_dim") : config.channels / config.heads;
}

Config Reader::common() const {
  Config config;
  config.vocab_size = json_.size("vocab_size");
  config.max_positions = json_.size("max_position_embeddings");
  config.layers = json_.size("num_hidden_layers");
  if (config.layers > max_config_layers) {
    json_.reject("num_hidden_layers", fmt::format("valid are up to {} layers", max_config_layers));
  }
  config.channels = json_.size("hidden_size");
  config.heads = json_.size("num_attention_heads");
  config.kv_heads = json_.size("num_key_value_heads", config.heads);
  config.ffn_size = json_.size("intermediate_size");
  config.norm = NormType::rmsnorm;
  config.norm_epsilon = static_cast<float>(json_.number("rms_norm_eps", 1e-6));
  config.qkv_bias = config.attention_out_bias = config.ffn_bias = config.norm_bias = false;
  config.dropout = static_cast<float>(json_.number("attention_dropout", 0.0));
  return config;
}

Config Reader::llama_like(double usual_theta) const {
  Config config = common();
  head_size(config);
  config.activation = ActivationType::swiglu;
  if (const std::string name = json_.text("hidden_act", "silu"); name != "silu" && name != "swish") {
    json_.reject("hidden_act", "supported is silu");
  }
  config.tied_embeddings = json_.boolean("tie_word_embeddings", false);
  rope(config, usual_theta);
  return config;
}

Config Reader::llama() const {
  Config config = llama_like();
  attention_biases(config);
  config.ffn_bias = json_.boolean("mlp_bias", false);
  return config;
}

// Which layers have a window by the member layer_types; empty without it.
std::vector<bool> Reader::layer_types(const Config& config) const {
  if (!json_.has("layer_types")) return {};
  constexpr std::string_view expected = "valid is a list of full_attention and sliding_attention, one for each layer";
  const nlohmann::json& types = object_["layer_types"];
  if (!types.is_array() || types.size() != static_cast<std::size_t>(config.layers)) {
    json_.reject("layer_types", expected);
  }
  std::vector<bool> slides;
  for (const nlohmann::json& type : types) {
    slides.push_back(type == "sliding_attention");
    if (!slides.back() && type != "full_attention") json_.reject("layer_types", expected);
  }
  return slides;
}

// Sets the fields by which exactly the layers that slide have the window.
void Reader::windows(Config& config, std::vector<bool> slides) const {
  if (std::vector<bool> types = layer_types(config); !types.empty()) slides = std::move(types);
  if (std::find(slides.begin(), slides.end(), true) == slides.end()) return;
  config.window = json_.size("sliding_window");
  if (!slide_in(slides, config)) {
    json_.reject("layer_types", "supported is full_attention in the first layers, in every n-th, or in both");
  }
}

Config Reader::qwen2() const {
  Config config = llama_like();
  config.qkv_bias = true;
  std::vector<bool> slides(static_cast<std::size_t>(config.layers));
  const bool uses = json_.boolean("use_sliding_window", false) && !json_.is_null("sliding_window");
  if (uses) {
    for (std::size_t i = 0; i < slides.size(); ++i) {
      slides[i] = static_cast<double>(i) >= json_.number("max_window_layers", 28);
    }
  }
  windows(config, slides);
  if (config.window > 0 && !uses) {
    json_.reject("layer_types", "sliding_attention needs use_sliding_window and a sliding_window");
  }
  return config;
}

Config Reader::qwen3() const {
  Config config = qwen2();
  if (!json_.has("head_dim")) config.head_size = 128;
  attention_biases(config);
  config.qk_norm = QkNormType::head;
  return config;
}

Config Reader::mistral() const {
  Config config = llama_like();
  // transformers' defaults where a file says nothing.
  if (!json_.has("num_key_value_heads")) config.kv_heads = 8;
  if (!json_.is_null("sliding_window")) config.window = json_.size("sliding_window", 4096);
  return config;
}

Config Reader::smollm3() const {
  Config config = llama_like(2000000.0);
  config.tied_embeddings = json_.boolean("tie_word_embeddings", true);
  attention_biases(config);
  config.ffn_bias = json_.boolean("mlp_bias", false);
  require_absent_or("use_sliding_window", false);
  for (const bool slides : layer_types(config)) {
    if (slides) json_.reject("layer_types", "supported is full_attention for every layer");
  }
  const std::int64_t interval = json_.size("no_rope_layer_interval", 4);
  config.no_rope_every = interval <= config.layers ? interval : 0;
  if (!json_.has("no_rope_layers")) return config;
  const nlohmann::json& list = object_["no_rope_layers"];
  std::vector<bool> rotates;
  if (list.is_array()) {
    for (const nlohmann::json& value : list) rotates.push_back(value != 0 && value != false);
  }
  constexpr std::string_view expected = "supported is 0 for every n-th layer and 1 for the others";
  if (rotates.size() < static_cast<std::size_t>(config.layers)) json_.reject("no_rope_layers", expected);
  const auto first = std::find(rotates.begin(), rotates.begin() + config.layers, false) - rotates.begin();
  config.no_rope_every = first < config.layers ? first + 1 : 0;
  for (std::int64_t i = 0; i < config.layers; ++i) {
    if (config.layer(i).attention.rotary != rotates[static_cast<std::size_t>(i)]) {
      json_.reject("no_rope_layers", expected);
    }
  }
  return config;
}

Config Reader::phi3() const {
  Config config = llama_like();
  config.norm_epsilon = static_cast<float>(json_.number("rms_norm_eps", 1e-5));
  config.dropout = static_cast<float>(json_.number("resid_pdrop", 0.0));
  if (json_.has("sliding_window")) config.window = json_.size("sliding_window");
  return config;
}

Config Reader::olmo2() const {
  Config config = llama_like();
  config.norm_epsilon = static_cast<float>(json_.number("rms_norm_eps", 1e-5));
  attention_biases(config);
  config.norm_position = NormPosition::output;
  config.qk_norm = QkNormType::row;
  return config;
}

float Reader::soft_cap(std::string_view name, double usual) const {
  return json_.is_null(name) ? 0.0f : static_cast<float>(json_.number(name, usual));
}

// What Gemma 2 and Gemma 3 share.
Config Reader::gemma(double usual_theta) const {
  Config config = common();
  config.head_size = json_.size("head_dim", 256);
  config.activation = ActivationType::geglu;
  if (activation_of(json_, "hidden_activation", "gelu_pytorch_tanh") != ActivationType::gelu) {
    json_.reject("hidden_activation", "supported is gelu_pytorch_tanh");
  }
  config.tied_embeddings = json_.boolean("tie_word_embeddings", true);
  config.embedding_scale = static_cast<float>(std::sqrt(static_cast<double>(config.channels)));
  config.norm_position = NormPosition::sandwich;
  config.norm_weight_offset = 1.0f;
  if (!json_.has("num_key_value_heads")) config.kv_heads = 4;
  const std::int64_t scalar = json_.size("query_pre_attn_scalar", 256);
  if (scalar != config.head_size) config.attention_scale = 1.0f / std::sqrt(static_cast<float>(scalar));
  attention_biases(config);
  require_absent_or("use_bidirectional_attention", false);
  config.position = PositionType::rope;
  config.rope_theta = json_.number("rope_theta", usual_theta);
  return config;
}

Config Reader::gemma2() const {
  Config config = gemma(10000.0);
  rope(config, 10000.0);
  config.attention_softcap = soft_cap("attn_logit_softcapping", 50.0);
  config.logit_softcap = soft_cap("final_logit_softcapping", 30.0);
  std::vector<bool> slides(static_cast<std::size_t>(config.layers));
  for (std::size_t i = 0; i < slides.size(); ++i) slides[i] = i % 2 == 0;
  if (!json_.is_null("sliding_window")) windows(config, slides);
  return config;
}

Config Reader::gemma3() const {
  Config config = gemma(1000000.0);
  config.qk_norm = QkNormType::head;
  config.attention_softcap = soft_cap("attn_logit_softcapping", 0.0);
  config.logit_softcap = soft_cap("final_logit_softcapping", 0.0);
  // Newer files have settings for each kind of layer; in older ones rope_scaling is of those that see all.
  config.local_rope_theta = json_.number("rope_local_base_freq", 10000.0);
  const auto kinds = json_.object("rope_parameters");
  if (const auto old = json_.object("rope_scaling")) {
    rope_settings(*old, config);
  } else if (kinds && (kinds->has("full_attention") || kinds->has("sliding_attention"))) {
    if (const auto full = kinds->object("full_attention")) rope_settings(*full, config);
    if (const auto local = kinds->object("sliding_attention")) {
      config.local_rope_theta = local->number("rope_theta", config.local_rope_theta);
      if (local->text("rope_type", "default") != "default") local->reject("rope_type", "supported is default");
    }
  } else if (kinds) {
    rope_settings(*kinds, config);
  }
  const std::int64_t pattern = json_.size("sliding_window_pattern", 6);
  std::vector<bool> slides(static_cast<std::size_t>(config.layers));
  for (std::size_t i = 0; i < slides.size(); ++i) slides[i] = (i + 1) % static_cast<std::size_t>(pattern) != 0;
  if (!json_.has("sliding_window")) json_.reject("sliding_window", "valid is a whole number from 1 on");
  windows(config, slides);
  return config;
}

// Every member is required, so that a misspelt one cannot silently take a default, except those that earlier versions
// did not write.
Config Reader::mslt() const {
  Config config;
  const auto rope = json_.object("rope_scaling");
  if (!rope) fail(ErrorKind::input, "{}: the member 'rope_scaling' is missing.", json_.source());
  visit_fields(config, [&]<class T>(const ConfigField& field, T& value) {
    const JsonMembers& from = field.is_nested() ? *rope : json_;
    if (field.later && !from.has(field.member())) return;
    if constexpr (std::is_enum_v<T>) {
      try {
        value = from_name<T>(from.text(field.member()));
      } catch (const Error& error) {
        fail(ErrorKind::input, "{}: the member '{}': {}", json_.source(), field.path, error.what());
      }
    } else if constexpr (std::is_same_v<T, bool>) {
      value = from.boolean(field.member());
    } else if constexpr (std::is_integral_v<T>) {
      value = from.size(field.member());
    } else if constexpr (std::is_same_v<T, std::vector<double>>) {
      value = from.numbers(field.member());
    } else {
      value = static_cast<T>(from.number(field.member()));
    }
  });
  return config;
}

}  // namespace

ActivationType activation_of(const JsonMembers& json, std::string_view member, std::string_view usual) {
  const std::string name = json.text(member, usual);
  for (const auto& [known, type] : activation_names) {
    if (known == name) return type;
  }
  json.reject(member, "supported are gelu_new (or gelu_pytorch_tanh), gelu and relu");
}

std::string_view activation_name(ActivationType type) {
  for (const auto& [name, known] : activation_names) {
    if (known == type) return name;
  }
  fail(ErrorKind::input, "GPT-2 has no activation {}.", name_of(type));
}

namespace {

Config read_as(ModelFamily family, const Reader& reader) {
  switch (family) {
    case ModelFamily::gpt2:
      return reader.gpt2();
    case ModelFamily::llama:
      return reader.llama();
    case ModelFamily::qwen2:
      return reader.qwen2();
    case ModelFamily::mistral:
      return reader.mistral();
    case ModelFamily::qwen3:
      return reader.qwen3();
    case ModelFamily::smollm3:
      return reader.smollm3();
    case ModelFamily::phi3:
      return reader.phi3();
    case ModelFamily::olmo2:
      return reader.olmo2();
    case ModelFamily::gemma2:
      return reader.gemma2();
    case ModelFamily::gemma3:
      return reader.gemma3();
    case ModelFamily::mslt:
      break;
  }
  return reader.mslt();
}

}  // namespace

Config read_family(ModelFamily family, const nlohmann::json& object, std::string_view source,
                   std::vector<std::string>& notes) {
  Config config = read_as(family, Reader(family, object, source, notes));
  if (family == ModelFamily::mslt) return config;
  return without_idle_settings(config);
}

}  // namespace mslt

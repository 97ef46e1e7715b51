// The one list of Config's fields: run.json, config.json's own form, flags and their help, reports, validation and the
// comparison on resuming are made from it.
#pragma once

#include <cstdint>
#include <string_view>
#include <type_traits>
#include <vector>

#include "model/config_limits.h"
#include "mslt/config.h"

namespace mslt {

struct ConfigField {
  std::string_view name;  // in run.json; a flag has dashes for its underscores
  std::string_view help;
  // What a number may be, without `least` or `most` where that end is open.
  double least = 0.0;
  double most = 0.0;
  bool above_least = false;
  bool below_most = false;
  std::string_view unit = {};
  std::string_view path = name;  // in config.json's own form
  bool later = false;            // files of earlier versions lack it; left out where it has its default
  bool has_flag = true;

  std::string_view member() const { return path.substr(path.rfind('.') + 1); }
  bool is_nested() const { return member().size() < path.size(); }  // in rope_scaling

  ConfigField at(std::string_view place) const { return changed(&ConfigField::path, place); }
  ConfigField since_later() const { return changed(&ConfigField::later, true); }
  ConfigField without_flag() const { return changed(&ConfigField::has_flag, false); }

 private:
  template <class T>
  ConfigField changed(T ConfigField::* member, T value) const {
    ConfigField result = *this;
    result.*member = value;
    return result;
  }
};

// Calls visit(field, value) for each field of a Config, constant or not, in the order of config.json. A field's value
// is an int64, a float or double, a bool, a setting with a name, or a list of doubles.
template <class AnyConfig, class Visit>
void visit_fields(AnyConfig& c, Visit&& visit) {
  using Name = std::string_view;
  constexpr double huge = 1e30;  // nothing larger is meant
  const auto plain = [](Name name, Name help) {
    return ConfigField{.name = name, .help = help};
  };
  const auto size = [](Name name, Name help, std::int64_t most, Name unit) {
    return ConfigField{.name = name, .help = help, .least = 1, .most = static_cast<double>(most), .unit = unit};
  };
  const auto from = [](double least, double most, Name name, Name help) {
    return ConfigField{.name = name, .help = help, .least = least, .most = most};
  };
  const auto positive = [](Name name, Name help) {
    return ConfigField{.name = name, .help = help, .most = huge, .above_least = true};
  };
  visit(size("vocab_size", "Tokens", max_config_vocab_size, "tokens").without_flag(), c.vocab_size);
  visit(size("max_positions", "Longest sequence", max_config_positions, "positions"), c.max_positions);
  visit(size("layers", "Layers", max_config_layers, "layers"), c.layers);
  visit(size("channels", "Embedding width; sets --ffn-size to four times it", max_config_channels, "channels"),
        c.channels);
  visit(size("heads", "Query heads; sets --kv-heads to as many", max_config_heads, "heads"), c.heads);
  visit(size("kv_heads", "Key and value heads", max_config_heads, "heads"), c.kv_heads);
  visit(size("head_size", "Channels of one head", max_config_head_size, "channels"), c.head_size);
  visit(size("ffn_size", "Feed-forward width", max_config_ffn_size, "channels"), c.ffn_size);
  visit(plain("norm", "layernorm or rmsnorm"), c.norm);
  visit(plain("norm_position", "pre, post, sandwich (both ends of a branch) or output (its end)"), c.norm_position);
  visit(
      ConfigField{
          .name = "norm_epsilon", .help = "Added to variances", .most = 1, .above_least = true, .below_most = true},
      c.norm_epsilon);
  visit(plain("position", "learned, sinusoidal, rope or none"), c.position);
  visit(from(1, huge, "rope_theta", "Base of RoPE's frequencies"), c.rope_theta);
  auto& rope = c.rope_scaling;
  visit(plain("rope_scaling", "Of RoPE's frequencies: none, linear, llama3, yarn or longrope").at("rope_scaling.type"),
        rope.type);
  visit(from(1, huge, "rope_scaling_factor", "Divides the scaled frequencies").at("rope_scaling.factor"), rope.factor);
  visit(positive("rope_low_freq_factor", "llama3: scales what turns less often").at("rope_scaling.low_freq_factor"),
        rope.low_freq_factor);
  visit(positive("rope_high_freq_factor", "llama3: keeps what turns more often").at("rope_scaling.high_freq_factor"),
        rope.high_freq_factor);
  visit(size("rope_original_max_positions", "llama3, yarn, longrope: positions before the rescaling",
             max_config_positions, "positions")
            .at("rope_scaling.original_max_positions"),
        rope.original_max_positions);
  visit(positive("rope_beta_fast", "yarn: keeps what turns more often").at("rope_scaling.beta_fast").since_later(),
        rope.beta_fast);
  visit(positive("rope_beta_slow", "yarn: scales what turns less often").at("rope_scaling.beta_slow").since_later(),
        rope.beta_slow);
  visit(ConfigField{.name = "rope_attention_factor",
                    .help = "yarn, longrope: multiplies rotated queries and keys",
                    .most = 1000,
                    .above_least = true}
            .at("rope_scaling.attention_factor")
            .since_later(),
        rope.attention_factor);
  const auto factors = [&](Name name, Name help, Name place) {
    return from(least_config_rope_factor, max_config_rope_factor, name, help).at(place).since_later().without_flag();
  };
  visit(factors("rope_short_factors", "longrope: divide the frequencies of short texts", "rope_scaling.short_factors"),
        rope.short_factors);
  visit(factors("rope_long_factors", "longrope: divide the frequencies of long texts", "rope_scaling.long_factors"),
        rope.long_factors);
  visit(plain("activation", "gelu (tanh), gelu_erf (exact), relu, swiglu or geglu"), c.activation);
  visit(plain("qkv_bias", "Whether queries, keys and values have biases"), c.qkv_bias);
  visit(plain("attention_out_bias", "Whether attention's result has a bias"), c.attention_out_bias);
  visit(plain("ffn_bias", "Whether the feed-forward products have biases"), c.ffn_bias);
  visit(plain("norm_bias", "Whether norms have biases"), c.norm_bias);
  visit(plain("tied_embeddings", "Whether the output head is the embedding"), c.tied_embeddings);
  visit(positive("embedding_scale", "Multiplies token embeddings"), c.embedding_scale);
  // train has its own flag of this name, for any model that it starts from.
  visit(ConfigField{.name = "dropout", .help = "Dropout probability", .most = 1, .below_most = true}.without_flag(),
        c.dropout);
  visit(plain("qk_norm", "Norms of queries and keys: none, head or row").since_later(), c.qk_norm);
  visit(from(0, max_config_positions, "window", "Positions that a token sees; 0 for all").since_later(), c.window);
  visit(from(0, huge, "attention_scale", "Scale of q·k; 0 for 1 / sqrt(head size)").since_later(), c.attention_scale);
  visit(from(0, huge, "attention_softcap", "Soft cap of attention's scores; 0 for none").since_later(),
        c.attention_softcap);
  visit(from(0, huge, "logit_softcap", "Soft cap of logits; 0 for none").since_later(), c.logit_softcap);
  visit(from(0, max_config_layers, "window_from", "Layers before the first that has the window").since_later(),
        c.window_from);
  visit(from(0, max_config_layers, "full_attention_every", "Every n-th layer has no window; 0 for none").since_later(),
        c.full_attention_every);
  visit(from(0, max_config_layers, "no_rope_every", "Every n-th layer has no RoPE; 0 for none").since_later(),
        c.no_rope_every);
  visit(from(0, huge, "local_rope_theta", "RoPE's base in layers with a window; 0 for rope_theta").since_later(),
        c.local_rope_theta);
  visit(from(0, 1, "norm_weight_offset", "Added to the weights of norms").since_later(), c.norm_weight_offset);
  visit(from(0, max_config_head_size, "rotary_size", "Channels of a head that RoPE rotates; 0 for all").since_later(),
        c.rotary_size);
}

// The same for the fields of two configurations side by side: visit(field, value, other's value).
template <class AnyConfig, class Visit>
void visit_fields(AnyConfig& config, const Config& other, Visit&& visit) {
  std::vector<const void*> others;
  visit_fields(other, [&](const ConfigField&, const auto& value) { others.push_back(&value); });
  std::size_t i = 0;
  visit_fields(config, [&](const ConfigField& field, auto& value) {
    visit(field, value,
          *static_cast<std::add_pointer_t<std::add_const_t<std::remove_reference_t<decltype(value)>>>>(others[i++]));
  });
}

}  // namespace mslt

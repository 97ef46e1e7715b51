// The stages of each layer, from its description.
#include "model/stages.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "base/fail.h"

namespace mslt {
namespace {

Activation activation_of(ActivationType type) {
  switch (type) {
    case ActivationType::gelu:
      return Activation::gelu;
    case ActivationType::gelu_erf:
      return Activation::gelu_erf;
    case ActivationType::relu:
      return Activation::relu;
    case ActivationType::swiglu:
      return Activation::swiglu;
    case ActivationType::geglu:
      return Activation::geglu;
  }
  fail(ErrorKind::usage, "No operation computes the activation {}.", name_of(type));
}

class Builder {
 public:
  explicit Builder(const Config& config) : config_(config) {
    for (layer_ = 0; layer_ < config.layers; ++layer_) {
      const LayerConfig layer = config.layer(layer_);
      begin_branch(layer.norm_position, "attention");
      attention(layer.attention);
      end_branch(layer.norm_position, "attention");
      begin_branch(layer.norm_position, "ffn");
      feed_forward(layer.feed_forward);
      end_branch(layer.norm_position, "ffn");
    }
    if (config.norm_position != NormPosition::post) join("final_norm", true, false);
  }

  std::vector<Stage> take() { return std::move(stages_); }

 private:
  template <class Kind>
  void add(std::string_view role, const Kind& kind) {
    const bool behind = layer_ == config_.layers;
    stages_.push_back({behind ? std::string(role) : layer_name(layer_, role), layer_, branch_, kind});
  }

  void join(std::string_view role, bool normalizes, bool stream_normalized) {
    // Of a layer's four numbers the first is the embedding's, in layer 0, and the second attention's.
    const auto dropout = static_cast<std::uint32_t>(ended_ / 2 * 4 + ended_ % 2 + 2);
    add(role, Join{has_branch_, normalizes, stream_normalized, dropout});
    has_branch_ = false;
  }

  void begin_branch(NormPosition position, const std::string& branch) {
    if (position == NormPosition::pre || position == NormPosition::sandwich) {
      join(branch + "_norm", true, false);
    } else if (has_branch_) {
      join(branch + "_in", false, false);
    }
  }

  void end_branch(NormPosition position, const std::string& branch) {
    has_branch_ = true;
    ended_ = branch_;
    if (position == NormPosition::sandwich || position == NormPosition::output) add(branch + "_out_norm", Normalize{});
    if (position == NormPosition::post) join(branch + "_norm", true, true);
    ++branch_;
  }

  void attention(const AttentionConfig& config) {
    const AttentionShape shape = attention_shape(config);
    add("qkv", Linear{config_.channels, shape.qkv_columns(), config.qkv_bias});
    if (config.qk_norm != QkNormType::none) {
      const bool each = config.qk_norm == QkNormType::head;
      const std::int64_t queries = shape.query_columns();
      const std::int64_t keys = shape.key_columns();
      add("q_norm", NormalizeHeads{.queries = {0, each ? shape.heads : 1},
                                   .keys = {queries, each ? shape.kv_heads : 1},
                                   .query_size = each ? shape.head_size : queries,
                                   .key_size = each ? shape.head_size : keys,
                                   .key_name = layer_name(layer_, "k_norm")});
    }
    if (config.rotary)
      add("rotated", Rotate{shape, config.rope_theta, config.rope_scaling, config.rotary_size, config.rotary_scale});
    add("attention", Attend{shape, static_cast<std::uint32_t>(layer_ * 4 + 1)});
    add("attention_out", Linear{shape.query_columns(), config_.channels, config.out_bias});
  }

  void feed_forward(const FeedForwardConfig& config) {
    const Activate activate{activation_of(config.activation), config.size};
    add("ffn_up", Linear{config_.channels, (activate.gated() ? 2 : 1) * config.size, config.bias});
    add("ffn_hidden", activate);
    add("ffn_down", Linear{config.size, config_.channels, config.bias});
  }

  const Config& config_;
  std::int64_t layer_ = 0;
  std::int64_t branch_ = 0;
  std::int64_t ended_ = 0;   // the last branch that has ended
  bool has_branch_ = false;  // whose result no Join has added
  std::vector<Stage> stages_;
};

}  // namespace

std::string_view Stage::role() const {
  const std::string_view whole = name;
  return whole.starts_with("layers.") ? whole.substr(whole.rfind('.') + 1) : whole;
}

std::vector<Stage> stages_of(const Config& config) {
  return Builder(config).take();
}

const Activate* fused_activation(const std::vector<Stage>& stages, std::size_t i) {
  if (stages[i].as<Linear>() == nullptr) return nullptr;
  const auto* const next = stages[i + 1].as<Activate>();
  return next != nullptr && !next->gated() ? next : nullptr;
}

std::vector<StageParameter> parameters_of(const Stage& stage, const Config& config) {
  std::vector<StageParameter> result;
  const auto add = [&](const std::string& name, const Shape& shape) {
    result.push_back({name, shape});
  };
  if (const auto* linear = stage.as<Linear>()) {
    add(stage.name + ".weight", {linear->out, linear->in});
    if (linear->bias) add(stage.name + ".bias", {linear->out});
  }
  if (const auto* heads = stage.as<NormalizeHeads>()) {
    add(stage.name + ".weight", {heads->query_size});
    add(heads->key_name + ".weight", {heads->key_size});
  }
  const auto* join = stage.as<Join>();
  if (stage.as<Normalize>() != nullptr || (join != nullptr && join->normalizes)) {
    add(stage.name + ".weight", {config.channels});
    if (config.norm_bias) add(stage.name + ".bias", {config.channels});
  }
  return result;
}

std::string layer_name(std::int64_t layer, std::string_view tensor) {
  return fmt::format("layers.{}.{}", layer, tensor);
}

AttentionShape attention_shape(const AttentionConfig& attention) {
  return {.heads = static_cast<int>(attention.heads),
          .kv_heads = static_cast<int>(attention.kv_heads),
          .head_size = static_cast<int>(attention.head_size),
          .scale = attention.scale,
          .window = static_cast<int>(attention.window),
          .softcap = attention.softcap};
}

NormKind norm_kind(const Config& config) {
  return {config.norm == NormType::rmsnorm, config.norm_epsilon, config.norm_weight_offset};
}

NormKind head_norm_kind(const Config& config) {
  return {true, config.norm_epsilon, config.norm_weight_offset};
}

}  // namespace mslt

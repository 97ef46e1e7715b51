// Presets and their changes.
#include "cli/model_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include "cli/numbers.h"
#include "cli/ranges.h"
#include "model/config_limits.h"

namespace mslt::cli {

Config ModelOptions::config() const {
  Config result = mslt::preset(preset);
  if (layers) result.layers = *layers;
  if (channels) result.channels = *channels;
  if (heads) {
    result.heads = *heads;
    result.kv_heads = *heads;
  }
  if (kv_heads) result.kv_heads = *kv_heads;
  if ((channels || heads) && result.heads > 0) result.head_size = result.channels / result.heads;
  if (head_size) result.head_size = *head_size;
  if (channels) result.ffn_size = 4 * result.channels;
  if (ffn_size) result.ffn_size = *ffn_size;
  if (max_positions) result.max_positions = *max_positions;
  if (norm) {
    result.norm = norm_type_from_name(*norm);
    result.norm_bias = result.norm == NormType::layernorm;
  }
  if (norm_position) result.norm_position = norm_position_from_name(*norm_position);
  if (position) result.position = position_type_from_name(*position);
  if (activation) result.activation = activation_type_from_name(*activation);
  if (rope_theta) result.rope_theta = *rope_theta;
  if (tied_embeddings) result.tied_embeddings = *tied_embeddings;
  return result;
}

void add_model_options(CLI::App& command, ModelOptions& options) {
  const std::string group = model_option_group;
  command.add_option("--preset", options.preset, fmt::format("{}", fmt::join(preset_names(), ", ")))->group(group);
  add_integer(command, "--layers", options.layers, "Layers", {.least = 1, .most = max_config_layers, .unit = "layers"})
      ->group(group);
  add_integer(command, "--channels", options.channels, "Embedding width; sets --ffn-size to four times it",
              {.least = 1, .most = max_config_channels, .unit = "channels"})
      ->group(group);
  add_integer(command, "--heads", options.heads, "Query heads; sets --kv-heads to as many",
              {.least = 1, .most = max_config_heads, .unit = "heads"})
      ->group(group);
  add_integer(command, "--kv-heads", options.kv_heads, "Key and value heads",
              {.least = 1, .most = max_config_heads, .unit = "heads"})
      ->group(group);
  add_integer(command, "--head-size", options.head_size, "Channels of one head",
              {.least = 1, .most = max_config_head_size, .unit = "channels"})
      ->group(group);
  add_integer(command, "--ffn-size", options.ffn_size, "Feed-forward width",
              {.least = 1, .most = max_config_ffn_size, .unit = "channels"})
      ->group(group);
  add_integer(command, "--max-positions", options.max_positions, "Longest sequence",
              {.least = 1, .most = max_config_positions, .unit = "positions"})
      ->group(group);
  command.add_option("--norm", options.norm, "layernorm or rmsnorm")->group(group);
  command.add_option("--norm-position", options.norm_position, "pre or post")->group(group);
  command.add_option("--position", options.position, "learned, sinusoidal, rope or none")->group(group);
  command.add_option("--activation", options.activation, "gelu (tanh), gelu_erf (exact), relu or swiglu")->group(group);
  add_real(command, "--rope-theta", options.rope_theta, "Base of RoPE's frequencies",
           {.most = largest_real, .above_least = true})
      ->group(group);
  add_boolean(command, "--tied-embeddings", options.tied_embeddings, "Whether the output head is the embedding")
      ->group(group);
}

}  // namespace mslt::cli

// Translating a GGUF file's keys into the members of config.json.
#include "formats/gguf_config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/fail.h"
#include "formats/gguf_architectures.h"
#include "formats/gguf_rope.h"
#include "formats/hf_families.h"
#include "model/config_limits.h"

namespace mslt {
namespace {

using nlohmann::json;

constexpr std::string_view architecture_key = "general.architecture";

// The keys of one architecture.
class Keys {
 public:
  Keys(const Gguf& file, std::string_view architecture) : file_(file), architecture_(architecture) {}

  const Gguf& file() const { return file_; }
  std::string key(std::string_view name) const { return fmt::format("{}.{}", architecture_, name); }
  bool has(std::string_view name) const { return file_.has(key(name)); }
  double number(std::string_view name) const { return file_.number(key(name)); }
  double number(std::string_view name, double fallback) const { return file_.number(key(name), fallback); }

  // One size, or a list with the same one for each layer.
  std::int64_t size(std::string_view name) const {
    const std::string name_of_key = key(name);
    if (!file_.is_array(name_of_key)) return file_.size(name_of_key);
    const auto sizes = file_.integers(name_of_key);
    const std::set<std::int64_t> different(sizes.begin(), sizes.end());
    if (different.size() != 1 || *different.begin() < 1 ||
        static_cast<std::int64_t>(sizes.size()) != file_.size(key("block_count"))) {
      file_.reject(name_of_key, "supported is one size from 1 on for all layers, once for each");
    }
    return *different.begin();
  }
  std::int64_t size(std::string_view name, std::int64_t fallback) const { return has(name) ? size(name) : fallback; }

  bool is_zero(std::string_view name) const { return !file_.is_array(key(name)) && number(name) == 0.0; }

  // The members of config.json by the table; without those whose keys are missing, or zero, but not required.
  json members(std::span<const GgufKey> table) const {
    json members = json::object();
    for (const GgufKey& entry : table) {
      if (!entry.is_required && (!has(entry.key) || is_zero(entry.key))) continue;
      json& member = members[std::string(entry.member)];
      entry.kind == GgufKey::Kind::size ? member = size(entry.key) : member = number(entry.key);
    }
    return members;
  }

  // Refuses a key that changes what the model computes.
  void require_absent(std::string_view name, std::string_view what) const {
    if (has(name) && number(name) != 0.0) file_.reject(key(name), fmt::format("{} are not supported", what));
  }

 private:
  const Gguf& file_;
  std::string_view architecture_;
};

const GgufTensor& require_tensor(const Gguf& file, std::string_view name) {
  const GgufTensor* const tensor = file.find_tensor(name);
  if (tensor == nullptr) fail(ErrorKind::input, "{}: the tensor '{}' is missing.", file.source(), name);
  return *tensor;
}

std::vector<float> floats_of(const GgufTensor& tensor) {
  std::vector<float> values(tensor.data.size() / sizeof(float));
  std::memcpy(values.data(), tensor.data.data(), values.size() * sizeof(float));
  return values;
}

// Divisors of RoPE's frequencies, one for each pair of the `rotated` channels of a head. Without F32, nothing.
std::vector<float> divisors_in(const Gguf& file, const GgufTensor& tensor, std::int64_t rotated) {
  if (tensor.shape != std::vector<std::uint64_t>{static_cast<std::uint64_t>(rotated / 2)}) {
    fail(ErrorKind::input, "{}: the tensor '{}' has the shape [{}], expected is [{}].", file.source(), tensor.name,
         fmt::join(tensor.shape, ", "), rotated / 2);
  }
  return tensor.block.name == "F32" ? floats_of(tensor) : std::vector<float>();
}

// longrope, whose divisors are tensors.
RopeScaling longrope(const Keys& keys, std::int64_t rotated) {
  const Gguf& file = keys.file();
  const auto factors = [&](std::string_view name) {
    const GgufTensor& tensor = require_tensor(file, name);
    const std::vector<float> divisors = divisors_in(file, tensor, rotated);
    if (divisors.empty()) {
      fail(ErrorKind::input, "{}: the tensor '{}' is {}; supported is F32.", file.source(), name, tensor.block.name);
    }
    std::vector<double> result;
    for (const float divisor : divisors) {
      if (!(divisor >= least_config_rope_factor && divisor <= max_config_rope_factor)) {
        fail(ErrorKind::input, "{}: the tensor '{}' holds {}; valid are divisors of frequencies from {} to {}.",
             file.source(), name, divisor, least_config_rope_factor, max_config_rope_factor);
      }
      result.push_back(shortest_double(divisor));
    }
    return result;
  };
  const std::int64_t positions = keys.size("context_length");
  const std::int64_t original = keys.size("rope.scaling.original_context_length", positions);
  double factor = keys.number("rope.scaling.attn_factor", 1.0);
  // Rounded to a float, the usual one is not mistaken for another.
  const double usual = usual_longrope_factor(static_cast<double>(positions) / static_cast<double>(original), original);
  if (static_cast<float>(factor) == static_cast<float>(usual)) factor = usual;
  return {.type = RopeScalingType::longrope,
          .original_max_positions = original,
          .attention_factor = factor,
          .short_factors = factors(short_factors_tensor),
          .long_factors = factors(long_factors_tensor)};
}

// Queries and keys are multiplied by attn_factor and by what follows from the factor, as in llama.cpp.
RopeScaling yarn(const Keys& keys, double factor) {
  for (const std::string_view name : {"rope.scaling.yarn_ext_factor", "rope.scaling.yarn_attn_factor"}) {
    if (keys.number(name, 1.0) != 1.0) keys.file().reject(keys.key(name), "supported is 1");
  }
  const double all = usual_yarn_factor(factor);
  const double log_multiplier = keys.number("rope.scaling.yarn_log_multiplier", 0.0);
  const double divided = log_multiplier == 0 ? 1.0 : log_multiplier * (all - 1.0) + 1.0;
  return {.type = RopeScalingType::yarn,
          .factor = factor,
          .original_max_positions = keys.size("rope.scaling.original_context_length", keys.size("context_length")),
          .beta_fast = keys.number("rope.scaling.yarn_beta_fast", 32.0),
          .beta_slow = keys.number("rope.scaling.yarn_beta_slow", 1.0),
          .attention_factor = all / divided * keys.number("rope.scaling.attn_factor", 1.0)};
}

// Without a type, a factor is that of linear scaling, as in llama.cpp.
RopeScaling rope_scaling(const Keys& keys, double theta, std::int64_t rotated, bool is_gemma) {
  const Gguf& file = keys.file();
  const std::string type_key = keys.key("rope.scaling.type");
  const std::string_view type = file.text(type_key, "linear");
  const bool known = type == "none" || type == "linear" || (!is_gemma && (type == "yarn" || type == "longrope"));
  if (!known) {
    file.reject(type_key, is_gemma ? "supported are none and linear" : "supported are none, linear, yarn and longrope");
  }
  constexpr std::string_view divisors = "rope_freqs.weight";
  const double factor =
      keys.has("rope.scaling.factor") ? keys.number("rope.scaling.factor") : keys.number("rope.scale_linear", 1.0);
  const bool has_factors =
      file.find_tensor(long_factors_tensor) != nullptr || file.find_tensor(short_factors_tensor) != nullptr;
  if (type == "longrope" || (has_factors && !is_gemma)) {
    if (type == "yarn") file.reject(type_key, "supported beside tensors of factors are none, linear and longrope");
    if (factor != 1.0) file.reject(keys.key("rope.scaling.factor"), "supported beside tensors of factors is 1");
    if (file.find_tensor(divisors) != nullptr) {
      fail(ErrorKind::input, "{}: the tensors '{}' and '{}' both scale RoPE; supported is one of them.", file.source(),
           divisors, long_factors_tensor);
    }
    return longrope(keys, rotated);
  }
  if (type == "yarn") return yarn(keys, factor);
  if (keys.number("rope.scaling.attn_factor", 1.0) != 1.0) {
    file.reject(keys.key("rope.scaling.attn_factor"), "supported is 1, or another with yarn and longrope");
  }
  const bool scales = type == "linear" && factor != 1.0;
  if (const GgufTensor* const tensor = file.find_tensor(divisors)) {
    const std::vector<float> values = divisors_in(file, *tensor, rotated);
    if (scales) {
      fail(ErrorKind::input, "{}: the tensor '{}' and the factor {} of '{}' both scale RoPE; supported is one of them.",
           file.source(), divisors, factor, keys.key("rope.scaling"));
    }
    const auto scaling = scaling_from_divisors(values, theta);
    if (!scaling) {
      fail(ErrorKind::input,
           "{}: the tensor '{}' holds divisors of RoPE's frequencies of no known kind; supported are those of the "
           "scalings linear and llama3, in F32.",
           file.source(), divisors);
    }
    return *scaling;
  }
  return scales ? RopeScaling{.type = RopeScalingType::linear, .factor = factor} : RopeScaling();
}

// A model that is spread over several files is joined by llama.cpp's tool.
void require_whole(const Gguf& file) {
  constexpr std::string_view count = "split.count";
  if (!file.has(count) || file.number(count) <= 1.0) return;
  fail(ErrorKind::input,
       "{}: the file is part {} of {} of a model; supported are models in one file. Join the parts by "
       "llama-gguf-split --merge FIRST_PART OUTPUT.",
       file.source(), file.number("split.no", 0.0) + 1.0, file.number(count));
}

// What llama's relatives share.
void complete_llama(const Keys& keys, ModelFamily family, json& members) {
  const Gguf& file = keys.file();
  keys.require_absent("expert_count", "mixtures of experts");
  keys.require_absent("pooling_type", "poolings");
  if (!file.boolean(keys.key("attention.causal"), true)) {
    file.reject(keys.key("attention.causal"), "supported is true");
  }
  const auto channels = members["hidden_size"].get<std::int64_t>();
  const auto heads = members["num_attention_heads"].get<std::int64_t>();
  if (!members.contains("head_dim")) {
    if (channels % heads != 0) {
      file.reject(keys.key("attention.head_count"),
                  fmt::format("it must divide {}, {}", keys.key("embedding_length"), channels));
    }
    members["head_dim"] = channels / heads;
  }
  const auto head_size = members["head_dim"].get<std::int64_t>();
  if (!members.contains("num_key_value_heads")) members["num_key_value_heads"] = heads;
  if (!members.contains("rope_theta")) members["rope_theta"] = 10000.0;
  const auto require_head_size = [&](std::string_view same) {
    if (keys.size(same, head_size) == head_size) return;
    file.reject(keys.key(same), fmt::format("supported is the size of a head, {}", head_size));
  };
  require_head_size("attention.value_length");
  constexpr std::string_view rotated_key = "rope.dimension_count";
  const std::int64_t rotated = keys.size(rotated_key, head_size);
  if (family != ModelFamily::phi3) {
    require_head_size(rotated_key);
  } else if (rotated > head_size || rotated % 2 != 0) {
    file.reject(keys.key(rotated_key), fmt::format("valid is an even number up to the size of a head, {}", head_size));
  } else if (rotated < head_size) {
    members["partial_rotary_factor"] = rotary_part(rotated, head_size);
  }
  members["hidden_act"] = "silu";
  const bool is_gemma = family == ModelFamily::gemma2 || family == ModelFamily::gemma3;
  members["rope_scaling"] = rope_settings(rope_scaling(keys, members["rope_theta"].get<double>(), rotated, is_gemma));
  members["attention_bias"] = file.find_tensor("blk.0.attn_q.bias") != nullptr;
  members["mlp_bias"] = file.find_tensor("blk.0.ffn_up.bias") != nullptr;
  if (!members.contains("sliding_window")) {
    keys.require_absent("attention.sliding_window", "windows");
    members["sliding_window"] = nullptr;
  }
}

// Tokens by the tokenizer's keys; a text may end in several ways.
ModelTokenIds token_ids(const Gguf& file, std::int64_t vocab_size) {
  const auto id = [&](std::string_view name) -> std::optional<std::uint32_t> {
    const auto found = file.unsigned_number(fmt::format("tokenizer.ggml.{}_token_id", name));
    if (!found || *found >= static_cast<std::uint64_t>(vocab_size)) return std::nullopt;
    return static_cast<std::uint32_t>(*found);
  };
  ModelTokenIds tokens{id("bos"), id("padding"), {}};
  for (const std::string_view name : {"eos", "eot", "eom"}) {
    const auto end = id(name);
    if (end && std::ranges::find(tokens.eos, *end) == tokens.eos.end()) tokens.eos.push_back(*end);
  }
  return tokens;
}

// Whether the output head is the token embedding: there is no other, or it has the same bytes.
bool has_tied_head(const Gguf& file) {
  const GgufTensor* const head = file.find_tensor("output.weight");
  if (head == nullptr) return true;
  const GgufTensor& embedding = require_tensor(file, "token_embd.weight");
  return head->block.type == embedding.block.type && head->shape == embedding.shape &&
         std::ranges::equal(head->data, embedding.data);
}

}  // namespace

HfConfig config_from_gguf(const Gguf& file) {
  require_whole(file);
  const std::string_view name = file.text(architecture_key);
  const auto known = std::ranges::find(gguf_architectures(), name, &GgufArchitecture::name);
  if (known == gguf_architectures().end()) {
    std::vector<std::string_view> names;
    for (const GgufArchitecture& architecture : gguf_architectures()) names.push_back(architecture.name);
    file.reject(architecture_key, fmt::format("supported are {}", fmt::join(names, ", ")));
  }
  const Keys keys(file, name);
  json members = keys.members(known->keys);
  ModelFamily family = known->family;
  // Mistral's architecture is llama, of which only Mistral has windows.
  constexpr std::string_view window = "attention.sliding_window";
  if (family == ModelFamily::llama && keys.has(window) && !keys.is_zero(window)) family = ModelFamily::mistral;
  if (family == ModelFamily::mistral && keys.has(window) && !keys.is_zero(window)) {
    members["sliding_window"] = keys.size(window);
  }
  if (family == ModelFamily::gpt2) {
    members["activation_function"] = "gelu_new";
  } else {
    complete_llama(keys, family, members);
  }
  if (family == ModelFamily::gemma3) {
    if (keys.has("rope.freq_base_swa")) members["rope_local_base_freq"] = keys.number("rope.freq_base_swa");
    if (keys.has("attention.sliding_window_pattern")) {
      members["sliding_window_pattern"] = keys.size("attention.sliding_window_pattern");
    }
  }
  if (family == ModelFamily::gemma2 || family == ModelFamily::gemma3) {
    members["query_pre_attn_scalar"] = gemma_scalar(
        family, members["num_hidden_layers"].get<std::int64_t>(), members["hidden_size"].get<std::int64_t>(),
        members["num_attention_heads"].get<std::int64_t>(), members["head_dim"].get<std::int64_t>());
  }
  members["model_type"] = name_of(family);
  members["vocab_size"] = require_tensor(file, "token_embd.weight").shape.front();
  members["tie_word_embeddings"] = has_tied_head(file);
  HfConfig result = parse_hf_config(members.dump(), file.source());
  result.tokens = token_ids(file, result.config.vocab_size);
  return result;
}

}  // namespace mslt

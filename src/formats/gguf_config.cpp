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

// Without a type, a factor is that of linear scaling, as in llama.cpp.
RopeScaling rope_scaling(const Keys& keys, double theta, std::int64_t head_size) {
  const Gguf& file = keys.file();
  const std::string type_key = keys.key("rope.scaling.type");
  const std::string_view type = file.text(type_key, "linear");
  if (type != "none" && type != "linear") file.reject(type_key, "supported are none and linear");
  const double factor =
      keys.has("rope.scaling.factor") ? keys.number("rope.scaling.factor") : keys.number("rope.scale_linear", 1.0);
  const bool scales = type == "linear" && factor != 1.0;
  constexpr std::string_view divisors = "rope_freqs.weight";
  if (const GgufTensor* const tensor = file.find_tensor(divisors)) {
    if (tensor->shape != std::vector<std::uint64_t>{static_cast<std::uint64_t>(head_size / 2)}) {
      fail(ErrorKind::input, "{}: the tensor '{}' has the shape [{}], expected is [{}].", file.source(), divisors,
           fmt::join(tensor->shape, ", "), head_size / 2);
    }
    if (scales) {
      fail(ErrorKind::input, "{}: the tensor '{}' and the factor {} of '{}' both scale RoPE; supported is one of them.",
           file.source(), divisors, factor, keys.key("rope.scaling"));
    }
    const auto scaling = tensor->block.name == "F32" ? scaling_from_divisors(floats_of(*tensor), theta) : std::nullopt;
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
void complete_llama(const Keys& keys, json& members) {
  const Gguf& file = keys.file();
  keys.require_absent("expert_count", "mixtures of experts");
  keys.require_absent("pooling_type", "poolings");
  if (!file.boolean(keys.key("attention.causal"), true)) {
    file.reject(keys.key("attention.causal"), "supported is true");
  }
  if (keys.number("rope.scaling.attn_factor", 1.0) != 1.0) {
    file.reject(keys.key("rope.scaling.attn_factor"), "supported is 1");
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
  for (const std::string_view same : {"attention.value_length", "rope.dimension_count"}) {
    if (keys.size(same, head_size) != head_size) {
      file.reject(keys.key(same), fmt::format("supported is the size of a head, {}", head_size));
    }
  }
  members["hidden_act"] = "silu";
  members["rope_scaling"] = rope_settings(rope_scaling(keys, members["rope_theta"].get<double>(), head_size));
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
  const ModelFamily family = known->family;
  if (family == ModelFamily::gpt2) {
    members["activation_function"] = "gelu_new";
  } else {
    complete_llama(keys, members);
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

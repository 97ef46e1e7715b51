// Small models of every family for the tests of this folder.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "backend/download_floats.h"
#include "backend/registry.h"
#include "base/philox.h"
#include "model/config_fields.h"
#include "model/transformer.h"
#include "mslt/error.h"

namespace mslt::test {

inline Config small_gpt2() {
  Config config;
  config.vocab_size = 37;
  config.max_positions = 40;
  config.layers = 2;
  config.channels = 24;
  config.heads = config.kv_heads = 3;
  config.head_size = 8;
  config.ffn_size = 40;
  return config;
}

inline Config small_llama() {
  Config config = small_gpt2();
  config.heads = 4;
  config.kv_heads = 2;
  config.head_size = 10;  // heads · head_size need not be channels
  config.norm = NormType::rmsnorm;
  config.position = PositionType::rope;
  config.activation = ActivationType::swiglu;
  config.qkv_bias = config.attention_out_bias = config.ffn_bias = config.norm_bias = false;
  config.tied_embeddings = false;
  return config;
}

inline Config small_qwen2() {
  Config config = small_llama();
  config.qkv_bias = config.tied_embeddings = true;
  return config;
}

inline Config small_post_norm() {
  Config config = small_gpt2();
  config.norm_position = NormPosition::post;
  config.position = PositionType::sinusoidal;
  config.activation = ActivationType::relu;
  config.embedding_scale = std::sqrt(24.0f);
  return config;
}

// None of the usual combinations: RMSNorm after the branch, no positions, an MQA head, one layer.
inline Config small_odd() {
  Config config = small_gpt2();
  config.layers = 1;
  config.kv_heads = 1;
  config.norm = NormType::rmsnorm;
  config.norm_position = NormPosition::post;
  config.norm_bias = config.attention_out_bias = false;
  config.position = PositionType::none;
  config.activation = ActivationType::swiglu;
  config.tied_embeddings = false;
  return config;
}

// What Gemma 2 and 3 have between them: norms on both sides of each branch and of each query and key, weights of norms
// with an offset, GeGLU, windows in every other layer with a rotation of their own, soft caps, a scale of attention.
inline Config small_sandwich() {
  Config config = small_llama();
  config.norm_position = NormPosition::sandwich;
  config.tied_embeddings = true;
  config.embedding_scale = std::sqrt(24.0f);
  config.attention_scale = 0.4f;
  config.qk_norm = QkNormType::head;
  config.activation = ActivationType::geglu;
  config.norm_weight_offset = 1.0f;
  config.window = 5;
  config.full_attention_every = 2;
  config.local_rope_theta = 50.0;
  config.attention_softcap = 4.0f;
  config.logit_softcap = 3.0f;
  return config;
}

// Norms behind each branch only, and of queries and keys as a whole, as in OLMo 2, but with biases; a layer without
// RoPE, as in SmolLM3, and YaRN.
inline Config small_output_norm() {
  Config config = small_gpt2();
  config.norm_position = NormPosition::output;
  config.position = PositionType::rope;
  config.qk_norm = QkNormType::row;
  config.no_rope_every = 2;
  config.rope_scaling = {.type = RopeScalingType::yarn,
                         .factor = 4.0,
                         .original_max_positions = 16,
                         .beta_fast = 2.0,
                         .beta_slow = 0.5,
                         .attention_factor = 1.2};
  return config;
}

// A part of each head is rotated, by frequencies of their own, and scaled, as in Phi-3.
inline Config small_longrope() {
  Config config = small_llama();
  config.rotary_size = 6;
  config.rope_scaling = {.type = RopeScalingType::longrope,
                         .original_max_positions = 1,
                         .attention_factor = 1.3,
                         .short_factors = {1.0, 1.1, 1.4},
                         .long_factors = {1.2, 2.0, 8.0}};
  return config;
}

// Every field has another value than Config's default, in its range; together they are no valid model.
inline Config changed_config() {
  Config config;
  visit_fields(config, [](const ConfigField& field, auto& value) {
    using T = std::remove_reference_t<decltype(value)>;
    if constexpr (std::is_same_v<T, bool>) {
      value = !value;
    } else if constexpr (std::is_enum_v<T>) {
      value = static_cast<T>(value == static_cast<T>(1) ? 0 : 1);
    } else if constexpr (std::is_integral_v<T>) {
      value = value == 3 ? 5 : 3;
    } else if constexpr (std::is_same_v<T, std::vector<double>>) {
      value = {1.5, 2.5};
    } else {
      value = static_cast<T>(field.most > 1 ? 1.7 : 0.3);
    }
  });
  return config;
}

struct Family {
  const char* name;
  Config config;
};

inline void PrintTo(const Family& family, std::ostream* stream) {
  *stream << family.name;
}

inline std::vector<Family> families() {
  return {{"gpt2", small_gpt2()},
          {"llama", small_llama()},
          {"qwen2", small_qwen2()},
          {"post_norm", small_post_norm()},
          {"odd", small_odd()},
          {"sandwich", small_sandwich()},
          {"output_norm", small_output_norm()},
          {"longrope", small_longrope()}};
}

// f32 values of a tensor of any floating dtype.
inline std::vector<float> download(Backend& backend, const Tensor& tensor) {
  return download_floats(backend, tensor);
}

inline void upload(Backend& backend, const Tensor& tensor, const std::vector<float>& values) {
  if (tensor.dtype() == DType::f32) {
    backend.upload(tensor, std::as_bytes(std::span(values)));
    return;
  }
  std::vector<std::uint16_t> bits(values.size());
  std::transform(values.begin(), values.end(), bits.begin(), [&](float value) {
    return tensor.dtype() == DType::bf16 ? to_bfloat16(value).bits : to_float16(value).bits;
  });
  backend.upload(tensor, std::as_bytes(std::span(bits)));
}

// Weights large enough that every part of the model matters, rounded to bf16 so that 16-bit copies are exact.
inline void randomize(Transformer& transformer) {
  std::uint32_t stream = 0;
  for (const Segment& segment : transformer.layout().arena.segments()) {
    PhiloxStream random(11, 0, stream++);
    std::vector<float> values(static_cast<std::size_t>(segment.shape.elements()));
    const float mean = segment.name.ends_with("norm.weight") ? 1.0f : 0.0f;
    for (float& value : values) value = to_float(to_bfloat16(mean + 0.2f * random.normal()));
    upload(transformer.backend(), transformer.parameters().tensor(segment), values);
  }
}

inline std::vector<std::int32_t> random_ids(std::size_t count, std::int64_t vocab_size, std::uint32_t stream) {
  PhiloxStream random(12, 0, stream);
  std::vector<std::int32_t> ids(count);
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(vocab_size)));
  return ids;
}

inline double relative_error(const std::vector<float>& actual, const std::vector<float>& expected) {
  EXPECT_EQ(actual.size(), expected.size());
  double difference = 0;
  double norm = 0;
  for (std::size_t i = 0; i < std::min(actual.size(), expected.size()); ++i) {
    difference += std::pow(static_cast<double>(actual[i]) - static_cast<double>(expected[i]), 2);
    norm += std::pow(static_cast<double>(expected[i]), 2);
  }
  return difference == 0 ? 0 : std::sqrt(difference / norm);
}

// Runs `body` and expects Error of this kind whose message holds every one of `parts`.
template <class Body>
void expect_error(ErrorKind kind, std::initializer_list<std::string_view> parts, Body&& body) {
  try {
    body();
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    for (const std::string_view part : parts) {
      EXPECT_NE(std::string_view(error.what()).find(part), std::string_view::npos) << part << " in: " << error.what();
    }
  }
}

}  // namespace mslt::test

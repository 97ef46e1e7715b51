// Tests of config.json and generation_config.json: what transformers writes, both ways, and what is refused.
#include "formats/hf_config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "model/config_fields.h"
#include "mslt/error.h"

namespace mslt {
namespace {

using Json = nlohmann::ordered_json;

// As transformers 5 writes them, with settings that are not defaults.
Json gpt2_json() {
  return Json::parse(R"({
    "activation_function": "gelu_new", "add_cross_attention": false, "architectures": ["GPT2LMHeadModel"],
    "attn_pdrop": 0.1, "bos_token_id": 1, "dtype": "float32", "embd_pdrop": 0.1, "eos_token_id": 2,
    "initializer_range": 0.02, "layer_norm_epsilon": 1e-06, "model_type": "gpt2", "n_embd": 24, "n_head": 3,
    "n_inner": null, "n_layer": 2, "n_positions": 32, "pad_token_id": null, "reorder_and_upcast_attn": true,
    "resid_pdrop": 0.25, "scale_attn_by_inverse_layer_idx": false, "scale_attn_weights": true,
    "tie_word_embeddings": true, "transformers_version": "5.23.0", "use_cache": true, "vocab_size": 91})");
}

Json llama_json() {
  return Json::parse(R"({
    "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1,
    "dtype": "bfloat16", "eos_token_id": [2, 5], "head_dim": 8, "hidden_act": "silu", "hidden_size": 24,
    "initializer_range": 0.02, "intermediate_size": 40, "max_position_embeddings": 128, "mlp_bias": false,
    "model_type": "llama", "num_attention_heads": 4, "num_hidden_layers": 3, "num_key_value_heads": 2,
    "pad_token_id": null, "pretraining_tp": 1, "rms_norm_eps": 1e-06,
    "rope_parameters": {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                        "original_max_position_embeddings": 64, "rope_theta": 100000.0, "rope_type": "llama3"},
    "tie_word_embeddings": false, "use_cache": true, "vocab_size": 91})");
}

Json qwen2_json() {
  return Json::parse(R"({
    "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "hidden_act": "silu", "hidden_size": 24,
    "intermediate_size": 40, "layer_types": ["full_attention"], "max_position_embeddings": 128, "max_window_layers": 28,
    "model_type": "qwen2", "num_attention_heads": 4, "num_hidden_layers": 1, "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06, "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
    "sliding_window": null, "tie_word_embeddings": true, "use_sliding_window": false, "vocab_size": 91})");
}

Config parse(const Json& json) {
  return parse_hf_config(json.dump(), "c.json").config;
}

// The message with which a changed configuration is refused.
std::string refusal(Json json, const std::function<void(Json&)>& change) {
  change(json);
  try {
    parse(json);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input) << error.what();
    EXPECT_NE(std::string_view(error.what()).find("c.json"), std::string_view::npos) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "accepted: " << json.dump();
  return {};
}

void expect_refused(const Json& json, const std::string& member, const Json& value, const std::string& supported) {
  const std::string message = refusal(json, [&](Json& changed) { changed[member] = value; });
  EXPECT_NE(message.find("'" + member + "'"), std::string::npos) << message;
  EXPECT_NE(message.find(supported), std::string::npos) << message;
}

TEST(HfConfig, ReadsGpt2) {
  const HfConfig hf = parse_hf_config(gpt2_json().dump(), "c.json");
  Config expected;
  expected.vocab_size = 91;
  expected.max_positions = 32;
  expected.layers = 2;
  expected.channels = 24;
  expected.heads = expected.kv_heads = 3;
  expected.head_size = 8;
  expected.ffn_size = 96;
  expected.norm_epsilon = 1e-6f;
  expected.dropout = 0.25f;
  EXPECT_EQ(hf.config, expected);
  EXPECT_EQ(hf.family, ModelFamily::gpt2);
  EXPECT_EQ(hf.tokens, (ModelTokenIds{1, std::nullopt, {2}}));
  Json relu = gpt2_json();
  relu["activation_function"] = "relu";
  relu["n_inner"] = 50;
  relu["tie_word_embeddings"] = false;
  expected.activation = ActivationType::relu;
  expected.ffn_size = 50;
  expected.tied_embeddings = false;
  EXPECT_EQ(parse(relu), expected);
}

TEST(HfConfig, ReadsLlama) {
  const HfConfig hf = parse_hf_config(llama_json().dump(), "c.json");
  Config expected;
  expected.vocab_size = 91;
  expected.max_positions = 128;
  expected.layers = 3;
  expected.channels = 24;
  expected.heads = 4;
  expected.kv_heads = 2;
  expected.head_size = 8;
  expected.ffn_size = 40;
  expected.norm = NormType::rmsnorm;
  expected.norm_epsilon = 1e-6f;
  expected.position = PositionType::rope;
  expected.rope_theta = 100000.0;
  expected.rope_scaling = {RopeScalingType::llama3, 8.0, 1.0, 4.0, 64};
  expected.activation = ActivationType::swiglu;
  expected.qkv_bias = expected.attention_out_bias = expected.ffn_bias = expected.norm_bias = false;
  expected.tied_embeddings = false;
  EXPECT_EQ(hf.config, expected);
  EXPECT_EQ(hf.family, ModelFamily::llama);
  EXPECT_EQ(hf.tokens.eos, (std::vector<std::uint32_t>{2, 5}));
  Json biased = llama_json();
  biased["attention_bias"] = biased["mlp_bias"] = true;
  biased["head_dim"] = nullptr;
  biased.erase("num_key_value_heads");
  const Config config = parse(biased);
  EXPECT_TRUE(config.qkv_bias && config.attention_out_bias && config.ffn_bias);
  EXPECT_EQ(config.head_size, 6);
  EXPECT_EQ(config.kv_heads, 4);
}

TEST(HfConfig, ReadsQwen2) {
  const HfConfig hf = parse_hf_config(qwen2_json().dump(), "c.json");
  EXPECT_EQ(hf.family, ModelFamily::qwen2);
  EXPECT_TRUE(hf.config.qkv_bias);
  EXPECT_FALSE(hf.config.attention_out_bias);
  EXPECT_EQ(hf.config.rope_theta, 1000000.0);
  EXPECT_TRUE(hf.config.tied_embeddings);
  EXPECT_EQ(hf.tokens, ModelTokenIds{});
  // A window that no layer uses, as the published models have it.
  Json window = qwen2_json();
  window.erase("layer_types");
  window["sliding_window"] = 64;
  EXPECT_NO_THROW(parse(window));
  window["use_sliding_window"] = true;
  EXPECT_NO_THROW(parse(window));
  EXPECT_EQ(parse(window).window, 0);
  window["num_hidden_layers"] = 3;
  window["max_window_layers"] = 1;
  EXPECT_EQ(parse(window).window, 64);
  EXPECT_EQ(parse(window).window_from, 1);
  window["sliding_window"] = 128;  // as long as any sequence
  EXPECT_EQ(parse(window).window, 0);
  window["sliding_window"] = 64;
  window["layer_types"] = {"sliding_attention", "full_attention", "sliding_attention"};
  EXPECT_EQ(parse(window).full_attention_every, 2);
  window["layer_types"] = {"full_attention", "sliding_attention", "full_attention"};
  EXPECT_EQ(parse(window).window_from, 1);
  EXPECT_EQ(parse(window).full_attention_every, 3);
  expect_refused(window, "layer_types", {"sliding_attention", "full_attention", "full_attention"},
                 "supported is full_attention in the first layers, in every n-th, or in both");
  expect_refused(window, "layer_types", {"full_attention", "chunked_attention", "full_attention"}, "valid is a list");
  expect_refused(window, "layer_types", {"full_attention"}, "one for each layer");
  expect_refused(window, "layer_types", "full_attention", "one for each layer");
  window["use_sliding_window"] = false;
  refusal(window, [](Json&) {});
}

TEST(HfConfig, TellsTheFormsOfGelu) {
  Json json = gpt2_json();
  for (const char* name : {"gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_python_tanh", "gelu_accurate"}) {
    json["activation_function"] = name;
    EXPECT_EQ(parse(json).activation, ActivationType::gelu) << name;
  }
  for (const char* name : {"gelu", "gelu_python"}) {
    json["activation_function"] = name;
    EXPECT_EQ(parse(json).activation, ActivationType::gelu_erf) << name;
  }
  const std::string written = format_hf_config(parse(json), DType::f32, {});
  EXPECT_EQ(Json::parse(written)["activation_function"], "gelu");
  EXPECT_EQ(parse_hf_config(written, "c.json").config, parse(json));
}

TEST(HfConfig, ReadsMistral) {
  Json json = llama_json();
  json["model_type"] = "mistral";
  json["rope_parameters"] = Json{{"rope_type", "default"}, {"rope_theta", 10000.0}};
  for (const Json& window : {Json(nullptr), Json(128), Json(4096)}) {
    json["sliding_window"] = window;
    EXPECT_EQ(parse_hf_config(json.dump(), "c.json").family, ModelFamily::mistral);
  }
  EXPECT_EQ(parse(json).window, 0);
  json["sliding_window"] = 127;
  EXPECT_EQ(parse(json).window, 127);
  EXPECT_EQ(family_of(parse(json)), ModelFamily::mistral);
  expect_refused(json, "sliding_window", 0, "valid is a whole number");
  // Absent, it is 4096, and there are 8 heads for keys and values.
  json.erase("sliding_window");
  EXPECT_EQ(parse(json).window, 0);
  json["max_position_embeddings"] = 8192;
  EXPECT_EQ(parse(json).window, 4096);
  json["max_position_embeddings"] = 64;
  json["num_attention_heads"] = 8;
  json.erase("num_key_value_heads");
  EXPECT_EQ(parse(json).kv_heads, 8);
}

// A configuration of `family` with this changed; it is read as the family, and written and read again.
Config family_config(const std::string& type, ModelFamily family, const std::function<void(Json&)>& change) {
  Json json = llama_json();
  json["model_type"] = type;
  json["rope_parameters"] = Json{{"rope_type", "default"}, {"rope_theta", 10000.0}};
  change(json);
  const HfConfig hf = parse_hf_config(json.dump(), "c.json");
  EXPECT_EQ(hf.family, family) << type;
  EXPECT_EQ(parse_hf_config(format_hf_config(hf.config, DType::f32, {}), "c.json").config, hf.config) << type;
  return hf.config;
}

TEST(HfConfig, ReadsQwen3) {
  const Config config = family_config("qwen3", ModelFamily::qwen3, [](Json& json) { json.erase("head_dim"); });
  EXPECT_EQ(config.qk_norm, QkNormType::head);
  EXPECT_EQ(config.head_size, 128);
  EXPECT_FALSE(config.qkv_bias);
  EXPECT_EQ(family_of(config), ModelFamily::qwen3);
}

TEST(HfConfig, ReadsSmolLm3) {
  const auto read = [](const std::function<void(Json&)>& change) {
    return family_config("smollm3", ModelFamily::smollm3, change);
  };
  EXPECT_EQ(read([](Json&) {}).no_rope_every, 0);  // of three layers, none is the fourth
  EXPECT_EQ(read([](Json& json) { json["num_hidden_layers"] = 5; }).no_rope_every, 4);
  const Config config = read([](Json& json) {
    json["no_rope_layers"] = {1, 0, 1, 0};  // the last of no layer
    json.erase("tie_word_embeddings");
  });
  EXPECT_EQ(config.no_rope_every, 2);
  EXPECT_TRUE(config.tied_embeddings);
  EXPECT_EQ(family_of(config), ModelFamily::smollm3);
  EXPECT_EQ(read([](Json& json) { json["no_rope_layers"] = {1, 1, 1}; }).no_rope_every, 0);
  Json json = llama_json();
  json["model_type"] = "smollm3";
  expect_refused(json, "no_rope_layers", {0, 1, 1}, "supported is 0 for every n-th layer");
  expect_refused(json, "no_rope_layers", {1, 1}, "supported is 0 for every n-th layer");
  expect_refused(json, "use_sliding_window", true, "supported is false");
  expect_refused(json, "layer_types", {"full_attention", "full_attention", "sliding_attention"},
                 "supported is full_attention for every layer");
}

TEST(HfConfig, ReadsPhi3) {
  const Config config = family_config("phi3", ModelFamily::phi3, [](Json& json) { json["sliding_window"] = 40; });
  EXPECT_EQ(config.window, 40);
  EXPECT_EQ(family_of(config), ModelFamily::mistral);
}

// Heads of 6, of which 4 are rotated.
Json longrope_json() {
  Json json = llama_json();
  json["model_type"] = "phi3";
  json.erase("head_dim");
  json.erase("rope_parameters");
  json["original_max_position_embeddings"] = 32;
  json["partial_rotary_factor"] = 0.75;
  json["rope_scaling"] = Json{{"type", "su"}, {"short_factor", {1, 1.5}}, {"long_factor", {2.0, 3.0}}};
  return json;
}

TEST(HfConfig, ReadsLongrope) {
  const Config config = parse(longrope_json());
  EXPECT_EQ(config.rotary_size, 4);
  const RopeScaling& scaling = config.rope_scaling;
  EXPECT_EQ(scaling.type, RopeScalingType::longrope);
  EXPECT_EQ(scaling.original_max_positions, 32);
  EXPECT_EQ(scaling.short_factors, (std::vector<double>{1.0, 1.5}));
  EXPECT_EQ(scaling.long_factors, (std::vector<double>{2.0, 3.0}));
  EXPECT_DOUBLE_EQ(scaling.attention_factor, std::sqrt(1.0 + std::log(4.0) / std::log(32.0)));
  EXPECT_EQ(family_of(config), ModelFamily::phi3);
  // Scaling what is rotated alone is the rotation's work, scaling all is attention's.
  EXPECT_FLOAT_EQ(config.layer(0).attention.rotary_scale, static_cast<float>(scaling.attention_factor));
  EXPECT_FLOAT_EQ(config.layer(0).attention.scale, 1.0f / std::sqrt(6.0f));
  Json whole = longrope_json();
  whole.erase("partial_rotary_factor");
  whole["rope_scaling"]["short_factor"] = whole["rope_scaling"]["long_factor"] = {1, 2, 3};
  whole["rope_scaling"]["attention_factor"] = 1.5;
  EXPECT_EQ(parse(whole).layer(0).attention.rotary_scale, 1.0f);
  EXPECT_FLOAT_EQ(parse(whole).layer(0).attention.scale, 2.25f / std::sqrt(6.0f));
  EXPECT_EQ(parse_hf_config(format_hf_config(parse(whole), DType::f32, {}), "c.json").config, parse(whole));
  // As transformers 5 writes it, and as any family may have it there.
  Json newer = longrope_json();
  newer["rope_parameters"] = newer["rope_scaling"];
  newer["rope_parameters"]["rope_type"] = "longrope";
  newer["rope_parameters"]["partial_rotary_factor"] = 0.75;
  for (const char* name : {"rope_scaling", "partial_rotary_factor"}) newer.erase(name);
  EXPECT_EQ(parse(newer), config);
  whole["model_type"] = "llama";
  whole["rope_scaling"]["type"] = "longrope";
  whole["attention_bias"] = true;
  const Config llama = parse(whole);
  EXPECT_EQ(llama.rope_scaling.type, RopeScalingType::longrope);
  EXPECT_EQ(family_of(llama), ModelFamily::llama);
  EXPECT_EQ(parse_hf_config(format_hf_config(llama, DType::f32, {}), "c.json").config, llama);
  // transformers 5 reads nothing beside the scaling there.
  whole["rope_scaling"].erase("attention_factor");
  whole["rope_scaling"]["factor"] = 9.0;
  const Json written = Json::parse(format_hf_config(parse(whole), DType::f32, {}));
  EXPECT_EQ(written["rope_scaling"]["original_max_position_embeddings"], 32);
  EXPECT_DOUBLE_EQ(written["rope_scaling"]["attention_factor"].get<double>(),
                   std::sqrt(1.0 + std::log(9.0) / std::log(32.0)));
}

TEST(HfConfig, WritesPhi3AsAllVersionsOfTransformersReadIt) {
  const Config config = parse(longrope_json());
  const std::string text = format_hf_config(config, DType::f32, {});
  EXPECT_EQ(parse_hf_config(text, "c.json").config, config);
  const Json json = Json::parse(text);
  EXPECT_EQ(json["model_type"], "phi3");
  EXPECT_EQ(json["rope_scaling"].size(), 3u);
  EXPECT_EQ(json["original_max_position_embeddings"], 32);
  EXPECT_EQ(json["rope_parameters"]["partial_rotary_factor"], 2.0 / 3.0);
  // Every part of a head is read as so many channels as it was written for.
  Config heads = config;
  heads.rope_scaling = {};
  for (heads.head_size = 4; heads.head_size <= 256; heads.head_size += 2) {
    heads.channels = heads.heads * heads.head_size;
    for (heads.rotary_size = 2; heads.rotary_size < heads.head_size; heads.rotary_size += 2) {
      ASSERT_EQ(parse_hf_config(format_hf_config(heads, DType::f32, {}), "c.json").config, heads);
    }
  }
}

TEST(HfConfig, RefusesOtherLongropes) {
  const auto refused = [](const std::function<void(Json&)>& change) {
    return refusal(longrope_json(), change);
  };
  const auto contains = [](const std::string& message, std::string_view part) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  contains(refused([](Json& json) { json["rope_scaling"]["type"] = "linear"; }),
           "'rope_scaling.type' is \"linear\"; supported are default and longrope");
  contains(refused([](Json& json) { json["rope_scaling"].erase("long_factor"); }),
           "'rope_scaling.long_factor' is missing");
  contains(refused([](Json& json) { json["rope_scaling"]["long_factor"] = {1, "x"}; }), "valid is a list of numbers");
  contains(refused([](Json& json) { json["rope_scaling"]["long_factor"] = {1, 2, 3}; }),
           "has 2 short_factors and 3 long_factors; it needs 2 of each");
  contains(refused([](Json& json) { json["rope_scaling"]["long_factor"] = {1, 0}; }), "all must be from 0.001");
  contains(refused([](Json& json) { json["rope_scaling"]["short_mscale"] = 1.1; }), "supported is attention_factor");
  contains(refused([](Json& json) { json["partial_rotary_factor"] = 0.5; }), "an even number of the 6 channels");
  contains(refused([](Json& json) { json["partial_rotary_factor"] = -1; }), "an even number of the 6 channels");
  contains(refused([](Json& json) { json["model_type"] = "llama"; }), "supported is 1; of these families only phi3");
}

TEST(HfConfig, ReadsOlmo2) {
  const Config config = family_config("olmo2", ModelFamily::olmo2, [](Json& json) { json.erase("rms_norm_eps"); });
  EXPECT_EQ(config.norm_position, NormPosition::output);
  EXPECT_EQ(config.qk_norm, QkNormType::row);
  EXPECT_EQ(config.norm_epsilon, 1e-5f);
  EXPECT_EQ(family_of(config), ModelFamily::olmo2);
}

TEST(HfConfig, ReadsGemma2) {
  const Config config = family_config("gemma2", ModelFamily::gemma2, [](Json& json) {
    json["sliding_window"] = 40;
    json["query_pre_attn_scalar"] = 6;
  });
  EXPECT_EQ(config.norm_position, NormPosition::sandwich);
  EXPECT_EQ(config.activation, ActivationType::geglu);
  EXPECT_EQ(config.norm_weight_offset, 1.0f);
  EXPECT_EQ(config.embedding_scale, std::sqrt(24.0f));
  EXPECT_EQ(config.attention_scale, 1.0f / std::sqrt(6.0f));
  EXPECT_EQ(config.attention_softcap, 50.0f);
  EXPECT_EQ(config.logit_softcap, 30.0f);
  EXPECT_EQ(config.window, 40);
  EXPECT_EQ(config.full_attention_every, 2);
  EXPECT_EQ(family_of(config), ModelFamily::gemma2);
  Config other = config;
  other.attention_scale = 0.3f;  // of no whole number
  EXPECT_EQ(family_of(other), ModelFamily::mslt);
  other = config;
  other.norm_weight_offset = 0.0f;
  EXPECT_EQ(family_of(other), ModelFamily::mslt);
  Json json = llama_json();
  json["model_type"] = "gemma2";
  expect_refused(json, "hidden_activation", "gelu", "supported is gelu_pytorch_tanh");
  expect_refused(json, "use_bidirectional_attention", true, "supported is false");
}

TEST(HfConfig, ReadsGemma3InBothForms) {
  const Config config = family_config("gemma3_text", ModelFamily::gemma3, [](Json& json) {
    json["sliding_window"] = 40;
    json["query_pre_attn_scalar"] = 8;
    json["rope_parameters"] = {{"full_attention", {{"rope_type", "linear"}, {"factor", 8.0}, {"rope_theta", 5000.0}}},
                               {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 100.0}}}};
    json["sliding_window_pattern"] = 3;
  });
  EXPECT_EQ(config.qk_norm, QkNormType::head);
  EXPECT_EQ(config.attention_scale, 0.0f);  // as the head size says
  EXPECT_EQ(config.attention_softcap, 0.0f);
  EXPECT_EQ(config.rope_theta, 5000.0);
  EXPECT_EQ(config.rope_scaling.factor, 8.0);
  EXPECT_EQ(config.local_rope_theta, 100.0);
  EXPECT_EQ(config.full_attention_every, 3);
  EXPECT_EQ(family_of(config), ModelFamily::gemma3);
  const Config older = family_config("gemma3_text", ModelFamily::gemma3, [](Json& json) {
    json["sliding_window"] = 40;
    json["query_pre_attn_scalar"] = 8;
    json.erase("rope_parameters");
    json["rope_theta"] = 5000.0;
    json["rope_local_base_freq"] = 100.0;
    json["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 8.0}};
    json["sliding_window_pattern"] = 3;
  });
  EXPECT_EQ(older, config);
  Json json = llama_json();
  json["model_type"] = "gemma3";
  EXPECT_NE(refusal(json, [](Json&) {}).find("of gemma3, which sees images, too, only the text model"),
            std::string::npos);
}

TEST(HfConfig, ReadsYarnAndDynamicRope) {
  const auto read = [](const Json& rope) {
    Json json = llama_json();
    json["rope_parameters"] = rope;
    return parse_hf_config(json.dump(), "c.json");
  };
  const Json yarn = {
      {"rope_type", "yarn"}, {"rope_theta", 100.0}, {"factor", 4.0}, {"original_max_position_embeddings", 32}};
  const RopeScaling scaling = read(yarn).config.rope_scaling;
  EXPECT_EQ(scaling.type, RopeScalingType::yarn);
  EXPECT_EQ(scaling.original_max_positions, 32);
  EXPECT_EQ(scaling.beta_fast, 32.0);
  EXPECT_EQ(scaling.beta_slow, 1.0);
  EXPECT_DOUBLE_EQ(scaling.attention_factor, 0.1 * std::log(4.0) + 1.0);
  Json deep = yarn;
  deep["mscale"] = 1.0;
  deep["mscale_all_dim"] = 0.5;
  EXPECT_DOUBLE_EQ(read(deep).config.rope_scaling.attention_factor,
                   (0.1 * std::log(4.0) + 1.0) / (0.05 * std::log(4.0) + 1.0));
  deep["attention_factor"] = 1.5;
  EXPECT_EQ(read(deep).config.rope_scaling.attention_factor, 1.5);
  deep["truncate"] = false;
  EXPECT_THROW(read(deep), Error);
  const Config config = read(yarn).config;
  EXPECT_EQ(family_of(config), ModelFamily::llama);
  EXPECT_EQ(parse_hf_config(format_hf_config(config, DType::f32, {}), "c.json").config, config);
  const HfConfig dynamic = read({{"rope_type", "dynamic"}, {"rope_theta", 100.0}, {"factor", 4.0}});
  EXPECT_EQ(dynamic.config.rope_scaling, RopeScaling());
  ASSERT_EQ(dynamic.notes.size(), 1u);
  EXPECT_NE(dynamic.notes[0].find("'rope_parameters.rope_type' is \"dynamic\""), std::string::npos);
}

// transformers refuses such models of Llama's, but computes the same under Mistral's name, or Qwen2's with biases.
TEST(HfConfig, HeadsThatDoNotDivideTheWidthHaveAPublicForm) {
  Json json = llama_json();
  json["hidden_size"] = 50;
  json["head_dim"] = 16;
  const Config config = parse(json);
  EXPECT_EQ(family_of(config), ModelFamily::mistral);
  EXPECT_EQ(own_form_note(config), "");
  const Json written = Json::parse(format_hf_config(config, DType::f32, {}));
  EXPECT_EQ(written["architectures"], Json::array({"MistralForCausalLM"}));
  EXPECT_EQ(written["head_dim"], 16);
  EXPECT_TRUE(written["sliding_window"].is_null());
  EXPECT_EQ(parse(written), config);
  Config biased = config;
  biased.qkv_bias = true;
  EXPECT_EQ(family_of(biased), ModelFamily::qwen2);
  EXPECT_EQ(parse(Json::parse(format_hf_config(biased, DType::f32, {}))), biased);
  biased.attention_out_bias = true;
  EXPECT_EQ(family_of(biased), ModelFamily::mslt);
  EXPECT_NE(own_form_note(biased).find("no multiple of the number of heads"), std::string::npos);
}

TEST(HfConfig, SaysWhatHasNoPublicForm) {
  for (const std::string_view name : preset_names()) EXPECT_EQ(own_form_note(preset(name)), "") << name;
  Config config = preset("tiny");
  config.norm_position = NormPosition::post;
  config.position = PositionType::sinusoidal;
  EXPECT_EQ(own_form_note(config),
            "The model is saved in mslt's own form, which transformers does not open: unlike GPT-2 it has norms in "
            "other places, positions that are not learned.");
  const std::vector<std::function<void(Config&)>> changes = {
      [](Config& c) { c.activation = ActivationType::gelu; },
      [](Config& c) { c.position = PositionType::none; },
      [](Config& c) { c.attention_out_bias = true; },
      [](Config& c) { c.qkv_bias = c.ffn_bias = true; },
      [](Config& c) { c.embedding_scale = 2.0f; },
      [](Config& c) { c.attention_scale = 0.5f; },
      [](Config& c) { c.norm_position = NormPosition::sandwich; },
      [](Config& c) {
        c.norm_position = NormPosition::post;
      }};
  for (const auto& change : changes) {
    Config llama = preset("llama-15m");
    change(llama);
    const std::string note = own_form_note(llama);
    EXPECT_TRUE(note.find("unlike Llama it has ") != std::string::npos && !note.ends_with("has .")) << note;
  }
}

TEST(HfConfig, KeepsMembersThatItDoesNotWrite) {
  Json before = gpt2_json();
  before["task_specific_params"] = Json{{"text-generation", {{"max_length", 50}}}};
  const Json written = Json::parse(format_hf_config(preset("tiny"), DType::bf16, {}, before));
  EXPECT_EQ(written["task_specific_params"], before["task_specific_params"]);
  EXPECT_EQ(written["n_embd"], preset("tiny").channels);
  EXPECT_EQ(written["torch_dtype"], "bfloat16");
  EXPECT_FALSE(written.contains("dtype"));
  // Another family's members may mean other things.
  EXPECT_FALSE(Json::parse(format_hf_config(preset("llama-15m"), DType::f32, {}, before)).contains("n_embd"));
}

TEST(HfConfig, TokenIdsThatCannotBeUsedAreNotes) {
  Json json = gpt2_json();
  json["bos_token_id"] = {1, 2};
  json["eos_token_id"] = {0, -1};
  json["pad_token_id"] = "pad";
  const HfConfig hf = parse_hf_config(json.dump(), "c.json");
  EXPECT_EQ(hf.tokens, (ModelTokenIds{std::nullopt, std::nullopt, {0}}));
  EXPECT_EQ(hf.notes, (std::vector<std::string>{
                          "c.json: the member 'bos_token_id' is [1,2]; valid is one token id. It is ignored.",
                          "c.json: the member 'pad_token_id' is \"pad\"; valid is a token id or a list of them. It is "
                          "ignored.",
                          "c.json: the member 'eos_token_id' is [0,-1]; valid is a token id or a list of them. "
                          "Values that are no token ids are ignored."}));
}

TEST(HfConfig, ReadsBothFormsOfRope) {
  Json old_form = llama_json();
  old_form.erase("rope_parameters");
  EXPECT_EQ(parse(old_form).rope_theta, 10000.0);
  old_form["rope_theta"] = 500000.0;
  EXPECT_EQ(parse(old_form).rope_theta, 500000.0);
  old_form["rope_scaling"] = nullptr;
  EXPECT_EQ(parse(old_form).rope_scaling.type, RopeScalingType::none);
  old_form["rope_scaling"] = Json{{"type", "linear"}, {"factor", 2.5}};
  EXPECT_EQ(parse(old_form).rope_scaling.type, RopeScalingType::linear);
  EXPECT_EQ(parse(old_form).rope_scaling.factor, 2.5);
  EXPECT_EQ(parse(old_form).rope_theta, 500000.0);
  old_form["rope_scaling"] =
      Json{{"rope_type", "llama3"}, {"factor", 8.0}, {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}};
  EXPECT_EQ(parse(old_form).rope_scaling.original_max_positions, 128);
}

TEST(HfConfig, RefusesWhatItCannotCompute) {
  expect_refused(gpt2_json(), "activation_function", "quick_gelu", "gelu and relu");
  expect_refused(gpt2_json(), "scale_attn_weights", false, "supported is true");
  expect_refused(gpt2_json(), "scale_attn_by_inverse_layer_idx", true, "supported is false");
  expect_refused(gpt2_json(), "add_cross_attention", true, "supported is false");
  expect_refused(gpt2_json(), "quantization_config", Json{{"bits", 4}}, "not quantised");
  expect_refused(llama_json(), "hidden_act", "gelu", "supported is silu");
  expect_refused(llama_json(), "partial_rotary_factor", 0.5, "supported is 1");
  expect_refused(llama_json(), "model_type", "mixtral",
                 "supported are gpt2, llama, qwen2, mistral, qwen3, smollm3, phi3, olmo2, gemma2, gemma3_text, "
                 "mslt-transformer");
  const std::string rope = refusal(llama_json(), [](Json& json) { json["rope_parameters"]["rope_type"] = "ntk"; });
  EXPECT_NE(rope.find("'rope_parameters.rope_type' is \"ntk\"; supported are default, linear, llama3, yarn"),
            std::string::npos)
      << rope;
}

TEST(HfConfig, RefusesWhatMakesNoSense) {
  for (const Json& value :
       {Json(0), Json(-4), Json(2.5), Json("4"), Json(true), Json(1e30), Json(std::int64_t{1} << 40)}) {
    expect_refused(gpt2_json(), "n_layer", value, "valid is a whole number");
    expect_refused(llama_json(), "hidden_size", value, "valid is a whole number");
  }
  expect_refused(llama_json(), "num_hidden_layers", 5000, "valid are up to 4096 layers");
  expect_refused(gpt2_json(), "n_head", 5, "must divide n_embd, 24");
  expect_refused(gpt2_json(), "layer_norm_epsilon", "small", "valid is a number");
  expect_refused(gpt2_json(), "tie_word_embeddings", 1, "valid are true and false");
  EXPECT_NE(refusal(gpt2_json(), [](Json& json) { json.erase("n_embd"); }).find("'n_embd' is missing"),
            std::string::npos);
  EXPECT_NE(refusal(gpt2_json(), [](Json& json) { json["resid_pdrop"] = 1.5; }).find("dropout"), std::string::npos);
  EXPECT_NE(refusal(llama_json(), [](Json& json) { json["num_key_value_heads"] = 3; }).find("kv_heads"),
            std::string::npos);
  refusal(llama_json(), [](Json& json) { json["rope_parameters"] = 3; });
  refusal(llama_json(), [](Json& json) { json["rope_parameters"].erase("factor"); });
  for (const char* text : {"", "[]", "null", "{", "{}", "{\"model_type\": 1e999}", "\xff\xfe"}) {
    EXPECT_THROW(parse_hf_config(text, "c.json"), Error) << text;
  }
}

TEST(HfConfig, EveryPresetRoundTrips) {
  for (const std::string_view name : preset_names()) {
    const Config config = preset(name);
    const ModelTokenIds tokens{1, 0, {2, 3}};
    const HfConfig back = parse_hf_config(format_hf_config(config, DType::bf16, tokens), "c.json");
    EXPECT_EQ(back.config, config) << name;
    EXPECT_EQ(back.tokens, tokens);
    EXPECT_EQ(back.family, family_of(config));
    EXPECT_EQ(back.family,
              name.starts_with("llama") || name.starts_with("smollm") ? ModelFamily::llama : ModelFamily::gpt2)
        << name;
  }
}

TEST(HfConfig, EveryFamilyRoundTrips) {
  for (const Json& json : {gpt2_json(), llama_json(), qwen2_json()}) {
    const HfConfig hf = parse_hf_config(json.dump(), "c.json");
    EXPECT_EQ(family_of(hf.config), hf.family);
    EXPECT_EQ(parse_hf_config(format_hf_config(hf.config, DType::f32, {}), "c.json").config, hf.config);
  }
  Config original;
  original.norm_position = NormPosition::post;
  original.position = PositionType::sinusoidal;
  original.activation = ActivationType::relu;
  original.embedding_scale = 11.3137085f;
  original.dropout = 0.1f;
  original.rope_scaling.low_freq_factor = 1.5;
  EXPECT_EQ(family_of(original), ModelFamily::mslt);
  const std::string text = format_hf_config(original, DType::f32, {});
  EXPECT_EQ(parse_hf_config(text, "c.json").config, original);
  // Nothing of our own family may be left to a default but what earlier versions did not write.
  const Json json = Json::parse(text);
  visit_fields(original, [&](const ConfigField& field, const auto&) {
    const std::string name(field.member());
    const Json& place = field.is_nested() ? json["rope_scaling"] : json;
    EXPECT_EQ(place.contains(name), !field.later) << name;
    if (field.later) return;
    const std::string refused =
        refusal(json, [&](Json& changed) { (field.is_nested() ? changed["rope_scaling"] : changed).erase(name); });
    EXPECT_NE(refused.find(name), std::string::npos) << refused;
  });
  original.attention_scale = 0.3f;
  original.window = original.max_positions;
  EXPECT_EQ(parse_hf_config(format_hf_config(original, DType::f32, {}), "c.json").config, original);
  expect_refused(json, "norm", "batchnorm", "layernorm");
  Config scaled = preset("llama-15m");
  scaled.rope_scaling = {RopeScalingType::linear, 4.0};
  EXPECT_EQ(parse_hf_config(format_hf_config(scaled, DType::f32, {}), "c.json").config, scaled);
}

TEST(HfConfig, WhatIsWrittenIsReadAgainButForIdleSettings) {
  const auto again = [](const Config& config) {
    return parse_hf_config(format_hf_config(config, DType::f32, {}), "c.json").config;
  };
  Config qwen3 = preset("llama-15m");
  qwen3.qk_norm = QkNormType::head;
  qwen3.window = 4;
  for (qwen3.window_from = 0; qwen3.window_from <= qwen3.layers + 1; ++qwen3.window_from) {
    for (qwen3.full_attention_every = 0; qwen3.full_attention_every <= qwen3.layers + 1; ++qwen3.full_attention_every) {
      const Config found = again(qwen3);
      EXPECT_EQ(found, without_idle_settings(qwen3));
      for (std::int64_t i = 0; i < qwen3.layers; ++i) {
        EXPECT_EQ(found.layer(i).attention.window, qwen3.layer(i).attention.window)
            << i << ' ' << qwen3.window_from << ' ' << qwen3.full_attention_every;
      }
    }
  }
  const std::vector<std::function<void(Config&)>> idle = {
      [](Config& c) { c.rope_scaling.factor = 7; },
      [](Config& c) { c.rope_scaling = {.type = RopeScalingType::linear, .factor = 2, .low_freq_factor = 3}; },
      [](Config& c) { c.rope_scaling = {.type = RopeScalingType::llama3, .factor = 2, .attention_factor = 2}; },
      [](Config& c) { c.rope_scaling = {.type = RopeScalingType::yarn, .factor = 2, .low_freq_factor = 3}; },
      [](Config& c) { c.window = c.max_positions; },
      [](Config& c) {
        c.no_rope_every = c.layers + 1;
      }};
  for (const auto& change : idle) {
    Config llama = preset("llama-15m");
    change(llama);
    EXPECT_NE(family_of(llama), ModelFamily::mslt);
    EXPECT_EQ(again(llama), without_idle_settings(llama));
  }
  Config gpt2 = preset("gpt2");
  gpt2.rope_theta = 5;
  EXPECT_EQ(again(gpt2), preset("gpt2"));
  // Gemma's query_pre_attn_scalar would be 10^10.
  Config gemma = preset("llama-15m");
  gemma.activation = ActivationType::geglu;
  gemma.norm_position = NormPosition::sandwich;
  gemma.norm_weight_offset = 1.0f;
  gemma.embedding_scale = static_cast<float>(std::sqrt(static_cast<double>(gemma.channels)));
  EXPECT_EQ(family_of(gemma), ModelFamily::gemma2);
  gemma.attention_scale = 1e-5f;
  EXPECT_EQ(again(gemma), gemma);
}

TEST(HfConfig, MixedConfigurationsAreOurOwnFamily) {
  const std::vector<std::function<void(Config&)>> gpt2_changes = {
      [](Config& c) { c.norm_position = NormPosition::post; },
      [](Config& c) { c.position = PositionType::none; },
      [](Config& c) { c.kv_heads = 2; },
      [](Config& c) { c.head_size = 16; },
      [](Config& c) { c.qkv_bias = false; },
      [](Config& c) { c.norm_bias = false; },
      [](Config& c) { c.embedding_scale = 2.0f; },
      [](Config& c) {
        c.activation = ActivationType::swiglu;
      }};
  for (const auto& change : gpt2_changes) {
    Config config = preset("tiny");
    change(config);
    EXPECT_EQ(family_of(config), ModelFamily::mslt);
  }
  Config llama = preset("llama-15m");
  llama.attention_out_bias = true;
  EXPECT_EQ(family_of(llama), ModelFamily::mslt);
  llama.heads = llama.kv_heads = 5;
  EXPECT_EQ(family_of(llama), ModelFamily::mslt);
}

TEST(HfConfig, WritesShortNumbers) {
  const Json json = Json::parse(format_hf_config(preset("tiny"), DType::f16, {}));
  EXPECT_EQ(json["layer_norm_epsilon"].dump(), "1e-05");
  EXPECT_EQ(json["torch_dtype"], "float16");
  EXPECT_TRUE(json["n_inner"].is_null());
  EXPECT_TRUE(json["eos_token_id"].is_null());
}

GenerationSettings settings_in(const std::string& text, std::size_t notes = 0) {
  std::vector<std::string> found;
  const GenerationSettings settings = parse_generation_config(text, "g.json", found);
  EXPECT_EQ(found.size(), notes) << text;
  for (const std::string& note : found) EXPECT_TRUE(note.starts_with("g.json: the member '")) << note;
  return settings;
}

TEST(GenerationConfig, RoundTrips) {
  GenerationSettings settings;
  settings.tokens = {1, std::nullopt, {2, 3}};
  settings.do_sample = true;
  settings.temperature = 0.7;
  settings.top_k = 50;
  settings.top_p = 0.95;
  settings.repetition_penalty = 1.1;
  settings.max_new_tokens = 20;
  EXPECT_EQ(settings_in(format_generation_config(settings)), settings);
  EXPECT_EQ(settings_in("{\"eos_token_id\": null, \"pad_token_id\": -1}"), GenerationSettings{});
  const Json kept = Json::parse(format_generation_config(settings, Json{{"typical_p", 0.5}, {"top_k", 1}}));
  EXPECT_EQ(kept["typical_p"], 0.5);
  EXPECT_EQ(kept["top_k"], 50);
}

TEST(GenerationConfig, WhatCannotBeUsedIsNamedAndIgnored) {
  for (const char* text :
       {"{\"top_p\": 2}", "{\"temperature\": \"hot\"}", "{\"max_new_tokens\": 0}", "{\"eos_token_id\": [[1]]}",
        "{\"eos_token_id\": 99999999999}", "{\"top_k\": -1}", "{\"min_p\": true}", "{\"do_sample\": 2}",
        "{\"repetition_penalty\": []}", "{\"bos_token_id\": [0, 1]}", "{\"pad_token_id\": {}}"}) {
    EXPECT_EQ(settings_in(text, 1), GenerationSettings{}) << text;
  }
  const GenerationSettings settings = settings_in(
      R"({"top_k": -1, "max_new_tokens": 0, "eos_token_id": [0, -1], "do_sample": 1, "bos_token_id": [0, 1]})", 5);
  GenerationSettings expected;
  expected.tokens.eos = {0};
  expected.do_sample = true;
  EXPECT_EQ(settings, expected);
  std::vector<std::string> notes;
  parse_generation_config("{\"top_k\": -1}", "g.json", notes);
  EXPECT_EQ(notes,
            std::vector<std::string>{"g.json: the member 'top_k' is -1; valid is 0 to 1000000000. It is ignored."});
  EXPECT_THROW(parse_generation_config("[]", "g.json", notes), Error);
  EXPECT_THROW(parse_generation_config("{", "g.json", notes), Error);
}

}  // namespace
}  // namespace mslt

// Tests of configurations from a GGUF file's keys: the families, and what is refused.
#include "formats/gguf_config.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "base/test_gguf.h"
#include "mslt/error.h"

namespace mslt {
namespace {

const std::string zeros(1 << 16, '\0');

// The keys and the tensors that a configuration depends on; `without` leaves out one key.
TestGguf llama(std::string_view architecture = "llama", std::string_view without = "") {
  TestGguf file;
  file.text("general.architecture", architecture);
  for (const auto& [name, value] : std::vector<std::pair<std::string, std::uint32_t>>{{"block_count", 2},
                                                                                      {"context_length", 64},
                                                                                      {"embedding_length", 32},
                                                                                      {"feed_forward_length", 48},
                                                                                      {"attention.head_count", 4},
                                                                                      {"attention.head_count_kv", 2}}) {
    if (name != without) file.number(std::string(architecture) + "." + name, value);
  }
  file.real(std::string(architecture) + ".attention.layer_norm_rms_epsilon", 1e-5f);
  file.tensor("token_embd.weight", {50, 32}, 1, std::string_view(zeros).substr(0, 50 * 32 * 2));
  return file;
}

HfConfig read(const TestGguf& file) {
  const std::string bytes = file.bytes();
  return config_from_gguf(Gguf(std::as_bytes(std::span(bytes.data(), bytes.size())), "x.gguf"));
}

void expect_refused(const TestGguf& file, std::string_view reason) {
  try {
    read(file);
    ADD_FAILURE() << "accepted, instead of: " << reason;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    EXPECT_NE(std::string_view(error.what()).find("x.gguf"), std::string_view::npos) << error.what();
    EXPECT_NE(std::string_view(error.what()).find(reason), std::string_view::npos) << error.what();
  }
}

TEST(GgufConfigTest, ReadsLlama) {
  TestGguf file = llama();
  file.real("llama.rope.freq_base", 5000.0f).number("llama.rope.dimension_count", 8);
  file.number("tokenizer.ggml.bos_token_id", 1).number("tokenizer.ggml.eos_token_id", 2);
  file.number("tokenizer.ggml.eot_token_id", 3).number("tokenizer.ggml.eom_token_id", 2);
  file.number("tokenizer.ggml.padding_token_id", 99).number("llama.expert_count", 0);
  const HfConfig hf = read(file);
  EXPECT_EQ(hf.family, ModelFamily::llama);
  const Config& config = hf.config;
  EXPECT_EQ(config.vocab_size, 50);
  EXPECT_EQ(config.layers, 2);
  EXPECT_EQ(config.max_positions, 64);
  EXPECT_EQ(config.channels, 32);
  EXPECT_EQ(config.ffn_size, 48);
  EXPECT_EQ(config.heads, 4);
  EXPECT_EQ(config.kv_heads, 2);
  EXPECT_EQ(config.head_size, 8);
  EXPECT_EQ(config.norm_epsilon, 1e-5f);
  EXPECT_EQ(config.rope_theta, 5000.0);
  EXPECT_EQ(config.activation, ActivationType::swiglu);
  EXPECT_TRUE(config.tied_embeddings);
  EXPECT_FALSE(config.qkv_bias || config.attention_out_bias || config.ffn_bias);
  EXPECT_EQ(hf.tokens.bos, 1U);
  // Not in the vocabulary.
  EXPECT_EQ(hf.tokens.pad, std::nullopt);
  EXPECT_EQ(hf.tokens.eos, (std::vector<std::uint32_t>{2, 3}));
}

TEST(GgufConfigTest, ReadsOtherFormsAndFamilies) {
  // Lists with one value for all layers; a head of its own.
  TestGguf lists = llama("llama", "feed_forward_length");
  lists.integers("llama.feed_forward_length", {40, 40});
  lists.tensor("output.weight", {50, 32}, 1, std::string(50 * 32 * 2, 'x'));
  EXPECT_EQ(read(lists).config.ffn_size, 40);
  EXPECT_FALSE(read(lists).config.tied_embeddings);
  // A copy of the embedding is none.
  TestGguf copy = llama();
  copy.tensor("output.weight", {50, 32}, 1, std::string_view(zeros).substr(0, 50 * 32 * 2));
  EXPECT_TRUE(read(copy).config.tied_embeddings);
  // As many heads for keys as for queries where nothing is said.
  EXPECT_EQ(read(llama("llama", "attention.head_count_kv")).config.kv_heads, 4);
  const HfConfig qwen = read(llama("qwen2"));
  EXPECT_EQ(qwen.family, ModelFamily::qwen2);
  EXPECT_TRUE(qwen.config.qkv_bias);
  EXPECT_FALSE(qwen.config.attention_out_bias);
  TestGguf linear = llama();
  linear.text("llama.rope.scaling.type", "linear").real("llama.rope.scaling.factor", 4.0f);
  EXPECT_EQ(read(linear).config.rope_scaling.type, RopeScalingType::linear);
  EXPECT_EQ(read(linear).config.rope_scaling.factor, 4.0);
  TestGguf older = llama();
  older.real("llama.rope.scale_linear", 2.0f);
  EXPECT_EQ(read(older).config.rope_scaling.factor, 2.0);
  TestGguf plain = llama();
  plain.real("llama.rope.scaling.factor", 8.0f);
  EXPECT_EQ(read(plain).config.rope_scaling.factor, 8.0);
}

// What llama.cpp takes for granted of a family stands in no key.
TEST(GgufConfigTest, RefusesWhatItDoesNotCompute) {
  TestGguf sees_all = llama();
  expect_refused(sees_all.boolean("llama.attention.causal", false), "the key 'llama.attention.causal'");
  TestGguf pooled = llama();
  expect_refused(pooled.number("llama.pooling_type", 1), "poolings are not supported");
  TestGguf scaled = llama();
  expect_refused(scaled.real("llama.rope.scaling.attn_factor", 2.0F), "'llama.rope.scaling.attn_factor'");
  TestGguf part = llama();
  expect_refused(part.number("split.count", 3).number("split.no", 1), "part 2 of 3");
}

TEST(GgufConfigTest, KnowsTheLayersOfItsFamilies) {
  const auto of = [](std::string_view architecture, std::uint32_t layers, std::uint32_t window) {
    TestGguf file = llama(architecture, "block_count");
    const std::string prefix = std::string(architecture) + ".";
    file.number(prefix + "block_count", layers).number(prefix + "attention.sliding_window", window);
    return read(file).config;
  };
  const Config gemma2 = of("gemma2", 3, 16);
  EXPECT_EQ(gemma2.attention_softcap, 50.0f);
  EXPECT_EQ(gemma2.logit_softcap, 30.0f);
  EXPECT_EQ(gemma2.attention_scale, 0.0f);  // of the size of a head
  EXPECT_EQ(gemma2.norm_weight_offset, 1.0f);
  const Config gemma3 = of("gemma3", 12, 16);
  EXPECT_EQ(gemma3.local_rope_theta, 10000.0);
  for (std::int64_t i = 0; i < 12; ++i) {
    EXPECT_EQ(gemma3.layer(i).attention.window, i == 5 || i == 11 ? 0 : 16) << i;
    EXPECT_EQ(gemma2.layer(i % 3).attention.window, i % 3 == 1 ? 0 : 16) << i;
  }
  TestGguf other = llama("gemma3", "block_count");
  other.number("gemma3.block_count", 6).number("gemma3.attention.sliding_window", 16);
  other.number("gemma3.attention.sliding_window_pattern", 3).real("gemma3.rope.freq_base_swa", 20000.0F);
  const Config third = read(other).config;
  EXPECT_EQ(third.local_rope_theta, 20000.0);
  for (std::int64_t i = 0; i < 6; ++i) EXPECT_EQ(third.layer(i).attention.window, i % 3 == 2 ? 0 : 16) << i;
  const Config smollm3 = of("smollm3", 8, 0);
  for (std::int64_t i = 0; i < 8; ++i) EXPECT_EQ(smollm3.layer(i).attention.rotary, i % 4 != 3) << i;
  EXPECT_EQ(of("phi3", 2, 0).window, 0);
  EXPECT_EQ(of("phi3", 2, 16).window, 16);
  EXPECT_EQ(read(llama("phi3")).config.window, 0);
  // Only Mistral has windows among those of this architecture.
  TestGguf windowed = llama();
  const HfConfig mistral = read(windowed.number("llama.attention.sliding_window", 16));
  EXPECT_EQ(mistral.family, ModelFamily::mistral);
  EXPECT_EQ(mistral.config.window, 16);
  EXPECT_EQ(of("llama", 2, 0).window, 0);
}

TEST(GgufConfigTest, ReadsYarn) {
  TestGguf file = llama();
  file.text("llama.rope.scaling.type", "yarn").real("llama.rope.scaling.factor", 4.0f);
  EXPECT_EQ(read(file).config.rope_scaling, (RopeScaling{.type = RopeScalingType::yarn,
                                                         .factor = 4.0,
                                                         .original_max_positions = 64,
                                                         .attention_factor = 0.1 * std::log(4.0) + 1.0}));
  file.number("llama.rope.scaling.original_context_length", 16).real("llama.rope.scaling.attn_factor", 0.5f);
  file.real("llama.rope.scaling.yarn_beta_fast", 20.0f).real("llama.rope.scaling.yarn_beta_slow", 2.0f);
  file.real("llama.rope.scaling.yarn_log_multiplier", 1.0f);
  const RopeScaling scaling = read(file).config.rope_scaling;
  EXPECT_EQ(scaling.original_max_positions, 16);
  EXPECT_EQ(scaling.attention_factor, 0.5);
  EXPECT_EQ(scaling.beta_fast, 20.0);
  EXPECT_EQ(scaling.beta_slow, 2.0);
  expect_refused(file.real("llama.rope.scaling.yarn_ext_factor", 0.5f), "'llama.rope.scaling.yarn_ext_factor'");
  TestGguf gemma = llama("gemma2");
  gemma.number("gemma2.attention.sliding_window", 16).text("gemma2.rope.scaling.type", "yarn");
  expect_refused(gemma, "supported are none and linear");
}

TEST(GgufConfigTest, ReadsLongropeAndRotationsOfAPart) {
  TestGguf file = llama("phi3");
  file.number("phi3.rope.dimension_count", 6).number("phi3.rope.scaling.original_context_length", 16);
  file.floats("rope_factors_long.weight", {3}, {1, 2, 8.1f}).floats("rope_factors_short.weight", {3}, {1, 1, 1.5f});
  const double usual = std::sqrt(1.0 + std::log(4.0) / std::log(16.0));
  const Config config = read(file.real("phi3.rope.scaling.attn_factor", static_cast<float>(usual))).config;
  EXPECT_EQ(config.rotary_size, 6);
  EXPECT_EQ(config.rope_scaling, (RopeScaling{.type = RopeScalingType::longrope,
                                              .original_max_positions = 16,
                                              .attention_factor = usual,
                                              .short_factors = {1, 1, 1.5},
                                              .long_factors = {1, 2, 8.1}}));
  EXPECT_EQ(family_of(config), ModelFamily::phi3);
  TestGguf odd = llama("phi3");
  expect_refused(odd.number("phi3.rope.dimension_count", 5), "valid is an even number up to the size of a head, 8");
  TestGguf large = llama("phi3");
  expect_refused(large.number("phi3.rope.dimension_count", 10), "'phi3.rope.dimension_count'");
  TestGguf one = llama("phi3");
  expect_refused(one.floats("rope_factors_long.weight", {4}, {1, 1, 1, 1}), "'rope_factors_short.weight' is missing");
  TestGguf few = llama("phi3");
  few.floats("rope_factors_long.weight", {3}, {1, 1, 1}).floats("rope_factors_short.weight", {4}, {1, 1, 1, 1});
  expect_refused(few, "has the shape [3], expected is [4]");
  for (const float bad : {NAN, 1e-30f, 0.0f, -1.0f, INFINITY}) {
    TestGguf file_of_bad = llama("phi3");
    file_of_bad.floats("rope_factors_long.weight", {4}, {1, 1, bad, 1});
    file_of_bad.floats("rope_factors_short.weight", {4}, {1, 1, 1, 1});
    expect_refused(file_of_bad,
                   fmt::format("the tensor 'rope_factors_long.weight' holds {:g}; valid are divisors", bad));
  }
  TestGguf both = llama("phi3");
  both.floats("rope_factors_long.weight", {4}, {1, 1, 1, 1}).floats("rope_factors_short.weight", {4}, {1, 1, 1, 1});
  expect_refused(both.floats("rope_freqs.weight", {4}, {2, 2, 2, 2}),
                 "the tensors 'rope_freqs.weight' and 'rope_factors_long.weight' both scale RoPE");
}

TEST(GgufConfigTest, RefusesWhatItCannotComputeByName) {
  expect_refused(TestGguf(), "the key 'general.architecture' is missing");
  expect_refused(llama("mamba"),
                 "the key 'general.architecture' is \"mamba\"; supported are llama, mistral, qwen2, gpt2, qwen3, "
                 "smollm3, olmo2, phi3, gemma2, gemma3");
  expect_refused(llama("llama", "block_count"), "the key 'llama.block_count' is missing");
  const auto refuse = [](const std::function<void(TestGguf&)>& change, std::string_view reason,
                         std::string_view without = "") {
    TestGguf file = llama("llama", without);
    change(file);
    expect_refused(file, reason);
  };
  refuse([](TestGguf& file) { file.number("llama.expert_count", 8); },
         "the key 'llama.expert_count' is 8; mixtures of experts are not supported");
  refuse([](TestGguf& file) { file.integers("llama.attention.head_count_kv", {2, 1}); },
         "the key 'llama.attention.head_count_kv' is an array of 2 values", "attention.head_count_kv");
  refuse([](TestGguf& file) { file.number("llama.attention.head_count", 5); },
         "the key 'llama.attention.head_count' is 5; it must divide llama.embedding_length, 32",
         "attention.head_count");
  refuse([](TestGguf& file) { file.number("llama.attention.value_length", 16); },
         "the key 'llama.attention.value_length' is 16; supported is the size of a head, 8");
  refuse([](TestGguf& file) { file.number("llama.rope.dimension_count", 4); },
         "the key 'llama.rope.dimension_count' is 4");
  refuse([](TestGguf& file) { file.text("llama.rope.scaling.type", "longrope"); },
         "the tensor 'rope_factors_short.weight' is missing");
  refuse([](TestGguf& file) { file.text("llama.rope.scaling.type", "ntk"); },
         "the key 'llama.rope.scaling.type' is \"ntk\"");
  refuse([](TestGguf& file) { file.floats("rope_freqs.weight", {4}, {1, 2, 1, 2}); },
         "the tensor 'rope_freqs.weight' holds divisors");
  refuse([](TestGguf& file) { file.floats("rope_freqs.weight", {1}, {2}); },
         "the tensor 'rope_freqs.weight' has the shape [1], expected is [4]");
  refuse(
      [](TestGguf& file) {
        file.floats("rope_freqs.weight", {4}, {2, 2, 2, 2}).real("llama.rope.scaling.factor", 4.0f);
      },
      "both scale RoPE");
  refuse([](TestGguf& file) { file.number("llama.attention.head_count_kv", 3); }, "describes a model that cannot be",
         "attention.head_count_kv");
  TestGguf bare;
  bare.text("general.architecture", "gpt2");
  expect_refused(bare, "the key 'gpt2.block_count' is missing");
}

}  // namespace
}  // namespace mslt

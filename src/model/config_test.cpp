#include "mslt/config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "model/config_limits.h"
#include "model/parameters.h"
#include "model/test_models.h"

namespace mslt {
namespace {

using test::expect_error;

struct Rule {
  const char* message;
  std::function<void(Config&)> breaks;
};

TEST(Config, EveryRuleIsCheckedAndNamesItsSetting) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<Rule> rules = {
      {"vocab_size is 0",
       [](Config& c) {
         c.vocab_size = 0;
       }},
      {"vocab_size is 2147483521; it must be from 1 to 2147483520",
       [](Config& c) {
         c.vocab_size = (std::int64_t{1} << 31) - 127;
       }},
      {"max_positions is -1",
       [](Config& c) {
         c.max_positions = -1;
       }},
      {"max_positions is 16777217",
       [](Config& c) {
         c.max_positions = (1 << 24) + 1;
       }},
      {"layers is 0",
       [](Config& c) {
         c.layers = 0;
       }},
      {"layers is 4097",
       [](Config& c) {
         c.layers = 4097;
       }},
      {"channels is 0",
       [](Config& c) {
         c.channels = 0;
       }},
      {"channels is 131073",
       [](Config& c) {
         c.channels = 131073;
       }},
      {"heads is 0",
       [](Config& c) {
         c.heads = 0;
       }},
      {"kv_heads is 0",
       [](Config& c) {
         c.kv_heads = 0;
       }},
      {"kv_heads is 3; it must divide heads, which is 4",
       [](Config& c) {
         c.kv_heads = 3;
       }},
      {"kv_heads is 8; it must divide heads",
       [](Config& c) {
         c.kv_heads = 8;
       }},
      {"head_size is 0",
       [](Config& c) {
         c.head_size = 0;
       }},
      {"head_size is 257; it must be from 1 to 256",
       [](Config& c) {
         c.head_size = 257;
       }},
      {"head_size is 7; with position rope it must be even",
       [](Config& c) {
         c.position = PositionType::rope;
         c.head_size = 7;
       }},
      {"ffn_size is 0",
       [](Config& c) {
         c.ffn_size = 0;
       }},
      {"ffn_size is 9223372036854775807",
       [](Config& c) {
         c.ffn_size = std::numeric_limits<std::int64_t>::max();
       }},
      {"norm_epsilon is 0",
       [](Config& c) {
         c.norm_epsilon = 0;
       }},
      {"norm_epsilon is 1",
       [](Config& c) {
         c.norm_epsilon = 1;
       }},
      {"norm_epsilon is nan",
       [nan](Config& c) {
         c.norm_epsilon = nan;
       }},
      {"norm_bias is true",
       [](Config& c) {
         c.norm = NormType::rmsnorm;
       }},
      {"rope_theta is -1",
       [](Config& c) {
         c.position = PositionType::rope;
         c.rope_theta = -1;
       }},
      {"rope_scaling is set, but position is learned",
       [](Config& c) {
         c.rope_scaling.type = RopeScalingType::linear;
       }},
      {"rope_scaling.factor is 0.5",
       [](Config& c) {
         c.position = PositionType::rope;
         c.rope_scaling = {RopeScalingType::linear, 0.5};
       }},
      {"low_freq_factor 4 and high_freq_factor 4",
       [](Config& c) {
         c.position = PositionType::rope;
         c.rope_scaling = {RopeScalingType::llama3, 8.0, 4.0, 4.0, 8192};
       }},
      {"rope_scaling.original_max_positions is 0",
       [](Config& c) {
         c.position = PositionType::rope;
         c.rope_scaling = {RopeScalingType::llama3, 8.0, 1.0, 4.0, 0};
       }},
      {"beta_fast 2 and beta_slow 2",
       [](Config& c) {
         c.position = PositionType::rope;
         c.rope_scaling = {.type = RopeScalingType::yarn, .factor = 8.0, .beta_fast = 2.0, .beta_slow = 2.0};
       }},
      {"rotary_size is 34; it must be even and at most head_size, which is 32",
       [](Config& c) {
         c.position = PositionType::rope;
         c.rotary_size = 34;
       }},
      {"rotary_size is 8, but position is learned",
       [](Config& c) {
         c.rotary_size = 8;
       }},
      {"rope_scaling longrope has 0 short_factors and 3 long_factors; it needs 4 of each",
       [](Config& c) {
         c.position = PositionType::rope;
         c.rotary_size = 8;
         c.rope_scaling = {.type = RopeScalingType::longrope, .long_factors = {1, 1, 1}};
       }},
      {"rope_scaling.short_factors has 1e-30; all must be from 0.001 to 1000000",
       [](Config& c) {
         c.position = PositionType::rope;
         c.rotary_size = 2;
         c.rope_scaling = {.type = RopeScalingType::longrope, .short_factors = {1e-30}, .long_factors = {1}};
       }},
      {"rope_scaling.long_factors has nan; all must be from 0.001",
       [nan](Config& c) {
         c.position = PositionType::rope;
         c.rotary_size = 2;
         c.rope_scaling = {.type = RopeScalingType::longrope, .short_factors = {1}, .long_factors = {nan}};
       }},
      {"rope_theta is 1e-30; it must be from 1",
       [](Config& c) {
         c.position = PositionType::rope;
         c.rope_theta = 1e-30;
       }},
      {"local_rope_theta is 1e-30; it must be 0 or from 1",
       [](Config& c) {
         c.position = PositionType::rope;
         c.local_rope_theta = 1e-30;
       }},
      {"rope_theta is 1; rope_scaling yarn needs it above 1",
       [](Config& c) {
         c.position = PositionType::rope;
         c.rope_theta = 1;
         c.rope_scaling.type = RopeScalingType::yarn;
       }},
      {"window is -1",
       [](Config& c) {
         c.window = -1;
       }},
      {"attention_softcap is -50",
       [](Config& c) {
         c.attention_softcap = -50;
       }},
      {"logit_softcap is nan",
       [nan](Config& c) {
         c.logit_softcap = nan;
       }},
      {"no_rope_every is 2, but position is learned",
       [](Config& c) {
         c.no_rope_every = 2;
       }},
      {"local_rope_theta is 100, but position is learned",
       [](Config& c) {
         c.local_rope_theta = 100;
       }},
      {"norm_weight_offset is 2",
       [](Config& c) {
         c.norm_weight_offset = 2;
       }},
      {"attention_scale is nan",
       [nan](Config& c) {
         c.attention_scale = nan;
       }},
      {"embedding_scale is inf",
       [infinity](Config& c) {
         c.embedding_scale = infinity;
       }},
      {"embedding_scale is 0",
       [](Config& c) {
         c.embedding_scale = 0;
       }},
      {"dropout is 1;",
       [](Config& c) {
         c.dropout = 1;
       }},
      {"dropout is -0.1",
       [](Config& c) {
         c.dropout = -0.1f;
       }},
      {"dropout is nan",
       [nan](Config& c) {
         c.dropout = nan;
       }},
  };
  for (const Rule& rule : rules) {
    Config config = preset("tiny");
    config.validate();
    rule.breaks(config);
    SCOPED_TRACE(rule.message);
    expect_error(ErrorKind::usage, {rule.message}, [&] { config.validate(); });
  }
}

TEST(Config, ListsAllProblemsAtOnce) {
  Config config;
  config.layers = 0;
  config.dropout = 2;
  config.ffn_size = -3;
  expect_error(ErrorKind::usage, {"layers is 0", "dropout is 2", "ffn_size is -3"}, [&] { config.validate(); });
}

// The largest valid sizes: no count of bytes may overflow.
TEST(Config, LargestSizesDoNotOverflow) {
  Config config = test::small_llama();
  config.vocab_size = max_config_vocab_size;
  config.max_positions = max_config_positions;
  config.layers = max_config_layers;
  config.channels = max_config_channels;
  config.heads = config.kv_heads = max_config_heads;
  config.head_size = max_config_head_size;
  config.ffn_size = max_config_ffn_size;
  config.validate();
  EXPECT_GT(config.parameter_count(), 0);
  EXPECT_GE(parameter_layout(config, DType::f32).arena.bytes(), 4 * static_cast<std::size_t>(config.parameter_count()));
}

TEST(Config, EveryPresetIsValidAndCountsItsParameters) {
  for (const std::string_view name : preset_names()) {
    SCOPED_TRACE(name);
    const Config config = preset(name);
    config.validate();
    std::int64_t elements = 0;
    std::int64_t embeddings = 0;
    const ParameterLayout layout = parameter_layout(config, DType::f32);
    for (const Segment& segment : layout.arena.segments()) {
      elements += segment.shape.elements();
      if (segment.name.ends_with("embedding.weight")) embeddings += segment.shape.elements();
    }
    EXPECT_EQ(config.parameter_count(), elements);
    EXPECT_EQ(config.non_embedding_parameter_count(), elements - embeddings);
  }
  for (const test::Family& family : test::families()) {
    std::int64_t elements = 0;
    const ParameterLayout layout = parameter_layout(family.config, DType::f32);
    for (const Segment& segment : layout.arena.segments()) {
      elements += segment.shape.elements();
    }
    EXPECT_EQ(family.config.parameter_count(), elements) << family.name;
  }
}

// Published sizes: GPT-2's four (124, 355, 774 and 1,558 million), stories15M and 110M, SmolLM-135M.
TEST(Config, PresetsHaveThePublishedSizes) {
  EXPECT_EQ(preset("gpt2").parameter_count(), 124439808);
  EXPECT_EQ(preset("gpt2-medium").parameter_count(), 354823168);
  EXPECT_EQ(preset("gpt2-large").parameter_count(), 774030080);
  EXPECT_EQ(preset("gpt2-xl").parameter_count(), 1557611200);
  EXPECT_EQ(preset("llama-15m").parameter_count(), 15191712);
  EXPECT_EQ(preset("llama-110m").parameter_count(), 109529856);
  EXPECT_EQ(preset("smollm-135m").parameter_count(), 134515008);
  expect_error(ErrorKind::usage, {"'gpt3'", "tiny", "smollm-135m"}, [] { preset("gpt3"); });
}

TEST(Config, CountsTheOperationsOfTraining) {
  Config config = test::small_gpt2();
  // Per layer: qkv 24·72, attention_out 24·24, feed-forward 2·24·40; the head 37·24; attention 24 a key of 10 / 2.
  const double products = 2 * (24 * 72 + 24 * 24 + 2 * 24 * 40) + 37 * 24;
  const double attention = 2 * 2 * 24 * 10 / 2;
  EXPECT_DOUBLE_EQ(config.training_flops_per_token(10), 6 * (products + attention));
}

TEST(Config, NamesGoThereAndBack) {
  for (const NormType value : {NormType::layernorm, NormType::rmsnorm}) {
    EXPECT_EQ(from_name<NormType>(name_of(value)), value);
  }
  for (const NormPosition value :
       {NormPosition::pre, NormPosition::post, NormPosition::sandwich, NormPosition::output}) {
    EXPECT_EQ(from_name<NormPosition>(name_of(value)), value);
  }
  for (const PositionType value :
       {PositionType::learned, PositionType::sinusoidal, PositionType::rope, PositionType::none}) {
    EXPECT_EQ(from_name<PositionType>(name_of(value)), value);
  }
  for (const ActivationType value : {ActivationType::gelu, ActivationType::gelu_erf, ActivationType::relu,
                                     ActivationType::swiglu, ActivationType::geglu}) {
    EXPECT_EQ(from_name<ActivationType>(name_of(value)), value);
  }
  expect_error(ErrorKind::usage, {"'silu'", "gelu, gelu_erf, relu, swiglu, geglu"},
               [] { from_name<ActivationType>("silu"); });
}

}  // namespace
}  // namespace mslt

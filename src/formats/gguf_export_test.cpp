// Tests of written GGUF files: models of the golden folders come back with the same bits, and what is refused.
#include "formats/gguf_export.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "backend/download_floats.h"
#include "backend/registry.h"
#include "base/gguf.h"
#include "base/test_errors.h"
#include "base/test_gguf.h"
#include "formats/gguf_architectures.h"
#include "formats/gguf_model.h"
#include "formats/test_folders.h"
#include "formats/test_parameters.h"
#include "mslt/model.h"

namespace mslt {
namespace {

using test::error_of;

class GgufExportTest : public testing::Test {
 protected:
  std::filesystem::path exported(const LoadedModel& model, const std::string& name, std::string_view type = "F32") {
    const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / ("mslt_export_" + name + ".gguf");
    const GgufExport file(model.transformer->config(), model, *gguf_block(type));
    file.write(*model.transformer, path);
    EXPECT_EQ(std::filesystem::file_size(path), file.head().file_bytes()) << name;
    return path;
  }

  std::unique_ptr<Backend> backend = make_backend("cpu");
};

TEST_F(GgufExportTest, ModelsComeBackWithTheSameBits) {
  const std::vector<std::int32_t> ids = {3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8, 9, 7, 9};
  for (const std::string name : {"gpt2", "llama", "llama_tied", "mistral", "qwen2", "qwen3", "llama_yarn", "phi3",
                                 "mistral_window", "phi3_longrope"}) {
    const auto folder = golden_folder() / ("hf_" + name);
    const LoadedModel model = load_model_folder(*backend, folder, DType::f32);
    const auto path = exported(model, name);
    const LoadedModel found = load_model_folder(*backend, path);
    EXPECT_EQ(found.transformer->config(), model.transformer->config()) << name;
    EXPECT_EQ(parameter_bytes(*found.transformer), parameter_bytes(*model.transformer)) << name;
    EXPECT_EQ(found.generation.tokens, model.generation.tokens) << name;
    // Copies: the folder holds gpt2's matrices transposed, and added up in place they differ by rounding.
    const LoadOptions options = {.device = "cpu", .dtype = "f32", .quantize = "none"};
    Model one = Model::load(folder, options);
    Model other = Model::load(path, options);
    EXPECT_EQ(other.logits(ids), one.logits(ids)) << name;
  }
}

TEST_F(GgufExportTest, SaysWhatIsMissingAndKeepsWhatIsSaidOfTheModel) {
  const LoadedModel model = load_model_folder(*backend, golden_folder() / "hf_llama", DType::f32);
  const auto path = std::filesystem::path(testing::TempDir()) / "mslt_export_said.gguf";
  GgufExport file(model.transformer->config(), model, *gguf_block("F32"));
  ASSERT_EQ(file.notes().size(), 1u);
  EXPECT_NE(file.notes().front().find("no tokenizer"), std::string::npos) << file.notes().front();
  TestGguf other;
  other.text("general.name", "A name").text("general.architecture", "gpt2").number("general.license", 1);
  const std::string bytes = other.bytes();
  file.carry_over(Gguf(std::as_bytes(std::span(bytes)), "other"));
  EXPECT_EQ(file.notes().size(), 2u);
  file.write(*model.transformer, path);
  const GgufFile written(path);
  EXPECT_EQ(written.contents().text("general.name"), "A name");
  EXPECT_EQ(written.contents().text("general.architecture"), "llama");
  EXPECT_FALSE(written.contents().has("general.license"));
}

TEST_F(GgufExportTest, SaysWhatLlamaCppComputesOtherwise) {
  const auto note = [&](const std::string& name) {
    const LoadedModel model = load_model_folder(*backend, golden_folder() / name, DType::f32);
    const GgufExport file(model.transformer->config(), model, *gguf_block("F32"));
    EXPECT_EQ(file.notes().size(), 2u);  // the other is of the tokenizer
    return file.notes().front();
  };
  EXPECT_NE(note("hf_mistral_window").find("see all before them, not 4 as this model"), std::string::npos);
  EXPECT_NE(note("hf_llama_yarn").find("beta_fast and beta_slow, not 3 and 0.5 as this model"), std::string::npos);
}

// With the settings that llama.cpp takes for granted. The weights of Gemma's norms lose bits when one is added.
TEST_F(GgufExportTest, ModelsWithFixedSettingsComeBack) {
  for (const std::string name : {"smollm3", "olmo2", "gemma2", "gemma2_without_window", "gemma3"}) {
    Config config = load_model_config(golden_folder() / ("hf_" + name.substr(0, name.find('_'))));
    const bool is_gemma = config.norm_weight_offset != 0;
    config.layers = 6;
    if (is_gemma) {
      config.attention_scale = 0.0f;
      config.tied_embeddings = true;
      config.full_attention_every = name == "gemma2" ? 2 : 6;
      if (name == "gemma2_without_window") config.window = config.full_attention_every = config.window_from = 0;
      if (name == "gemma3") config.local_rope_theta = 10000.0;
    }
    if (name == "smollm3") config.no_rope_every = 4;
    if (name == "olmo2") config.qkv_bias = config.attention_out_bias = false;
    LoadedModel model;
    model.transformer = std::make_unique<Transformer>(*backend, config, DType::f32);
    model.transformer->initialize(7);
    const auto path = exported(model, name);
    if (name == "gemma2_without_window") {
      EXPECT_EQ(GgufFile(path).contents().size("gemma2.attention.sliding_window"), config.max_positions);
    }
    const LoadedModel found = load_model_folder(*backend, path);
    EXPECT_EQ(found.transformer->config(), config) << name;
    for (const Segment& segment : model.transformer->layout().arena.segments()) {
      const auto expected = download_floats(*backend, model.transformer->parameters().tensor(segment.name));
      const auto values = download_floats(*backend, found.transformer->parameters().tensor(segment.name));
      for (std::size_t i = 0; i < expected.size(); ++i)
        ASSERT_NEAR(values[i], expected[i], is_gemma ? 1e-7 : 0) << segment.name;
    }
  }
}

TEST_F(GgufExportTest, RefusesWhatLlamaCppDoesNotCompute) {
  const auto refusal = [&](const std::string& name, std::string_view why) {
    const LoadedModel model = load_model_folder(*backend, golden_folder() / ("hf_" + name), DType::f32);
    const std::string message = error_of(ErrorKind::input, [&] { exported(model, "refused"); });
    EXPECT_NE(message.find("cannot be written as a GGUF file"), std::string::npos) << message;
    EXPECT_NE(message.find(why), std::string::npos) << message;
  };
  refusal("gpt2_erf", "an activation other than gelu_new");
  refusal("gemma2", "gemma2 does not have its query_pre_attn_scalar");
  refusal("olmo2", "olmo2 does not have its biases");
  refusal("smollm3", "smollm3 does not have layers without RoPE other than every fourth");
  refusal("qwen2_window", "qwen2 does not have windows");
}

TEST_F(GgufExportTest, RefusesNumbersBeyondTheType) {
  LoadedModel model = load_model_folder(*backend, golden_folder() / "hf_llama", DType::f32);
  const Tensor embedding = model.transformer->parameters().tensor("token_embedding.weight");
  const auto fill = [&](float value) {
    const std::vector<float> large(static_cast<std::size_t>(embedding.elements()), value);
    backend->upload(embedding, std::as_bytes(std::span(large)));
  };
  const auto refusal = [&](std::string_view type) {
    return error_of(ErrorKind::numeric, [&] { exported(model, "large", type); });
  };
  fill(1e5f);
  EXPECT_NE(refusal("F16").find("'token_embd.weight' holds numbers beyond the range of F16; use bf16 or f32."),
            std::string::npos);
  exported(model, "large", "BF16");
  fill(3.402e38f);
  EXPECT_NE(refusal("BF16").find("'token_embd.weight' holds numbers beyond the range of BF16; use f32."),
            std::string::npos);
  exported(model, "large", "F32");
}

// As llama.cpp names and orders them.
TEST(GgufArchitecturesTest, NamesTensors) {
  const auto name = [](std::string file_name, std::string parameter) {
    return gguf_tensor_name({.file_name = std::move(file_name), .parameter = std::move(parameter)});
  };
  EXPECT_EQ(name("model.layers.3.post_attention_layernorm.weight", "layers.3.ffn_norm.weight"),
            "blk.3.ffn_norm.weight");
  EXPECT_EQ(name("model.layers.3.post_attention_layernorm.weight", "layers.3.attention_out_norm.weight"),
            "blk.3.post_attention_norm.weight");
  EXPECT_EQ(name("lm_head.weight", "lm_head.weight"), "output.weight");
}

}  // namespace
}  // namespace mslt

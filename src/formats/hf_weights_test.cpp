// Tests of the mapping between parameters and the tensors of weight files.
#include "formats/hf_weights.h"
#include "base/test_errors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "backend/registry.h"
#include "formats/convert_elements.h"
#include "formats/safetensors.h"
#include "model/transformer.h"
#include "model/weights.h"
#include "mslt/error.h"

namespace mslt {
namespace {

Config small_gpt2() {
  Config config = preset("tiny");
  config.vocab_size = 11;
  config.max_positions = 7;
  config.layers = 2;
  config.channels = 12;
  config.heads = config.kv_heads = 3;
  config.head_size = 4;
  config.ffn_size = 20;
  return config;
}

Config small_llama() {
  Config config = preset("llama-15m");
  config.vocab_size = 11;
  config.layers = 2;
  config.channels = 12;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_size = 6;
  config.ffn_size = 10;
  config.tied_embeddings = false;
  return config;
}

Config small_qwen2() {
  Config config = small_llama();
  config.qkv_bias = true;
  return config;
}

Config small_original() {
  Config config = small_gpt2();
  config.norm_position = NormPosition::post;
  config.position = PositionType::sinusoidal;
  return config;
}

ArenaLayout layout_of(const Config& config) {
  return parameter_layout(config, DType::f32).arena;
}

std::vector<FileTensor> sorted(std::vector<FileTensor> tensors) {
  std::sort(tensors.begin(), tensors.end(), [](const FileTensor& a, const FileTensor& b) { return a.name < b.name; });
  return tensors;
}

// The tensors in a file of this model, without data.
std::vector<FileTensor> file_tensors(const Config& config) {
  const ArenaLayout layout = layout_of(config);
  std::vector<FileTensor> tensors;
  for (const WeightPiece& piece : weight_pieces(config, layout, family_of(config))) {
    const Shape& shape = layout.segment(piece.parameter).shape;
    FileTensor tensor{piece.file_name, "F32", {static_cast<std::uint64_t>(piece.rows)}, {}};
    if (shape.rank() == 2) tensor.shape.push_back(static_cast<std::uint64_t>(shape[1]));
    if (piece.transposed) std::swap(tensor.shape[0], tensor.shape[1]);
    tensors.push_back(tensor);
  }
  return sorted(tensors);
}

// The tensors found for the pieces, and the notes.
std::pair<std::vector<const FileTensor*>, std::vector<std::string>> match(const Config& config,
                                                                          const std::vector<FileTensor>& tensors) {
  const ArenaLayout layout = layout_of(config);
  std::vector<std::string> notes;
  auto found = match_weights(weight_pieces(config, layout, family_of(config)), layout, tensors, "f", notes);
  return {std::move(found), std::move(notes)};
}

std::string mismatch(const Config& config, const std::vector<FileTensor>& tensors) {
  try {
    match(config, tensors);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    return error.what();
  }
  ADD_FAILURE() << "accepted";
  return {};
}

FileTensor& named(std::vector<FileTensor>& tensors, std::string_view name) {
  return *std::find_if(tensors.begin(), tensors.end(), [&](const FileTensor& tensor) { return tensor.name == name; });
}

TEST(WeightPieces, CoverEveryParameterOnce) {
  for (const Config& config : {small_gpt2(), small_llama(), small_qwen2(), small_original()}) {
    const ArenaLayout layout = layout_of(config);
    const auto pieces = weight_pieces(config, layout, family_of(config));
    std::set<std::string> names;
    for (const WeightPiece& piece : pieces) EXPECT_TRUE(names.insert(piece.file_name).second) << piece.file_name;
    for (const Segment& segment : layout.segments()) {
      std::vector<bool> covered(static_cast<std::size_t>(segment.shape[0]));
      for (const WeightPiece& piece : pieces) {
        if (piece.parameter != segment.name) continue;
        for (std::int64_t row = piece.first_row; row < piece.first_row + piece.rows; ++row) {
          EXPECT_FALSE(covered.at(static_cast<std::size_t>(row))) << segment.name;
          covered[static_cast<std::size_t>(row)] = true;
        }
      }
      EXPECT_EQ(std::count(covered.begin(), covered.end(), false), 0) << segment.name;
    }
  }
}

TEST(MatchWeights, AcceptsWhatOldFilesHold) {
  EXPECT_NO_THROW(match(small_gpt2(), file_tensors(small_gpt2())));
  std::vector<FileTensor> bare = file_tensors(small_gpt2());
  for (FileTensor& tensor : bare) tensor.name = tensor.name.substr(std::string("transformer.").size());
  bare.push_back({"h.0.attn.bias", "U8", {1, 1, 7, 7}, {}});
  bare.push_back({"h.0.attn.masked_bias", "F32", {}, {}});
  bare.push_back({"lm_head.weight", "F32", {11, 12}, {}});
  EXPECT_NO_THROW(match(small_gpt2(), sorted(bare)));
  std::vector<FileTensor> llama = file_tensors(small_llama());
  llama.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", "F32", {3}, {}});
  llama.push_back({"rotary_emb.inv_freq", "F32", {3}, {}});
  EXPECT_NO_THROW(match(small_llama(), sorted(llama)));
}

// Fused matrices, and norms whose names mean other places where branches end in norms.
TEST(MatchWeights, NamesTensorsAsEachFamilyDoes) {
  const auto names = [](const Config& config, ModelFamily family) {
    std::map<std::string, std::string> result;  // by the file's name
    for (const WeightPiece& piece : weight_pieces(config, parameter_layout(config, DType::f32).arena, family)) {
      result[piece.file_name] = piece.parameter;
    }
    return result;
  };
  const std::string layer = "model.layers.1.";
  auto found = names(small_llama(), ModelFamily::phi3);
  EXPECT_EQ(found[layer + "self_attn.qkv_proj.weight"], "layers.1.qkv.weight");
  EXPECT_EQ(found[layer + "mlp.gate_up_proj.weight"], "layers.1.ffn_up.weight");
  EXPECT_EQ(found[layer + "post_attention_layernorm.weight"], "layers.1.ffn_norm.weight");
  EXPECT_FALSE(found.contains(layer + "self_attn.q_proj.weight"));
  Config config = small_llama();
  config.norm_position = NormPosition::sandwich;
  config.qk_norm = QkNormType::head;
  found = names(config, ModelFamily::gemma3);
  EXPECT_EQ(found[layer + "post_attention_layernorm.weight"], "layers.1.attention_out_norm.weight");
  EXPECT_EQ(found[layer + "pre_feedforward_layernorm.weight"], "layers.1.ffn_norm.weight");
  EXPECT_EQ(found[layer + "post_feedforward_layernorm.weight"], "layers.1.ffn_out_norm.weight");
  EXPECT_EQ(found[layer + "self_attn.k_norm.weight"], "layers.1.k_norm.weight");
  config.norm_position = NormPosition::output;
  found = names(config, ModelFamily::olmo2);
  EXPECT_EQ(found[layer + "post_attention_layernorm.weight"], "layers.1.attention_out_norm.weight");
  EXPECT_FALSE(found.contains(layer + "input_layernorm.weight"));
}

TEST(MatchWeights, NamesEverythingThatDiffers) {
  std::vector<FileTensor> tensors = file_tensors(small_gpt2());
  named(tensors, "transformer.h.1.mlp.c_fc.weight").shape = {20, 12};
  named(tensors, "transformer.wte.weight").dtype = "I64";
  named(tensors, "transformer.ln_f.bias").name = "transformer.ln_f.beta";
  const std::string message = mismatch(small_gpt2(), sorted(tensors));
  for (const char* part :
       {"f do not match", "4 differ", "transformer.h.1.mlp.c_fc.weight has the shape [20, 12], expected is [12, 20]",
        "transformer.wte.weight has the dtype I64", "transformer.ln_f.bias [12] is missing",
        "transformer.ln_f.beta [12] is not expected"}) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  }
}

// safetensors' save_model leaves this of a model with a tied output head.
TEST(MatchWeights, ATiedModelMayHaveItsHeadAlone) {
  Config llama = small_llama();
  llama.tied_embeddings = true;
  for (const auto& [config, embedding] :
       {std::pair(small_gpt2(), "transformer.wte.weight"), std::pair(llama, "model.embed_tokens.weight")}) {
    std::vector<FileTensor> tensors = file_tensors(config);
    named(tensors, embedding).name = "lm_head.weight";
    const auto [found, notes] = match(config, tensors);
    EXPECT_EQ(std::count(found.begin(), found.end(), &named(tensors, "lm_head.weight")), 1);
    EXPECT_TRUE(notes.empty());
    // It is not used in addition to the embedding.
    tensors.push_back({embedding, "F32", {11, 12}, {}});
    const auto both = match(config, tensors).first;
    EXPECT_EQ(std::count(both.begin(), both.end(), &tensors.back()), 1);
    tensors.pop_back();
    // The shape is the embedding's under either name.
    named(tensors, "lm_head.weight").shape = {12, 11};
    EXPECT_NE(mismatch(config, tensors).find("lm_head.weight has the shape [12, 11], expected is [11, 12]"),
              std::string::npos);
  }
  // A head with its own values is not silently ignored.
  const std::array<std::byte, 2> values = {std::byte{1}, std::byte{2}};
  std::vector<FileTensor> tensors = file_tensors(llama);
  tensors.push_back({"lm_head.weight", "F32", {11, 12}, std::span(values).first(1)});
  named(tensors, "model.embed_tokens.weight").data = std::span(values).first(1);
  EXPECT_TRUE(match(llama, tensors).second.empty());
  tensors.back().data = std::span(values).last(1);
  const auto notes = match(llama, tensors).second;
  ASSERT_EQ(notes.size(), 1U);
  EXPECT_EQ(notes[0].find("f: lm_head.weight has other values than model.embed_tokens.weight"), 0U) << notes[0];
  // An untied model needs both.
  std::vector<FileTensor> untied = file_tensors(small_llama());
  std::erase_if(untied, [](const FileTensor& tensor) { return tensor.name == "model.embed_tokens.weight"; });
  EXPECT_NE(mismatch(small_llama(), untied).find("model.embed_tokens.weight [11, 12] is missing"), std::string::npos);
}

TEST(MatchWeights, PrefixesOfWrappersAreLeftOut) {
  const std::vector<std::string> prefixes = {"_orig_mod.", "module.", "module._orig_mod.", "_orig_mod.module."};
  for (const Config& config : {small_gpt2(), small_llama(), small_original()}) {
    std::vector<FileTensor> mixed = file_tensors(config);
    for (std::size_t i = 0; i < mixed.size(); ++i) mixed[i].name = prefixes[i % prefixes.size()] + mixed[i].name;
    const auto [found, notes] = match(config, mixed);
    ASSERT_EQ(notes.size(), 2u);
    EXPECT_NE(notes[0].find("f: the prefix '_orig_mod.' of torch.compile"), std::string::npos) << notes[0];
    EXPECT_NE(notes[1].find("f: the prefix 'module.' of DataParallel"), std::string::npos) << notes[1];
  }
  // Layers compiled one by one; names without the whole model's prefix; the masks of old files.
  std::vector<FileTensor> layers = file_tensors(small_llama());
  for (FileTensor& tensor : layers) {
    const std::size_t layer = tensor.name.find("layers.1.");
    if (layer != std::string::npos) tensor.name.insert(layer + 9, "_orig_mod.");
  }
  EXPECT_EQ(match(small_llama(), layers).second.size(), 1u);
  std::vector<FileTensor> bare = file_tensors(small_gpt2());
  for (FileTensor& tensor : bare) tensor.name = "module." + tensor.name.substr(std::string("transformer.").size());
  bare.push_back({"module.h.0.attn.bias", "U8", {1, 1, 7, 7}, {}});
  EXPECT_EQ(match(small_gpt2(), bare).second.size(), 1u);
  EXPECT_TRUE(match(small_gpt2(), file_tensors(small_gpt2())).second.empty());
  // A duplicate tensor, and one that is not in the model, by their names in the file.
  std::vector<FileTensor> twice = file_tensors(small_gpt2());
  twice.push_back(twice.front());
  twice.back().name = "module." + twice.back().name;
  EXPECT_NE(mismatch(small_gpt2(), twice).find("are both "), std::string::npos);
  std::vector<FileTensor> odd = file_tensors(small_gpt2());
  odd.push_back({"module.submodule.weight", "F32", {3}, {}});
  EXPECT_NE(mismatch(small_gpt2(), odd).find("module.submodule.weight [3] is not expected"), std::string::npos);
  // A type of GGUF files, whose bytes no reader has counted.
  std::vector<FileTensor> packed = file_tensors(small_llama());
  packed.front().dtype = "Q8_0";
  packed.front().data = {};
  EXPECT_NE(mismatch(small_llama(), packed).find("has the dtype Q8_0, supported are F32"), std::string::npos);
}

TEST(MatchWeights, DoublesAreNotedAndEightBitsRefused) {
  std::vector<FileTensor> tensors = file_tensors(small_llama());
  for (FileTensor& tensor : tensors) tensor.dtype = "F64";
  const auto notes = match(small_llama(), tensors).second;
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_EQ(notes[0], "f: 21 of 21 tensors are F64; their values are rounded to F32.");
  for (const char* dtype : {"F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "C64", "I64"}) {
    tensors.front().dtype = dtype;
    EXPECT_NE(mismatch(small_llama(), tensors)
                  .find(tensors.front().name + " has the dtype " + dtype + ", supported are F32, BF16, F16 and F64"),
              std::string::npos);
  }
}

TEST(MatchWeights, ListsTenOfMany) {
  const std::string message = mismatch(small_llama(), {});
  EXPECT_NE(message.find("21 differ"), std::string::npos) << message;
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 11) << message;
}

TEST(MatchWeights, AnUntiedHeadIsNeeded) {
  std::vector<FileTensor> tensors = file_tensors(small_llama());
  std::erase_if(tensors, [](const FileTensor& tensor) { return tensor.name == "lm_head.weight"; });
  EXPECT_NE(mismatch(small_llama(), tensors).find("lm_head.weight [11, 12] is missing"), std::string::npos);
}

TEST(ConvertElements, RoundsDoubles) {
  // Half a unit above 1, which rounds to even; just more; a number that is too large; the smallest subnormal of f16.
  const std::vector<double> values = {1.0 + 0x1p-24, 1.0 + 0x1.000001p-24, -1e300, 0x1p-24, 0.1, -0.0};
  std::vector<float> f32(6);
  convert_elements(std::as_bytes(std::span(values)), FileFloat::f64, std::as_writable_bytes(std::span(f32)),
                   DType::f32);
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(f32, (std::vector<float>{1.0f, 1.0f + 0x1p-23f, -infinity, 0x1p-24f, 0.1f, -0.0f}));
  std::vector<Float16> f16(6);
  convert_elements(std::as_bytes(std::span(values)), FileFloat::f64, std::as_writable_bytes(std::span(f16)),
                   DType::f16);
  EXPECT_EQ(f16[0].bits, 0x3c00u);
  EXPECT_EQ(f16[3].bits, 1u);
  EXPECT_EQ(f16[5].bits, 0x8000u);
  std::vector<float> turned(2);
  transpose_elements(std::as_bytes(std::span(values)), FileFloat::f64, 2, 3, 1, 1,
                     std::as_writable_bytes(std::span(turned)), DType::f32);
  EXPECT_EQ(turned, (std::vector<float>{1.0f + 0x1p-23f, 0.1f}));
}

TEST(ConvertElements, RoundsAndTransposes) {
  const std::vector<float> values = {1.0f, 1.0f + 0x1p-8f, 1.0f + 0x1.8p-7f, -2.0f, 65536.0f, 0x1p-24f};
  std::vector<BFloat16> bf16(6);
  convert_elements(std::as_bytes(std::span(values)), FileFloat::f32, std::as_writable_bytes(std::span(bf16)),
                   DType::bf16);
  std::vector<float> back(6);
  convert_elements(std::as_bytes(std::span(bf16)), FileFloat::bf16, std::as_writable_bytes(std::span(back)),
                   DType::f32);
  EXPECT_EQ(back, (std::vector<float>{1.0f, 1.0f, 1.0f + 0x1p-6f, -2.0f, 65536.0f, 0x1p-24f}));
  std::vector<Float16> f16(6);
  convert_elements(std::as_bytes(std::span(bf16)), FileFloat::bf16, std::as_writable_bytes(std::span(f16)), DType::f16);
  EXPECT_EQ(f16[4].bits, 0x7c00u);
  EXPECT_EQ(f16[5].bits, 1u);
  // Rows 1 and 2 of the transpose of [[0, 1, 2], [3, 4, 5]].
  const std::vector<float> matrix = {0, 1, 2, 3, 4, 5};
  std::vector<float> rows(4);
  transpose_elements(std::as_bytes(std::span(matrix)), FileFloat::f32, 2, 3, 1, 2,
                     std::as_writable_bytes(std::span(rows)), DType::f32);
  EXPECT_EQ(rows, (std::vector<float>{1, 4, 2, 5}));
}

// Saves a model with known parameters and loads the file into another one; returns the file's bytes as tensors.
class WeightFile : public testing::Test {
 protected:
  std::unique_ptr<Backend> backend = make_backend("cpu");
  std::filesystem::path path =
      std::filesystem::path(testing::TempDir()) /
      (std::string("mslt_hf_weights_") + testing::UnitTest::GetInstance()->current_test_info()->name());

  static std::vector<WeightPiece> pieces_of(const Transformer& model) {
    return weight_pieces(model.config(), model.layout().arena, family_of(model.config()));
  }

  void save(const Transformer& model, DType dtype) {
    AtomicFile file(path);
    save_weights(file, model, pieces_of(model), dtype);
    file.commit();
  }

  void load(Transformer& model) {
    const SafetensorsFile file(path);
    std::vector<FileTensor> tensors;
    for (const SafetensorsEntry& entry : file.entries()) {
      tensors.push_back({entry.name, entry.dtype, entry.shape, file.bytes(entry)});
    }
    tensors = sorted(tensors);
    const auto pieces = pieces_of(model);
    std::vector<std::string> notes;
    load_weights(*backend, model.parameters(), pieces,
                 match_weights(pieces, model.layout().arena, tensors, "f", notes));
  }

  std::vector<float> values(const Transformer& model, const Segment& segment) {
    const Tensor tensor = model.parameters().tensor(segment);
    std::vector<std::byte> bytes(tensor.bytes());
    backend->download(tensor, bytes);
    std::vector<float> result(static_cast<std::size_t>(tensor.elements()));
    convert_elements(bytes, file_float(tensor.dtype()), std::as_writable_bytes(std::span(result)), DType::f32);
    return result;
  }
};

TEST_F(WeightFile, RoundTripsEveryFamily) {
  for (const Config& config : {small_gpt2(), small_llama(), small_qwen2(), small_original()}) {
    Transformer model(*backend, config, DType::f32);
    model.initialize(7);
    save(model, DType::f32);
    Transformer copy(*backend, config, DType::f32);
    load(copy);
    for (const Segment& segment : model.layout().arena.segments()) {
      EXPECT_EQ(values(copy, segment), values(model, segment)) << segment.name;
    }
  }
}

TEST_F(WeightFile, HasTheVocabularyAndNoSpareRows) {
  for (Config config : {small_gpt2(), small_llama()}) {
    config.vocab_size = 1100;
    Transformer model(*backend, config, DType::f32);
    ASSERT_GT(bind_weights(model.config(), model.stages(), model.parameters()).padded_lm_head.values.shape()[0], 1100);
    model.initialize(7);
    save(model, DType::f32);
    std::size_t elements = 0;
    const SafetensorsFile file(path);
    for (const SafetensorsEntry& entry : file.entries()) elements += file.bytes(entry).size() / sizeof(float);
    EXPECT_EQ(elements, static_cast<std::size_t>(config.parameter_count()));
    Transformer copy(*backend, config, DType::f32);
    load(copy);
    for (const char* name :
         {"token_embedding.weight", config.tied_embeddings ? "token_embedding.weight" : "lm_head.weight"}) {
      EXPECT_EQ(values(copy, copy.layout().arena.segment(name)), values(model, model.layout().arena.segment(name)));
    }
  }
}

TEST_F(WeightFile, ConvertsBetweenDtypes) {
  Transformer model(*backend, small_gpt2(), DType::f32);
  model.initialize(3);
  for (const DType file_dtype : {DType::f32, DType::bf16, DType::f16}) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      save(model, file_dtype);
      Transformer copy(*backend, small_gpt2(), dtype);
      load(copy);
      for (const Segment& segment : model.layout().arena.segments()) {
        const auto expected = values(model, segment);
        const auto found = values(copy, copy.layout().arena.segment(segment.name));
        for (std::size_t i = 0; i < expected.size(); ++i) {
          // bf16 keeps 8 significant bits; values around 0.02 are normal in f16.
          EXPECT_NEAR(found[i], expected[i], std::abs(expected[i]) * 0x1p-7f + 1e-7f) << segment.name;
        }
      }
    }
  }
}

TEST_F(WeightFile, RefusesNumbersBeyondTheType) {
  Transformer model(*backend, small_gpt2(), DType::f32);
  model.initialize(3);
  const auto refusals = [&](float value, DType dtype, std::string_view advice) {
    const Tensor bias = model.parameters().tensor("layers.1.qkv.bias");
    std::vector<float> values(static_cast<std::size_t>(bias.elements()));
    values.back() = value;
    backend->upload(bias, std::as_bytes(std::span(values)));
    const std::string saved = test::error_of(ErrorKind::numeric, [&] { save(model, dtype); });
    save(model, DType::f32);
    Transformer copy(*backend, small_gpt2(), dtype);
    const std::string loaded = test::error_of(ErrorKind::numeric, [&] { load(copy); });
    for (const std::string& message : {saved, loaded}) {
      EXPECT_NE(message.find("h.1.attn.c_attn.bias' holds numbers beyond the range of"), std::string::npos) << message;
      EXPECT_NE(message.find(advice), std::string::npos) << message;
    }
  };
  refusals(-1e5f, DType::f16, "use bf16 or f32.");
  refusals(3.402e38f, DType::bf16, "; use f32.");
}

TEST_F(WeightFile, HoldsTransposedMatricesForGpt2AndRowsForLlama) {
  Transformer gpt2(*backend, small_gpt2(), DType::f32);
  gpt2.initialize(1);
  save(gpt2, DType::f32);
  const auto element = [&](std::string_view name, std::size_t index) {
    const SafetensorsFile file(path);
    for (const SafetensorsEntry& entry : file.entries()) {
      if (entry.name != name) continue;
      float value = 0;
      std::memcpy(&value, file.bytes(entry).data() + index * sizeof(float), sizeof(float));
      return value;
    }
    ADD_FAILURE() << name << " is missing";
    return 0.0f;
  };
  const auto& gpt2_layout = gpt2.layout().arena;
  const auto qkv = values(gpt2, gpt2_layout.segment("layers.1.qkv.weight"));
  EXPECT_EQ(element("transformer.h.1.attn.c_attn.weight", 5 * 36 + 30), qkv[30 * 12 + 5]);
  Transformer llama(*backend, small_llama(), DType::f32);
  llama.initialize(2);
  save(llama, DType::f32);
  const auto& llama_layout = llama.layout().arena;
  const auto fused = values(llama, llama_layout.segment("layers.0.qkv.weight"));
  EXPECT_EQ(element("model.layers.0.self_attn.k_proj.weight", 3), fused[24 * 12 + 3]);
  EXPECT_EQ(element("model.layers.0.self_attn.v_proj.weight", 3), fused[36 * 12 + 3]);
  const auto up = values(llama, llama_layout.segment("layers.1.ffn_up.weight"));
  EXPECT_EQ(element("model.layers.1.mlp.gate_proj.weight", 1), up[1]);
  EXPECT_EQ(element("model.layers.1.mlp.up_proj.weight", 1), up[10 * 12 + 1]);
}

}  // namespace
}  // namespace mslt

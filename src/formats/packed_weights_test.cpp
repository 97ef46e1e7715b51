// Tests of models that run in the blocks of their GGUF file: they equal the unpacked ones.
#include "formats/packed_weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "backend/registry.h"
#include "base/test_errors.h"
#include "formats/convert_elements.h"
#include "formats/finite_weights.h"
#include "formats/gguf_model.h"
#include "formats/model_parts.h"
#include "formats/safetensors.h"
#include "formats/test_gguf_llama.h"
#include "model/inference_pass.h"
#include "model/parameter_rows.h"
#include "model/training_pass.h"
#include "mslt/model.h"

namespace mslt {
namespace {

using test::error_of;

std::filesystem::path folder() {
  const auto path = std::filesystem::path(testing::TempDir()) / "mslt_packed_weights";
  std::filesystem::create_directories(path);
  return path;
}

std::filesystem::path written_packed(const std::string& name, const TestGguf& file) {
  const std::filesystem::path path = folder() / (name + ".gguf");
  std::ofstream(path, std::ios::binary) << file.bytes();
  return path;
}

std::vector<float> values(const Transformer& model, const Segment& segment) {
  std::vector<std::byte> bytes;
  const DType dtype = download_rows(model, segment.name, 0, segment.shape[0], bytes);
  std::vector<float> floats(static_cast<std::size_t>(segment.shape.elements()));
  convert_elements(bytes, file_float(dtype), std::as_writable_bytes(std::span(floats)), DType::f32);
  return floats;
}

// Of a file that an unpacked one equals: all parameters are the same numbers.
void expect_same_parameters(const Transformer& found, const Transformer& expected, const std::string& what) {
  for (const Segment& segment : expected.layout().arena.segments()) {
    EXPECT_EQ(values(found, segment), values(expected, segment)) << what << " " << segment.name;
  }
}

double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double squares = 0;
  double all = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    squares += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    all += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return std::sqrt(squares / all);
}

const std::vector<std::int32_t> ids = {3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8};

TEST(PackedWeights, HoldTheNumbersOfUnpackedOnes) {
  constexpr std::uint64_t vocab = 1100;
  constexpr std::int64_t padded = 1152;
  const auto backend = make_backend("cpu");
  const std::vector<std::pair<std::string, DType>> types = {
      {"Q4_0", DType::u8}, {"Q4_1", DType::u8}, {"Q5_0", DType::i8}, {"Q8_0", DType::i8}};
  for (const auto& [type, dtype] : types) {
    const auto packed_file = written_packed("packed", quantised_llama(type, false, vocab));
    const LoadedModel packed = load_gguf_model(*backend, packed_file, DType::f32, WeightMemory::packed);
    const LoadedModel expected =
        load_gguf_model(*backend, written_packed("floats", quantised_llama(type, true, vocab)), DType::f32);
    const Transformer& model = *packed.transformer;
    EXPECT_TRUE(model.packs()) << type;
    EXPECT_TRUE(packed.notes.empty()) << type;
    expect_same_parameters(model, *expected.transformer, type);
    // The embedding makes logits as well, so it has rows of zeros up to a multiple of 128.
    for (const char* const name : {"layers.0.qkv.weight", "token_embedding.weight"}) {
      EXPECT_EQ(model.quantised().find(name, {}).values.dtype(), dtype) << type << " " << name;
    }
    EXPECT_EQ(model.quantised().find("token_embedding.weight", {}).values.shape()[0], padded);
    EXPECT_EQ(model.parameters().layout().segments().size(), 3u) << type << ": the norms";
    // Eight bits and an f16 a group, or four and two, of 256 rows for each of 6 matrices and some.
    const std::size_t elements = 256 * (512 + 256 + 512 + 256 + padded);
    EXPECT_EQ(model.quantised().bytes(), dtype == DType::i8 ? elements * 34 / 32 : elements * 20 / 32) << type;
  }
}

TEST(PackedWeights, GiveTheLogitsOfUnpackedOnes) {
  // The CPU rounds the input of each quantised product to 16 bits.
  constexpr double tolerance = 2e-4;
  for (const std::string type : {"Q4_0", "Q4_1", "Q5_0", "Q8_0"}) {
    const auto file = written_packed("logits", quantised_llama(type, false));
    Model packed = Model::load(file, {.device = "cpu", .dtype = "f32"});
    Model expected = Model::load(file, {.device = "cpu", .dtype = "f32", .quantize = "none"});
    ASSERT_TRUE(packed.parts().loaded.transformer->packs());
    ASSERT_FALSE(expected.parts().loaded.transformer->packs());
    const std::vector<float> logits = expected.logits(ids);
    EXPECT_LT(difference(packed.logits(ids), logits), tolerance) << type;
    // By the cache, in 16 bits too.
    for (const std::string dtype : {"f32", "bf16"}) {
      Model model = Model::load(file, {.device = "cpu", .dtype = dtype});
      Transformer& transformer = *model.parts().loaded.transformer;
      KvCache cache(transformer.backend(), transformer.config(), DType::f32, 1, 16);
      InferencePass pass(transformer, cache);
      std::vector<float> last(40);
      for (std::size_t i = 0; i < ids.size(); ++i) {
        const std::vector<std::span<const std::int32_t>> token = {std::span(ids).subspan(i, 1)};
        transformer.backend().download(pass.forward(std::vector<int>{0}, token),
                                       std::as_writable_bytes(std::span(last)));
      }
      EXPECT_LT(difference(last, {logits.end() - 40, logits.end()}), dtype == "f32" ? tolerance : 2e-2)
          << type << dtype;
    }
  }
}

TEST(PackedWeights, StayUnpackedWhereProductsCannotReadThem) {
  const auto backend = make_backend("cpu");
  const auto load = [&](const std::string& name, const auto& type_of) {
    return load_gguf_model(*backend, written_packed(name, quantised_llama(type_of, false)), DType::f32,
                           WeightMemory::packed);
  };
  // Queries in 4 bits beside values in 8 have one matrix; Q4_0 goes into 8 bits with the others.
  const auto mixed = [](const std::string& name) -> std::string {
    if (name.find("attn_q") != std::string::npos) return "Q4_1";
    if (name.find("ffn_up") != std::string::npos) return "Q4_0";
    if (name.find("attn_output") != std::string::npos) return "Q6_K";
    if (name.find("ffn_down") != std::string::npos) return "Q5_1";
    return "Q8_0";
  };
  const LoadedModel model = load("mixed", mixed);
  const QuantisedWeights& quantised = model.transformer->quantised();
  EXPECT_FALSE(quantised.holds("layers.0.qkv.weight"));
  EXPECT_FALSE(quantised.holds("layers.0.attention_out.weight"));
  EXPECT_FALSE(quantised.holds("layers.0.ffn_down.weight"));
  EXPECT_EQ(quantised.find("layers.0.ffn_up.weight", {}).values.dtype(), DType::i8);
  EXPECT_EQ(quantised.find("token_embedding.weight", {}).values.dtype(), DType::i8);
  ASSERT_EQ(model.notes.size(), 1u);
  EXPECT_NE(model.notes.front().find("5 of 11 tensors are unpacked"), std::string::npos) << model.notes.front();
  EXPECT_NE(model.notes.front().find("Q4_1, Q5_1, Q6_K, Q8_0"), std::string::npos) << model.notes.front();
  const LoadedModel expected =
      load_gguf_model(*backend, written_packed("mixed_floats", quantised_llama(mixed, true)), DType::f32);
  expect_same_parameters(*model.transformer, *expected.transformer, "mixed");

  const LoadedModel none = load("none", [](const std::string& /*name*/) { return std::string("Q4_K"); });
  EXPECT_FALSE(none.transformer->packs());
  EXPECT_EQ(none.transformer->quantised().bytes(), 0u);
}

// Eight times the scale is the minimum of four bits.
TEST(PackedWeights, WidenScalesWhoseMinimumIsBeyondF16) {
  const auto backend = make_backend("cpu");
  const GgufBlock block = *gguf_block("Q4_0");
  std::string bytes(256 * 256 / 32 * block.bytes, '\x37');
  const auto file_of = [&](std::uint16_t scale) {
    std::memcpy(bytes.data() + 100 * block.bytes, &scale, sizeof scale);
    TestGguf file = quantised_llama("Q8_0", false);
    file.tensor("output.weight", {40, 256}, block.type, bytes.substr(0, 40 * 256 / 32 * block.bytes));
    return file;
  };
  const auto head = [&](std::uint16_t scale) {
    const auto path = written_packed("wide", file_of(scale));
    const LoadedModel found = load_gguf_model(*backend, path, DType::f32, WeightMemory::packed);
    const LoadedModel expected = load_gguf_model(*backend, path, DType::f32);
    expect_same_parameters(*found.transformer, *expected.transformer, "wide");
    return found.transformer->quantised().find("lm_head.weight", {}).values.dtype();
  };
  EXPECT_EQ(head(0x6FFF), DType::u8);  // 8188
  EXPECT_EQ(head(0x7000), DType::i8);  // 8192
  EXPECT_EQ(head(0xF000), DType::i8);
}

TEST(PackedWeights, AreSavedUnpackedAndNotTrained) {
  const auto file = written_packed("saved", quantised_llama("Q4_1", false));
  const Model packed = Model::load(file, {.device = "cpu", .dtype = "f32"});
  const Model plain = Model::load(file, {.device = "cpu", .dtype = "f32", .quantize = "none"});
  const auto bytes_of = [](const Model& model, const std::string& name) {
    model.save(folder() / name);
    std::ifstream stream(folder() / name / "model.safetensors", std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(stream), {});
  };
  const std::string expected = bytes_of(plain, "plain");
  EXPECT_GT(expected.size(), 1'000'000u);
  EXPECT_EQ(bytes_of(packed, "from_packed"), expected);

  Transformer& transformer = *packed.parts().loaded.transformer;
  EXPECT_NE(error_of(ErrorKind::usage, [&] { const TrainingPass pass(transformer, 1, 4, TrainingPass::Mode::train); })
                .find("load a copy"),
            std::string::npos);
  EXPECT_NE(error_of(ErrorKind::usage, [&] { transformer.quantise(Quantisation::int8); }).find("as its file has them"),
            std::string::npos);
  transformer.quantise(Quantisation::none);
  EXPECT_TRUE(transformer.packs());
  EXPECT_GT(transformer.quantised().bytes(), 0u);
}

}  // namespace
}  // namespace mslt

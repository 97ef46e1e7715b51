// Tests of reading parameters in their mapped file.
#include "formats/mapped_weights.h"

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <memory>
#include <set>
#include <string>

#include "base/file.h"
#include "formats/model_folder.h"
#include "formats/test_folders.h"
#include "model/parameter_rows.h"
#include "model/test_models.h"
#include "mslt/model.h"

namespace mslt {
namespace {

using test::download;

class MappedWeights : public testing::Test {
 protected:
  std::filesystem::path save(const std::string& name, const Config& config, DType dtype = DType::f32) {
    const std::filesystem::path folder = fresh_folder("mapped_weights_" + name);
    Transformer original(*backend_, config, DType::f32);
    test::randomize(original);
    save_model_folder(folder, original, nullptr, {.dtype = dtype, .generation = {}});
    return folder;
  }

  // The names of the mapped parameters, after checking that all values equal those of copies.
  std::set<std::string> mapped(const std::filesystem::path& folder, std::optional<DType> dtype = std::nullopt) {
    const LoadedModel copied = load_model_folder(*backend_, folder, dtype);
    const LoadedModel model = load_model_folder(*backend_, folder, dtype, WeightMemory::mapped);
    const Arena& parameters = model.transformer->parameters();
    std::set<std::string> names;
    for (const Segment& segment : parameters.layout().segments()) {
      EXPECT_EQ(download(*backend_, parameters.tensor(segment)),
                download(*backend_, copied.transformer->parameters().tensor(segment.name)))
          << segment.name;
      if (!parameters.is_mapped(segment.name)) continue;
      names.insert(segment.name);
      EXPECT_EQ(parameters.tensor(segment).buffer().label(), "model.safetensors");
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(parameters.tensor(segment).buffer().host() +
                                                 parameters.tensor(segment).offset()) %
                    16,
                0u);
    }
    EXPECT_EQ(parameters.buffer().size(), bytes_without(parameters.layout(), names));
    return names;
  }

  static std::size_t bytes_without(const ArenaLayout& layout, const std::set<std::string>& names) {
    ArenaLayout rest;
    for (const Segment& segment : layout.segments()) {
      if (!names.contains(segment.name)) rest.add(segment.name, segment.dtype, segment.shape);
    }
    return rest.bytes();
  }

  std::unique_ptr<Backend> backend_ = make_backend("cpu");
};

std::size_t parameter_count(const Config& config) {
  return parameter_layout(config, DType::f32).arena.segments().size();
}

TEST_F(MappedWeights, AreAllOfALlamaThatWeSaved) {
  EXPECT_EQ(mapped(save("llama", test::small_llama())).size(), parameter_count(test::small_llama()));
  // Also in 16 bits, with biases that are multiples of 16 bytes long.
  EXPECT_EQ(mapped(save("qwen2", test::small_qwen2(), DType::bf16)).size(), parameter_count(test::small_qwen2()));
}

TEST_F(MappedWeights, AreNotThoseOfAnotherType) {
  EXPECT_TRUE(mapped(save("bf16", test::small_llama(), DType::bf16), DType::f32).empty());
}

TEST_F(MappedWeights, AreNotThoseThatGpt2HoldsTransposed) {
  const std::set<std::string> names = mapped(save("gpt2", test::small_gpt2()));
  EXPECT_TRUE(names.contains("token_embedding.weight"));
  EXPECT_TRUE(names.contains("layers.1.ffn_norm.bias"));
  EXPECT_FALSE(names.contains("layers.0.qkv.weight"));
  EXPECT_EQ(names.size(), parameter_count(test::small_gpt2()) - 8);
}

// Products read those in place, too; the rows that are saved are those of copies.
TEST_F(MappedWeights, AreReadTransposedWhereTheFileHoldsThemSo) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const auto folder = save("transposed", test::small_gpt2(), dtype);
    const LoadedModel copied = load_model_folder(*backend_, folder, dtype);
    const LoadedModel model = load_model_folder(*backend_, folder, dtype, WeightMemory::packed);
    const Arena& parameters = model.transformer->parameters();
    EXPECT_EQ(parameters.buffer().size(), 0u);
    EXPECT_TRUE(model.transformer->packs());
    std::size_t transposed = 0;
    for (const Segment& segment : copied.transformer->parameters().layout().segments()) {
      if (parameters.transposed(segment.name)) {
        ++transposed;
        EXPECT_FALSE(parameters.layout().contains(segment.name));
        EXPECT_EQ(parameters.transposed(segment.name).shape(), (Shape{segment.shape[1], segment.shape[0]}));
      }
      for (const std::int64_t first : {std::int64_t{0}, segment.shape[0] / 3}) {
        std::vector<std::byte> expected;
        std::vector<std::byte> rows;
        download_rows(*copied.transformer, segment.name, first, segment.shape[0] - first, expected);
        EXPECT_EQ(download_rows(*model.transformer, segment.name, first, segment.shape[0] - first, rows), dtype);
        EXPECT_EQ(rows, expected) << segment.name << " from row " << first;
      }
    }
    EXPECT_EQ(transposed, 8u);
    EXPECT_THROW(model.transformer->quantise(Quantisation::int8), Error);
    const std::string name(name_of(dtype));
    Model in_place = Model::load(folder, {.device = "cpu", .dtype = name});
    Model transposed_first = Model::load(folder, {.device = "cpu", .dtype = name, .quantize = "none"});
    const std::vector<std::int32_t> ids = {3, 1, 4, 1, 5, 9, 2, 6};
    const std::vector<float> logits = in_place.logits(ids);
    const std::vector<float> expected = transposed_first.logits(ids);
    ASSERT_EQ(logits.size(), expected.size());
    for (std::size_t i = 0; i < logits.size(); ++i) EXPECT_NEAR(logits[i], expected[i], 2e-5f) << i;
  }
}

// Writes the tensors of the model in `from` unchanged, first those in `names` in order, then the others, with spaces at
// the header's end so that the data starts at `remainder` modulo 64.
void rewrite(const std::filesystem::path& from, const std::filesystem::path& to, std::vector<std::string> names,
             std::size_t remainder) {
  std::filesystem::copy_file(from / "config.json", to / "config.json");
  const SafetensorsModel model(from);
  for (const FileTensor& tensor : model.tensors()) {
    if (std::find(names.begin(), names.end(), tensor.name) == names.end()) names.push_back(tensor.name);
  }
  std::vector<SafetensorsEntry> entries;
  std::string data;
  for (const std::string& name : names) {
    for (const FileTensor& tensor : model.tensors()) {
      if (tensor.name != name) continue;
      entries.push_back({tensor.name, tensor.dtype, tensor.shape, data.size(), data.size() + tensor.data.size()});
      data.append(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
    }
  }
  std::string header = format_safetensors_header(entries, {}) + std::string(remainder, ' ');
  const std::size_t length = header.size() - 8;
  for (std::size_t i = 0; i < 8; ++i) header[i] = static_cast<char>(length >> (8 * i) & 0xffu);
  write_file(to / "model.safetensors", header + data);
}

TEST_F(MappedWeights, AreNotThoseWhosePiecesAreApart) {
  const auto folder = save("order", test::small_llama());
  const auto other = fresh_folder("mapped_weights_reordered");
  rewrite(folder, other, {"model.layers.0.self_attn.k_proj.weight", "model.layers.1.mlp.up_proj.weight"}, 0);
  const std::set<std::string> names = mapped(other);
  EXPECT_FALSE(names.contains("layers.0.qkv.weight"));
  EXPECT_FALSE(names.contains("layers.1.ffn_up.weight"));
  EXPECT_TRUE(names.contains("layers.0.ffn_up.weight"));  // gate before up, in name order
  EXPECT_TRUE(names.contains("layers.0.ffn_down.weight"));
}

TEST_F(MappedWeights, AreNotThoseOffTheirAlignment) {
  const auto folder = save("aligned", test::small_llama());
  for (const std::size_t remainder : {8, 4}) {
    const auto other = fresh_folder("mapped_weights_misaligned");
    rewrite(folder, other, {}, remainder);
    EXPECT_TRUE(mapped(other).empty()) << remainder;
  }
  const auto other = fresh_folder("mapped_weights_realigned");
  rewrite(folder, other, {}, 16);
  EXPECT_FALSE(mapped(other).empty());
}

TEST_F(MappedWeights, MayBeSavedOverTheirOwnFile) {
  const auto folder = save("over", test::small_llama());
  const std::string before = read_file(folder / "model.safetensors", 1 << 24);
  const LoadedModel model = load_model_folder(*backend_, folder, DType::f32, WeightMemory::mapped);
  save_model_folder(folder, *model.transformer, nullptr);
  EXPECT_EQ(read_file(folder / "model.safetensors", 1 << 24), before);
}

TEST_F(MappedWeights, SayWhenTheirFileWasCut) {
  const auto folder = save("cut", test::small_llama());
  const LoadedModel model = load_model_folder(*backend_, folder, DType::f32, WeightMemory::mapped);
  const LoadedModel copied = load_model_folder(*backend_, folder, DType::f32, WeightMemory::copied);
  EXPECT_NO_THROW(model.transformer->parameters().require_intact());
  std::filesystem::resize_file(folder / "model.safetensors", 3000);
  for (const Segment& segment : model.transformer->parameters().layout().segments()) {
    download(*backend_, model.transformer->parameters().tensor(segment));
  }
  EXPECT_NO_THROW(copied.transformer->parameters().require_intact());
  const auto other = fresh_folder("mapped_weights_cut_copy");
  for (const auto& call : std::vector<std::function<void()>>{[&] { model.transformer->parameters().require_intact(); },
                                                             [&] {
                                                               save_model_folder(other, *model.transformer, nullptr);
                                                             }}) {
    try {
      call();
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::io);
      EXPECT_NE(std::string(error.what()).find("model.safetensors was shortened"), std::string::npos) << error.what();
    }
  }
  EXPECT_TRUE(std::filesystem::is_empty(other));
}

// A device that wraps nothing, like most.
TEST_F(MappedWeights, AreCopiedWhereTheDeviceWantsThem) {
  const auto folder = save("host", test::small_llama());
  const std::unique_ptr<Backend> host = make_backend("msl-host");
  const LoadedModel model = load_model_folder(*host, folder, std::nullopt, WeightMemory::mapped);
  const LoadedModel copied = load_model_folder(*backend_, folder);
  const Arena& parameters = model.transformer->parameters();
  EXPECT_EQ(download(*host, parameters.whole()), download(*backend_, copied.transformer->parameters().whole()));
}

}  // namespace
}  // namespace mslt

// Tests of what is said of models without loading them.
#include "formats/model_info.h"

#include <gtest/gtest.h>

#include "formats/test_folders.h"
#include "mslt/error.h"

namespace mslt {
namespace {

TEST(ModelInfoTest, DescribesFoldersAndGgufFilesAlike) {
  const ModelInfo folder = read_model_info(golden_folder() / "hf_mistral");
  const ModelInfo file = read_model_info(golden_folder() / "gguf" / "mistral.gguf");
  EXPECT_EQ(folder.format, "Hugging Face folder");
  EXPECT_EQ(file.format, "GGUF version 3");
  EXPECT_EQ(folder.config, file.config);
  EXPECT_EQ(name_of(folder.model.family), "mistral");
  // Files do not tell Mistral's models from Llama's.
  EXPECT_EQ(name_of(file.model.family), "llama");
  for (const ModelInfo* info : {&folder, &file}) {
    ASSERT_EQ(info->weights.size(), 1U);
    const auto& [type, weights] = *info->weights.begin();
    EXPECT_EQ(type, "F32");
    EXPECT_EQ(weights.tensors, 21);
    EXPECT_EQ(static_cast<std::int64_t>(weights.bytes), info->config.parameter_count() * 4);
    EXPECT_EQ(info->model.generation.tokens.eos, std::vector<std::uint32_t>{2});
    EXPECT_EQ(info->model.transformer, nullptr);
  }
  // Keys and values of two heads of eight elements in two layers.
  EXPECT_EQ(cache_bytes_per_position(file.config), 2U * 2 * 2 * 8 * 4);
}

TEST(ModelInfoTest, RefusesWhatIsNoModel) {
  EXPECT_THROW(read_model_info(golden_folder()), Error);
  EXPECT_THROW(read_model_info(golden_folder() / "missing"), Error);
  EXPECT_THROW(read_model_info(golden_folder() / "split.json"), Error);
}

}  // namespace
}  // namespace mslt

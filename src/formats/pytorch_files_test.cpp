// Tests that PyTorch's files are refused with the command that converts them.
#include "formats/pytorch_files.h"

#include <gtest/gtest.h>

#include "backend/registry.h"
#include "base/file.h"
#include "base/test_errors.h"
#include "formats/model_folder.h"

namespace mslt {
namespace {

using test::error_of;

class PytorchFilesTest : public testing::Test {
 protected:
  PytorchFilesTest() {
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
  }
  ~PytorchFilesTest() override { std::filesystem::remove_all(folder); }

  std::string refusal(const std::filesystem::path& path) const {
    return error_of(ErrorKind::input, [&] { load_model_folder(*backend, path); });
  }

  // Of this test alone: tests run side by side.
  std::filesystem::path folder = std::filesystem::path(testing::TempDir()) /
                                 (testing::UnitTest::GetInstance()->current_test_info()->name() + std::string("_it's"));
  std::unique_ptr<Backend> backend = make_backend("cpu");
};

TEST_F(PytorchFilesTest, FilesAreRefusedWithACommand) {
  for (const std::string name : {"pytorch_model.bin", "model.pt", "model.pth", "model.ckpt"}) {
    write_file(folder / name, name == "model.pt" ? std::string_view("\x80\x02}q\0", 5) : "PK\x03\x04zip");
    for (const auto& path : {folder, folder / name}) {
      const std::string message = refusal(path);
      EXPECT_NE(message.find((folder / name).string() + " is a PyTorch file"), std::string::npos) << message;
      EXPECT_NE(message.find("weights_only=True"), std::string::npos) << message;
      EXPECT_NE(message.find("it'\\''s/" + name + "' '"), std::string::npos) << message;
    }
    std::filesystem::remove(folder / name);
  }
}

TEST_F(PytorchFilesTest, AFolderIsConvertedWhole) {
  write_file(folder / "config.json", "{}");
  write_file(folder / "pytorch_model-00001-of-00002.bin", "PK\x03\x04");
  write_file(folder / "pytorch_model-00002-of-00002.bin", "PK\x03\x04");
  for (const auto& path : {folder, folder / "pytorch_model-00002-of-00002.bin"}) {
    EXPECT_NE(refusal(path).find("from transformers import AutoModelForCausalLM"), std::string::npos);
  }
  EXPECT_NE(refusal(folder).find("it'\\''s-safetensors'"), std::string::npos);
  // The converted weights count.
  write_file(folder / "model.safetensors", "");
  EXPECT_EQ(refusal(folder).find("PyTorch"), std::string::npos);
}

TEST_F(PytorchFilesTest, TheCommandWritesOverNothing) {
  write_file(folder / "optimizer.pt", "PK\x03\x04");
  write_file(folder / "model.safetensors", "");
  write_file(folder / "optimizer-2.safetensors", "");
  const std::string message = refusal(folder / "optimizer.pt");
  EXPECT_NE(message.find("/optimizer-3.safetensors'"), std::string::npos) << message;
  std::filesystem::remove(folder / "model.safetensors");
  std::filesystem::remove(folder / "optimizer-2.safetensors");
  write_file(folder / "config.json", "{}");
  const std::string with_slash = refusal(folder / "");
  EXPECT_NE(with_slash.find("it'\\''s-safetensors'"), std::string::npos) << with_slash;
}

TEST_F(PytorchFilesTest, OtherZipFilesAreNone) {
  std::string zip(30, '\0');
  zip.replace(0, 4, "PK\x03\x04");
  write_file(folder / "arrays.npz", zip + "weights.npy");
  EXPECT_FALSE(is_pytorch_file(folder / "arrays.npz"));
  write_file(folder / "arrays.npz", zip + "archive/data.pkl");
  EXPECT_TRUE(is_pytorch_file(folder / "arrays.npz"));
}

}  // namespace
}  // namespace mslt

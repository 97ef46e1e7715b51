// Tests of what is said of paths that are no models.
#include "formats/model_place.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "base/test_errors.h"

namespace mslt {
namespace {

namespace fs = std::filesystem;

class ModelPlace : public testing::Test {
 protected:
  ModelPlace() { fs::remove_all(root_); }
  ~ModelPlace() override { fs::remove_all(root_); }

  void file(const std::string& name, const std::string& text = "{}") const {
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << text;
  }
  std::string said(const std::string& name) const {
    return test::error_of(ErrorKind::io, [&] { require_model_folder(root_ / name); });
  }
  void expect_said(const std::string& name, const std::string& part) const {
    const std::string message = said(name);
    EXPECT_NE(message.find(part), std::string::npos) << message;
    EXPECT_NE(message.find((root_ / name).string()), std::string::npos) << message;
    EXPECT_NE(message.find("a model is a folder with config.json"), std::string::npos) << message;
  }

  fs::path root_ = fs::path(testing::TempDir()) / "mslt_model_place";
};

TEST_F(ModelPlace, SaysWhatThereIs) {
  file("text.txt", "words");
  fs::create_directories(root_ / "empty");
  file("data/data.json");
  file("vocabulary/tokenizer.json");
  file("other/notes.txt");
  file("young/checkpoints/.x");
  file("run/checkpoints/step-10/config.json");
  file("run/checkpoints/step-20/config.json");
  file("shelf/small.gguf", "GGUF");
  file("shelf/large/config.json");
  expect_said("nothing.gguf", "There is no ");
  expect_said("text.txt", "is not a folder");
  expect_said("empty", "is an empty folder");
  expect_said("data", "is prepared data");
  expect_said("vocabulary", "holds a tokenizer, but no config.json");
  expect_said("other", "has no config.json");
  expect_said("young", "a run that has saved no model so far");
  expect_said("run", "its folder checkpoints holds step-10, step-20; name one of these");
  expect_said("run/checkpoints", "holds step-10, step-20; name one of these");
  expect_said("shelf", "holds large, small.gguf; name one of these");
  EXPECT_NO_THROW(require_model_folder(root_ / "shelf/large"));
}

}  // namespace
}  // namespace mslt

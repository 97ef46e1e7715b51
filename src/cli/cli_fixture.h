// Shared by tests of the whole command line: running it in this process, and inputs for it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "cli/command.h"

namespace mslt::cli {

struct Outcome {
  int status = 0;
  std::string out;
  std::string err;
};

inline Outcome mslt(std::vector<std::string> arguments, const std::string& input = "") {
  std::istringstream in(input);
  std::ostringstream out;
  std::ostringstream err;
  Context context{in, out, err};
  const int status = run(std::move(arguments), context);
  return {status, out.str(), err.str()};
}

// A text with enough structure for a vocabulary of 300.
inline std::string text() {
  std::string result;
  for (int i = 0; i < 400; ++i) {
    result += "The " + std::string(i % 3 == 0 ? "king" : "prophet") + " said unto the people of the city number " +
              std::to_string(i * 37 % 101) + ", behold the river and the mountain.\n";
  }
  return result;
}

class CliTest : public testing::Test {
 protected:
  CliTest() {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(testing::TempDir()) / (std::string("mslt_cli_") + info->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    write_file(folder_ / "text.txt", text());
  }
  ~CliTest() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  void train_tokenizer() {
    const Outcome outcome = mslt({"tokenizer", "train", "--input", path("text.txt"), "--vocab-size", "300", "--output",
                                  path("tokenizer.json"), "--force"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
  }

  void prepare_data() {
    train_tokenizer();
    const Outcome outcome = mslt({"data", "prepare", "--tokenizer", path("tokenizer.json"), "--input", path("text.txt"),
                                  "--output", path("data"), "--force"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
  }

  std::vector<std::string> train_arguments() const {
    return {"train", "--data",       path("data"), "--output",  path("run"), "--preset",       "tiny", "--layers",
            "1",     "--channels",   "16",         "--heads",   "2",         "--steps",        "6",    "--lr",
            "1e-2",  "--batch-size", "2",          "--seq-len", "16",        "--eval-batches", "2"};
  }

  std::filesystem::path folder_;
};

}  // namespace mslt::cli

// Files truncated while the program has them mapped or half read: an error that names the file, never a signal.
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "tests/faults/scene.h"
#include "tests/faults/system.h"

namespace mslt::faults {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

class TruncationTest : public SceneTest {
 protected:
  // Stops the child, truncates the file, and continues the child.
  static void truncate_under(const Child& child, const fs::path& file, std::uint64_t bytes) {
    child.send(SIGSTOP);
    fs::resize_file(file, bytes);
    child.send(SIGCONT);
  }
  static void expect_named(const Outcome& outcome, const fs::path& file) {
    EXPECT_EQ(outcome.status, 1) << outcome.describe();
    EXPECT_EQ(outcome.signal, 0) << outcome.describe();
    EXPECT_TRUE(contains(outcome.err, file.string())) << outcome.describe();
  }
  // A text that takes a while to read.
  static fs::path large_text(const std::string& name) {
    const std::string text = slurp(scene().path("text.txt"));
    std::ofstream file(scene().path(name), std::ios::binary | std::ios::trunc);
    for (std::size_t written = 0; written < large_bytes; written += text.size()) file << text;
    return scene().path(name);
  }
  // Returns once the child has the file open, ends, or the system does not tell.
  static void wait_until_open(Child& child, const fs::path& file) {
    while (has_open(child.id(), file.string()) == false && child.listen(3ms)) {
    }
  }
  // Truncates the file of a command that reads a large text at several moments, and at later ones until it matters:
  // where the system does not tell when the file is opened, a busy machine takes seconds until it reads.
  static void expect_noticed(const std::string& what, const std::vector<std::string>& arguments, const fs::path& file) {
    int noticed = 0;
    for (auto moment = 5ms; moment <= 80ms || (noticed == 0 && moment < 20s); moment *= 4) {
      SCOPED_TRACE(what + " after " + std::to_string(moment.count()) + " ms");
      large_text(file.filename().string());
      Child child({.arguments = arguments});
      wait_until_open(child, file);
      child.listen(moment);
      truncate_under(child, file, cut_bytes);
      const Outcome outcome = child.wait();
      if (outcome.status == 0) continue;
      ++noticed;
      expect_named(outcome, file);
    }
    EXPECT_GE(noticed, 1) << what;
  }

  static constexpr std::size_t large_bytes = std::size_t{sanitized ? 6 : 24} << 20;
  static constexpr std::size_t cut_bytes = 3 * large_bytes / 10;
};

TEST_F(TruncationTest, ACorpusUnderTokenizerTraining) {
  const fs::path file = large_text("corpus.txt");
  expect_noticed("tokenizer train",
                 {"tokenizer", "train", "--force", "--threads", "1", "--input", file.string(), "--vocab-size", "300",
                  "--output", scene().string("cut.json")},
                 file);
  EXPECT_EQ(temporary_files(scene().path("")), std::vector<std::string>());
}

TEST_F(TruncationTest, ACorpusUnderDataPreparation) {
  const fs::path file = large_text("corpus.txt");
  const fs::path output = scene().path("cut");
  expect_noticed("data prepare",
                 {"data", "prepare", "--force", "--tokenizer", scene().string("tokenizer.json"), "--input",
                  file.string(), "--output", output.string()},
                 file);
  // A half-written folder is not a data folder.
  const Outcome train =
      run({"train", "--data", output.string(), "--output", scene().string("cut_run"), "--steps", "1"});
  if (!fs::exists(output / "data.json")) {
    EXPECT_EQ(train.status, 1) << train.describe();
  }
}

// The text is read at once, so most cuts come too late to matter or before reading began: then the ids are those of the
// whole text or of the rest.
TEST_F(TruncationTest, ATextThatIsEncoded) {
  const fs::path file = large_text("corpus.txt");
  const fs::path output = scene().path("cut.txt");
  const std::vector<std::string> arguments = {
      "tokenizer", "encode",      "--tokenizer", scene().string("tokenizer.json"),
      "--input",   file.string(), "--output",    output.string()};
  ASSERT_EQ(run(arguments).status, 0);
  const std::string whole = slurp(output);
  fs::resize_file(file, cut_bytes);
  ASSERT_EQ(run(arguments).status, 0);
  const std::string rest = slurp(output);
  for (const auto moment : {5ms, 20ms, 60ms, 200ms}) {
    SCOPED_TRACE("after " + std::to_string(moment.count()) + " ms");
    large_text("corpus.txt");
    fs::remove(output);
    Child child({.arguments = arguments});
    child.listen(moment);
    truncate_under(child, file, cut_bytes);
    const Outcome outcome = child.wait();
    if (outcome.status == 0) {
      const std::string found = slurp(output);
      EXPECT_TRUE(found == whole || found == rest) << found.size() << " bytes";
    } else {
      expect_named(outcome, file);
      EXPECT_FALSE(fs::exists(output));
    }
  }
}

TEST_F(TruncationTest, AModelThatGenerates) {
  for (const std::uint64_t bytes : {0, 100, 9000}) {
    SCOPED_TRACE(bytes);
    const fs::path model = scene().copy(scene().finished_run(), "model");
    Child child({.arguments = {"generate", "--device", "cpu", "--model", model.string(), "--prompt", "The",
                               "--max-new-tokens", "200000", "--ignore-eos"}});
    ASSERT_TRUE(child.wait_for_output(20, 1min));
    truncate_under(child, model / "model.safetensors", bytes);
    expect_named(child.wait(), model / "model.safetensors");
  }
}

TEST_F(TruncationTest, AModelAndAShardUnderEvaluation) {
  const fs::path text = large_text("corpus.txt");
  fs::resize_file(text, std::size_t{4} << 20);
  const fs::path data = scene().path("large");
  const Outcome prepared = run({"data", "prepare", "--force", "--tokenizer", scene().string("tokenizer.json"),
                                "--input", text.string(), "--output", data.string()});
  ASSERT_EQ(prepared.status, 0) << prepared.describe();
  const fs::path model = scene().copy(scene().finished_run(), "model");
  std::vector<fs::path> shards;
  for (const auto& entry : fs::directory_iterator(data)) {
    if (entry.path().extension() == ".bin" && entry.path().filename().string().find("train") != std::string::npos) {
      shards.push_back(entry.path());
    }
  }
  ASSERT_EQ(shards.size(), 1u);
  const std::string whole = slurp(shards[0]);
  for (const bool header_stays : {true, false}) {
    SCOPED_TRACE(header_stays ? "the header stays" : "nothing stays");
    Child child({.arguments = {"eval", "--device", "cpu", "--model", model.string(), "--data", data.string(), "--split",
                               "train", "--batch-size", "1"}});
    child.listen(300ms);
    truncate_under(child, shards[0], header_stays ? 2000 : 0);
    expect_named(child.wait(), shards[0]);
    spill(shards[0], whole);
  }
}

// Saved first; the run continues once the data is back.
TEST_F(TruncationTest, AShardUnderTraining) {
  for (const char* name : {"train", "val"}) {
    for (const std::uint64_t bytes : {0, 2000}) {
      SCOPED_TRACE(std::string(name) + " cut to " + std::to_string(bytes));
      const fs::path data = scene().copy(scene().path("data"), "mapped");
      const fs::path run_folder = scene().fresh("run");
      fs::path shard;
      for (const auto& entry : fs::directory_iterator(data)) {
        const std::string file = entry.path().filename().string();
        if (file.find(name) != std::string::npos && entry.path().extension() == ".bin") shard = entry.path();
      }
      ASSERT_FALSE(shard.empty());
      const std::string whole = slurp(shard);
      std::vector<std::string> arguments = scene().train(run_folder, 100000);
      arguments.insert(arguments.end(), {"--data", data.string(), "--save-every", "0", "--eval-every", "50"});
      Child child({.arguments = arguments});
      ASSERT_TRUE(child.wait_for_message("validation loss", 1min));
      truncate_under(child, shard, bytes);
      const Outcome outcome = child.wait();
      EXPECT_EQ(outcome.status, 1) << outcome.describe();
      EXPECT_EQ(outcome.signal, 0) << outcome.describe();
      EXPECT_TRUE(contains(outcome.err, data.string())) << outcome.describe();
      EXPECT_TRUE(contains(outcome.err, shard.filename().string())) << outcome.describe();
      bool saved = false;
      for (const auto& entry : fs::recursive_directory_iterator(run_folder)) {
        saved = saved || entry.path().filename() == "manifest.json";
      }
      EXPECT_TRUE(saved) << outcome.describe();
      EXPECT_TRUE(contains(outcome.err, "--resume")) << outcome.describe();
      spill(shard, whole);
    }
  }
}

}  // namespace
}  // namespace mslt::faults

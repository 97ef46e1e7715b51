// Input files damaged in every way: an error in the program's own words that names the file.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "tests/faults/scene.h"

namespace mslt::faults {
namespace {

namespace fs = std::filesystem;

// Overwrites the first element of the first f32 tensor; returns the tensor's name.
std::string poison(const fs::path& file, float value) {
  std::string bytes = slurp(file);
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  static_assert(std::endian::native == std::endian::little);
  const nlohmann::json table = nlohmann::json::parse(bytes.substr(8, header));
  for (const auto& [name, entry] : table.items()) {
    if (name == "__metadata__" || entry.value("dtype", "") != "F32") continue;
    std::memcpy(bytes.data() + 8 + header + entry["data_offsets"][0].get<std::uint64_t>(), &value, sizeof value);
    spill(file, bytes);
    return name;
  }
  return {};
}

class InputFilesTest : public SceneTest {
 protected:
  // One file, and a command that reads it.
  struct Reader {
    std::string name;
    fs::path file;
    std::vector<std::string> arguments;
  };
  // Fresh copies of everything, and their readers.
  static std::vector<Reader> readers() {
    const fs::path model = scene().copy(scene().finished_run(), "model");
    const fs::path data = scene().copy(scene().path("data"), "read");
    const fs::path tokenizer = scene().path("read.json");
    const fs::path text = scene().path("read.txt");
    const fs::path toml = scene().path("read.toml");
    const fs::path shard = scene().path("read.bin");
    fs::copy_file(scene().path("tokenizer.json"), tokenizer, fs::copy_options::overwrite_existing);
    fs::copy_file(scene().path("text.txt"), text, fs::copy_options::overwrite_existing);
    spill(toml, "seed = 3\n");
    if (!fs::exists(scene().path("whole.bin"))) {
      const Outcome outcome = run({"tokenizer", "encode", "--tokenizer", tokenizer.string(), "--input", text.string(),
                                   "--output", scene().string("whole.bin")});
      EXPECT_EQ(outcome.status, 0) << outcome.describe();
    }
    fs::copy_file(scene().path("whole.bin"), shard, fs::copy_options::overwrite_existing);
    const std::vector<std::string> generate = {"generate",         "--model", model.string(), "--prompt", "a",
                                               "--max-new-tokens", "1"};
    const std::vector<std::string> eval = {"eval", "--model", model.string(), "--data", data.string()};
    std::vector<std::string> train = scene().train(scene().path("never"));
    train.insert(train.end(), {"--data", data.string()});
    std::vector<std::string> begin = {
        "train",        "--data", data.string(), "--output", scene().string("never"), "--init-from", model.string(),
        "--batch-size", "2",      "--steps",     "1"};
    return {
        {"generate", model / "config.json", generate},
        {"generate", model / "model.safetensors", generate},
        {"generate", model / "tokenizer.json", generate},
        {"eval", model / "config.json", eval},
        {"eval", model / "model.safetensors", eval},
        {"eval", data / "data.json", eval},
        {"eval", data / "tokenizer.json", eval},
        {"train", data / "data.json", train},
        {"train", data / "tokenizer.json", train},
        {"train --init-from", model / "config.json", begin},
        {"train --init-from", model / "model.safetensors", begin},
        {"encode", tokenizer, {"tokenizer", "encode", "--tokenizer", tokenizer.string()}},
        {"encode",
         text,
         {"tokenizer", "encode", "--tokenizer", scene().string("tokenizer.json"), "--input", text.string()}},
        {"decode",
         shard,
         {"tokenizer", "decode", "--tokenizer", scene().string("tokenizer.json"), "--input", shard.string()}},
        {"tokenizer train",
         text,
         {"tokenizer", "train", "--force", "--vocab-size", "300", "--output", scene().string("never"), "--input",
          text.string()}},
        {"bench tokenizer", text, {"bench", "tokenizer", "--vocab-size", "300", "--input", text.string()}},
        {"data prepare",
         text,
         {"data", "prepare", "--force", "--tokenizer", scene().string("tokenizer.json"), "--output",
          scene().string("never"), "--input", text.string()}},
        {"data prepare",
         tokenizer,
         {"data", "prepare", "--force", "--tokenizer", tokenizer.string(), "--output", scene().string("never"),
          "--input", scene().string("text.txt")}},
        {"devices --config", toml, {"profile", "train", "--predict", "m3-max", "--config", toml.string()}},
    };
  }
  // Restores everything, damages the file of one reader after the other, and checks the message.
  static void expect_named(
      const std::string& harm_name, const std::function<void(const fs::path&)>& harm, const std::string& words,
      Rights rights = Rights::inherited, const std::function<void(const fs::path&)>& undo = {},
      const std::function<bool(const Reader&)>& applies = [](const Reader&) { return true; }) {
    const std::size_t count = readers().size();
    for (std::size_t i = 0; i < count; ++i) {
      const Reader reader = readers()[i];
      if (!applies(reader)) continue;
      SCOPED_TRACE(reader.name + ", " + reader.file.filename().string() + " " + harm_name);
      harm(reader.file);
      const Outcome outcome = run({.arguments = reader.arguments, .rights = rights});
      if (undo) undo(reader.file);
      if (!outcome.executed) GTEST_SKIP() << outcome.error;
      EXPECT_TRUE(outcome.status == 1 || outcome.status == 2) << outcome.describe();
      EXPECT_TRUE(contains(outcome.err, reader.file.string()) ||
                  // Something that is no model or data folder is named as such.
                  contains(outcome.err, reader.file.parent_path().string()))
          << outcome.describe();
      EXPECT_TRUE(contains(outcome.err, words)) << outcome.describe();
      for (const char* foreign : {"filesystem error", "basic_", "json.exception", "std::", "terminate", "make room"}) {
        EXPECT_FALSE(contains(outcome.err, foreign)) << foreign << ": " << outcome.describe();
      }
      EXPECT_FALSE(fs::exists(scene().path("never") / "model.safetensors"));
      EXPECT_FALSE(fs::exists(scene().path("never") / "data.json"));
      fs::remove_all(reader.file);
    }
  }
};

TEST_F(InputFilesTest, Missing) {
  expect_named("missing", [](const fs::path& file) { fs::remove(file); }, "");
}

TEST_F(InputFilesTest, AFolder) {
  expect_named(
      "a folder",
      [](const fs::path& file) {
        fs::remove(file);
        fs::create_directory(file);
      },
      "");
}

TEST_F(InputFilesTest, ALoopOfLinks) {
  expect_named(
      "a loop of links",
      [](const fs::path& file) {
        fs::remove(file);
        fs::create_symlink(file.filename(), file);
      },
      "symbolic links");
}

TEST_F(InputFilesTest, Unreadable) {
  expect_named(
      "unreadable", [](const fs::path& file) { fs::permissions(file, fs::perms::none); }, "permission",
      Rights::obeying_modes, [](const fs::path& file) { fs::permissions(file, fs::perms(0644)); });
}

TEST_F(InputFilesTest, Binary) {
  const auto harm = [](const fs::path& file) {
    spill(file, std::string("\x7F\0\xFF\xFE\x01", 5));
  };
  // Any bytes are a text.
  const auto has_a_format = [](const Reader& reader) {
    return reader.file.extension() != ".txt";
  };
  expect_named("random bytes", harm, "", Rights::inherited, {}, has_a_format);
}

TEST_F(InputFilesTest, WeightsThatAreNoNumbersAreNamed) {
  const fs::path model = scene().copy(scene().finished_run(), "model");
  for (const float value : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    fs::copy_file(scene().finished_run() / "model.safetensors", model / "model.safetensors",
                  fs::copy_options::overwrite_existing);
    const std::string tensor = poison(model / "model.safetensors", value);
    ASSERT_FALSE(tensor.empty());
    SCOPED_TRACE(tensor + " = " + std::to_string(value));
    std::vector<std::string> begin = {"train",
                                      "--data",
                                      scene().string("data"),
                                      "--output",
                                      scene().string("never"),
                                      "--init-from",
                                      model.string(),
                                      "--batch-size",
                                      "2",
                                      "--steps",
                                      "1"};
    const std::vector<std::vector<std::string>> commands = {
        {"eval", "--model", model.string(), "--data", scene().string("data")},
        {"eval", "--model", model.string(), "--data", scene().string("data"), "--json"},
        {"generate", "--model", model.string(), "--prompt", "The", "--max-new-tokens", "4"},
        begin,
    };
    for (const std::vector<std::string>& arguments : commands) {
      SCOPED_TRACE(arguments[0] + " " + arguments.back());
      const Outcome outcome = run(arguments);
      EXPECT_EQ(outcome.status, 1) << outcome.describe();
      EXPECT_TRUE(contains(outcome.err, tensor)) << outcome.describe();
      EXPECT_FALSE(contains(outcome.out, "loss")) << outcome.describe();
      EXPECT_FALSE(fs::exists(scene().path("never/model.safetensors")));
    }
  }
}

TEST_F(InputFilesTest, PathsOfInvalidBytesAreNoCrash) {
  const std::string odd = scene().string("") + "odd\xFF\n\x1B[31mname";
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"tokenizer", "encode", "--tokenizer", odd},
           {"eval", "--model", odd, "--data", scene().string("data"), "--json"},
           {"train", "--data", odd, "--output", scene().string("never")},
           {"generate", "--model", odd, "--prompt", "a"},
           {"profile", "train", "--predict", "m3-max", "--config", odd},
       }) {
    SCOPED_TRACE(arguments[0]);
    const Outcome outcome = run(arguments);
    EXPECT_TRUE(outcome.status == 1 || outcome.status == 2) << outcome.describe();
    EXPECT_FALSE(contains(outcome.err, "json.exception")) << outcome.describe();
    EXPECT_FALSE(contains(outcome.err, "\x1B")) << outcome.describe();
  }
}

}  // namespace
}  // namespace mslt::faults

// Standard input, output and error that are closed, full, limited or abandoned by their reader, under every command.
#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>

#include "tests/faults/scene.h"

namespace mslt::faults {
namespace {

namespace fs = std::filesystem;

constexpr int closed_pipe_status = 128 + SIGPIPE;

class StandardStreamsTest : public SceneTest {
 protected:
  // Runs a command in a fresh work folder.
  static Outcome run_in(const Command& command, Launch launch) {
    scene().fresh("work");
    command.set_up();
    launch.arguments = command.arguments;
    if (launch.input_path.empty()) launch.input = command.input;
    return run(launch);
  }
  static std::vector<Command> commands() { return scene().commands(scene().path("work")); }
  // Without those that measure, which take seconds and print as the others do.
  static std::vector<Command> quick_commands() {
    std::vector<Command> quick = commands();
    std::erase_if(quick, [](const Command& command) { return command.measures; });
    return quick;
  }
  static std::vector<Command> commands_named(const std::vector<std::string>& names) {
    std::vector<Command> chosen;
    for (const Command& command : commands()) {
      if (std::find(names.begin(), names.end(), command.name) != names.end()) chosen.push_back(command);
    }
    EXPECT_EQ(chosen.size(), names.size());
    return chosen;
  }
  // A command's output exists, as complete as after an undisturbed run.
  static void expect_output_written(const Command& command) {
    if (command.output.empty()) return;
    const fs::path output = scene().path("work") / command.output;
    EXPECT_TRUE(fs::exists(output)) << output;
    if (command.output == "run") {
      const bool resumed = command.name.find("resume") != std::string::npos;
      expect_same_training(output, resumed ? scene().longer_run() : scene().finished_run(),
                           resumed ? Scene::longer_steps : Scene::finished_steps);
    }
    EXPECT_EQ(temporary_files(scene().path("work")), std::vector<std::string>());
  }
};

TEST_F(StandardStreamsTest, EveryCommandWorksUndisturbed) {
  for (const Command& command : commands()) {
    SCOPED_TRACE(command.name);
    const Outcome outcome = run_in(command, {});
    EXPECT_EQ(outcome.status, 0) << outcome.describe();
    EXPECT_FALSE(outcome.out.empty()) << outcome.describe();
    expect_output_written(command);
  }
}

TEST_F(StandardStreamsTest, AFullStandardOutputIsAnError) {
  for (const Command& command : commands()) {
    SCOPED_TRACE(command.name);
    const Outcome outcome = run_in(command, {.out = Stream::full_device});
    EXPECT_EQ(outcome.status, 1) << outcome.describe();
    EXPECT_TRUE(contains(outcome.err, "standard output")) << outcome.describe();
    EXPECT_TRUE(contains(outcome.err, "the disk is full")) << outcome.describe();
    expect_output_written(command);
  }
}

TEST_F(StandardStreamsTest, ALimitedFileAsStandardOutputIsAnError) {
  // A limit on file sizes applies to everything the command writes, so these write nothing else.
  for (const Command& command : quick_commands()) {
    if (!command.output.empty()) continue;
    SCOPED_TRACE(command.name);
    const Outcome whole = run_in(command, {});
    ASSERT_EQ(whole.status, 0) << whole.describe();
    // Measured values, such as the seconds in JSON, may be shorter the next time.
    const bool varies = command.name.find("--json") != std::string::npos;
    const std::size_t nearly = varies ? whole.out.size() / 3 : whole.out.size() - 1;
    for (const std::size_t most : {std::size_t{0}, whole.out.size() / 2, nearly}) {
      if (sanitized && most != nearly) continue;
      const Outcome outcome = run_in(
          command, {.out = Stream::limited_file, .out_file = scene().path("printed"), .limits = {.file_size = most}});
      EXPECT_EQ(outcome.status, 1) << "limit " << most << ": " << outcome.describe();
      EXPECT_TRUE(contains(outcome.err, "standard output")) << outcome.describe();
      EXPECT_TRUE(contains(outcome.err, "limit on file sizes")) << outcome.describe();
    }
  }
}

TEST_F(StandardStreamsTest, AClosedStandardOutputIsAnError) {
  for (const Command& command : quick_commands()) {
    SCOPED_TRACE(command.name);
    const Outcome outcome = run_in(command, {.out = Stream::closed});
    EXPECT_EQ(outcome.status, 1) << outcome.describe();
    EXPECT_TRUE(contains(outcome.err, "standard output")) << outcome.describe();
    expect_output_written(command);
  }
}

TEST_F(StandardStreamsTest, APipeWithoutReaderEndsQuietly) {
  for (const Command& command : quick_commands()) {
    SCOPED_TRACE(command.name);
    const Outcome outcome = run_in(command, {.out = Stream::broken_pipe});
    EXPECT_EQ(outcome.status, closed_pipe_status) << outcome.describe();
    EXPECT_FALSE(contains(outcome.err, "pipe")) << outcome.describe();
    EXPECT_FALSE(contains(outcome.err, "mslt: ")) << outcome.describe();
    expect_output_written(command);
  }
}

TEST_F(StandardStreamsTest, AReaderThatLeavesEndsTheWorkAtOnce) {
  // Far more than a pipe holds; the generation would take hours.
  const std::string model = scene().finished_run().string();
  std::string text;
  for (int i = 0; i < 20; ++i) text += slurp(scene().path("text.txt"));
  const std::vector<Command> endless = {
      {"encode", {"tokenizer", "encode", "--tokenizer", scene().string("tokenizer.json"), "--json"}, text},
      {"generate",
       {"generate", "--model", model, "--prompt", "The\n", "--max-new-tokens", "1000000000", "--ignore-eos"}},
  };
  for (const Command& command : endless) {
    SCOPED_TRACE(command.name);
    const Outcome outcome = run_in(command, {.out = Stream::leaving});
    EXPECT_EQ(outcome.status, closed_pipe_status) << outcome.describe();
    EXPECT_EQ(outcome.err, "");
  }
}

TEST_F(StandardStreamsTest, NothingIsLostInALongOutput) {
  const std::vector<std::string> encode = {"tokenizer", "encode", "--tokenizer", scene().string("tokenizer.json")};
  std::string text;
  for (int i = 0; i < 20; ++i) text += slurp(scene().path("text.txt"));
  const Outcome encoded = run(encode, text);
  ASSERT_EQ(encoded.status, 0) << encoded.describe();
  const Outcome decoded = run({"tokenizer", "decode", "--tokenizer", scene().string("tokenizer.json")}, encoded.out);
  ASSERT_EQ(decoded.status, 0) << decoded.describe();
  EXPECT_TRUE(decoded.out == text) << decoded.out.size() << " bytes of " << text.size();
  // Cut anywhere, it is an error, never a shorter text.
  for (const std::size_t most : {std::size_t{1}, std::size_t{4095}, std::size_t{65536}, encoded.out.size() - 1}) {
    const Outcome cut = run({.arguments = encode,
                             .input = text,
                             .out = Stream::limited_file,
                             .out_file = scene().path("printed"),
                             .limits = {.file_size = most}});
    EXPECT_EQ(cut.status, 1) << "limit " << most << ": " << cut.describe();
  }
}

TEST_F(StandardStreamsTest, StandardInputThatCannotBeReadIsAnError) {
  for (const Command& command :
       commands_named({"tokenizer encode", "tokenizer encode --json", "tokenizer decode", "tokenizer encode to a file",
                       "tokenizer encode to a shard", "tokenizer decode to a file", "generate two"})) {
    SCOPED_TRACE(command.name);
    const Outcome closed = run_in(command, {.input_closed = true});
    EXPECT_EQ(closed.status, 1) << closed.describe();
    EXPECT_TRUE(contains(closed.err, "standard input")) << closed.describe();
    EXPECT_FALSE(contains(closed.err, "basic_filebuf")) << closed.describe();
    const Outcome folder = run_in(command, {.input_path = scene().path("data")});
    EXPECT_EQ(folder.status, 1) << folder.describe();
    EXPECT_TRUE(contains(folder.err, "standard input")) << folder.describe();
    EXPECT_TRUE(contains(folder.err, "folder") || contains(folder.err, "directory")) << folder.describe();
    if (!command.output.empty()) {
      EXPECT_FALSE(fs::exists(scene().path("work") / command.output));
    }
  }
}

TEST_F(StandardStreamsTest, CommandsThatReadNothingNeedNoStandardInput) {
  for (const Command& command : quick_commands()) {
    if (!command.input.empty()) continue;
    SCOPED_TRACE(command.name);
    const Outcome outcome = run_in(command, {.input_closed = true});
    EXPECT_EQ(outcome.status, 0) << outcome.describe();
    expect_output_written(command);
  }
}

TEST_F(StandardStreamsTest, MessagesThatNobodyTakesStopNothing) {
  std::size_t chosen = 0;
  for (const Command& command : quick_commands()) {
    // Under sanitizers each command meets one of them.
    const std::array streams = {Stream::closed, Stream::full_device, Stream::broken_pipe};
    const std::span some = sanitized ? std::span(streams).subspan(chosen++ % streams.size(), 1) : std::span(streams);
    for (const Stream stream : some) {
      SCOPED_TRACE(command.name + (stream == Stream::closed        ? ", closed"
                                   : stream == Stream::full_device ? ", full"
                                                                   : ", left"));
      const Outcome outcome = run_in(command, {.err = stream});
      EXPECT_EQ(outcome.status, 0) << outcome.describe();
      EXPECT_FALSE(outcome.out.empty()) << outcome.describe();
      expect_output_written(command);
    }
  }
}

TEST_F(StandardStreamsTest, NothingIsPrintedIntoAFileOfTheRun) {
  for (const Command& command : quick_commands()) {
    if (command.output.empty()) continue;
    SCOPED_TRACE(command.name);
    const Outcome outcome = run_in(command, {.input_path = command.input.empty() ? "" : scene().path("text.txt"),
                                             .input_closed = command.input.empty(),
                                             .out = Stream::closed,
                                             .err = Stream::closed});
    // A list of ids is not a text, so decoding fails and must write nothing.
    if (command.name == "tokenizer decode to a file") continue;
    EXPECT_EQ(outcome.signal, 0) << outcome.describe();
    EXPECT_TRUE(outcome.status == 0 || outcome.status == 1) << outcome.describe();
    expect_output_written(command);
    const fs::path lock = scene().path("work") / command.output / ".lock";
    if (fs::exists(lock)) {
      EXPECT_EQ(slurp(lock), "");
    }
  }
}

TEST_F(StandardStreamsTest, ErrorsOfJsonCommandsAreJson) {
  struct Case {
    std::vector<std::string> arguments;
    int status;
    std::string kind;
  };
  const std::string missing = scene().string("missing");
  const std::vector<Case> cases = {
      {{"eval", "--json", "--model", missing, "--data", scene().string("data")}, 1, ""},
      {{"train", "--json", "--data", missing, "--output", missing}, 1, "input"},
      {{"train", "--json", "--data", scene().string("data"), "--output", scene().string("data")}, 2, "usage"},
      {{"train", "--json", "--steps", "many", "--data", missing, "--output", missing}, 2, "usage"},
      {{"train", "--json"}, 2, "usage"},
      {{"tokenizer", "encode", "--json", "--tokenizer", missing}, 1, ""},
      {{"tokenizer", "decode", "--json", "--tokenizer", scene().string("text.txt")}, 1, "input"},
      {{"generate", "--json", "--prompt", "a", "--model", missing}, 1, ""},
      {{"generate", "--json", "--no-such-flag"}, 2, "usage"},
      {{"data", "prepare", "--json", "--tokenizer", missing, "--input", missing, "--output", missing}, 1, "io"},
      {{"profile", "train", "--json", "--predict", "abacus"}, 2, "usage"},
      {{"bench", "train", "--json", "--device", "abacus"}, 2, "usage"},
      {{"tune", "--json", "--device", "cpu"}, 2, "usage"},
      {{"devices", "--json", "--no-such-flag"}, 2, "usage"},
  };
  for (const Case& wrong : cases) {
    SCOPED_TRACE(wrong.arguments[0] + " " + wrong.arguments[1] + " " + wrong.arguments.back());
    const Outcome outcome = run(wrong.arguments);
    EXPECT_EQ(outcome.status, wrong.status) << outcome.describe();
    const nlohmann::json document = nlohmann::json::parse(outcome.out, nullptr, false);
    ASSERT_FALSE(document.is_discarded()) << outcome.describe();
    ASSERT_TRUE(document.is_object() && document.size() == 1 && document.contains("error")) << outcome.out;
    const nlohmann::json& error = document["error"];
    EXPECT_EQ(error.value("exit_status", -1), wrong.status) << outcome.out;
    EXPECT_FALSE(error.value("message", "").empty()) << outcome.out;
    const std::string kind = error.value("kind", "");
    EXPECT_TRUE(wrong.kind.empty() ? kind == "input" || kind == "io" : kind == wrong.kind) << outcome.out;
    EXPECT_FALSE(outcome.err.empty());
  }
}

}  // namespace
}  // namespace mslt::faults

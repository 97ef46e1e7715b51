// Tests of commands whose output is lost, whose reader closes the pipe, or that a signal ends.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "base/file.h"
#include "cli/cli_fixture.h"
#include "cli/output_stream.h"

namespace mslt::cli {
namespace {

// Runs the program with standard output connected to a descriptor.
Outcome mslt_onto(int descriptor, std::vector<std::string> arguments, const std::string& input = "") {
  std::istringstream in(input);
  OutputStream out(descriptor, WriteFailure::raise, false);
  std::ostringstream err;
  err.tie(&out);
  Context context{in, out, err};
  const int status = run(std::move(arguments), context);
  return {status, "", err.str()};
}

// Sends a signal to this process on the first write.
class SignallingBuffer : public std::stringbuf {
 public:
  explicit SignallingBuffer(int signal) : signal_(signal) {}

 protected:
  std::streamsize xsputn(const char* text, std::streamsize size) override {
    if (const int signal = std::exchange(signal_, 0)) std::raise(signal);
    return std::stringbuf::xsputn(text, size);
  }

 private:
  int signal_;
};

// The same; the first words on standard error, or on standard output, trigger a signal.
Outcome mslt_interrupted(int signal, std::vector<std::string> arguments, bool by_output = false) {
  std::istringstream in;
  SignallingBuffer signalling(signal);
  std::stringbuf plain;
  std::ostream out(by_output ? static_cast<std::streambuf*>(&signalling) : &plain);
  std::ostream err(by_output ? static_cast<std::streambuf*>(&plain) : &signalling);
  Context context{in, out, err};
  const int status = run(std::move(arguments), context);
  return by_output ? Outcome{status, signalling.str(), plain.str()} : Outcome{status, plain.str(), signalling.str()};
}

class CliOutputTest : public CliTest {
 protected:
  // Commands that print; their inputs exist.
  std::vector<std::vector<std::string>> printing_commands() const {
    return {{"--version"},
            {"--help"},
            {"train", "--help"},
            {"devices"},
            {"devices", "--json"},
            {"tokenizer", "train", "--input", path("text.txt"), "--vocab-size", "300", "--output", path("second.json"),
             "--force"},
            {"tokenizer", "encode", "--tokenizer", path("tokenizer.json"), "--input", path("text.txt")},
            {"tokenizer", "encode", "--tokenizer", path("tokenizer.json"), "--input", path("text.txt"), "--json"},
            {"tokenizer", "decode", "--tokenizer", path("tokenizer.json"), "--input", path("ids.txt")},
            {"data", "prepare", "--tokenizer", path("tokenizer.json"), "--input", path("text.txt"), "--output",
             path("second_data"), "--force"},
            {"eval", "--model", path("run"), "--data", path("data")},
            {"eval", "--model", path("run"), "--data", path("data"), "--json"},
            {"generate", "--model", path("run"), "--prompt", "The king", "--max-new-tokens", "8"},
            {"generate", "--model", path("run"), "--prompt", "The king", "--max-new-tokens", "8", "--json"},
            {"bench", "tokenizer", "--input", path("text.txt"), "--vocab-size", "300", "--repeats", "1"},
            {"profile", "train", "--predict", "m3-max", "--preset", "tiny"}};
  }
};

TEST_F(CliOutputTest, EveryCommandSaysThatItsOutputIsLost) {
  const int full = ::open("/dev/full", O_WRONLY);
  if (full < 0) GTEST_SKIP() << "there is no /dev/full here";
  prepare_data();
  ASSERT_EQ(mslt(train_arguments()).status, 0);
  write_file(folder_ / "ids.txt", "1 2 3");
  for (const auto& arguments : printing_commands()) {
    const Outcome outcome = mslt_onto(full, arguments);
    EXPECT_EQ(outcome.status, 1) << arguments[0];
    EXPECT_NE(outcome.err.find("mslt: Cannot write standard output: the disk is full"), std::string::npos)
        << arguments[0] << ": " << outcome.err;
  }
  // Written files stay.
  EXPECT_TRUE(std::filesystem::exists(folder_ / "second.json"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "second_data" / "tokenizer.json"));
  auto arguments = train_arguments();
  arguments[4] = path("run2");
  EXPECT_EQ(mslt_onto(full, arguments).status, 1);
  const Outcome resumed = mslt({"train", "--data", path("data"), "--output", path("run2"), "--resume", "--steps", "8"});
  EXPECT_NE(resumed.err.find("Resuming at step 7"), std::string::npos) << resumed.err;
  ::close(full);
}

TEST_F(CliOutputTest, EveryCommandEndsQuietlyWhereItsReaderWentAway) {
  prepare_data();
  ASSERT_EQ(mslt(train_arguments()).status, 0);
  write_file(folder_ / "ids.txt", "1 2 3");
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  ::close(ends[0]);
  const auto before = std::signal(SIGPIPE, SIG_IGN);
  for (const auto& arguments : printing_commands()) {
    const Outcome outcome = mslt_onto(ends[1], arguments);
    EXPECT_EQ(outcome.status, 141) << arguments[0] << ": " << outcome.err;
    EXPECT_EQ(outcome.err.find("mslt:"), std::string::npos) << outcome.err;
  }
  // Generation ends at its first words, not after all of them, which would take an hour.
  EXPECT_EQ(mslt_onto(ends[1], {"generate", "--model", path("run"), "--prompt", "The king", "--max-new-tokens",
                                "100000000", "--ignore-eos"})
                .status,
            141);
  // Errors are still reported.
  EXPECT_EQ(mslt_onto(ends[1], {"fly"}).status, 2);
  std::signal(SIGPIPE, before);
  ::close(ends[1]);
}

TEST_F(CliOutputTest, ASignalStopsTrainingWithAStatusOfItsOwn) {
  prepare_data();
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    std::filesystem::remove_all(folder_ / "run");
    const Outcome stopped = mslt_interrupted(signal, train_arguments());
    EXPECT_EQ(stopped.status, 3) << signal << stopped.err;
    EXPECT_NE(stopped.err.find("--resume"), std::string::npos) << stopped.err;
    const Outcome resumed = mslt({"train", "--data", path("data"), "--output", path("run"), "--resume"});
    EXPECT_EQ(resumed.status, 0) << resumed.err;
    EXPECT_NE(resumed.err.find("Resuming at step 2"), std::string::npos) << resumed.err;
  }
  std::filesystem::remove_all(folder_ / "run");
  auto arguments = train_arguments();
  arguments.emplace_back("--json");
  const Outcome as_json = mslt_interrupted(SIGTERM, arguments);
  EXPECT_EQ(as_json.status, 3);
  EXPECT_NE(as_json.err.find("--resume"), std::string::npos) << as_json.err;
  EXPECT_EQ(nlohmann::json::parse(as_json.out)["interrupted"], true);
}

TEST_F(CliOutputTest, ASignalEndsOtherWorkWithItsNumberAndLeavesNothingHalf) {
  prepare_data();
  ASSERT_EQ(mslt(train_arguments()).status, 0);
  std::filesystem::create_directories(folder_ / "empty");
  const Outcome training = mslt_interrupted(
      SIGINT, {"tokenizer", "train", "--input", path("text.txt"), "--output", path("empty/t.json"), "--json"});
  EXPECT_EQ(training.status, 130) << training.err;
  EXPECT_EQ(nlohmann::json::parse(training.out)["error"]["kind"], "interrupted");
  EXPECT_EQ(nlohmann::json::parse(training.out)["error"]["exit_status"], 130);
  const Outcome preparing = mslt_interrupted(SIGTERM, {"data", "prepare", "--tokenizer", path("tokenizer.json"),
                                                       "--input", path("text.txt"), "--output", path("empty/data")});
  EXPECT_EQ(preparing.status, 143) << preparing.err;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_ / "empty")) {
    EXPECT_TRUE(entry.is_directory() || entry.path().filename() == ".lock") << entry.path();
  }
  const Outcome generating = mslt_interrupted(
      SIGHUP, {"generate", "--model", path("run"), "--prompt", "The king", "--max-new-tokens", "100000000"}, true);
  EXPECT_EQ(generating.status, 129) << generating.err;
  EXPECT_TRUE(generating.out.starts_with("The king") && generating.out.ends_with("\n")) << generating.out;
}

}  // namespace
}  // namespace mslt::cli

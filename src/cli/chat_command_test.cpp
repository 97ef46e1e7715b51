// Tests of mslt chat with a small model: scripted input, and Ctrl-C at a terminal.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/cli_fixture.h"

namespace mslt::cli {
namespace {

class ChatCommandTest : public CliTest {
 protected:
  void SetUp() override {
    prepare_data();
    ASSERT_EQ(mslt(train_arguments()).status, 0);
  }
  std::vector<std::string> chat(std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"chat", "--model", path("run"), "--max-new-tokens", "4"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
};

TEST_F(ChatCommandTest, ContinuesTextWithoutATemplate) {
  const Outcome outcome = mslt(chat({"--json"}), "The king\n/exit\n");
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("no chat template"), std::string::npos) << outcome.err;
  const auto messages = nlohmann::json::parse(outcome.out)["messages"];
  ASSERT_EQ(messages.size(), 2U);
  EXPECT_EQ(messages[0]["content"], "The king");
}

TEST_F(ChatCommandTest, SpeaksByTheTemplateOfTheFolder) {
  write_file(folder_ / "run" / "chat_template.jinja",
             "{% for m in messages %}{% if m.content == 'no' %}{{ raise_exception('Not that.') }}{% endif %}"
             "{{ m.content }}{% endfor %}");
  const Outcome outcome = mslt(chat(), "The city\nno\n");
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.err.find("no chat template"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("tokens/s, first after"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("Not that.\n"), std::string::npos) << outcome.err;
}

// Everything that the terminal shows until `wanted` occurs in it.
std::string read_until(int terminal, const std::string& wanted) {
  std::string seen;
  constexpr int patience_milliseconds = 60'000;
  while (seen.find(wanted) == std::string::npos) {
    pollfd ready{terminal, POLLIN, 0};
    if (::poll(&ready, 1, patience_milliseconds) <= 0) break;
    char buffer[256];
    const ssize_t count = ::read(terminal, buffer, sizeof buffer);
    if (count <= 0) break;
    seen.append(buffer, static_cast<std::size_t>(count));
  }
  return seen;
}

TEST_F(ChatCommandTest, GoesOnAfterCtrlC) {
  const char* program = MSLT_PROGRAM;
  const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY);
  ASSERT_GE(terminal, 0);
  ASSERT_EQ(::grantpt(terminal), 0);
  ASSERT_EQ(::unlockpt(terminal), 0);
  const std::string name = ::ptsname(terminal);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    // The terminal becomes the child's own, so that its Ctrl-C is a signal.
    ::setsid();
    const int own = ::open(name.c_str(), O_RDWR);
    for (const int descriptor : {0, 1, 2}) ::dup2(own, descriptor);
    ::setenv("TERM", "dumb", 1);
    ::execl(program, program, "chat", "--model", path("run").c_str(), "--max-new-tokens", "100000", "--temperature",
            "1", nullptr);
    ::_exit(127);
  }
  const auto type = [&](const std::string& keys) {
    ASSERT_EQ(::write(terminal, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
  };
  EXPECT_NE(read_until(terminal, "> ").find("> "), std::string::npos);
  type("\x03");
  const std::string hint = read_until(terminal, "ends the conversation)");
  EXPECT_NE(hint.find("/exit or Ctrl-D"), std::string::npos) << hint;
  read_until(terminal, "> ");
  type("/set seed 3\r");
  read_until(terminal, "> ");
  type("/exit\r");
  int status = 0;
  read_until(terminal, "never shown");
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  ::close(terminal);
}

}  // namespace
}  // namespace mslt::cli

// Tests of mslt chat with a small model: scripted input, and Ctrl-C at a terminal.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

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

// What the program at the other end of a terminal shows.
class Screen {
 public:
  explicit Screen(int terminal) : terminal_(terminal) {}
  // Everything up to the next `wanted`, or all that comes until the program ends or is silent for long.
  std::string read_until(const std::string& wanted) {
    constexpr int patience_milliseconds = 60'000;
    std::size_t found = 0;
    while ((found = seen_.find(wanted)) == std::string::npos) {
      pollfd ready{terminal_, POLLIN, 0};
      if (::poll(&ready, 1, patience_milliseconds) <= 0) return std::exchange(seen_, {});
      char buffer[256];
      const ssize_t count = ::read(terminal_, buffer, sizeof buffer);
      if (count <= 0) return std::exchange(seen_, {});
      seen_.append(buffer, static_cast<std::size_t>(count));
    }
    const std::string text = seen_.substr(0, found + wanted.size());
    seen_.erase(0, text.size());
    return text;
  }

 private:
  int terminal_;
  std::string seen_;  // and not asked for yet
};

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
  Screen screen(terminal);
  EXPECT_NE(screen.read_until("> ").find("> "), std::string::npos);
  type("\x03");
  const std::string hint = screen.read_until("ends the conversation)");
  EXPECT_NE(hint.find("/exit or Ctrl-D"), std::string::npos) << hint;
  screen.read_until("> ");
  type("/set seed 3\r");
  screen.read_until("> ");
  type("/exit\r");
  int status = 0;
  screen.read_until("never shown");
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  ::close(terminal);
}

}  // namespace
}  // namespace mslt::cli

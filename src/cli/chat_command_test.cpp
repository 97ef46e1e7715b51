// Tests of mslt chat with a small model: scripted input, and Ctrl-C at a terminal.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "cli/chat_speaker.h"
#include "cli/cli_fixture.h"

namespace mslt::cli {
namespace {

class ChatCommandTest : public CliTest {
 protected:
  void SetUp() override {
    prepare_data();
    ASSERT_EQ(mslt(train_arguments()).status, 0);
  }
  std::vector<std::string> chat(std::vector<std::string> more = {}, const std::string& model = "run") const {
    std::vector<std::string> arguments = {"chat", "--model", path(model), "--max-new-tokens", "4"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  // A model whose context has room for long texts, which its most likely tokens do not end.
  void train_for_long_texts() const {
    std::vector<std::string> arguments = train_arguments();
    std::ranges::replace(arguments, path("run"), path("long"));
    arguments.insert(arguments.end(), {"--max-positions", "100000"});
    const Outcome outcome = mslt(arguments);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
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

TEST_F(ChatCommandTest, DrawsAsTheModelsMakersRecommend) {
  const auto settings = [&](const std::string& file, const std::vector<std::string>& more) {
    write_file(folder_ / "run" / "generation_config.json", file);
    return mslt(chat(more), "/set\n").err;
  };
  constexpr const char* recommended = R"({"do_sample": true, "temperature": 0.5, "top_k": 20, "top_p": 0})";
  const std::string told = settings(recommended, {});
  EXPECT_NE(told.find("generation_config.json recommends: temperature 0.5, top_k 20.\n"), std::string::npos) << told;
  EXPECT_NE(told.find("temperature 0.5, top_k 20, top_p 0.9,"), std::string::npos) << told;
  const std::string given = settings(recommended, {"--top-k", "3", "--temperature", "0.7"});
  EXPECT_EQ(given.find("recommends"), std::string::npos) << given;
  EXPECT_NE(given.find("temperature 0.7, top_k 3, top_p 0.9,"), std::string::npos) << given;
  const std::string greedy = settings(R"({"do_sample": false, "temperature": 0.5})", {});
  EXPECT_NE(greedy.find("temperature 0.7, top_k 0,"), std::string::npos) << greedy;
}

TEST_F(ChatCommandTest, ComputesNoTurnAgain) {
  train_for_long_texts();
  Model model = Model::load(path("long"));
  ModelSpeaker speaker(model, std::nullopt);
  auto messages = nlohmann::ordered_json::array({{{"role", "user"}, {"content", text().substr(0, 400)}}});
  GenerateOptions options;
  options.sampling.temperature = 0.0F;
  options.max_new_tokens = 40;
  std::string shown;
  const auto show = [&](std::string_view piece) {
    shown += piece;
    return true;
  };
  const ChatAnswer first = speaker.answer(speaker.encode(messages), options, show);
  EXPECT_EQ(first.text, shown);
  EXPECT_EQ(first.new_tokens, 40);
  EXPECT_EQ(first.cached_prompt_tokens, 0);
  messages.push_back({{"role", "assistant"}, {"content", first.text}});
  messages.push_back({{"role", "user"}, {"content", " and so on"}});
  const std::vector<TokenId> prompt = speaker.encode(messages);
  const ChatAnswer second = speaker.answer(prompt, options, show);
  EXPECT_GT(second.cached_prompt_tokens, first.prompt_tokens);
  // The same as that of a speaker that knows nothing of the turn before.
  EXPECT_EQ(second.text, ModelSpeaker(model, std::nullopt).answer(prompt, options, show).text);
  // A larger cache takes the place of one that is too small.
  options.max_new_tokens = 2000;
  EXPECT_EQ(speaker.answer(prompt, options, show).new_tokens, 2000);
}

// The program at a terminal of its own.
class Terminal {
 public:
  explicit Terminal(std::vector<std::string> arguments) {
    terminal_ = ::posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal_ < 0 || ::grantpt(terminal_) != 0 || ::unlockpt(terminal_) != 0) return;
    const std::string name = ::ptsname(terminal_);
    arguments.insert(arguments.begin(), MSLT_PROGRAM);
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    child_ = ::fork();
    if (child_ != 0) return;
    // The terminal becomes the child's own, so that its Ctrl-C is a signal.
    ::setsid();
    const int own = ::open(name.c_str(), O_RDWR);
    for (const int descriptor : {0, 1, 2}) ::dup2(own, descriptor);
    ::setenv("TERM", "dumb", 1);
    ::execv(MSLT_PROGRAM, pointers.data());
    ::_exit(127);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
  ~Terminal() { ::close(terminal_); }

  bool has_begun() const { return child_ > 0; }
  void type(const std::string& keys) const {
    ASSERT_EQ(::write(terminal_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
  }
  // What the terminal shows next, up to and with `wanted`, which must come.
  std::string read_until(const std::string& wanted) {
    std::size_t at = 0;
    while ((at = seen_.find(wanted)) == std::string::npos) {
      if (read_more()) continue;
      ADD_FAILURE() << "no '" << wanted << "' but '" << seen_ << "'";
      return seen_;
    }
    std::string text = seen_.substr(0, at + wanted.size());
    seen_.erase(0, text.size());
    return text;
  }
  // Waits for the program's end; what waitpid tells.
  int status() {
    while (read_more()) {
    }
    int status = -1;
    return ::waitpid(child_, &status, 0) == child_ ? status : -1;
  }

 private:
  // False at the end, or if nothing comes for long.
  bool read_more() {
    pollfd ready{terminal_, POLLIN, 0};
    constexpr int patience_milliseconds = 60'000;
    if (::poll(&ready, 1, patience_milliseconds) <= 0) return false;
    char buffer[256];
    const ssize_t count = ::read(terminal_, buffer, sizeof buffer);
    if (count <= 0) return false;
    seen_.append(buffer, static_cast<std::size_t>(count));
    return true;
  }

  int terminal_ = -1;
  pid_t child_ = -1;
  std::string seen_;
};

TEST_F(ChatCommandTest, GoesOnAfterCtrlC) {
  Terminal terminal(chat());
  ASSERT_TRUE(terminal.has_begun());
  terminal.read_until("> ");
  terminal.type("\x03");
  terminal.read_until("(/exit or Ctrl-D ends the conversation)");
  terminal.read_until("> ");
  terminal.type("/set seed 3\r");
  terminal.read_until("/set seed 3\r\n");
  terminal.read_until("> ");
  terminal.type("/exit\r");
  const int status = terminal.status();
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(ChatCommandTest, CtrlCEndsTheAnswerAlone) {
  train_for_long_texts();
  Terminal terminal(chat({"--max-new-tokens", "90000", "--temperature", "0"}, "long"));
  ASSERT_TRUE(terminal.has_begun());
  terminal.read_until("> ");
  // Without the letter that tells that an answer has begun: a terminal may show a line twice, once before it is edited.
  for (const std::string question : {"A king", "A city"}) {
    terminal.type(question + "\r");
    terminal.read_until(question + "\r\n");
    terminal.read_until("e");
    terminal.type("\x03");
    const std::string end = terminal.read_until(")\r\n");
    EXPECT_NE(end.find("tokens/s, first after"), std::string::npos) << end;
    EXPECT_NE(end.find(", stopped)"), std::string::npos) << end;
    terminal.read_until("> ");
  }
  terminal.type("/save " + path("talk.json") + "\r");
  terminal.read_until("4 messages saved\r\n");
  terminal.type("/exit\r");
  const int status = terminal.status();
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  const auto messages = nlohmann::json::parse(read_file(path("talk.json"), 1 << 26));
  ASSERT_EQ(messages.size(), 4U);
  EXPECT_EQ(messages[0]["content"], "A king");
  EXPECT_NE(messages[1]["content"], "");
  EXPECT_EQ(messages[2]["content"], "A city");
  EXPECT_NE(messages[3]["content"], "");
}

}  // namespace
}  // namespace mslt::cli

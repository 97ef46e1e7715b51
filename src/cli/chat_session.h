// ChatSession: a conversation line by line, without a terminal.
#pragma once

#include <cstddef>
#include <functional>
#include <iosfwd>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "cli/chat_speaker.h"
#include "mslt/generator.h"

namespace mslt::cli {

// Lines are messages or commands; a line that ends in a backslash goes on in the next one, and so do lines from one
// that begins with """ to one that ends with it. Answers go to `out`, all else to `err`. One thread at a time.
class ChatSession {
 public:
  // All outlive the session. `is_interrupted` is asked during an answer, which it ends.
  ChatSession(ChatSpeaker& speaker, GenerateOptions options, std::ostream& out, std::ostream& err,
              std::function<bool()> is_interrupted);

  // Begins with these instructions; empty for none.
  void set_system(std::string text);
  // Takes one line of the user. Failures of a message or a command are told on `err` and change nothing. Throws what
  // writing to `out` throws. Returns false at the end of the conversation.
  bool take_line(std::string_view line);
  // The end of the input: what was begun is sent.
  void finish();
  // Whether a message goes on, for the prompt.
  bool is_continued() const { return pending_.has_value(); }
  // An array of {"role", "content"}.
  const nlohmann::ordered_json& messages() const { return messages_; }

 private:
  bool send(std::string text);
  bool run_command(std::string_view line);
  void say(std::string text);
  void answer();
  void regenerate();
  void set_option(std::string_view words);
  void show_options();
  void save(const std::string& path, bool replaces);
  void load(const std::string& path);
  std::vector<TokenId> fitting_prompt();

  ChatSpeaker& speaker_;
  GenerateOptions options_;
  std::ostream& out_;
  std::ostream& err_;
  std::function<bool()> is_interrupted_;
  nlohmann::ordered_json messages_ = nlohmann::ordered_json::array();
  std::set<std::string> own_files_;     // saved or loaded here
  std::optional<std::string> pending_;  // of a message over several lines
  bool in_block_ = false;               // after """
  std::uint64_t answers_ = 0;           // each draws by a seed of its own
};

}  // namespace mslt::cli

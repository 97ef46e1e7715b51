// Editing lines by libedit.
#include "cli/line_reader.h"

#include <histedit.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/fail.h"

namespace mslt::cli {

struct LineReader::State {
  EditLine* edit = nullptr;
  History* history = nullptr;
  HistEvent event{};
  std::string prompt;
  const std::function<bool()>* is_interrupted = nullptr;
  bool was_interrupted = false;

  static State& of(EditLine* edit) {
    void* data = nullptr;
    el_get(edit, EL_CLIENTDATA, &data);
    return *static_cast<State*>(data);
  }

  static char* show_prompt(EditLine* edit) { return of(edit).prompt.data(); }

  // Waits for a byte in short steps: signals go to a thread of their own and do not end a read here.
  static int read_character(EditLine* edit, wchar_t* character) {
    State& state = of(edit);
    std::string bytes;
    while (true) {
      if ((*state.is_interrupted)()) {
        state.was_interrupted = true;
        return -1;
      }
      pollfd input{STDIN_FILENO, POLLIN, 0};
      constexpr int step_milliseconds = 50;
      const int ready = ::poll(&input, 1, step_milliseconds);
      if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
      char byte = 0;
      const ssize_t count = ::read(STDIN_FILENO, &byte, 1);
      if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (count <= 0) return static_cast<int>(count);
      bytes += byte;
      if (state.decode(bytes, *character)) return 1;
    }
  }

  // The character of whole UTF-8; U+FFFD for what cannot be one.
  static bool decode(const std::string& bytes, wchar_t& character) {
    const auto lead = static_cast<unsigned char>(bytes.front());
    const std::size_t length = lead < 0x80   ? 1
                               : lead < 0xC2 ? 0
                               : lead < 0xE0 ? 2
                               : lead < 0xF0 ? 3
                               : lead < 0xF5 ? 4
                                             : 0;
    constexpr wchar_t unknown = 0xFFFD;
    if (length == 0) {
      character = unknown;
      return true;
    }
    if (bytes.size() > 1 && (static_cast<unsigned char>(bytes.back()) & 0xC0) != 0x80) {
      character = unknown;
      return true;
    }
    if (bytes.size() < length) return false;
    unsigned code = length == 1 ? lead : lead & (0x7FU >> length);
    for (std::size_t i = 1; i < length; ++i) code = (code << 6) | (static_cast<unsigned char>(bytes[i]) & 0x3F);
    character = static_cast<wchar_t>(code);
    return true;
  }
};

LineReader::LineReader() : state_(std::make_unique<State>()) {
  state_->edit = el_init("mslt", stdin, stderr, stderr);
  if (state_->edit == nullptr) fail(ErrorKind::io, "The terminal cannot be used for editing lines.");
  state_->history = history_init();
  EditLine* edit = state_->edit;
  el_set(edit, EL_CLIENTDATA, state_.get());
  el_set(edit, EL_PROMPT, &State::show_prompt);
  el_set(edit, EL_EDITOR, "emacs");
  el_set(edit, EL_GETCFN, &State::read_character);
  if (state_->history != nullptr) {
    constexpr int kept_lines = 1000;
    history(state_->history, &state_->event, H_SETSIZE, kept_lines);
    el_set(edit, EL_HIST, history, state_->history);
  }
  el_source(edit, nullptr);
}

LineReader::~LineReader() {
  if (state_->history != nullptr) history_end(state_->history);
  el_end(state_->edit);
}

LineReader::Status LineReader::read(const std::string& prompt, const std::function<bool()>& is_interrupted,
                                    std::string& line) {
  state_->prompt = prompt;
  state_->is_interrupted = &is_interrupted;
  state_->was_interrupted = false;
  int count = 0;
  const char* text = el_gets(state_->edit, &count);
  if (state_->was_interrupted) {
    // The line begun is forgotten.
    el_set(state_->edit, EL_UNBUFFERED, 0);
    el_reset(state_->edit);
    return Status::interrupted;
  }
  if (text == nullptr || count <= 0) return Status::end;
  line.assign(text, static_cast<std::size_t>(count));
  while (line.ends_with('\n') || line.ends_with('\r')) line.pop_back();
  if (!line.empty() && state_->history != nullptr) history(state_->history, &state_->event, H_ENTER, line.c_str());
  return Status::line;
}

}  // namespace mslt::cli

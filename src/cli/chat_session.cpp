// Messages, commands and answers of a conversation.
#include "cli/chat_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <ostream>
#include <utility>

#include "base/fail.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/units.h"

namespace mslt::cli {
namespace {

constexpr std::string_view block_mark = "\"\"\"";
constexpr std::uint64_t most_saved_bytes = std::uint64_t{1} << 26;

constexpr std::string_view help_text =
    "/system TEXT     instructions for the model, from the start; without a text, none\n"
    "/regenerate      answer the last message anew\n"
    "/reset           forget the conversation, but not /system\n"
    "/set NAME VALUE  temperature, top_k, top_p, min_p, repetition_penalty, seed, max_new_tokens; /set shows them\n"
    "/save FILE       the messages as JSON, into a new file or one of this talk; /save! FILE replaces any\n"
    "/load FILE       takes them back\n"
    "/help            this list\n"
    "/exit            end; so does Ctrl-D\n"
    "A line that ends in \\ goes on in the next one; \"\"\" begins and ends a message of several lines. Ctrl-C ends an "
    "answer.\n";

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

std::string_view without_space(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

bool is_role(const nlohmann::ordered_json& message, std::string_view role) {
  return message.value("role", "") == role;
}

template <class Number>
Number parse_number(std::string_view name, const std::string& text) {
  Number number{};
  std::size_t used = 0;
  try {
    if constexpr (std::is_floating_point_v<Number>) {
      number = std::stof(text, &used);
    } else {
      const auto result = std::from_chars(text.data(), text.data() + text.size(), number);
      used = result.ec == std::errc() ? static_cast<std::size_t>(result.ptr - text.data()) : 0;
    }
  } catch (const std::logic_error&) {
    used = 0;
  }
  if (used == 0 || used != text.size())
    fail(ErrorKind::usage, "/set {}: '{}' is not a number it can have.", name, text);
  return number;
}

}  // namespace

ChatSession::ChatSession(ChatSpeaker& speaker, GenerateOptions options, std::ostream& out, std::ostream& err,
                         std::function<bool()> is_interrupted)
    : speaker_(speaker),
      options_(std::move(options)),
      out_(out),
      err_(err),
      is_interrupted_(std::move(is_interrupted)) {}

void ChatSession::set_system(std::string text) {
  if (!messages_.empty() && is_role(messages_.front(), "system")) messages_.erase(messages_.begin());
  if (!text.empty()) {
    // Named, since insert() takes braces for a list of elements.
    nlohmann::ordered_json message = {{"role", "system"}, {"content", std::move(text)}};
    messages_.insert(messages_.begin(), std::move(message));
  }
}

bool ChatSession::take_line(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (in_block_) {
    const bool ends = line.ends_with(block_mark);
    *pending_ += ends ? line.substr(0, line.size() - block_mark.size()) : line;
    if (!ends) {
      *pending_ += '\n';
      return true;
    }
    in_block_ = false;
    return send(std::exchange(pending_, std::nullopt).value_or(""));
  }
  if (!pending_ && line.starts_with(block_mark)) {
    line.remove_prefix(block_mark.size());
    if (line.size() >= block_mark.size() && line.ends_with(block_mark)) {
      return send(std::string(line.substr(0, line.size() - block_mark.size())));
    }
    in_block_ = true;
    pending_ = line.empty() ? "" : std::string(line) + "\n";
    return true;
  }
  if (line.ends_with('\\')) {
    line.remove_suffix(1);
    pending_ = pending_.value_or("") + std::string(line) + "\n";
    return true;
  }
  if (pending_) return send(*std::exchange(pending_, std::nullopt) + std::string(line));
  if (line.starts_with('/')) return run_command(without_space(line));
  return send(std::string(line));
}

void ChatSession::finish() {
  in_block_ = false;
  if (pending_) send(*std::exchange(pending_, std::nullopt));
}

bool ChatSession::send(std::string text) {
  if (!is_blank(text)) say(std::move(text));
  return true;
}

void ChatSession::say(std::string text) {
  const nlohmann::ordered_json before = messages_;
  try {
    messages_.push_back({{"role", "user"}, {"content", std::move(text)}});
    answer();
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::io) throw;
    messages_ = before;
    err_ << error.what() << '\n';
  }
}

// Drops the oldest turns until the rest and an answer fit the context.
std::vector<TokenId> ChatSession::fitting_prompt() {
  const std::int64_t context = speaker_.context();
  const std::int64_t most = context - std::min(options_.max_new_tokens, context / 4);
  std::size_t dropped = 0;
  while (true) {
    std::vector<TokenId> prompt = speaker_.encode(messages_);
    if (static_cast<std::int64_t>(prompt.size()) <= most) {
      if (dropped > 0) {
        err_ << fmt::format("({} oldest message{} left out: the context holds {} tokens)\n", dropped,
                            dropped == 1 ? " is" : "s are", context);
      }
      return prompt;
    }
    const std::size_t first = !messages_.empty() && is_role(messages_.front(), "system") ? 1 : 0;
    if (messages_.size() <= first + 1) {
      fail(ErrorKind::input, "The message makes a prompt of {} tokens; at most {} leave room for an answer.",
           prompt.size(), most);
    }
    // A question goes with its answer.
    do {
      messages_.erase(messages_.begin() + static_cast<std::ptrdiff_t>(first));
      ++dropped;
    } while (messages_.size() > first + 1 && !is_role(messages_[first], "user"));
  }
}

void ChatSession::answer() {
  const std::vector<TokenId> prompt = fitting_prompt();
  GenerateOptions options = options_;
  options.max_new_tokens =
      std::min(options.max_new_tokens, speaker_.context() - static_cast<std::int64_t>(prompt.size()));
  options.sampling.seed += answers_++;
  const ChatAnswer answer = speaker_.answer(prompt, options, [&](std::string_view piece) {
    if (!piece.empty()) out_ << piece << std::flush;
    return !is_interrupted_();
  });
  out_ << '\n' << std::flush;
  messages_.push_back({{"role", "assistant"}, {"content", answer.text}});
  if (answer.new_tokens == 0 && answer.reason == FinishReason::cancelled) {
    err_ << "(stopped before the first token)\n";
    return;
  }
  const double rate =
      answer.decode_seconds > 0 ? static_cast<double>(answer.new_tokens - 1) / answer.decode_seconds : 0.0;
  std::string note;
  if (answer.reason == FinishReason::cancelled) note = ", stopped";
  if (answer.reason == FinishReason::length) note = ", cut at max_new_tokens or the end of the context";
  err_ << fmt::format("({} tokens, {} tokens/s, first after {}{})\n", answer.new_tokens, format_count(rate),
                      format_duration(answer.prefill_seconds), note);
}

void ChatSession::regenerate() {
  if (messages_.empty() || !is_role(messages_.back(), "assistant")) {
    fail(ErrorKind::usage, "There is no answer yet.");
  }
  const nlohmann::ordered_json before = messages_;
  messages_.erase(messages_.size() - 1);
  try {
    answer();
  } catch (const Error&) {
    messages_ = before;
    throw;
  }
}

bool ChatSession::run_command(std::string_view line) {
  const std::size_t space = line.find_first_of(" \t");
  const std::string_view name = line.substr(0, space);
  const std::string rest(space == std::string_view::npos ? "" : without_space(line.substr(space)));
  try {
    if (name == "/exit" || name == "/quit") return false;
    if (name == "/help") {
      err_ << help_text;
    } else if (name == "/system") {
      set_system(rest);
      err_ << (rest.empty() ? "no instructions from now on\n" : "these instructions hold from now on\n");
    } else if (name == "/reset") {
      const bool has_system = !messages_.empty() && is_role(messages_.front(), "system");
      const std::size_t kept = has_system ? 1 : 0;
      err_ << fmt::format("{} messages forgotten{}\n", messages_.size() - kept,
                          has_system ? "; the instructions of /system hold" : "");
      messages_.erase(messages_.begin() + static_cast<std::ptrdiff_t>(kept), messages_.end());
    } else if (name == "/regenerate") {
      regenerate();
    } else if (name == "/set") {
      set_option(rest);
    } else if (name == "/save") {
      save(rest, false);
    } else if (name == "/save!") {
      save(rest, true);
    } else if (name == "/load") {
      load(rest);
    } else {
      fail(ErrorKind::usage, "There is no command {}; /help lists them. A message may begin with a space.", name);
    }
  } catch (const Error& error) {
    err_ << error.what() << '\n';
  }
  return true;
}

void ChatSession::show_options() {
  const SamplingOptions& sampling = options_.sampling;
  err_ << fmt::format(
      "temperature {}, top_k {}, top_p {}, min_p {}, repetition_penalty {}, seed {}, max_new_tokens {}\n",
      sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p, sampling.repetition_penalty, sampling.seed,
      options_.max_new_tokens);
}

void ChatSession::set_option(std::string_view words) {
  if (words.empty()) {
    show_options();
    return;
  }
  const std::size_t space = words.find_first_of(" \t=");
  std::string name(words.substr(0, space));
  std::ranges::replace(name, '-', '_');
  const std::string value(space == std::string_view::npos ? "" : without_space(words.substr(space + 1)));
  GenerateOptions changed = options_;
  SamplingOptions& sampling = changed.sampling;
  if (name == "temperature") {
    sampling.temperature = parse_number<float>(name, value);
  } else if (name == "top_k") {
    sampling.top_k = parse_number<std::int64_t>(name, value);
  } else if (name == "top_p") {
    sampling.top_p = parse_number<float>(name, value);
  } else if (name == "min_p") {
    sampling.min_p = parse_number<float>(name, value);
  } else if (name == "repetition_penalty") {
    sampling.repetition_penalty = parse_number<float>(name, value);
  } else if (name == "seed") {
    sampling.seed = parse_number<std::uint64_t>(name, value);
  } else if (name == "max_new_tokens") {
    changed.max_new_tokens = parse_number<std::int64_t>(name, value);
  } else {
    fail(ErrorKind::usage,
         "/set has no option '{}'; valid are temperature, top_k, top_p, min_p, repetition_penalty, seed and "
         "max_new_tokens.",
         name);
  }
  changed.validate();
  options_ = std::move(changed);
  if (name == "seed") answers_ = 0;
}

void ChatSession::save(const std::string& path, bool replaces) {
  if (path.empty()) fail(ErrorKind::usage, "/save needs the name of a file.");
  std::error_code unknown;
  const bool exists = std::filesystem::exists(path, unknown);
  if (exists && !replaces && !own_files_.contains(path)) {
    fail(ErrorKind::usage, "{} exists, and is not of this talk; /save! {} replaces it.", path, path);
  }
  AtomicFile file(path);
  file.write(messages_.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
  file.commit();
  own_files_.insert(path);
  err_ << fmt::format("{} messages saved{}\n", messages_.size(), exists ? ", in place of what was there" : "");
}

void ChatSession::load(const std::string& path) {
  if (path.empty()) fail(ErrorKind::usage, "/load needs the name of a file.");
  const nlohmann::json json = parse_json(read_file(path, most_saved_bytes), path);
  const bool is_list = json.is_array() && std::ranges::all_of(json, [](const nlohmann::json& message) {
                         return message.is_object() && message.contains("role") && message["role"].is_string() &&
                                message.contains("content") && message["content"].is_string();
                       });
  if (!is_list) {
    fail(ErrorKind::input,
         "{} is not a conversation: valid is an array of objects with texts \"role\" and \"content\".", path);
  }
  auto messages = nlohmann::ordered_json::array();
  for (const nlohmann::json& message : json) {
    nlohmann::ordered_json kept = {{"role", message["role"]}, {"content", message["content"]}};
    // What else a message has, such as reasoning_content, is the template's matter.
    kept.update(nlohmann::ordered_json(message));
    messages.push_back(std::move(kept));
  }
  messages_ = std::move(messages);
  own_files_.insert(path);
  err_ << fmt::format("{} messages loaded\n", messages_.size());
}

}  // namespace mslt::cli

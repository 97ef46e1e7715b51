// Streamed reading of text files: blocks from the disk, checked for being text, cut into documents.
#include "data/corpus.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "base/fail.h"
#include "base/json.h"
#include "base/system_error.h"
#include "text/text_check.h"

namespace mslt {
namespace {

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(const std::filesystem::path& path) : value_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (value_ < 0) fail_io("open", path, errno);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }

  int value() const { return value_; }

 private:
  int value_ = -1;
};

// The size of a regular file that can be opened; 0 for a pipe or a device.
std::uint64_t checked_size(const std::filesystem::path& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) fail_io("open", path, errno);
  if (S_ISDIR(status.st_mode)) fail(ErrorKind::input, "{} is a folder; a text file is needed.", path.string());
  if (!S_ISREG(status.st_mode)) return 0;
  const Descriptor readable(path);
  return static_cast<std::uint64_t>(status.st_size);
}

bool holds_json_lines(const std::filesystem::path& path) {
  return path.extension() == ".jsonl" || path.extension() == ".ndjson";
}

// The member `text` of the object in a line.
std::string text_of_record(std::string_view line, const std::string& source) {
  const nlohmann::json record = parse_json(line, source);
  if (!record.is_object() || !record.contains("text") || !record["text"].is_string()) {
    fail(ErrorKind::input, "{} is no JSON object with a string 'text'.", source);
  }
  return record["text"].get<std::string>();
}

}  // namespace

struct CorpusReader::State {
  std::vector<std::filesystem::path> files;
  std::vector<std::uint64_t> sizes;  // when they were opened first; 0 for what has none
  std::vector<std::string> skipped;
  bool any_text = false;
  CorpusOptions options;
  std::uint64_t bytes_total = 0;
  std::uint64_t bytes_read = 0;

  std::size_t next_file = 0;
  bool open = false;
  Descriptor file;
  TextCheck check;
  std::string block;

  std::string text;  // read; given out up to `given`
  std::size_t given = 0;
  bool file_start = false;  // nothing of the file has been given out or dropped
  bool line_start = true;   // whether `text` starts a line
  bool document_has_text = false;
  bool json_lines = false;  // of the current file
  std::uint64_t line = 0;   // lines of JSON taken from it

  std::string_view rest() const { return std::string_view(text).substr(given); }

  // Appends a block of the current file to `text`, which loses what was given out; false at the file's end.
  bool read_block() {
    text.erase(0, given);
    given = 0;
    block.resize(options.piece_bytes);
    while (true) {
      const ssize_t count = ::read(file.value(), block.data(), block.size());
      if (count < 0 && errno == EINTR) continue;
      const std::filesystem::path& path = files[next_file - 1];
      if (count < 0) fail_io("read", path, errno);
      const std::string_view bytes(block.data(), static_cast<std::size_t>(count));
      bytes_read += bytes.size();
      if (count == 0 && check.seen() < sizes[next_file - 1]) {
        fail(ErrorKind::io, "{} was shortened while in use: it ended after {} of {} bytes. Repeat the command.",
             path.string(), check.seen(), sizes[next_file - 1]);
      }
      const auto reason = count == 0 ? check.finish() : check.push(bytes);
      if (reason) fail(ErrorKind::input, "{} {}.", path.string(), *reason);
      text += bytes;
      return count > 0;
    }
  }

  // Opens the next file that is text; false after the last.
  bool open_next() {
    while (next_file < files.size()) {
      const auto& path = files[next_file++];
      if (const auto reason = why_not_text(path)) {
        std::string message = fmt::format("{} {}.", path.string(), *reason);
        if (options.strict || files.size() == 1) fail(ErrorKind::input, "{}", message);
        skipped.push_back(std::move(message));
        continue;
      }
      file = Descriptor(path);
      check = TextCheck();
      open = true;
      any_text = true;
      text.clear();
      given = 0;
      file_start = true;
      line_start = true;
      json_lines = options.line_documents && holds_json_lines(path);
      line = 0;
      return true;
    }
    if (!any_text) {
      fail(ErrorKind::input, "None of the {} files is text. The first: {}", files.size(), skipped.front());
    }
    return false;
  }

  // Drops a byte order mark; false while `text` is too short to tell.
  bool drop_mark(bool at_end) {
    constexpr std::string_view mark = "\xEF\xBB\xBF";
    if (!file_start) return true;
    if (text.size() < mark.size() && mark.starts_with(text) && !at_end) return false;
    if (text.starts_with(mark)) given = mark.size();
    file_start = false;
    return true;
  }

  // Whether `line`, without its LF, is the separator.
  bool separates(std::string_view line) const {
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line == options.document_separator;
  }

  // Moves the next line, or what is certain to belong to it, from `text` to `piece`. True when the line ended.
  bool take_line(std::string& piece, bool at_end) {
    const std::string_view available = rest();
    const std::size_t line_feed = available.find('\n');
    const bool whole = line_feed != std::string_view::npos;
    std::string_view content = available.substr(0, line_feed);
    // A CR may be half of a line end.
    if (content.ends_with('\r') && (whole || !at_end)) content.remove_suffix(1);
    if (json_lines) return take_record(piece, content, whole, at_end);
    piece += content;
    given += content.size();
    if (whole) given += line_feed + 1 - content.size();
    return whole;
  }

  bool take_record(std::string& piece, std::string_view content, bool whole, bool at_end) {
    constexpr std::size_t most = std::size_t{1} << 26;
    const bool ends = whole || (at_end && !content.empty());
    if (!ends && content.size() <= most) return false;
    const std::string source = fmt::format("{}: line {}", files[next_file - 1].string(), ++line);
    if (content.size() > most) fail(ErrorKind::input, "{} is longer than {} bytes.", source, most);
    if (content.find_first_not_of(" \t") != std::string_view::npos) piece += text_of_record(content, source);
    given = whole ? text.find('\n', given) + 1 : text.size();
    return true;
  }

  // Moves from `text` to `piece` up to the next separator line, or as far as is certain to belong to the document. True
  // when a separator ended the document.
  bool take(std::string& piece, bool at_end) {
    if (options.line_documents) return take_line(piece, at_end);
    const std::string_view available = rest();
    const std::string_view separator = options.document_separator;
    std::size_t position = separator.empty() ? available.size() : 0;
    while (position < available.size()) {
      const std::size_t line_feed = available.find('\n', position);
      const bool whole = line_feed != std::string_view::npos;
      const std::string_view line = available.substr(position, whole ? line_feed - position : line_feed);
      if (line_start) {
        if ((whole || at_end) && separates(line)) {
          piece += available.substr(0, position);
          given += position + line.size() + (whole ? 1 : 0);
          return true;
        }
        // Short enough to become the separator with what follows.
        if (!whole && !at_end && line.size() <= separator.size() + 1) break;
      }
      line_start = whole;
      position += line.size() + (whole ? 1 : 0);
    }
    piece += available.substr(0, position);
    given += position;
    return false;
  }
};

CorpusReader::CorpusReader(std::span<const std::filesystem::path> files, const CorpusOptions& options)
    : state_(std::make_unique<State>()) {
  if (files.empty()) fail(ErrorKind::usage, "No text files are given; at least one is needed.");
  if (options.document_separator.find_first_of("\r\n") != std::string::npos) {
    fail(ErrorKind::usage, "The document separator must be one line, without a line end.");
  }
  if (options.line_documents && !options.document_separator.empty()) {
    fail(ErrorKind::usage, "Where every line is an example, no separator ends documents.");
  }
  if (options.piece_bytes == 0) fail(ErrorKind::usage, "A corpus cannot be read in pieces of 0 bytes.");
  state_->files.assign(files.begin(), files.end());
  state_->options = options;
  for (const auto& file : state_->files) {
    state_->sizes.push_back(checked_size(file));
    state_->bytes_total += state_->sizes.back();
    const bool is_empty = state_->sizes.back() == 0 && std::filesystem::is_regular_file(file);
    if (is_empty && (options.strict || files.size() == 1)) {
      fail(ErrorKind::input, "{} is empty; a text file is needed.", file.string());
    }
  }
}

CorpusReader::~CorpusReader() = default;

bool CorpusReader::next(CorpusPiece& piece) {
  State& state = *state_;
  piece.text.clear();
  piece.ends_document = false;
  while (true) {
    if (!state.open && !state.open_next()) return false;
    // What an earlier block left may hold further documents; only when it does not is more read.
    bool at_end = false;
    bool ended = !state.file_start && state.take(piece.text, false);
    if (!ended && piece.text.empty()) {
      at_end = !state.read_block();
      if (!state.drop_mark(at_end)) continue;
      ended = state.take(piece.text, at_end);
    }
    state.document_has_text = state.document_has_text || !piece.text.empty();
    if (at_end) state.open = false;
    if (ended || !state.open) {
      if (!std::exchange(state.document_has_text, false)) continue;
      piece.ends_document = true;
      return true;
    }
    if (!piece.text.empty()) return true;
  }
}

const std::vector<std::string>& CorpusReader::skipped() const {
  return state_->skipped;
}

std::uint64_t CorpusReader::bytes_read() const {
  return state_->bytes_read;
}

std::uint64_t CorpusReader::bytes_total() const {
  return state_->bytes_total;
}

}  // namespace mslt

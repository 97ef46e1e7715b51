// Counting the distinct pre-tokens of a text or of files, on several threads.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>

#include "base/checked.h"
#include "base/fail.h"
#include "base/joining_thread.h"
#include "base/system_error.h"
#include "text/bpe_train.h"
#include "text/text_check.h"

namespace mslt {
namespace {

std::uint64_t hash_of(std::string_view bytes) {
  std::uint64_t hash = bytes.size() * 0x9E3779B97F4A7C15u;
  for (std::size_t i = 0; i < bytes.size(); i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, std::min<std::size_t>(8, bytes.size() - i));
    const __uint128_t product = static_cast<__uint128_t>(hash ^ word ^ 0x8EBC6AF09C88C6E3u) * 0x589965CC75374CC3u;
    hash = static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  }
  return hash;
}

std::size_t cut_of(std::string_view text, SplitPattern pattern) {
  return pattern == SplitPattern::none ? 0 : safe_cut(text);
}

// Distributes the blocks of a list of files, in order. Thread-safe. After an error there are no more blocks, so that
// the error reported is always that of the first bad file.
class BlockReader {
 public:
  BlockReader(std::span<const std::filesystem::path> files, const CountOptions& options)
      : files_(files),
        pattern_(options.pattern),
        block_bytes_(std::max<std::size_t>(options.block_bytes, 1)),
        strict_(options.strict),
        on_skip_(options.on_skip) {
    for (const auto& file : files) {
      std::error_code error;
      const auto size = std::filesystem::file_size(file, error);
      if (error) fail_io("read", file, error.value());
      sizes_.push_back(size);
      total_ = checked_add(total_, size, "The size of all files");
    }
  }

  std::uint64_t total() const { return total_; }

  // Puts the next block into `block`; false after the last one.
  bool next(std::string& block) {
    const std::lock_guard lock(mutex_);
    if (failed_) return false;
    failed_ = true;
    const bool found = read_next(block);
    failed_ = false;
    return found;
  }

 private:
  struct Close {
    void operator()(std::FILE* file) const { static_cast<void>(std::fclose(file)); }
  };

  bool read_next(std::string& block) {
    block.clear();
    block.swap(carried_);
    std::size_t want = block_bytes_;
    while (true) {
      if (!stream_ && !open_next()) return false;
      const std::size_t before = block.size();
      block.resize(before + want);
      const std::size_t count = std::fread(block.data() + before, 1, want, stream_.get());
      block.resize(before + count);
      check(count);
      if (count < want) {
        require_whole();
        // No pre-token crosses from one file into the next: the rest of this one is a block.
        stream_.reset();
        if (!block.empty()) return true;
        continue;
      }
      const std::size_t cut = cut_of(block, pattern_);
      if (cut > 0) {
        carried_.assign(block, cut);
        block.resize(cut);
        return true;
      }
      want = block.size();
    }
  }

  // Opens the next text file.
  bool open_next() {
    while (file_ < files_.size()) {
      const std::filesystem::path& path = files_[file_++];
      if (const auto reason = why_not_text(path, TextEncoding::any)) {
        const std::string message = fmt::format("{} {}.", path.string(), *reason);
        if (strict_ || files_.size() == 1) fail(ErrorKind::input, "{}", message);
        if (on_skip_) on_skip_(message);
        if (first_skipped_.empty()) first_skipped_ = message;
        continue;
      }
      stream_.reset(std::fopen(path.c_str(), "rbe"));
      if (!stream_) fail_io("open", path, errno);
      read_of_file_ = 0;
      any_text_ = true;
      return true;
    }
    if (!any_text_ && !first_skipped_.empty()) {
      fail(ErrorKind::input, "None of the {} files is text. The first: {}", files_.size(), first_skipped_);
    }
    return false;
  }

  void check(std::size_t count) {
    if (std::ferror(stream_.get()) != 0) fail_io("read", files_[file_ - 1], errno);
    read_of_file_ += count;
  }

  // Called at the end of a file.
  void require_whole() const {
    if (read_of_file_ >= sizes_[file_ - 1]) return;
    fail(ErrorKind::io, "{} was shortened while in use: it ended after {} of {} bytes. Repeat the command.",
         files_[file_ - 1].string(), read_of_file_, sizes_[file_ - 1]);
  }

  std::mutex mutex_;
  std::span<const std::filesystem::path> files_;
  std::vector<std::uintmax_t> sizes_;  // when the reader was made
  SplitPattern pattern_;
  std::size_t block_bytes_;
  std::uint64_t total_ = 0;
  std::size_t file_ = 0;  // one past the open one
  std::uint64_t read_of_file_ = 0;
  bool strict_;
  std::function<void(std::string_view)> on_skip_;
  std::string first_skipped_;
  bool any_text_ = false;
  bool failed_ = false;
  std::unique_ptr<std::FILE, Close> stream_;
  std::string carried_;
};

// The same for a text in memory: views without copies.
class TextReader {
 public:
  TextReader(std::string_view text, const CountOptions& options)
      : rest_(text),
        total_(text.size()),
        pattern_(options.pattern),
        block_bytes_(std::max<std::size_t>(options.block_bytes, 1)) {}

  std::uint64_t total() const { return total_; }

  bool next(std::string_view& block) {
    const std::lock_guard lock(mutex_);
    std::size_t size = std::min(block_bytes_, rest_.size());
    while (size < rest_.size()) {
      if (const std::size_t cut = cut_of(rest_.substr(0, size), pattern_); cut > 0) {
        size = cut;
        break;
      }
      size = std::min(2 * size, rest_.size());
    }
    block = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return !block.empty();
  }

 private:
  std::mutex mutex_;
  std::string_view rest_;
  std::uint64_t total_;
  SplitPattern pattern_;
  std::size_t block_bytes_;
};

// Every thread counts into its own table; the tables are then added up. The order affects only the order of entries,
// which decides nothing later.
template <class Block, class Reader>
PretokenCounts count_blocks(Reader& reader, const CountOptions& options) {
  std::mutex mutex;
  std::uint64_t done = 0;
  bool stop = false;
  std::exception_ptr error;
  const NextPretokens next = next_pretokens(options.pattern);
  std::uint64_t reported = 0;
  const auto report = [&](std::uint64_t now) {
    reported = now;
    if (options.progress && !options.progress("counting", now, reader.total())) {
      fail(ErrorKind::interrupted, "Counting the text's words was stopped after {} of {} bytes.", now, reader.total());
    }
  };
  const auto work = [&](PretokenCounts& counts, bool reports) {
    try {
      Block block;
      while (reader.next(block)) {
        const std::string_view text = block;
        for_each_pretoken(text, next,
                          [&](std::size_t begin, std::size_t end) { counts.add(text.substr(begin, end - begin), 1); });
        std::uint64_t done_now = 0;
        {
          const std::lock_guard lock(mutex);
          if (stop) return;
          done += text.size();
          done_now = done;
        }
        if (reports) report(done_now);
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
      stop = true;
    }
  };

  const std::size_t threads = static_cast<std::size_t>(std::max(options.threads, 1));
  std::vector<PretokenCounts> counts(threads);
  {
    // Joins also if starting a later one fails.
    std::vector<JoiningThread> others;
    for (std::size_t i = 1; i < threads; ++i) others.emplace_back([&, i] { work(counts[i], false); });
    work(counts[0], true);
  }
  if (error) std::rethrow_exception(error);
  // Other threads may have counted all.
  if (reported != done) report(done);
  for (std::size_t i = 1; i < threads; ++i) {
    counts[0].merge(counts[i]);
    counts[i] = PretokenCounts();
  }
  if (counts[0].entries().empty()) fail(ErrorKind::input, "There is no text to train a tokenizer on.");
  return std::move(counts[0]);
}

}  // namespace

PretokenCounts::PretokenCounts() : places_(std::size_t{1} << 10) {}

void PretokenCounts::add(std::string_view pretoken, std::uint64_t count) {
  const std::uint64_t hash = hash_of(pretoken);
  const auto tag = static_cast<std::uint32_t>(hash >> 32);
  std::size_t index = hash & (places_.size() - 1);
  while (places_[index].entry != 0) {
    if (places_[index].tag == tag) {
      Entry& entry = entries_[places_[index].entry - 1];
      if (bytes_of(entry) == pretoken) {
        entry.count = checked_add(entry.count, count, "The count of a pre-token");
        return;
      }
    }
    index = (index + 1) & (places_.size() - 1);
  }
  entries_.push_back({.offset = bytes_.size(), .size = pretoken.size(), .count = count});
  hashes_.push_back(hash);
  bytes_ += pretoken;
  places_[index] = {.tag = tag, .entry = static_cast<std::uint32_t>(entries_.size())};
  if (2 * entries_.size() > places_.size()) grow();
}

void PretokenCounts::grow() {
  if (entries_.size() >= UINT32_MAX / 2) fail(ErrorKind::input, "The text has more than 2^31 distinct pre-tokens.");
  places_.assign(2 * places_.size(), Place{});
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    std::size_t index = hashes_[i] & (places_.size() - 1);
    while (places_[index].entry != 0) index = (index + 1) & (places_.size() - 1);
    places_[index] = {.tag = static_cast<std::uint32_t>(hashes_[i] >> 32), .entry = static_cast<std::uint32_t>(i + 1)};
  }
}

void PretokenCounts::merge(const PretokenCounts& other) {
  for (const Entry& entry : other.entries_) add(other.bytes_of(entry), entry.count);
}

PretokenCounts count_pretokens(std::span<const std::filesystem::path> files, const CountOptions& options) {
  BlockReader reader(files, options);
  return count_blocks<std::string>(reader, options);
}

PretokenCounts count_pretokens(std::string_view text, const CountOptions& options) {
  TextReader reader(text, options);
  return count_blocks<std::string_view>(reader, options);
}

}  // namespace mslt

// Windows in permuted order, made on the caller's thread or ahead on one of the loader's own.
#include "data/loader.h"

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <mutex>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "base/fail.h"
#include "base/joining_thread.h"
#include "base/philox.h"
#include "data/permutation.h"

namespace mslt {
namespace {

constexpr std::uint32_t offset_operation = 0x4F464653;  // sets these random numbers apart from all others

std::uint64_t count_member(const nlohmann::json& json, std::string_view name, std::string_view source) {
  if (!json.is_object() || !json.contains(name) || !json.at(std::string(name)).is_number_unsigned()) {
    fail(ErrorKind::input, "{}: the loader's '{}' is missing or is no whole number from 0 on.", source, name);
  }
  return json.at(std::string(name)).get<std::uint64_t>();
}

void check_options(const LoaderOptions& options) {
  constexpr std::int64_t most = std::int64_t{1} << 31;
  const auto check = [&](std::int64_t value, std::int64_t least, std::string_view name) {
    if (value < least || value > most) {
      fail(ErrorKind::usage, "The loader's {} is {}; it must be from {} to {}.", name, value, least, most);
    }
  };
  check(options.batch, 1, "batch size");
  check(options.seq_len, 1, "sequence length");
  check(options.world, 1, "number of ranks");
  check(options.rank, 0, "rank");
  check(options.prefetch, 0, "number of batches made ahead");
  if (options.rank >= options.world) {
    fail(ErrorKind::usage, "The loader's rank is {}; of {} ranks it must be from 0 to {}.", options.rank, options.world,
         options.world - 1);
  }
  if (options.mode == LoaderMode::once && options.random_offset) {
    fail(ErrorKind::usage, "A random offset leaves tokens out; it cannot be combined with reading every token once.");
  }
}

}  // namespace

nlohmann::json loader_state_to_json(const LoaderState& state) {
  return {{"epoch", state.epoch}, {"position", state.position}};
}

LoaderState loader_state_from_json(const nlohmann::json& json, std::string_view source) {
  return {.epoch = count_member(json, "epoch", source), .position = count_member(json, "position", source)};
}

// Makes the batch that follows a state. Safe to use from several threads.
class BatchLoader::Source {
 public:
  Source(std::shared_ptr<const TokenStream> tokens, std::string_view name, const LoaderOptions& options)
      : stream_(std::move(tokens)), tokens_(*stream_), options_(options) {
    check_options(options);
    if (tokens_.examples() > 0) return;
    const std::uint64_t needed = once() ? 2 : static_cast<std::uint64_t>(options.seq_len) + 1;
    if (tokens_.size() < needed) {
      fail(ErrorKind::input,
           "{} holds {} tokens, but a window of sequence length {} needs {}. Use more text or a shorter sequence "
           "length.",
           name, tokens_.size(), options.seq_len, needed);
    }
  }

  const LoaderOptions& options() const { return options_; }
  std::size_t batch_elements() const { return static_cast<std::size_t>(options_.batch * options_.seq_len); }

  std::uint64_t windows(std::uint64_t epoch) const {
    if (tokens_.examples() > 0) return tokens_.examples();
    const std::uint64_t targets = tokens_.size() - 1 - offset(epoch);
    const auto length = static_cast<std::uint64_t>(options_.seq_len);
    return targets / length + (once() && targets % length != 0 ? 1 : 0);
  }

  // Fills a batch, moves `state` behind it and returns the number of windows in it.
  std::int64_t make(LoaderState& state, std::span<std::int32_t> tokens, std::span<std::int32_t> targets) const {
    const auto length = static_cast<std::size_t>(options_.seq_len);
    std::vector<std::int32_t> window(length + 1);
    Permutation order(windows(state.epoch), options_.seed, state.epoch);
    std::int64_t filled = 0;
    for (std::int64_t place = 0; place < options_.batch * options_.world; ++place) {
      if (state.position == order.size()) {
        if (once()) break;
        ++state.epoch;
        state.position = 0;
        order = Permutation(windows(state.epoch), options_.seed, state.epoch);
      }
      if (place / options_.batch == options_.rank) {
        const std::uint64_t index = options_.shuffle ? order(state.position) : state.position;
        const std::size_t row = static_cast<std::size_t>(filled) * length;
        const std::size_t count =
            tokens_.examples() > 0 ? tokens_.copy_example(index, window) : copy_window(state.epoch, index, window);
        spread_window(std::span(window).first(count), tokens.subspan(row, length), targets.subspan(row, length));
        ++filled;
      }
      ++state.position;
    }
    const std::size_t used = static_cast<std::size_t>(filled) * length;
    std::ranges::fill(tokens.subspan(used), 0);
    std::ranges::fill(targets.subspan(used), -1);
    return filled;
  }

 private:
  bool once() const { return options_.mode == LoaderMode::once; }

  std::uint64_t offset(std::uint64_t epoch) const {
    if (!options_.random_offset) return 0;
    const auto length = static_cast<std::uint64_t>(options_.seq_len);
    // One window must be left.
    const std::uint64_t choices = std::min(length, tokens_.size() - length);
    return PhiloxStream(options_.seed, static_cast<std::uint32_t>(epoch), offset_operation).below(choices);
  }

  // Returns how many tokens there are: fewer than the window holds at the end of the text.
  std::size_t copy_window(std::uint64_t epoch, std::uint64_t index, std::span<std::int32_t> window) const {
    const std::uint64_t first = offset(epoch) + index * static_cast<std::uint64_t>(options_.seq_len);
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(window.size(), tokens_.size() - first));
    tokens_.copy(first, window.first(count));
    return count;
  }

  // Tokens, those that follow them, and padding.
  static void spread_window(std::span<const std::int32_t> window, std::span<std::int32_t> tokens,
                            std::span<std::int32_t> targets) {
    const std::size_t count = window.size() - 1;
    std::ranges::copy(window.first(count), tokens.begin());
    std::ranges::copy(window.subspan(1), targets.begin());
    std::ranges::fill(tokens.subspan(count), 0);
    std::ranges::fill(targets.subspan(count), -1);
  }

  std::shared_ptr<const TokenStream> stream_;
  const TokenStream& tokens_;
  LoaderOptions options_;
};

// Makes batches on a thread of its own, at most so many ahead. Stops when destroyed.
class BatchLoader::Prefetcher {
 public:
  Prefetcher(const Source& source, const LoaderState& start)
      : source_(source), thread_([this, start] { run(start); }) {}
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;
  ~Prefetcher() {
    {
      const std::scoped_lock lock(mutex_);
      stopping_ = true;
    }
    room_.notify_one();
  }

  // The next batch; sets `state` to the one behind it. An error stays at the head, for each call.
  std::int64_t take(LoaderState& state, std::span<std::int32_t> tokens, std::span<std::int32_t> targets) {
    Made batch;
    {
      std::unique_lock lock(mutex_);
      filled_.wait(lock, [&] { return !queue_.empty(); });
      if (queue_.front().error) std::rethrow_exception(queue_.front().error);
      batch = std::move(queue_.front());
      queue_.pop_front();
    }
    room_.notify_one();
    std::ranges::copy(batch.tokens, tokens.begin());
    std::ranges::copy(batch.targets, targets.begin());
    state = batch.after;
    return batch.rows;
  }

 private:
  struct Made {
    std::vector<std::int32_t> tokens;
    std::vector<std::int32_t> targets;
    std::int64_t rows = 0;
    LoaderState after;
    std::exception_ptr error;
  };

  void run(LoaderState state) {
    while (true) {
      Made batch;
      try {
        batch.tokens.resize(source_.batch_elements());
        batch.targets.resize(source_.batch_elements());
        batch.rows = source_.make(state, batch.tokens, batch.targets);
        batch.after = state;
      } catch (...) {
        batch.error = std::current_exception();
      }
      const bool failed = batch.error != nullptr;
      std::unique_lock lock(mutex_);
      room_.wait(lock,
                 [&] { return stopping_ || queue_.size() < static_cast<std::size_t>(source_.options().prefetch); });
      if (stopping_) return;
      queue_.push_back(std::move(batch));
      filled_.notify_one();
      if (failed) return;
    }
  }

  const Source& source_;
  std::mutex mutex_;
  std::condition_variable filled_;
  std::condition_variable room_;
  std::deque<Made> queue_;
  bool stopping_ = false;
  JoiningThread thread_;  // last, so that it is joined before what it uses is gone
};

BatchLoader::BatchLoader(const std::filesystem::path& folder, std::string_view split, const LoaderOptions& options)
    : BatchLoader(TokenStream(folder, split), (folder / split).string(), options) {}

BatchLoader::BatchLoader(TokenStream tokens, std::string_view source, const LoaderOptions& options)
    : BatchLoader(std::make_shared<const TokenStream>(std::move(tokens)), source, options) {}

BatchLoader::BatchLoader(std::shared_ptr<const TokenStream> tokens, std::string_view source,
                         const LoaderOptions& options)
    : source_(std::make_unique<Source>(std::move(tokens), source, options)) {
  if (options.prefetch > 0) prefetcher_ = std::make_unique<Prefetcher>(*source_, state_);
}

BatchLoader::~BatchLoader() = default;

std::int64_t BatchLoader::next(std::span<std::int32_t> tokens, std::span<std::int32_t> targets) {
  if (tokens.size() != source_->batch_elements() || targets.size() != source_->batch_elements()) {
    fail(ErrorKind::usage, "A batch of {} windows of {} tokens was asked for in {} tokens and {} targets.",
         source_->options().batch, source_->options().seq_len, tokens.size(), targets.size());
  }
  if (prefetcher_) return prefetcher_->take(state_, tokens, targets);
  LoaderState state = state_;
  const std::int64_t rows = source_->make(state, tokens, targets);
  state_ = state;
  return rows;
}

LoaderState BatchLoader::state() const {
  return state_;
}

std::uint64_t BatchLoader::handed_out(const LoaderState& state, std::uint64_t most) const {
  require_position(state);
  std::uint64_t before = 0;
  for (std::uint64_t epoch = 0; epoch < state.epoch; ++epoch) {
    before += windows(epoch);
    if (before > most) {
      fail(ErrorKind::input, "The loader's epoch {} is one that {} windows cannot reach. Is it the same data?",
           state.epoch, most);
    }
  }
  return before + state.position;
}

void BatchLoader::require_position(const LoaderState& state) const {
  if (state.position > windows(state.epoch)) {
    fail(ErrorKind::input,
         "The loader's position {} is behind the end of epoch {}, which has {} windows. Is it the same data?",
         state.position, state.epoch, windows(state.epoch));
  }
}

void BatchLoader::restore(const LoaderState& state) {
  require_position(state);
  prefetcher_.reset();
  state_ = state;
  if (source_->options().prefetch > 0) prefetcher_ = std::make_unique<Prefetcher>(*source_, state_);
}

std::uint64_t BatchLoader::windows(std::uint64_t epoch) const {
  return source_->windows(epoch);
}

std::uint64_t BatchLoader::batches(std::uint64_t epoch) const {
  const auto step = static_cast<std::uint64_t>(source_->options().batch * source_->options().world);
  return windows(epoch) / step + (windows(epoch) % step != 0 ? 1 : 0);
}

}  // namespace mslt

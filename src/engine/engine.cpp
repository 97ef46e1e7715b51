// The engine's queue and its thread, which runs one step after another.
#include "mslt/engine.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <new>
#include <string>
#include <thread>
#include <utility>

#include "base/fail.h"
#include "base/joining_thread.h"
#include "engine/request_state.h"
#include "engine/step_draws.h"
#include "formats/model_parts.h"
#include "model/inference_pass.h"
#include "model/kv_cache.h"
#include "text/token_label.h"

namespace mslt {
namespace {

constexpr std::int64_t usual_text = 2048;  // tokens

void check_option(std::string_view name, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value >= least && value <= most) return;
  fail(ErrorKind::usage, "{} is {}; valid is {} to {}.", name, value, least, most);
}

RequestRules rules_of(const Model& model) {
  const Config& config = model.config();
  const Tokenizer& tokenizer = model.tokenizer();
  return {.tokenizer = &tokenizer,
          .eos_ids = {model.eos_ids().begin(), model.eos_ids().end()},
          .excluded = ids_without_token(tokenizer),
          .choices = std::min<std::int64_t>(config.vocab_size, tokenizer.vocab_size()),
          .vocab_size = config.vocab_size,
          .max_positions = config.max_positions};
}

// The cache of so many positions, or without a number of as many as are of use and have room in half of the device's
// memory.
std::unique_ptr<KvCache> make_cache(Transformer& transformer, const EngineOptions& options) {
  Backend& backend = transformer.backend();
  const Config& config = transformer.config();
  const auto make = [&](std::int64_t positions) {
    return std::make_unique<KvCache>(backend, config, transformer.dtype(), static_cast<int>(options.max_running),
                                     positions);
  };
  if (options.cache_positions > 0) return make(options.cache_positions);
  std::int64_t positions = options.max_running * std::min(config.max_positions, usual_text);
  const std::int64_t bytes_a_position =
      2 * config.layers * config.kv_heads * config.head_size * static_cast<std::int64_t>(size_of(transformer.dtype()));
  if (const auto memory = static_cast<std::int64_t>(backend.device().memory_bytes); memory > 0) {
    positions = std::clamp<std::int64_t>(memory / 2 / bytes_a_position, 1, positions);
  }
  while (true) {
    try {
      return make(positions);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::memory || positions <= config.max_positions) throw;
      positions /= 2;
    }
  }
}

RequestEvent failure(std::exception_ptr error) {
  RequestEvent event;
  event.error = std::move(error);
  return event;
}

class ThreadedEngine final : public Engine {
 public:
  ThreadedEngine(Model& model, const EngineOptions& options)
      : options_(options),
        transformer_(*model.parts().loaded.transformer),
        tokenizer_(model.tokenizer()),
        rules_(rules_of(model)),
        cache_(make_cache(transformer_, options)),
        pass_(transformer_, *cache_, RowBits::independent),
        draws_(transformer_.backend(), rules_) {
    rules_.tokenizer = &tokenizer_;
    for (int slot = static_cast<int>(options.max_running); slot-- > 0;) free_slots_.push_back(slot);
    running_.reserve(free_slots_.size());  // so that a request that has left the queue finds room
    statistics_.cache_blocks = cache_->blocks();
    thread_.emplace([this] { work(); });
  }

  ~ThreadedEngine() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    thread_.reset();
  }

  RequestId submit(Request request, RequestSink sink) override;
  void cancel(RequestId id) override;
  bool is_full() const override {
    const std::lock_guard lock(mutex_);
    return is_full_locked();
  }
  EngineStatistics statistics() const override {
    const std::lock_guard lock(mutex_);
    EngineStatistics now = statistics_;
    now.queued = std::ssize(queue_);
    return now;
  }

 private:
  using Requests = std::vector<std::unique_ptr<RequestState>>;

  bool is_full_locked() const { return std::ssize(queue_) >= options_.max_queued; }
  void work();
  // Waits for something to do; false at the end.
  bool wait_for_work();
  void drop_cancelled();
  void admit();
  bool can_share_soon(const RequestState& request) const;
  std::unique_ptr<RequestState> next_in_queue();
  void step();
  std::vector<Chunk> next_chunks();
  // Makes room for one more token in every cache that decodes, by putting requests back.
  void make_room();
  void draw_all(const Tensor& logits, std::span<RequestState* const> wanted);
  void put_back(std::size_t index);
  void queue_again(std::unique_ptr<RequestState> request);
  void release(RequestState& request);
  void fail_all(const std::exception_ptr& error);
  // Gives an event to the request's sink, unless it was cancelled. False if it is over.
  bool deliver(RequestState& request, RequestEvent event);
  void count_end(const RequestState& request, std::int64_t EngineStatistics::* what);
  void publish();

  EngineOptions options_;
  Transformer& transformer_;
  Tokenizer tokenizer_;
  RequestRules rules_;
  std::unique_ptr<KvCache> cache_;
  InferencePass pass_;
  StepDraws draws_;
  // Of the engine's thread alone.
  Requests running_;  // the oldest first
  std::vector<int> free_slots_;

  mutable std::mutex mutex_;  // of what follows
  std::condition_variable wake_;
  std::condition_variable delivered_;
  std::deque<std::unique_ptr<RequestState>> queue_;  // the oldest first
  std::map<RequestId, bool> live_;                   // and whether it was cancelled
  RequestId last_id_ = 0;
  RequestId delivering_ = 0;
  bool stopping_ = false;
  std::atomic<std::thread::id> worker_{};
  EngineStatistics statistics_;

  std::optional<JoiningThread> thread_;  // the last member: it uses all others
};

RequestId ThreadedEngine::submit(Request request, RequestSink sink) {
  RequestId id = 0;
  {
    const std::lock_guard lock(mutex_);
    id = ++last_id_;
  }
  const auto prompt = static_cast<std::int64_t>(request.prompt.size());
  auto state = std::make_unique<RequestState>(id, std::move(request), std::move(sink), rules_);
  const std::int64_t room = cache_->blocks() * KvCacheView::block_size;
  if (prompt > room) {
    fail(ErrorKind::input, "The prompt has {} tokens, the engine's cache holds {}.", prompt, room);
  }
  {
    const std::lock_guard lock(mutex_);
    if (is_full_locked()) {
      fail(ErrorKind::usage, "The queue is full: {} requests wait already.", options_.max_queued);
    }
    live_.emplace(id, false);
    // Ids were given before: keep the order where two threads submit at a time.
    const auto place = std::ranges::upper_bound(queue_, id, {}, &RequestState::id);
    queue_.insert(place, std::move(state));
  }
  wake_.notify_all();
  return id;
}

void ThreadedEngine::cancel(RequestId id) {
  std::unique_ptr<RequestState> dropped;  // its sink goes without the lock
  std::unique_lock lock(mutex_);
  const auto found = live_.find(id);
  if (found != live_.end() && !found->second) {
    found->second = true;
    ++statistics_.cancelled;
    const auto queued = std::ranges::find(queue_, id, &RequestState::id);
    if (queued != queue_.end()) {
      dropped = std::move(*queued);
      queue_.erase(queued);
      live_.erase(found);
    }
  }
  if (std::this_thread::get_id() == worker_.load()) return;
  delivered_.wait(lock, [&] { return delivering_ != id; });
}

bool ThreadedEngine::deliver(RequestState& request, RequestEvent event) {
  const bool is_last = event.end.has_value() || event.error != nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (live_.at(request.id())) return false;
    delivering_ = request.id();
  }
  bool goes_on = false;
  try {
    goes_on = request.sink()(std::move(event));
  } catch (...) {
    goes_on = false;  // as if it had cancelled
  }
  {
    const std::lock_guard lock(mutex_);
    delivering_ = 0;
    bool& cancelled = live_.at(request.id());
    if (!goes_on && !is_last && !cancelled) {
      cancelled = true;
      ++statistics_.cancelled;
    }
    goes_on = goes_on && !cancelled && !is_last;
  }
  delivered_.notify_all();
  return goes_on;
}

bool ThreadedEngine::wait_for_work() {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [&] { return stopping_ || !queue_.empty() || !running_.empty(); });
  return !stopping_;
}

void ThreadedEngine::work() {
  worker_ = std::this_thread::get_id();
  while (wait_for_work()) {
    drop_cancelled();
    try {
      admit();
      step();
    } catch (...) {
      fail_all(std::current_exception());
    }
    publish();
  }
}

void ThreadedEngine::publish() {
  const std::lock_guard lock(mutex_);
  statistics_.running = std::ssize(running_);
  statistics_.cache_blocks_kept = cache_->kept_blocks();
  statistics_.cache_blocks_used = cache_->blocks() - cache_->free_blocks();
}

void ThreadedEngine::count_end(const RequestState& request, std::int64_t EngineStatistics::* what) {
  const std::lock_guard lock(mutex_);
  const RequestSummary& summary = request.summary();
  const auto live = live_.find(request.id());
  if (!live->second) ++(statistics_.*what);  // cancellations are counted when they come
  statistics_.prompt_tokens += summary.prompt_tokens;
  statistics_.cached_prompt_tokens += summary.cached_prompt_tokens;
  statistics_.new_tokens += summary.new_tokens;
  live_.erase(live);
}

void ThreadedEngine::release(RequestState& request) {
  if (request.slot() < 0) return;
  try {
    cache_->truncate(request.slot(), 0);
  } catch (const std::bad_alloc&) {
    // Only blocks that are kept for other texts need memory.
    cache_->forget();
    cache_->truncate(request.slot(), 0);
  }
  free_slots_.push_back(request.slot());
}

void ThreadedEngine::drop_cancelled() {
  const auto is_cancelled = [&](const std::unique_ptr<RequestState>& request) {
    const std::lock_guard lock(mutex_);
    return live_.at(request->id());
  };
  for (std::size_t i = running_.size(); i-- > 0;) {
    if (!is_cancelled(running_[i])) continue;
    release(*running_[i]);
    count_end(*running_[i], &EngineStatistics::cancelled);
    running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

// Whether a running request is still reading tokens with which this one begins, too: soon they are in blocks to share.
bool ThreadedEngine::can_share_soon(const RequestState& request) const {
  const std::span<const std::int32_t> own = request.history();
  return std::ranges::any_of(running_, [&](const std::unique_ptr<RequestState>& other) {
    const std::span<const std::int32_t> theirs = other->history();
    const std::int64_t read = cache_->length(other->slot());
    if (read + 1 >= other->length()) return false;
    const std::int64_t same = std::ranges::mismatch(own, theirs).in1 - own.begin();
    // The last token is computed in any case.
    const std::int64_t shared =
        std::min(same, request.length() - 1) / KvCacheView::block_size * KvCacheView::block_size;
    return shared > read;
  });
}

// The first that waits and has a reason to begin now; null if there is none.
std::unique_ptr<RequestState> ThreadedEngine::next_in_queue() {
  const std::lock_guard lock(mutex_);
  const auto place = std::ranges::find_if(queue_, [&](const auto& request) { return !can_share_soon(*request); });
  if (place == queue_.end()) return nullptr;
  std::unique_ptr<RequestState> next = std::move(*place);
  queue_.erase(place);
  return next;
}

// Those that wait get a slot and the blocks of their tokens, in the order of their arrival.
void ThreadedEngine::admit() {
  while (!free_slots_.empty()) {
    std::unique_ptr<RequestState> next = next_in_queue();
    if (next == nullptr) return;
    if (next->is_done_at_once()) {
      deliver(*next, next->end_at_once());
      count_end(*next, &EngineStatistics::finished);
      continue;
    }
    const int slot = free_slots_.back();
    // The last token is computed in any case, for its logits.
    const std::int64_t cached = cache_->share(slot, next->history().first(next->history().size() - 1));
    std::exception_ptr error;
    try {
      cache_->reserve(slot, next->length() - cached);
    } catch (const Error&) {
      error = std::current_exception();
    }
    // Beside others it waits until there also is a block for each of them to go on with.
    if (!running_.empty() && (error != nullptr || cache_->free_blocks() < std::ssize(running_))) {
      cache_->truncate(slot, 0);
      queue_again(std::move(next));
      return;
    }
    if (error != nullptr) {
      cache_->truncate(slot, 0);
      deliver(*next, failure(error));
      count_end(*next, &EngineStatistics::failed);
      continue;
    }
    free_slots_.pop_back();
    next->start(slot, cached);
    const auto place = std::ranges::upper_bound(running_, next->id(), {}, &RequestState::id);
    running_.insert(place, std::move(next));
  }
}

void ThreadedEngine::put_back(std::size_t index) {
  std::unique_ptr<RequestState> request = std::move(running_[index]);
  running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(index));
  release(*request);
  request->put_back();
  {
    const std::lock_guard lock(mutex_);
    ++statistics_.put_back;
  }
  queue_again(std::move(request));
}

// To its place by age, unless it was cancelled meanwhile. Where the queue finds no memory, the request ends with that.
void ThreadedEngine::queue_again(std::unique_ptr<RequestState> request) {
  std::exception_ptr error;
  {
    const std::lock_guard lock(mutex_);
    if (!live_.at(request->id())) {
      try {
        // An empty place first: what is moved into a queue that then fails to grow is lost.
        const auto place =
            queue_.insert(std::ranges::upper_bound(queue_, request->id(), {}, &RequestState::id), nullptr);
        *place = std::move(request);
        return;
      } catch (const std::bad_alloc&) {
        error = std::current_exception();
      }
    }
  }
  if (error != nullptr) deliver(*request, failure(error));
  count_end(*request, error != nullptr ? &EngineStatistics::failed : &EngineStatistics::finished);
}

void ThreadedEngine::make_room() {
  for (std::size_t i = 0; i < running_.size(); ++i) {
    RequestState& request = *running_[i];
    const std::int64_t missing = request.length() - cache_->length(request.slot());
    while (true) {
      try {
        cache_->reserve(request.slot(), missing);
        break;
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::memory) throw;
      }
      if (running_.size() == 1) {
        // It has the whole cache.
        const std::string message = fmt::format(
            "The text has {} tokens, and the engine's cache has no room for more of them; a larger cache or a smaller "
            "limit of tokens helps.",
            request.length());
        deliver(request, failure(std::make_exception_ptr(Error(ErrorKind::memory, message))));
        release(request);
        count_end(request, &EngineStatistics::failed);
        running_.clear();
        return;
      }
      const bool is_itself = i + 1 == running_.size();
      put_back(running_.size() - 1);
      if (is_itself) return;
    }
  }
}

// One token of each request that decodes, then parts of prompts, those of the oldest first.
std::vector<Chunk> ThreadedEngine::next_chunks() {
  std::vector<Chunk> chunks;
  std::vector<Chunk> prompts;
  std::int64_t budget = options_.prefill_tokens;
  for (const std::unique_ptr<RequestState>& request : running_) {
    const auto done = static_cast<std::size_t>(cache_->length(request->slot()));
    const std::span<const std::int32_t> rest = request->history().subspan(done);
    if (rest.size() == 1) {
      chunks.push_back({request->slot(), rest, true});
    } else if (budget > 0) {
      const std::size_t count = std::min(rest.size(), static_cast<std::size_t>(budget));
      budget -= static_cast<std::int64_t>(count);
      prompts.push_back({request->slot(), rest.first(count), count == rest.size()});
    }
  }
  chunks.insert(chunks.end(), prompts.begin(), prompts.end());
  return chunks;
}

void ThreadedEngine::step() {
  make_room();
  if (running_.empty()) return;
  const std::vector<Chunk> chunks = next_chunks();
  const Tensor logits = pass_.run(chunks);
  transformer_.parameters().require_intact();
  std::vector<RequestState*> wanted;
  for (const Chunk& chunk : chunks) {
    const auto request = std::ranges::find(running_, chunk.slot, &RequestState::slot);
    cache_->remember(chunk.slot, (*request)->history());
    if (chunk.wants_logits) wanted.push_back(request->get());
  }
  if (!wanted.empty()) draw_all(logits, wanted);
}

void ThreadedEngine::draw_all(const Tensor& logits, std::span<RequestState* const> wanted) {
  std::vector<RequestEvent> events = draws_.draw(logits, wanted);
  for (std::size_t row = 0; row < wanted.size(); ++row) {
    RequestState& request = *wanted[row];
    RequestEvent& event = events[row];
    const bool failed = event.error != nullptr;
    if (deliver(request, std::move(event))) continue;
    // It leaves at once: what fails from here on is no business of its client.
    const auto place = std::ranges::find(running_, request.id(), &RequestState::id);
    const std::unique_ptr<RequestState> ended = std::move(*place);
    running_.erase(place);
    release(*ended);
    count_end(*ended, failed ? &EngineStatistics::failed : &EngineStatistics::finished);
  }
}

// The device, or the model's file, is at fault. What is queued may still go well.
void ThreadedEngine::fail_all(const std::exception_ptr& error) {
  cache_->forget();  // first: then giving blocks back needs no memory
  for (const std::unique_ptr<RequestState>& request : running_) {
    deliver(*request, failure(error));
    release(*request);
    count_end(*request, &EngineStatistics::failed);
  }
  running_.clear();
}

}  // namespace

void EngineOptions::validate() const {
  check_option("max_running", max_running, 1, 1024);
  check_option("max_queued", max_queued, 1, 1'000'000);
  check_option("cache_positions", cache_positions, 0, std::int64_t{1} << 34);
  check_option("prefill_tokens", prefill_tokens, 1, 65536);
}

std::unique_ptr<Engine> make_engine(Model& model, const EngineOptions& options) {
  options.validate();
  return std::make_unique<ThreadedEngine>(model, options);
}

}  // namespace mslt

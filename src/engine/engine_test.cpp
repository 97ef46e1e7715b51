// Tests of the engine on small random models.
#include "mslt/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "backend/msl/host_backend.h"
#include "backend/registry.h"
#include "base/philox.h"
#include "formats/model_parts.h"
#include "model/test_models.h"

namespace mslt {
namespace {

using test::expect_error;

Config small_config() {
  Config config = test::small_llama();
  config.vocab_size = 300;
  config.max_positions = 160;
  config.head_size = 16;
  return config;
}

Model make_model(Config config, const std::string& device = "cpu", DType dtype = DType::f32,
                 Quantisation quantisation = Quantisation::none) {
  auto parts = std::make_unique<Model::Parts>();
  parts->backend = make_backend(device);
  parts->loaded.transformer = std::make_unique<Transformer>(*parts->backend, config, dtype);
  test::randomize(*parts->loaded.transformer);
  parts->loaded.transformer->quantise(quantisation);
  TokenizerTrainOptions options;
  options.vocab_size = 268;
  parts->loaded.tokenizer =
      Tokenizer::train_on_text("the cat sat on the mat and the dog sat on the log, the end of the tale", options);
  return Model(std::move(parts));
}

struct Outcome {
  std::string text;
  std::vector<TokenId> tokens;
  std::vector<float> logprobs;
  std::optional<RequestSummary> end;
  std::exception_ptr error;
  int events_after_end = 0;
};

// Collects what a request's sink is given.
class Collector {
 public:
  // Cancels from within after so many events; 0: never.
  RequestSink sink(int events = 0) {
    return [this, events](RequestEvent&& event) {
      const std::lock_guard lock(mutex_);
      if (outcome_.end || outcome_.error) ++outcome_.events_after_end;
      outcome_.text += event.text;
      for (const DrawnToken& token : event.tokens) {
        outcome_.tokens.push_back(token.drawn.token);
        outcome_.logprobs.push_back(token.drawn.logprob);
        for (const TokenLogprob& likely : token.most_likely) outcome_.logprobs.push_back(likely.logprob);
      }
      outcome_.end = event.end;
      outcome_.error = event.error;
      changed_.notify_all();
      return ++count_ != events;
    };
  }
  Outcome wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return outcome_.end || outcome_.error; });
    return outcome_;
  }
  void wait_for_events(int events) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return count_ >= events; });
  }
  Outcome now() {
    const std::lock_guard lock(mutex_);
    return outcome_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  Outcome outcome_;
  int count_ = 0;
};

Outcome run(Engine& engine, Request request) {
  Collector collector;
  engine.submit(std::move(request), collector.sink());
  return collector.wait();
}

Outcome run_alone(Model& model, Request request) {
  const auto engine = make_engine(model, {.max_running = 1});
  return run(*engine, std::move(request));
}

// Counts of ended requests come just behind their last events.
EngineStatistics at_rest(const Engine& engine) {
  while (true) {
    const EngineStatistics statistics = engine.statistics();
    if (statistics.running == 0 && statistics.queued == 0) return statistics;
    std::this_thread::yield();
  }
}

std::vector<TokenId> tokens_of(std::size_t count, std::uint32_t stream) {
  const std::vector<std::int32_t> ids = test::random_ids(count, 268, stream);
  return {ids.begin(), ids.end()};
}

// Greedy and sampled, with penalties and biases, of prompts that begin alike or not.
Request random_request(std::uint32_t number) {
  PhiloxStream random(21, 0, number);
  Request request;
  if (random.below(2) == 0) request.prompt = tokens_of(20 + 16 * random.below(3), 900);
  const std::vector<TokenId> own = tokens_of(1 + random.below(60), number);
  request.prompt.insert(request.prompt.end(), own.begin(), own.end());
  request.sampling.temperature = random.below(3) == 0 ? 0.0f : 0.9f;
  request.sampling.top_k = random.below(2) == 0 ? 0 : 40;
  request.sampling.top_p = random.below(2) == 0 ? 1.0f : 0.95f;
  request.sampling.repetition_penalty = random.below(3) == 0 ? 1.2f : 1.0f;
  request.sampling.seed = number;
  if (random.below(3) == 0) request.presence_penalty = 0.5f;
  if (random.below(3) == 0) request.frequency_penalty = 0.25f;
  if (random.below(4) == 0) request.logit_bias = {{5, 2.0f}, {7, -std::numeric_limits<float>::infinity()}};
  request.max_new_tokens = 1 + static_cast<std::int64_t>(random.below(60));
  if (random.below(2) == 0) request.logprobs = 2;  // the device draws for the others
  request.ignore_eos = true;
  return request;
}

void expect_same(const Outcome& crowd, const Outcome& alone, std::uint32_t number) {
  ASSERT_TRUE(crowd.end) << number;
  EXPECT_EQ(crowd.tokens, alone.tokens) << number;
  EXPECT_EQ(crowd.logprobs, alone.logprobs) << number;
  EXPECT_EQ(crowd.text, alone.text) << number;
  EXPECT_EQ(crowd.end->reason, alone.end->reason) << number;
}

// How often a model's requests met what they should not notice.
struct Meetings {
  std::int64_t put_back = 0;
  std::int64_t cached_prompt_tokens = 0;
};

// The cache is too small for all, so requests are put back; others are cancelled among them. How many are depends on
// the time that steps take, so it is added up over models.
void expect_independence(Model& model, std::uint32_t requests, Meetings& meetings) {
  std::vector<Outcome> alone;
  for (std::uint32_t i = 0; i < requests; ++i) alone.push_back(run_alone(model, random_request(i)));
  for (const std::int64_t prefill_tokens : {7, 64}) {
    std::vector<Collector> collectors(requests);
    std::vector<Collector> cancelled(requests);
    // As many blocks as the longest text needs.
    const auto engine =
        make_engine(model, {.max_running = 5, .cache_positions = 160, .prefill_tokens = prefill_tokens});
    for (std::uint32_t i = 0; i < requests; ++i) {
      engine->submit(random_request(i), collectors[i].sink());
      if (i % 3 != 0) continue;
      const RequestId id = engine->submit(random_request(i + 500), cancelled[i].sink(i % 2 == 0 ? 3 : 0));
      if (i % 2 != 0) engine->cancel(id);
    }
    for (std::uint32_t i = 0; i < requests; ++i) expect_same(collectors[i].wait(), alone[i], i);
    const EngineStatistics statistics = engine->statistics();
    meetings.put_back += statistics.put_back;
    meetings.cached_prompt_tokens += statistics.cached_prompt_tokens;
    EXPECT_EQ(statistics.failed, 0);
  }
}

void expect_some(const Meetings& meetings) {
  EXPECT_GT(meetings.put_back, 0);
  EXPECT_GT(meetings.cached_prompt_tokens, 0);
}

TEST(Engine, ARequestDoesNotDependOnTheOthers) {
  Model model = make_model(small_config());
  Meetings meetings;
  expect_independence(model, 24, meetings);
  expect_some(meetings);
}

TEST(Engine, ARequestDoesNotDependOnTheOthersInAnyFamily) {
  Meetings meetings;
  for (const test::Family& family : test::families()) {
    Config config = family.config;
    config.vocab_size = 300;
    config.max_positions = 160;
    SCOPED_TRACE(family.name);
    Model model = make_model(config);
    expect_independence(model, 10, meetings);
  }
  expect_some(meetings);
}

TEST(Engine, ARequestDoesNotDependOnTheOthersWithNarrowWeights) {
  Config config = small_config();
  config.channels = 32;
  config.ffn_size = 64;
  Meetings meetings;
  for (const Quantisation quantisation : {Quantisation::int8, Quantisation::int4}) {
    Model model = make_model(config, "cpu", DType::f32, quantisation);
    expect_independence(model, 14, meetings);
  }
  Model model = make_model(config, "cpu", DType::bf16);
  expect_independence(model, 14, meetings);
  expect_some(meetings);
}

// The kernels for GPUs sum in an order that depends on the shape, so their texts need not be equal; all must end well.
TEST(Engine, RunsOnTheKernelsForGpus) {
  if (msl_host_devices().empty()) GTEST_SKIP() << "this build has no msl-host";
  Model host = make_model(small_config(), "msl-host");
  Model cpu = make_model(small_config());
  std::vector<Collector> collectors(4);
  const auto engine = make_engine(host, {.max_running = 3, .cache_positions = 96, .prefill_tokens = 16});
  for (std::uint32_t i = 0; i < 4; ++i) {
    Request request{.prompt = tokens_of(5 + 9 * i, i), .max_new_tokens = 4, .ignore_eos = true};
    request.sampling.temperature = 0.0f;
    engine->submit(std::move(request), collectors[i].sink());
  }
  for (std::uint32_t i = 0; i < 4; ++i) {
    Request request{.prompt = tokens_of(5 + 9 * i, i), .max_new_tokens = 4, .ignore_eos = true};
    request.sampling.temperature = 0.0f;
    EXPECT_EQ(collectors[i].wait().tokens, run_alone(cpu, std::move(request)).tokens) << i;
  }
}

TEST(Engine, DrawsTheTokensOfTheGenerator) {
  Model model = make_model(small_config());
  const auto engine = make_engine(model);
  Generator generator(model);
  for (const float temperature : {0.0f, 0.8f}) {
    GenerateOptions options{.max_new_tokens = 30};
    options.sampling.temperature = temperature;
    options.sampling.seed = 9;
    const std::vector<TokenId> prompt = tokens_of(30, 77);
    const Generated expected = generator.generate_from_tokens(prompt, options)[0];
    const Outcome outcome =
        run(*engine, {.prompt = prompt, .sampling = options.sampling, .max_new_tokens = options.max_new_tokens});
    EXPECT_EQ(outcome.tokens, expected.tokens);
    EXPECT_EQ(outcome.text, expected.text);
    EXPECT_EQ(outcome.end->reason, expected.reason);
    EXPECT_EQ(outcome.end->new_tokens, 30);
    EXPECT_EQ(outcome.events_after_end, 0);
  }
}

// The second turn of a conversation begins with the first and its answer, of which the cache holds the whole blocks.
TEST(Engine, KeepsBlocksForTheNextTurn) {
  Model model = make_model(small_config());
  const auto engine = make_engine(model);
  Request first{.prompt = tokens_of(40, 3), .max_new_tokens = 30, .ignore_eos = true};
  const Outcome answer = run(*engine, std::move(first));
  EXPECT_EQ(answer.end->cached_prompt_tokens, 0);
  std::vector<TokenId> second = tokens_of(40, 3);
  second.insert(second.end(), answer.tokens.begin(), answer.tokens.end());
  second.push_back(4);
  const Outcome outcome = run(*engine, {.prompt = second, .max_new_tokens = 5, .logprobs = 0});
  EXPECT_EQ(outcome.end->cached_prompt_tokens, 64);
  const Outcome alone = run_alone(model, {.prompt = second, .max_new_tokens = 5, .logprobs = 0});
  EXPECT_EQ(outcome.tokens, alone.tokens);
  EXPECT_EQ(outcome.logprobs, alone.logprobs);
  EXPECT_GT(at_rest(*engine).cache_blocks_kept, 0);
}

TEST(Engine, OneOfSeveralEqualPromptsIsRead) {
  Model model = make_model(small_config());
  const auto engine = make_engine(model, {.max_running = 4, .prefill_tokens = 4});
  const std::vector<TokenId> prompt = tokens_of(4 * KvCacheView::block_size, 1);
  std::vector<Collector> collectors(6);
  for (Collector& collector : collectors) {
    engine->submit({.prompt = prompt, .sampling = {.temperature = 0.0F}, .max_new_tokens = 3}, collector.sink());
  }
  std::vector<Outcome> outcomes;
  for (Collector& collector : collectors) outcomes.push_back(collector.wait());
  EXPECT_EQ(outcomes[0].end->cached_prompt_tokens, 0);
  for (std::size_t i = 1; i < outcomes.size(); ++i) {
    EXPECT_EQ(outcomes[i].end->cached_prompt_tokens, 3 * KvCacheView::block_size) << i;
    EXPECT_EQ(outcomes[i].tokens, outcomes[0].tokens);
  }
}

// The sink of the request that runs holds the engine until both cancellations are known.
TEST(Engine, CancelsAtAnyMoment) {
  Model model = make_model(small_config());
  Collector waits;
  std::atomic<int> events = 0;
  std::atomic<bool> may_go_on = false;
  const auto engine = make_engine(model, {.max_running = 1});
  const RequestId running =
      engine->submit({.prompt = tokens_of(3, 1), .max_new_tokens = 100, .ignore_eos = true}, [&](RequestEvent&&) {
        ++events;
        while (!may_go_on) std::this_thread::yield();
        return true;
      });
  while (events == 0) std::this_thread::yield();
  const RequestId queued = engine->submit({.prompt = tokens_of(3, 2)}, waits.sink());
  engine->cancel(queued);
  std::thread other([&] { engine->cancel(running); });
  while (engine->statistics().cancelled < 2) std::this_thread::yield();
  may_go_on = true;
  other.join();
  EXPECT_EQ(events, 1);
  engine->cancel(running);
  engine->cancel(12345);
  EXPECT_TRUE(run(*engine, {.prompt = tokens_of(3, 3), .max_new_tokens = 4}).end);
  EXPECT_EQ(events, 1);
  EXPECT_TRUE(waits.now().tokens.empty());
  const EngineStatistics statistics = at_rest(*engine);
  EXPECT_EQ(statistics.cancelled, 2);
  EXPECT_EQ(statistics.finished, 1);
}

TEST(Engine, EndsWhatRunsWhenItGoes) {
  Model model = make_model(small_config());
  Collector runs;
  Collector waits;
  auto engine = make_engine(model, {.max_running = 1});
  engine->submit({.prompt = tokens_of(3, 1), .max_new_tokens = 1'000'000, .ignore_eos = true}, runs.sink());
  engine->submit({.prompt = tokens_of(3, 2)}, waits.sink());
  runs.wait_for_events(1);
  engine.reset();
  const std::size_t seen = runs.now().tokens.size();
  EXPECT_GE(seen, 1u);
  EXPECT_EQ(runs.now().events_after_end, 0);
}

TEST(Engine, EndsAtTheContextsEnd) {
  Model model = make_model(small_config());
  const auto engine = make_engine(model);
  const Outcome outcome = run(*engine, {.prompt = tokens_of(150, 1), .max_new_tokens = 1000, .ignore_eos = true});
  EXPECT_EQ(outcome.tokens.size(), 10u);
  EXPECT_EQ(outcome.end->reason, FinishReason::length);
  const Outcome full = run(*engine, {.prompt = tokens_of(160, 1), .max_new_tokens = 1000, .ignore_eos = true});
  EXPECT_EQ(full.tokens.size(), 1u);
  const Outcome none = run(*engine, {.prompt = tokens_of(5, 1), .max_new_tokens = 0});
  EXPECT_TRUE(none.tokens.empty());
  EXPECT_EQ(none.end->reason, FinishReason::length);
}

TEST(Engine, OneThatTheCacheCannotHoldFailsAlone) {
  Model model = make_model(small_config());
  Collector large;
  Collector small;
  const auto engine = make_engine(model, {.max_running = 2, .cache_positions = 34});  // 4 blocks
  engine->submit({.prompt = tokens_of(50, 1), .max_new_tokens = 100, .ignore_eos = true}, large.sink());
  engine->submit({.prompt = tokens_of(5, 2), .max_new_tokens = 20, .ignore_eos = true}, small.sink());
  const Outcome failed = large.wait();
  ASSERT_TRUE(failed.error);
  expect_error(ErrorKind::memory, {"65 tokens", "cache"}, [&] { std::rethrow_exception(failed.error); });
  EXPECT_EQ(small.wait().tokens.size(), 20u);
  EXPECT_EQ(at_rest(*engine).failed, 1);
}

TEST(Engine, LogprobsAreOfTheModelsOwnProbabilities) {
  Model model = make_model(small_config());
  Request request{.prompt = tokens_of(8, 5), .logit_bias = {{17, 100.0f}}, .max_new_tokens = 1, .logprobs = 3};
  const std::vector<std::int32_t> ids(request.prompt.begin(), request.prompt.end());
  const std::vector<float> all = model.logits(ids);
  double sum = 0;
  const std::size_t choices = 268;
  const std::span<const float> last = std::span(all).last(300).first(choices);
  for (const float logit : last) sum += std::exp(static_cast<double>(logit));
  const Outcome outcome = run_alone(model, std::move(request));
  ASSERT_EQ(outcome.logprobs.size(), 4u);
  EXPECT_EQ(outcome.tokens[0], 17u);
  EXPECT_NEAR(outcome.logprobs[0], last[17] - std::log(sum), 1e-4);
  EXPECT_NEAR(outcome.logprobs[1], *std::ranges::max_element(last) - std::log(sum), 1e-4);
  EXPECT_GE(outcome.logprobs[1], outcome.logprobs[2]);
}

// Permits "ab" over and over, and may end after each.
class Repeats final : public TokenConstraint {
 public:
  explicit Repeats(std::vector<TokenId> tokens, std::size_t most) : tokens_(std::move(tokens)), most_(most) {}
  void allow(std::span<std::uint32_t> allowed) const override {
    std::ranges::fill(allowed, 0u);
    const TokenId id = tokens_[accepted_ % tokens_.size()];
    allowed[id / 32] |= 1u << (id % 32);
  }
  void accept(TokenId token) override {
    EXPECT_EQ(token, tokens_[accepted_ % tokens_.size()]);
    ++accepted_;
  }
  bool may_end() const override { return accepted_ % tokens_.size() == 0; }
  bool must_end() const override { return accepted_ >= most_; }

 private:
  std::vector<TokenId> tokens_;
  std::size_t most_;
  std::size_t accepted_ = 0;
};

// What the device draws for some requests is what the host draws for others, which want logprobs, in the same steps.
TEST(Engine, DeviceAndHostDrawTheSame) {
  std::vector<std::string> devices = {"cpu"};
  if (!msl_host_devices().empty()) devices.emplace_back("msl-host");
  for (const std::string& device : devices) {
    Model model = make_model(small_config(), device);
    const auto engine = make_engine(model, {.prefill_tokens = 512});
    std::vector<Collector> collectors(12);
    for (std::uint32_t i = 0; i < collectors.size(); ++i) {
      const std::uint32_t kind = i / 2;
      Request request{.prompt = tokens_of(20, 7), .max_new_tokens = 6, .ignore_eos = true};
      request.sampling = {.temperature = kind == 0 ? 0.0f : 1.1f,
                          .top_k = kind == 2 ? 30 : 0,
                          .top_p = kind == 3 ? 0.8f : 1.0f,
                          .repetition_penalty = kind >= 4 ? 1.4f : 1.0f,
                          .seed = 100 + kind};
      if (kind == 5) request.constraint = std::make_unique<Repeats>(std::vector<TokenId>{66, 67, 70}, 100);
      if (i % 2 == 0) request.logprobs = 0;
      engine->submit(std::move(request), collectors[i].sink());
    }
    for (std::size_t i = 0; i < collectors.size(); i += 2) {
      const Outcome by_host = collectors[i].wait();
      const Outcome by_device = collectors[i + 1].wait();
      EXPECT_EQ(by_host.tokens.size(), 6u);
      EXPECT_EQ(by_device.tokens, by_host.tokens) << device << ", request " << i;
    }
  }
}

TEST(Engine, KeepsToAConstraint) {
  Model model = make_model(small_config());
  const auto engine = make_engine(model);
  Request request{.prompt = tokens_of(8, 5)};
  request.constraint = std::make_unique<Repeats>(std::vector<TokenId>{66, 67}, 6);
  const Outcome outcome = run(*engine, std::move(request));
  EXPECT_EQ(outcome.tokens, (std::vector<TokenId>{66, 67, 66, 67, 66, 67}));
  EXPECT_EQ(outcome.end->reason, FinishReason::eos);
  Request impossible{.prompt = tokens_of(8, 5), .logit_bias = {{66, -std::numeric_limits<float>::infinity()}}};
  impossible.constraint = std::make_unique<Repeats>(std::vector<TokenId>{66, 67}, 6);
  const Outcome failed = run(*engine, std::move(impossible));
  ASSERT_TRUE(failed.error);
  expect_error(ErrorKind::input, {"forbid all"}, [&] { std::rethrow_exception(failed.error); });
}

TEST(Engine, StopsBeforeAStopStringAndAtEndTokens) {
  Model model = make_model(small_config());
  const Tokenizer& tokenizer = model.tokenizer();
  const auto engine = make_engine(model);
  const std::vector<TokenId> prompt = tokenizer.encode("the cat");
  const Outcome whole = run(*engine, {.prompt = prompt, .max_new_tokens = 30, .ignore_eos = true});
  const std::string stop = whole.text.substr(whole.text.size() / 2, 2);
  const Outcome stopped = run(*engine, {.prompt = prompt, .max_new_tokens = 30, .stop = {stop}, .ignore_eos = true});
  EXPECT_EQ(stopped.text, whole.text.substr(0, whole.text.find(stop)));
  EXPECT_EQ(stopped.end->reason, FinishReason::stop);
}

TEST(Engine, RefusesWhatIsWrong) {
  Model model = make_model(small_config());
  const auto engine = make_engine(model, {.max_running = 1, .max_queued = 1, .cache_positions = 64});
  const auto refuse = [&](ErrorKind kind, std::initializer_list<std::string_view> parts, Request request) {
    expect_error(kind, parts, [&] { engine->submit(std::move(request), [](RequestEvent&&) { return true; }); });
  };
  refuse(ErrorKind::input, {"empty"}, {});
  refuse(ErrorKind::input, {"300"}, {.prompt = {300}});
  refuse(ErrorKind::input, {"161", "160"}, {.prompt = tokens_of(161, 1)});
  refuse(ErrorKind::input, {"100", "cache", "64"}, {.prompt = tokens_of(100, 1)});
  refuse(ErrorKind::usage, {"temperature"}, {.prompt = {1}, .sampling = {.temperature = -1.0f}});
  refuse(ErrorKind::usage, {"logprobs", "21", "20"}, {.prompt = {1}, .logprobs = 21});
  refuse(ErrorKind::usage, {"logit_bias", "268"}, {.prompt = {1}, .logit_bias = {{268, 1.0f}}});
  refuse(ErrorKind::usage, {"max_new_tokens", "-1"}, {.prompt = {1}, .max_new_tokens = -1});
  refuse(ErrorKind::usage, {"stop"}, {.prompt = {1}, .stop = {""}});
  expect_error(ErrorKind::usage, {"max_running", "0"}, [&] { make_engine(model, {.max_running = 0}); });
}

TEST(Engine, AFullQueueRefuses) {
  Model model = make_model(small_config());
  Collector waits;
  std::atomic<int> events = 0;
  std::atomic<bool> may_go_on = false;
  const auto engine = make_engine(model, {.max_running = 1, .max_queued = 1});
  engine->submit({.prompt = tokens_of(3, 1), .max_new_tokens = 100, .ignore_eos = true}, [&](RequestEvent&&) {
    ++events;
    while (!may_go_on) std::this_thread::yield();
    return true;
  });
  while (events == 0) std::this_thread::yield();
  const RequestId queued = engine->submit({.prompt = tokens_of(3, 2), .max_new_tokens = 3}, waits.sink());
  EXPECT_TRUE(engine->is_full());
  expect_error(ErrorKind::usage, {"queue is full", "1 requests"},
               [&] { engine->submit({.prompt = tokens_of(3, 2)}, [](RequestEvent&&) { return true; }); });
  engine->cancel(queued);
  EXPECT_FALSE(engine->is_full());
  may_go_on = true;
}

}  // namespace
}  // namespace mslt

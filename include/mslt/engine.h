// Engine: many requests for generated text at once, over one model and one paged KV cache.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "mslt/generator.h"
#include "mslt/model.h"
#include "mslt/tokenizer.h"

namespace mslt {

// Restricts what a request may draw, token by token, such as to the texts of a grammar. One thread at a time.
class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;
  // Sets bit id % 32 of word id / 32 for each token that may come next, and clears all others. `allowed` has a bit for
  // each id of the model's vocabulary. Tokens that end a text are not the constraint's matter: see may_end.
  virtual void allow(std::span<std::uint32_t> allowed) const = 0;
  // Goes on by a token that allow() permitted.
  virtual void accept(TokenId token) = 0;
  // Whether the text may end here.
  virtual bool may_end() const = 0;
  // Whether the text must end here: no token can follow.
  virtual bool must_end() const = 0;
};

// One text to generate. A value, but for the constraint, which it owns.
struct Request {
  std::vector<TokenId> prompt;  // at least one token
  SamplingOptions sampling = {};
  // Subtracted from the logits of generated tokens: once for each that occurs, and once for each time it occurs.
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  std::vector<std::pair<TokenId, float>> logit_bias = {};  // added to logits; -infinity forbids a token
  std::int64_t max_new_tokens = 256;
  std::vector<std::string> stop = {};  // as GenerateOptions::stop
  bool ignore_eos = false;
  // Logarithms of probabilities of each drawn token and of so many most likely ones (0 to 20), before temperature and
  // filters; nothing: none.
  std::optional<std::int64_t> logprobs = {};
  std::unique_ptr<TokenConstraint> constraint = {};
};

struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0.0f;
};
struct DrawnToken {
  TokenLogprob drawn;
  std::vector<TokenLogprob> most_likely;  // by descending probability
};

// What became of a request at its end.
struct RequestSummary {
  FinishReason reason = FinishReason::length;
  std::int64_t prompt_tokens = 0;
  std::int64_t cached_prompt_tokens = 0;  // that were in the cache already
  std::int64_t new_tokens = 0;
  double queue_seconds = 0.0;
  double prefill_seconds = 0.0;
  double decode_seconds = 0.0;
};

// A part of a request's answer. Text comes in whole characters, never a part of a stop string. `tokens` are those drawn
// since the last event, which may be ahead of the text.
struct RequestEvent {
  std::string text;
  std::vector<DrawnToken> tokens;
  std::optional<RequestSummary> end;   // in the last event of a request that did not fail
  std::exception_ptr error = nullptr;  // the last event of one that did: an Error
};

// Called on the engine's thread, in order, never two at a time for one request. Must not block nor throw; returning
// false cancels the request, which then gets no more events.
using RequestSink = std::function<bool(RequestEvent&& event)>;
using RequestId = std::uint64_t;

struct EngineOptions {
  std::int64_t max_running = 32;      // requests that hold a part of the cache at a time
  std::int64_t max_queued = 1024;     // requests that wait for a place
  std::int64_t cache_positions = 0;   // of all requests together; 0: max_running texts of 2,048, or what memory holds
  std::int64_t prefill_tokens = 256;  // most tokens of prompts in a step, beside one for each request that decodes
  // Throws Error(usage) naming each option out of range, its value and what would be valid.
  void validate() const;
};

// A snapshot. Counters only grow; sums are of all ended requests.
struct EngineStatistics {
  std::int64_t running = 0;
  std::int64_t queued = 0;
  std::int64_t put_back = 0;  // how often a running request lost its blocks and was queued again
  std::int64_t finished = 0;
  std::int64_t cancelled = 0;
  std::int64_t failed = 0;
  std::int64_t prompt_tokens = 0;
  std::int64_t cached_prompt_tokens = 0;
  std::int64_t new_tokens = 0;
  std::int64_t cache_blocks = 0;
  std::int64_t cache_blocks_used = 0;  // by running requests
  std::int64_t cache_blocks_kept = 0;  // by nobody, for prompts to come
};

// A thread of its own computes. All functions may be called from any thread. The destructor cancels what runs.
class Engine {
 public:
  virtual ~Engine() = default;

  // Queues a request. Throws Error(usage) for options out of range or a full queue (is_full() tells beforehand), and
  // Error(input) for tokens that the model lacks, an empty prompt and one that does not fit the context.
  virtual RequestId submit(Request request, RequestSink sink) = 0;
  // Ends a request at the next step; its sink is not called after this returns. Unknown and ended ids do nothing.
  virtual void cancel(RequestId id) = 0;
  virtual bool is_full() const = 0;
  virtual EngineStatistics statistics() const = 0;
};

// Requests join and leave between steps. A request's tokens depend on it and the model alone, not on what else runs:
// bit for bit on the CPU. The model must outlive the engine and is not used by others meanwhile. Throws Error(usage)
// for options out of range and Error(memory) if the cache does not fit.
std::unique_ptr<Engine> make_engine(Model& model, const EngineOptions& options = {});

}  // namespace mslt

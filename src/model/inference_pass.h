// InferencePass: logits of new tokens over a KV cache.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "model/kv_cache.h"
#include "model/transformer.h"

namespace mslt {

// Whether the bits of a sequence's logits depend on its tokens alone. On the CPU with `independent` they do: neither on
// what else is in a pass, nor on how many of its tokens come at once. Products then keep to the kernels for few rows,
// whose sums have one order, and attention to tiles of keys at fixed places. Other devices take it as a wish.
enum class RowBits { fastest, independent };

// Some tokens of one sequence, one or more.
struct Chunk {
  int slot = 0;
  std::span<const std::int32_t> tokens = {};
  bool wants_logits = true;  // of the last one
};

// The tokens of a decode step, and room for the logits by which they were chosen: `words` are both, one behind the
// other.
struct NextTokens {
  explicit NextTokens(const Tensor& words);  // i32 [2 · N]
  Tensor words;
  Tensor tokens;  // i32 [N]
  Tensor logits;  // f32 [N]
};

// Runs prompts (many tokens of a sequence at once) and single decode steps with the same parameters and cache.
// Prompts of different lengths share a batch if little of it is padding. Activations are allocated for the largest
// call so far. The transformer and the cache must outlive it. One thread at a time.
class InferencePass {
 public:
  // For sequences of up to `longest` positions, or as many as the cache can hold where it is 0; RoPE's frequencies may
  // depend on it (RopeScalingType::longrope). Throws Error(usage) if the cache was made for another configuration.
  InferencePass(Transformer& transformer, KvCache& cache, RowBits bits = RowBits::fastest, std::int64_t longest = 0);
  InferencePass(const InferencePass&) = delete;
  InferencePass& operator=(const InferencePass&) = delete;
  ~InferencePass();

  // Appends tokens[i] (one or more ids, of any length each) to slots[i], advances the cache, and returns the logits f32
  // [slots, V'] of each sequence's last token, valid until the next call: those of the vocabulary, then columns of no
  // token. Slots must differ. Throws Error(input) naming an id outside the vocabulary, a sequence without tokens or a
  // slot given twice, and what KvCache::reserve throws; the cache is then as before.
  Tensor forward(std::span<const int> slots, std::span<const std::span<const std::int32_t>> tokens);

  // As forward(), but all chunks go through the products together, whatever their lengths are; best with those of one
  // token first. Returns logits f32 [W, V'] of the W chunks that want them, in order; no tensor if none does.
  Tensor run(std::span<const Chunk> chunks);

  // Where step() reads the tokens of so many slots, valid until forward() or a call for more slots.
  NextTokens next_tokens(std::int64_t count);
  // Uploads tokens to there.
  void set_next_tokens(std::span<const std::int32_t> tokens);
  // As forward(), but with logits of the dtype it computes in, for one token each, which lie in next_tokens() or are
  // still to be computed there: nothing waits for them. One that is outside the vocabulary counts as a row of zeros.
  // With `choices` above 0, puts the most likely of the ids below it, and its logit, into next_tokens() for the step
  // after this one. The operations of the first step of its kind are recorded, and every later one replays them.
  Tensor step(std::span<const int> slots, std::int64_t choices = 0);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mslt

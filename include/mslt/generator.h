// Generating text from a model: sampling options, streamed output, several samples at once.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mslt/model.h"
#include "mslt/tokenizer.h"

namespace mslt {

// Applied in this order: repetition penalty, temperature, top_k, top_p, min_p, then one draw.
struct SamplingOptions {
  float temperature = 1.0f;         // 0 chooses the most likely token (greedy); otherwise logits are divided by it
  std::int64_t top_k = 0;           // keep the k most likely tokens; 0 keeps all
  float top_p = 1.0f;               // keep the smallest set with at least this probability (Holtzman et al., 2020)
  float min_p = 0.0f;               // keep tokens with at least this share of the most likely one's probability
  float repetition_penalty = 1.0f;  // divide positive, multiply negative logits of seen tokens (Keskar et al., 2019)
  std::uint64_t seed = 0;

  // Throws Error(usage) naming each option out of range, its value and the valid range.
  void validate() const;
};

struct GenerateOptions {
  SamplingOptions sampling = {};
  std::int64_t max_new_tokens = 256;
  // The text ends before the first of these strings. If one is the text of a special token, drawing that token also
  // ends it, although the token is not shown.
  std::vector<std::string> stop = {};
  std::int64_t num = 1;  // samples, drawn independently from (seed, sample)
  bool ignore_eos = false;
  // For generate(), which encodes the prompt: whether to put the tokenizer's text prefix before the prompt, and whether
  // the spelling of a special token in the prompt becomes that token.
  bool add_prefix = true;
  bool parse_special = false;

  // As SamplingOptions::validate, for all options.
  void validate() const;
};

enum class FinishReason { length, eos, stop, cancelled };
std::string_view name_of(FinishReason reason);

struct Generated {
  std::string text;             // without the prompt, cut before a stop string
  std::vector<TokenId> tokens;  // the drawn tokens, including the ending token
  FinishReason reason = FinishReason::length;
};

struct GenerateStatistics {
  std::int64_t prompt_tokens = 0;
  std::int64_t new_tokens = 0;  // of all samples
  double prefill_seconds = 0.0;
  double decode_seconds = 0.0;
};

// Holds a KV cache for the model, which must outlive it. One thread at a time.
class Generator {
 public:
  explicit Generator(Model& model);
  Generator(const Generator&) = delete;
  Generator& operator=(const Generator&) = delete;
  ~Generator();

  // Continues `prompt`. An empty prompt starts a document. `on_text(sample, piece)` receives whole characters as soon
  // as they are certain, never a part of a stop string; returning false cancels that sample. The prompt is processed in
  // one pass. A text that outgrows the model's context continues from its last half. Results depend only on the model,
  // the prompt and the options. Throws Error(usage) for options out of range, Error(input) for a prompt longer than the
  // context.
  std::vector<Generated> generate(std::string_view prompt, const GenerateOptions& options,
                                  const std::function<bool(std::int64_t sample, std::string_view piece)>& on_text = {});

  // The same from token ids.
  std::vector<Generated> generate_from_tokens(
      std::span<const TokenId> prompt, const GenerateOptions& options,
      const std::function<bool(std::int64_t sample, std::string_view piece)>& on_text = {});

  // For the last call.
  const GenerateStatistics& statistics() const;

 private:
  struct State;
  Model& model_;
  std::unique_ptr<State> state_;
};

}  // namespace mslt

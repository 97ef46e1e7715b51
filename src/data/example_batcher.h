// Padded batches of short examples, such as prompts with their answers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "data/loader.h"
#include "mslt/tokenizer.h"

namespace mslt {

struct Example {
  std::vector<TokenId> tokens;  // at least 2
  std::size_t prompt = 0;       // so many first tokens are given, not learnt
};

// What becomes of an example of more than max_tokens tokens.
enum class Truncation {
  refuse,      // Error(input)
  keep_first,  // its last tokens are dropped
  keep_last,   // its first tokens are dropped, of the prompt first
};

struct ExampleBatcherOptions {
  std::size_t batch = 1;       // examples a batch
  std::size_t max_tokens = 0;  // of one example; 0: any number, else at least 2
  Truncation truncation = Truncation::refuse;
  TokenId pad_id = 0;
  std::uint64_t seed = 0;
  bool shuffle = true;           // the order of examples, anew each epoch
  bool bucket_by_length = true;  // examples of about one length share a batch; which batch comes when is still shuffled
};

// Row-major [rows, length].
struct PaddedBatch {
  std::size_t rows = 0;
  std::size_t length = 0;             // one less than the tokens of the longest example in the batch
  std::vector<std::int32_t> tokens;   // all but the last of each example, then pad_id
  std::vector<std::int32_t> targets;  // the token that follows; -1 where it is of the prompt and in the padding
  std::vector<std::uint8_t> mask;     // 1 where `tokens` holds a token of the example, 0 in the padding
};

// Hands out every example once an epoch; the last batch of an epoch has what is left. What next() gives depends on the
// examples, the options and the state alone. One thread at a time.
class ExampleBatcher {
 public:
  // Throws Error(usage) on an option that is out of range, Error(input) where there are no examples, or naming one by
  // its place that is too short or too long, has an id over 2^31 - 1, or whose targets would all be of the prompt.
  ExampleBatcher(std::vector<Example> examples, const ExampleBatcherOptions& options);

  PaddedBatch next();

  // The position counts batches here.
  LoaderState state() const { return state_; }
  // Throws Error(input) where an epoch has fewer batches than the position.
  void restore(const LoaderState& state);
  std::uint64_t batches() const;  // an epoch

 private:
  void order_epoch();

  std::vector<Example> examples_;
  ExampleBatcherOptions options_;
  LoaderState state_;
  std::vector<std::size_t> order_;  // of the examples in state_.epoch, batch after batch
};

}  // namespace mslt

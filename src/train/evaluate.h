// How well a model predicts text it has not seen.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/data_folder.h"
#include "model/training_pass.h"
#include "mslt/tokenizer.h"

namespace mslt {

struct EvaluateOptions {
  std::filesystem::path data;  // a data folder
  std::string split = "val";
  std::shared_ptr<const TokenStream> tokens;  // the split if it is open already; `data` then names it in errors
  std::int64_t batch = 1;                     // those of the pass
  std::int64_t seq_len = 1;
  std::int64_t max_batches = 0;  // 0: the whole split, every token; else so many batches, the same ones every time
  // Put before each window that does not begin with it, as before a text; counts in seq_len. The first token of the
  // split is then a target as well, unless only some batches are read.
  std::vector<TokenId> prefix = {};
  std::function<void(std::int64_t done, std::int64_t batches)> progress = nullptr;  // after each batch
  const std::atomic<bool>* stop = nullptr;  // set, it ends the evaluation before the next batch
};

struct EvaluationResult {
  double loss = 0.0;           // mean over the targets, in nats
  double perplexity = 0.0;     // e^loss
  double bits_per_byte = 0.0;  // total loss / ln 2 / bytes of the targets' text; 0 if there are none
  std::int64_t targets = 0;
  std::int64_t bytes = 0;
  bool stopped = false;  // before the end: the numbers are those of the batches read, of which there may be none
};

// Predicts each window of the split from its beginning and sums batches in f64. Allocates no device memory. Throws
// Error(input) on a target without an entry in `bytes_of_token`, Error(usage) if the prefix leaves no room for a token,
// Error(io) if the weights' file has become shorter, and what BatchLoader throws.
EvaluationResult evaluate(Backend& backend, TrainingPass& pass, const EvaluateOptions& options,
                          std::span<const std::uint32_t> bytes_of_token);

// The bytes of text that each token stands for: 0 for [EOS] and what else separates the documents of `data`.
std::vector<std::uint32_t> bytes_of_tokens(const Tokenizer& tokenizer, const DataInfo& data);

// How a split is read: so many sequences at once, of so many tokens each.
struct EvaluationShape {
  std::int64_t batch = 1;
  std::int64_t seq_len = 1;
};

// The length is `seq_len`; if that is 0, the longest that the model takes and a split of `tokens` tokens after `prefix`
// more can fill. The batch is `batch`; if absent, 8 or as many sequences as make 65,536 tokens, at most all. What was
// not given is halved, the batch first, until activations of `dtype` take at most `memory` bytes (0: any number).
EvaluationShape choose_evaluation_shape(const Config& config, DType dtype, std::uint64_t tokens, std::int64_t prefix,
                                        std::optional<std::int64_t> batch, std::int64_t seq_len, std::uint64_t memory);

}  // namespace mslt

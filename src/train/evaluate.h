// How well a model predicts text it has not seen.
#pragma once

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
  std::shared_ptr<const TokenStream> tokens;  // the split, where it is open already; `data` then names it in errors
  std::int64_t batch = 1;                     // those of the pass
  std::int64_t seq_len = 1;
  std::int64_t max_batches = 0;  // 0: the whole split, every token; else so many batches, the same ones every time
  // Stands before each window that does not begin with it, as it does before a text, and takes its place in seq_len.
  // Then the first token of the split is a target as well, unless only some batches are read.
  std::vector<TokenId> prefix = {};
  std::function<void(std::int64_t done, std::int64_t batches)> progress = nullptr;  // after each batch
};

struct EvaluationResult {
  double loss = 0.0;           // mean over the targets, in nats
  double perplexity = 0.0;     // e^loss
  double bits_per_byte = 0.0;  // total loss / ln 2 / bytes of the targets' text; 0 where there are none
  std::int64_t targets = 0;
  std::int64_t bytes = 0;
};

// Predicts each window of the split from its own beginning on. `bytes_of_token` has an entry for every id; throws
// Error(input) on a target that it has none for, Error(usage) where the prefix leaves no room for a token. Sums batches
// in f64. Throws what BatchLoader throws, and Error(io) where the weights' file became shorter meanwhile. Loads with
// nothing but the pass's own memory.
EvaluationResult evaluate(Backend& backend, TrainingPass& pass, const EvaluateOptions& options,
                          std::span<const std::uint32_t> bytes_of_token);

// The bytes of text that each token stands for: 0 for [EOS] and what else separates the documents of `data`.
std::vector<std::uint32_t> bytes_of_tokens(const Tokenizer& tokenizer, const DataInfo& data);

// How a split is read: so many sequences at once, of so many tokens each.
struct EvaluationShape {
  std::int64_t batch = 1;
  std::int64_t seq_len = 1;
};

// A length as asked for (0: none is), else the longest that the model and a split of `tokens` tokens, with `prefix`
// more before it, have a use for; a batch as asked for, else 8 or as many as make 65,536 tokens, but no more than there
// are sequences. What was not asked for is halved, the batch first, until the activations, of `dtype`, take no more
// than `memory` bytes (0: any number).
EvaluationShape choose_evaluation_shape(const Config& config, DType dtype, std::uint64_t tokens, std::int64_t prefix,
                                        std::optional<std::int64_t> batch, std::int64_t seq_len, std::uint64_t memory);

}  // namespace mslt

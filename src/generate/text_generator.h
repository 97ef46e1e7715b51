// TextGenerator: the decoding loop over a transformer, a tokenizer and a KV cache.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "model/transformer.h"
#include "mslt/generator.h"
#include "mslt/tokenizer.h"

namespace mslt {

// on_text as in Generator::generate.
using TextSink = std::function<bool(std::int64_t sample, std::string_view piece)>;

// Holds references only; the cache lives during a call. One thread at a time.
class TextGenerator {
 public:
  // Texts end at any of eos_ids. Never draws tokens that the model lacks, nor ids without a token.
  TextGenerator(Transformer& transformer, const Tokenizer& tokenizer, std::span<const TokenId> eos_ids);

  // See Generator::generate_from_tokens. An empty prompt starts with the tokenizer's [EOS], which separates documents;
  // without one with the first of eos_ids, then its [BOS]. Throws Error(input) naming a token of the prompt that the
  // model lacks.
  std::vector<Generated> generate(std::span<const TokenId> prompt, const GenerateOptions& options,
                                  const TextSink& on_text);

  const GenerateStatistics& statistics() const { return statistics_; }

 private:
  void require_known(std::span<const TokenId> prompt) const;

  Transformer& transformer_;
  Tokenizer tokenizer_;
  std::vector<TokenId> eos_ids_;
  std::vector<TokenId> no_tokens_;  // ids between others that have none
  GenerateStatistics statistics_;
};

}  // namespace mslt

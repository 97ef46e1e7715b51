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
  // Texts end at any of eos_ids. Throws Error(input) where the tokenizer has more tokens than the model.
  TextGenerator(Transformer& transformer, const Tokenizer& tokenizer, std::span<const TokenId> eos_ids);

  // See Generator::generate_from_tokens. An empty prompt starts with the tokenizer's [EOS], which stands between
  // documents, or else its [BOS].
  std::vector<Generated> generate(std::span<const TokenId> prompt, const GenerateOptions& options,
                                  const TextSink& on_text);

  const GenerateStatistics& statistics() const { return statistics_; }

 private:
  Transformer& transformer_;
  Tokenizer tokenizer_;
  std::vector<TokenId> eos_ids_;
  GenerateStatistics statistics_;
};

}  // namespace mslt

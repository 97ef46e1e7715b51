// The text of an answer that arrives token by token, and where it ends.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "generate/stop_strings.h"
#include "mslt/generator.h"
#include "mslt/tokenizer.h"

namespace mslt {

// One thread at a time.
class AnswerText {
 public:
  // Ends at any of eos_ids, and before a stop string; a stop string that is the text of a special token ends it at that
  // token, too. Throws Error(usage) for an empty stop string.
  AnswerText(const Tokenizer& tokenizer, std::span<const TokenId> prompt, std::span<const TokenId> eos_ids,
             const std::vector<std::string>& stop);

  // The tokens that end the text.
  std::span<const TokenId> ends() const { return ends_; }
  // The text that is certain now; nothing after reason() has a value.
  std::string push(TokenId token);
  // No more tokens come: what was held back, unless it is or holds a stop string after all. `reason` is that of the end
  // otherwise.
  std::string finish(FinishReason reason);
  std::optional<FinishReason> reason() const { return reason_; }

 private:
  std::vector<TokenId> ends_;   // those of stop strings, then those of eos_ids
  std::size_t stop_count_ = 0;  // how many are of stop strings
  StreamDecoder decoder_;
  StopStrings stop_;
  std::optional<FinishReason> reason_;
};

}  // namespace mslt

// Text from a stream of tokens, in whole characters.
#include "mslt/tokenizer.h"
#include "text/utf8.h"

namespace mslt {

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(tokenizer), skip_special_(skip_special) {}

std::string StreamDecoder::push(TokenId id) {
  const std::string_view bytes = tokenizer_.token_bytes(id);
  std::string text;
  if (skip_special_ && tokenizer_.is_special(id)) return text;
  pending_ += bytes;
  pending_.erase(0, append_replacing_invalid(pending_, text));
  return text;
}

std::string StreamDecoder::finish() {
  std::string text;
  // The bytes held back start a character that is never completed.
  if (!pending_.empty()) append_utf8(text, replacement_character);
  pending_.clear();
  return text;
}

}  // namespace mslt

// Text from a stream of tokens, in whole characters.
#include "mslt/tokenizer.h"
#include "text/tables.h"
#include "text/utf8.h"

namespace mslt {

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special, bool continues)
    : tokenizer_(tokenizer), skip_special_(skip_special), continues_(continues), state_(start()) {}

StreamDecoder::State StreamDecoder::start() const {
  const auto& pieces = tokenizer_.tables_->pieces;
  return pieces ? pieces->start(continues_) : State();
}

std::string StreamDecoder::push(TokenId id) {
  std::string text;
  if (skip_special_ && tokenizer_.is_special(id)) return text;
  if (const auto& pieces = tokenizer_.tables_->pieces) {
    pieces->push(id, state_, text);
  } else {
    state_.pending += tokenizer_.token_bytes(id);
    state_.pending.erase(0, append_replacing_invalid(state_.pending, text));
  }
  return text;
}

std::string StreamDecoder::finish() {
  std::string text;
  if (const auto& pieces = tokenizer_.tables_->pieces) {
    pieces->finish(state_, text);
  } else if (!state_.pending.empty()) {
    // The bytes held back start a character that is never completed.
    append_utf8(text, replacement_character);
  }
  state_ = start();
  return text;
}

}  // namespace mslt

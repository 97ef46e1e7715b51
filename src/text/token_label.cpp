// Labels of tokens.
#include "text/token_label.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string_view>

#include "text/utf8.h"

namespace mslt {

std::string token_label(const Tokenizer& tokenizer, TokenId id) {
  if (!tokenizer.has_token(id)) return fmt::format("the id {}", id);
  const std::string_view bytes = tokenizer.token_bytes(id);
  std::string text;
  for (std::size_t at = 0; at < bytes.size();) {
    const Utf8Result character = decode_utf8(bytes, at);
    const std::string_view own = bytes.substr(at, character.length);
    const bool shown = character.status == Utf8Status::valid && character.code_point >= 0x20 &&
                       (character.code_point < 0x7f || character.code_point > 0x9f);
    if (shown) text += own;
    for (const char byte : shown ? std::string_view() : own) {
      text += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
    }
    at += character.length;
  }
  return fmt::format("'{}' (id {})", text, id);
}

std::string token_labels_from(const Tokenizer& tokenizer, TokenId first, std::size_t most) {
  std::vector<std::string> labels;
  std::size_t more = 0;
  for (TokenId id = first; id < tokenizer.vocab_size(); ++id) {
    if (!tokenizer.has_token(id)) continue;
    if (labels.size() < most) {
      labels.push_back(token_label(tokenizer, id));
    } else {
      ++more;
    }
  }
  std::string text = fmt::format("{}", fmt::join(labels, ", "));
  if (more > 0) text += fmt::format(" and {} more", more);
  return text;
}

std::vector<TokenId> ids_without_token(const Tokenizer& tokenizer) {
  std::vector<TokenId> ids;
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    if (!tokenizer.has_token(id)) ids.push_back(id);
  }
  return ids;
}

}  // namespace mslt

// Any bytes as a tokenizer file: either an Error, or a tokenizer that encodes and decodes without loss and writes a
// file that it can read.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "mslt/error.h"
#include "mslt/tokenizer.h"
#include "text/byte_characters.h"
#include "text/tables.h"
#include "text/tiktoken_file.h"
#include "text/tokenizer_json.h"
#include "text/utf8.h"

namespace {

void check(bool holds) {
  if (!holds) std::abort();
}

// Whether no text is rewritten, dropped, or stripped of spaces around a token.
bool keeps_all(const mslt::TokenizerParts& parts) {
  if (!parts.byte_level || !parts.normalizer.empty() || !parts.pre_tokenizer.single_pattern()) return false;
  for (const mslt::AddedToken& token : parts.added) {
    if (token.lstrip || token.rstrip) return false;
  }
  std::array<bool, 256> has_token{};
  for (const std::string& token : parts.tokens) {
    if (token.size() == 1) has_token[static_cast<unsigned char>(token.front())] = true;
  }
  return std::find(has_token.begin(), has_token.end(), false) == has_token.end();
}

void use(const mslt::Tokenizer& tokenizer, bool keeps, bool byte_level) {
  std::string text = "The quick brown fox, 1234 times!\n\xFF\xC3\xA9\xE2\x82 [EOS]<|endoftext|>";
  text.append(200, 'a');
  for (const auto special : {mslt::SpecialTokens::as_text, mslt::SpecialTokens::parse}) {
    const auto ids = tokenizer.encode(text, special);
    const std::string decoded = tokenizer.decode(ids);
    // A leading space may have been added.
    if (keeps && decoded.size() == text.size()) check(decoded == text);
    mslt::StreamDecoder decoder(tokenizer, false);
    std::string streamed;
    for (const auto id : ids) streamed += decoder.push(id);
    streamed += decoder.finish();
    std::string replaced;
    const std::size_t whole = mslt::append_replacing_invalid(decoded, replaced);
    if (whole < decoded.size()) mslt::append_utf8(replaced, mslt::replacement_character);
    check(streamed == replaced);
    for (const auto id : ids) {
      const bool may_be_special =
          special == mslt::SpecialTokens::parse || !byte_level || mslt::is_its_own_spelling(tokenizer.token_bytes(id));
      check(may_be_special || !tokenizer.is_special(id));
    }
    for (std::size_t known = 1; known <= text.size(); known += 7) {
      const auto cut = tokenizer.find_cut(std::string_view(text).substr(0, known), special);
      if (!cut) continue;
      auto joined = tokenizer.encode(std::string_view(text).substr(0, cut->position), special);
      tokenizer.encode_append(std::string_view(text).substr(cut->position), joined, special, cut->continues);
      check(joined == ids);
    }
  }
  const std::string written = tokenizer.to_json();
  const auto again = mslt::Tokenizer::from_json(written, "written");
  check(again.encode(text) == tokenizer.encode(text));
  check(again.to_json() == written);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const mslt::TokenizerParts parts = mslt::parts_from_json(text, "input");
    use(mslt::Tokenizer::from_json(text, "input"), keeps_all(parts), parts.byte_level);
  } catch (const mslt::Error&) {
    // Invalid tokenizers are rejected.
  }
  try {
    static_cast<void>(mslt::make_tables(mslt::parts_from_tiktoken(text, mslt::SplitPattern::gpt2, "input"), "input"));
  } catch (const mslt::Error&) {
    // The same.
  }
  return 0;
}

// Any bytes as a tokenizer file: either an Error, or a tokenizer that encodes and decodes without loss and writes a
// file that it reads back.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "mslt/error.h"
#include "mslt/tokenizer.h"
#include "text/tables.h"
#include "text/tiktoken_file.h"
#include "text/tokenizer_json.h"

namespace {

void check(bool holds) {
  if (!holds) std::abort();
}

void use(const mslt::Tokenizer& tokenizer) {
  std::string text = "The quick brown fox, 1234 times!\n\xFF\xC3\xA9\xE2\x82 [EOS]<|endoftext|>";
  text.append(200, 'a');
  for (const auto special : {mslt::SpecialTokens::as_text, mslt::SpecialTokens::parse}) {
    const auto ids = tokenizer.encode(text, special);
    const std::string decoded = tokenizer.decode(ids);
    // A leading space may have been put in, and NFC may have rewritten the rest.
    if (!tokenizer.normalizes() && decoded.size() == text.size()) check(decoded == text);
    for (const auto id : ids) check(special == mslt::SpecialTokens::parse || !tokenizer.is_special(id));
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
    use(mslt::Tokenizer::from_json(text, "input"));
  } catch (const mslt::Error&) {
    // What is not a tokenizer is rejected.
  }
  try {
    static_cast<void>(mslt::make_tables(mslt::parts_from_tiktoken(text, mslt::SplitPattern::gpt2, "input"), "input"));
  } catch (const mslt::Error&) {
    // The same.
  }
  return 0;
}

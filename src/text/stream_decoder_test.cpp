// Tests of StreamDecoder against decoding at once.
#include <gtest/gtest.h>

#include "base/philox.h"
#include "mslt/error.h"
#include "mslt/tokenizer.h"
#include "text/utf8.h"

namespace mslt {
namespace {

const std::string replacement = "\uFFFD";

Tokenizer bytes_only() {
  return Tokenizer::train_on_text("x", {.vocab_size = 258, .special = {"[PAD]", "[EOS]"}});
}

bool is_whole(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Result character = decode_utf8(text, at);
    if (character.status != Utf8Status::valid) return false;
    at += character.length;
  }
  return true;
}

// The result of each byte's push in turn, and of finish.
std::vector<std::string> pushed(std::string_view bytes) {
  const Tokenizer tokenizer = bytes_only();
  StreamDecoder decoder(tokenizer);
  std::vector<std::string> results;
  for (const char byte : bytes) results.push_back(decoder.push(tokenizer.encode(std::string_view(&byte, 1)).front()));
  results.push_back(decoder.finish());
  EXPECT_EQ(decoder.finish(), "");
  return results;
}

using Strings = std::vector<std::string>;

TEST(StreamDecoder, HoldsBackUntilACharacterIsWhole) {
  EXPECT_EQ(pushed("a\u00E9b"), (Strings{"a", "", "\u00E9", "b", ""}));
  EXPECT_EQ(pushed("\U0001F600"), (Strings{"", "", "", "\U0001F600", ""}));
}

TEST(StreamDecoder, AGenuineReplacementCharacterPasses) {
  EXPECT_EQ(pushed("\uFFFDx"), (Strings{"", "", replacement, "x", ""}));
}

TEST(StreamDecoder, ReplacesWhatCannotBecomeACharacterAtOnce) {
  EXPECT_EQ(pushed("\xFF"), (Strings{replacement, ""}));
  EXPECT_EQ(pushed("\x80"), (Strings{replacement, ""}));
  // Two bytes of three, then a letter: one U+FFFD for both.
  EXPECT_EQ(pushed("\xE2\x82z"), (Strings{"", "", replacement + "z", ""}));
  // A surrogate: no second byte fits, so each byte is one.
  EXPECT_EQ(pushed("\xED\xA0\x80"), (Strings{"", replacement + replacement, replacement, ""}));
  EXPECT_EQ(pushed("\xE2\xE2\x82\xAC"), (Strings{"", replacement, "", "\u20AC", ""}));
}

TEST(StreamDecoder, FinishGivesWhatIsHeldBackAsOneReplacement) {
  EXPECT_EQ(pushed("\xF0\x9F\x98"), (Strings{"", "", "", replacement}));
}

TEST(StreamDecoder, SkipsSpecialTokensOrNot) {
  const Tokenizer tokenizer = bytes_only();
  const TokenId eos = tokenizer.eos_id().value();
  StreamDecoder skipping(tokenizer);
  EXPECT_EQ(skipping.push(eos), "");
  StreamDecoder showing(tokenizer, false);
  EXPECT_EQ(showing.push(tokenizer.encode("\xC3").front()), "");
  EXPECT_EQ(showing.push(eos), replacement + "[EOS]");
}

TEST(StreamDecoder, IdsWithoutATokenAddNothing) {
  const Tokenizer tokenizer = bytes_only();
  StreamDecoder decoder(tokenizer);
  EXPECT_EQ(decoder.push(tokenizer.encode("\xC3").front()), "");
  EXPECT_EQ(decoder.push(258), "");
  EXPECT_EQ(decoder.push(tokenizer.encode("\xA9").front()), "\u00E9");
}

// Tokens of several bytes that start and end anywhere: the joined output equals decoding all bytes at once, and every
// part consists of whole characters.
TEST(StreamDecoder, EqualsDecodingAtOnce) {
  std::string text;
  for (int i = 0; i < 50; ++i) text += "\U0001F600\u20AC\U0001F680\u00E9\uFFFD\u4E2D\u6587";
  const Tokenizer tokenizer = Tokenizer::train_on_text(text, {.vocab_size = 275, .pattern = SplitPattern::none});
  PhiloxStream random(9, 0, 0);
  for (int round = 0; round < 500; ++round) {
    StreamDecoder decoder(tokenizer, false);
    std::string streamed;
    std::vector<TokenId> ids;
    for (int i = 0; i < 12; ++i) {
      // About half of them are among the last ids, the merges.
      ids.push_back(static_cast<TokenId>(random.below(2) == 0 ? random.below(275) : 259 + random.below(16)));
      const std::string part = decoder.push(ids.back());
      EXPECT_TRUE(is_whole(part));
      streamed += part;
    }
    streamed += decoder.finish();
    std::string expected;
    const std::string bytes = tokenizer.decode(ids);
    const std::size_t taken = append_replacing_invalid(bytes, expected);
    if (taken < bytes.size()) expected += replacement;
    EXPECT_EQ(streamed, expected);
  }
}

}  // namespace
}  // namespace mslt

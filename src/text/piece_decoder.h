// From the tokens of vocabularies of characters to text, like the decoders of tokenizer.json.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mslt/tokenizer.h"
#include "text/normalizer.h"

namespace mslt {

// What is done with the tokens of a text, in this order.
struct DecoderSteps {
  // Stands for a space in tokens, and for nothing in the first one if that loses them (Metaspace); may be empty.
  std::string space_sign;
  bool first_loses_spaces = false;
  Normalizer replacements;     // on each token
  bool byte_fallback = false;  // tokens like <0x0A> are bytes
  std::string stripped;        // a character that is removed from the start of the whole text, so many times at most
  std::uint64_t most_stripped = 0;
};

// Immutable; safe to share between threads.
class PieceDecoder {
 public:
  // Keeps a view of the tokens, which must outlive it.
  PieceDecoder(DecoderSteps steps, std::span<const std::string> tokens);

  // What a token is inside of a text.
  std::string_view bytes(TokenId id) const { return pieces_[id]; }

  using State = StreamDecoder::State;
  // At the start of a text, or inside of one.
  State start(bool continues) const;
  // Appends the text that is certain after this token: all of it, but for a run of bytes that may go on. As in the
  // tokenizers package, a run that is not valid UTF-8 becomes one U+FFFD for each byte.
  void push(TokenId id, State& state, std::string& text) const;
  void finish(State& state, std::string& text) const;

 private:
  std::string piece_of(std::string_view token, bool is_first) const;
  void append(std::string_view piece, State& state, std::string& text) const;

  DecoderSteps steps_;
  std::span<const std::string> tokens_;
  std::vector<std::string> pieces_;  // by id
  std::vector<bool> is_byte_;
};

// The byte that a token like <0x0A> stands for, and back.
std::optional<unsigned char> byte_of_token(std::string_view token);
std::string token_of_byte(unsigned char byte);

}  // namespace mslt

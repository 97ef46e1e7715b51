// Tokens are decoded once; runs of bytes are joined as they come.
#include "text/piece_decoder.h"

#include <fmt/format.h>

#include <charconv>
#include <utility>

#include "text/utf8.h"

namespace mslt {

std::optional<unsigned char> byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
  unsigned char byte = 0;
  const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, byte, 16);
  if (error != std::errc() || end != token.data() + 5) return std::nullopt;
  return byte;
}

std::string token_of_byte(unsigned char byte) {
  return fmt::format("<0x{:02X}>", byte);
}

PieceDecoder::PieceDecoder(DecoderSteps steps, std::span<const std::string> tokens)
    : steps_(std::move(steps)), tokens_(tokens), is_byte_(tokens.size(), false) {
  pieces_.reserve(tokens.size());
  for (const std::string& token : tokens) {
    pieces_.push_back(piece_of(token, false));
    const auto byte = steps_.byte_fallback ? byte_of_token(pieces_.back()) : std::nullopt;
    if (!byte) continue;
    is_byte_[pieces_.size() - 1] = true;
    pieces_.back().assign(1, static_cast<char>(*byte));
  }
}

std::string PieceDecoder::piece_of(std::string_view token, bool is_first) const {
  std::string piece(token);
  if (!steps_.space_sign.empty()) {
    piece = replace_text(piece, steps_.space_sign, is_first && steps_.first_loses_spaces ? "" : " ");
  }
  return steps_.replacements.apply(piece);
}

PieceDecoder::State PieceDecoder::start(bool continues) const {
  if (continues) return {};
  return {.pending = {}, .to_strip = steps_.most_stripped, .is_first = steps_.first_loses_spaces};
}

void PieceDecoder::append(std::string_view piece, State& state, std::string& text) const {
  while (state.to_strip > 0 && !piece.empty()) {
    if (piece.starts_with(steps_.stripped)) {
      piece.remove_prefix(steps_.stripped.size());
      --state.to_strip;
    } else {
      state.to_strip = 0;
    }
  }
  text += piece;
}

void PieceDecoder::push(TokenId id, State& state, std::string& text) const {
  if (id >= tokens_.size() || tokens_[id].empty()) return;
  if (is_byte_[id]) {
    state.pending += pieces_[id];
  } else {
    finish(state, text);
    append(state.is_first ? piece_of(tokens_[id], true) : pieces_[id], state, text);
  }
  state.is_first = false;
}

void PieceDecoder::finish(State& state, std::string& text) const {
  if (is_utf8(state.pending)) {
    append(state.pending, state, text);
  } else {
    std::string unknown;
    for (std::size_t i = 0; i < state.pending.size(); ++i) append_utf8(unknown, replacement_character);
    append(unknown, state, text);
  }
  state.pending.clear();
}

}  // namespace mslt

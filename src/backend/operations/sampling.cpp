// Checks of the choice of tokens.
#include "backend/operations/sampling.h"

#include "backend/operations/checks.h"

namespace mslt {

void Argmax::check(const Arguments& given) const {
  check_logits(given, logits, vocab);
  given.vector(values, logits.shape().rows());
  given.vector(indices, logits.shape().rows());
}

void TopK::check(const Arguments& given) const {
  check_logits(given, logits, vocab);
  given.elements(values);
  const std::int64_t k = values.shape().rank() == 0 ? 1 : values.shape()[-1];
  given.require(k >= 1 && k <= vocab, "values is {}, but must have rows of 1…{} elements.", values.describe(), vocab);
  given.matrix(values, logits.shape().rows(), k);
  given.matrix(indices, logits.shape().rows(), k);
}

void DrawTokens::check(const Arguments& given) const {
  check_logits(given, logits, vocab);
  const std::int64_t rows = logits.shape().rows();
  given.vector(tokens, rows);
  given.vector(values, rows);
  given.vector(draws, rows);
  given.matrix(settings, rows, DrawSettings::words);
  if (seen) given.matrix(seen, rows, token_words(vocab));
  if (!excluded) return;
  if (excluded.shape().rank() == 2) {
    given.matrix(excluded, rows, token_words(vocab));
  } else {
    given.vector(excluded, token_words(vocab));
  }
}

}  // namespace mslt

// Checks of the embeddings.
#include "backend/operations/embedding.h"

#include "backend/operations/checks.h"

namespace mslt {

void EmbeddingForward::check(const Arguments& given) const {
  given.rank(tokens, 2);
  const std::int64_t channels = check_weight(given, token_weight, token_scales);
  given.matrix(out, tokens.elements(), channels);
  if (position_weight) {
    given.rank(position_weight, 2);
    given.matrix(position_weight, position_weight.shape()[0], channels);
  }
  check_positions(given, positions, tokens.shape()[0]);
}

void EmbeddingBackward::check(const Arguments& given) const {
  given.rank(tokens, 2);
  given.present(dout);
  const std::int64_t channels = dout.shape().rank() == 0 ? 1 : dout.shape()[-1];
  given.matrix(dout, tokens.elements(), channels);
  if (dtoken_weight) {
    given.rank(dtoken_weight, 2);
    given.matrix(dtoken_weight, dtoken_weight.shape()[0], channels);
  }
  if (!dposition_weight) return;
  given.rank(dposition_weight, 2);
  given.matrix(dposition_weight, dposition_weight.shape()[0], channels);
  given.require(dposition_weight.shape()[0] >= tokens.shape()[1],
                "dposition_weight is {}, but must have a row for each of {} positions.", dposition_weight.describe(),
                tokens.shape()[1]);
}

void Rope::check(const Arguments& given) const {
  check_qkv(given, qkv, shape);
  check_frequencies(given, inverse_frequencies, shape);
  check_positions(given, positions, qkv.shape()[0]);
}

}  // namespace mslt

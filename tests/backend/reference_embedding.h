// Embedding and rotary positions in double precision, in the plainest form.
#pragma once

#include <cstddef>
#include <vector>

#include "backend/backend.h"

namespace mslt::test {

struct EmbeddingSize {
  std::size_t batch, length, columns, vocab, places;
};

// position_weight may be empty; first has one element per sequence.
std::vector<double> reference_embedding(const EmbeddingSize& size, const std::vector<double>& tokens,
                                        const std::vector<double>& token_weight,
                                        const std::vector<double>& position_weight, const std::vector<double>& first,
                                        double scale);

// Adds to both gradients.
void reference_embedding_backward(const EmbeddingSize& size, const std::vector<double>& tokens,
                                  const std::vector<double>& dout, double scale, std::vector<double>& dtoken_weight,
                                  std::vector<double>& dposition_weight);

// Rotates the first channels of queries and keys of qkv [batch, length, (H + 2K) · D], a pair for each frequency, by
// `direction` times their angles, and scales them. Angles are rounded to float as in the operation: at position 100000
// that rounding amounts to 0.004 radians.
std::vector<double> reference_rope(std::vector<double> qkv, const std::vector<double>& frequencies,
                                   const std::vector<double>& first, std::size_t length, const AttentionShape& shape,
                                   double direction, double scale = 1.0);

}  // namespace mslt::test

// Embedding and rotary positions in double precision.
#include "tests/backend/reference_embedding.h"

#include <cmath>

namespace mslt::test {

std::vector<double> reference_embedding(const EmbeddingSize& size, const std::vector<double>& tokens,
                                        const std::vector<double>& token_weight,
                                        const std::vector<double>& position_weight, const std::vector<double>& first,
                                        double scale) {
  std::vector<double> out(size.batch * size.length * size.columns, 0.0);
  for (std::size_t b = 0; b < size.batch; ++b) {
    for (std::size_t t = 0; t < size.length; ++t) {
      const std::size_t row = b * size.length + t;
      const double place = first[b] + static_cast<double>(t);
      if (tokens[row] < 0 || tokens[row] >= static_cast<double>(size.vocab)) continue;
      if (!position_weight.empty() && (place < 0 || place >= static_cast<double>(size.places))) continue;
      for (std::size_t c = 0; c < size.columns; ++c) {
        double value = scale * token_weight[static_cast<std::size_t>(tokens[row]) * size.columns + c];
        if (!position_weight.empty()) value += position_weight[static_cast<std::size_t>(place) * size.columns + c];
        out[row * size.columns + c] = value;
      }
    }
  }
  return out;
}

void reference_embedding_backward(const EmbeddingSize& size, const std::vector<double>& tokens,
                                  const std::vector<double>& dout, double scale, std::vector<double>& dtoken_weight,
                                  std::vector<double>& dposition_weight) {
  for (std::size_t row = 0; row < tokens.size(); ++row) {
    const bool known = tokens[row] >= 0 && tokens[row] < static_cast<double>(size.vocab);
    for (std::size_t c = 0; c < size.columns; ++c) {
      const double gradient = dout[row * size.columns + c];
      if (known) dtoken_weight[static_cast<std::size_t>(tokens[row]) * size.columns + c] += scale * gradient;
      dposition_weight[row % size.length * size.columns + c] += gradient;
    }
  }
}

std::vector<double> reference_rope(std::vector<double> qkv, const std::vector<double>& frequencies,
                                   const std::vector<double>& first, std::size_t length, const AttentionShape& shape,
                                   double direction, double scale) {
  const auto size = static_cast<std::size_t>(shape.head_size);
  const auto heads = static_cast<std::size_t>(shape.heads + shape.kv_heads);
  const std::size_t columns = (heads + static_cast<std::size_t>(shape.kv_heads)) * size;
  for (std::size_t row = 0; row * columns < qkv.size(); ++row) {
    const double place = first[row / length] + static_cast<double>(row % length);
    for (std::size_t h = 0; h < heads; ++h) {
      for (std::size_t i = 0; i < frequencies.size(); ++i) {
        const double angle = direction * static_cast<double>(static_cast<float>(place * frequencies[i]));
        double& low = qkv[row * columns + h * size + i];
        double& high = qkv[row * columns + h * size + i + frequencies.size()];
        const double x = low;
        const double y = high;
        low = scale * (x * std::cos(angle) - y * std::sin(angle));
        high = scale * (y * std::cos(angle) + x * std::sin(angle));
      }
    }
  }
  return qkv;
}

}  // namespace mslt::test

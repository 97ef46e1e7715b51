// Attention in double precision.
#include "tests/backend/reference_attention.h"

#include <cmath>

namespace mslt::test {

ReferenceAttention reference_attention(const std::vector<double>& qkv, const std::vector<double>& dout,
                                       std::size_t batch, std::size_t length, const AttentionShape& shape,
                                       const ReferenceDropout& dropout, std::size_t first_query) {
  const auto heads = static_cast<std::size_t>(shape.heads);
  const auto kv_heads = static_cast<std::size_t>(shape.kv_heads);
  const auto size = static_cast<std::size_t>(shape.head_size);
  const std::size_t stride = (heads + 2 * kv_heads) * size;
  ReferenceAttention result;
  result.out.assign(batch * length * heads * size, 0.0);
  result.log_sum_exp.assign(batch * heads * length, 0.0);
  if (!dout.empty()) result.dqkv.assign(qkv.size(), 0.0);
  for (std::size_t b = 0; b < batch; ++b) {
    for (std::size_t h = 0; h < heads; ++h) {
      const std::size_t kv_head = h / (heads / kv_heads);
      const auto query = [&](std::size_t i) {
        return (b * length + i) * stride + h * size;
      };
      const auto key = [&](std::size_t j) {
        return (b * length + j) * stride + (heads + kv_head) * size;
      };
      const auto value = [&](std::size_t j) {
        return key(j) + kv_heads * size;
      };
      for (std::size_t i = first_query; i < length; ++i) {
        const std::size_t seen = shape.causal ? i + 1 : length;
        const auto window = static_cast<std::size_t>(shape.window);
        const std::size_t first = window > 0 && seen > window ? seen - window : 0;
        const auto cap = static_cast<double>(shape.softcap);
        const std::size_t row = (b * heads + h) * length + i;
        const std::size_t at = (b * length + i) * heads * size + h * size;
        std::vector<double> p(seen);
        std::vector<double> slope(seen, 1.0);
        double denominator = 0.0;
        for (std::size_t j = first; j < seen; ++j) {
          double score = 0.0;
          for (std::size_t d = 0; d < size; ++d) score += qkv[query(i) + d] * qkv[key(j) + d];
          score *= static_cast<double>(shape.scale);
          if (cap > 0.0) {
            const double share = std::tanh(score / cap);
            score = cap * share;
            slope[j] = 1.0 - share * share;
          }
          p[j] = std::exp(score);
          denominator += p[j];
        }
        result.log_sum_exp[row] = std::log(denominator);
        std::vector<double> factor(seen);
        for (std::size_t j = 0; j < seen; ++j) {
          p[j] /= denominator;
          factor[j] = dropout.factor(row * length + j);
          for (std::size_t d = 0; d < size; ++d) result.out[at + d] += p[j] * factor[j] * qkv[value(j) + d];
        }
        if (dout.empty()) continue;
        std::vector<double> dp(seen, 0.0);
        double mean = 0.0;
        for (std::size_t j = 0; j < seen; ++j) {
          for (std::size_t d = 0; d < size; ++d) {
            dp[j] += factor[j] * dout[at + d] * qkv[value(j) + d];
            result.dqkv[value(j) + d] += p[j] * factor[j] * dout[at + d];
          }
          mean += p[j] * dp[j];
        }
        for (std::size_t j = 0; j < seen; ++j) {
          const double dscore = p[j] * (dp[j] - mean) * slope[j] * static_cast<double>(shape.scale);
          for (std::size_t d = 0; d < size; ++d) {
            result.dqkv[query(i) + d] += dscore * qkv[key(j) + d];
            result.dqkv[key(j) + d] += dscore * qkv[query(i) + d];
          }
        }
      }
    }
  }
  return result;
}

}  // namespace mslt::test

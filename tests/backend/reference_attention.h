// Attention in double precision, in the plainest form: stores every score.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "backend/backend.h"
#include "base/philox.h"

namespace mslt::test {

struct ReferenceAttention {
  std::vector<double> out;
  std::vector<double> log_sum_exp;
  std::vector<double> dqkv;  // empty without dout
};

struct ReferenceDropout {
  double probability = 0.0;
  std::uint64_t seed = 0;
  std::uint32_t step = 0;
  std::uint32_t operation = 0;

  double factor(std::uint64_t element) const {
    if (probability == 0.0) return 1.0;
    const float uniform = uniform_from_word(philox_word(seed, step, operation, element));
    return uniform >= static_cast<float>(probability) ? 1.0 / (1.0 - probability) : 0.0;
  }
};

// qkv [batch, length, (H + 2K) · D], dout [batch, length, H · D] or empty. Rows before `first_query` stay zeros.
ReferenceAttention reference_attention(const std::vector<double>& qkv, const std::vector<double>& dout,
                                       std::size_t batch, std::size_t length, const AttentionShape& shape,
                                       const ReferenceDropout& dropout, std::size_t first_query = 0);

}  // namespace mslt::test

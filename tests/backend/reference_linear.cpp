// Matrix products in double precision.
#include "tests/backend/reference_linear.h"

namespace mslt::test {

std::vector<double> reference_matmul(const std::vector<double>& in, const std::vector<double>& weight,
                                     const std::vector<double>& bias, std::size_t m, std::size_t n, std::size_t k) {
  std::vector<double> out(m * n);
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      double sum = bias.empty() ? 0.0 : bias[j];
      for (std::size_t e = 0; e < k; ++e) sum += in[i * k + e] * weight[j * k + e];
      out[i * n + j] = sum;
    }
  }
  return out;
}

}  // namespace mslt::test

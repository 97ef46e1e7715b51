// LayerNorm and RMSNorm in double precision, in the plainest form.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include "backend/backend.h"

namespace mslt::test {

struct ReferenceNorm {
  std::vector<double> out;
  std::vector<double> mean;
  std::vector<double> rstd;
};

struct ReferenceNormGradient {
  std::vector<double> dsum;
  std::vector<double> dweight;
  std::vector<double> dbias;
};

// sum [rows, columns]; bias may be empty.
inline ReferenceNorm reference_norm(const std::vector<double>& sum, const std::vector<double>& weight,
                                    const std::vector<double>& bias, const NormKind& kind) {
  const std::size_t columns = weight.size();
  const auto offset = static_cast<double>(kind.weight_offset);
  ReferenceNorm result;
  for (std::size_t at = 0; at < sum.size(); at += columns) {
    double mean = 0.0;
    for (std::size_t c = 0; c < columns; ++c) mean += sum[at + c] / static_cast<double>(columns);
    if (kind.rms) mean = 0.0;
    double variance = 0.0;
    for (std::size_t c = 0; c < columns; ++c) {
      variance += (sum[at + c] - mean) * (sum[at + c] - mean) / static_cast<double>(columns);
    }
    const double rstd = 1.0 / std::sqrt(variance + static_cast<double>(kind.epsilon));
    for (std::size_t c = 0; c < columns; ++c) {
      result.out.push_back((sum[at + c] - mean) * rstd * (weight[c] + offset) + (bias.empty() ? 0.0 : bias[c]));
    }
    result.mean.push_back(mean);
    result.rstd.push_back(rstd);
  }
  return result;
}

// By the chain rule from the derivatives of mean and rstd, without the usual simplification.
inline ReferenceNormGradient reference_norm_backward(const std::vector<double>& dout, const std::vector<double>& sum,
                                                     const std::vector<double>& weight, const NormKind& kind) {
  const std::size_t columns = weight.size();
  const auto n = static_cast<double>(columns);
  const auto offset = static_cast<double>(kind.weight_offset);
  const ReferenceNorm forward = reference_norm(sum, weight, {}, kind);
  ReferenceNormGradient result;
  result.dsum.assign(sum.size(), 0.0);
  result.dweight.assign(columns, 0.0);
  result.dbias.assign(columns, 0.0);
  for (std::size_t row = 0; row * columns < sum.size(); ++row) {
    const std::size_t at = row * columns;
    const double mean = forward.mean[row];
    const double rstd = forward.rstd[row];
    double drstd = 0.0;
    double dmean = 0.0;
    for (std::size_t c = 0; c < columns; ++c) {
      const double centred = sum[at + c] - mean;
      drstd += dout[at + c] * (weight[c] + offset) * centred;
      dmean -= dout[at + c] * (weight[c] + offset) * rstd;
      result.dweight[c] += dout[at + c] * centred * rstd;
      result.dbias[c] += dout[at + c];
    }
    // rstd = (variance + ε)^(-1/2); the derivative of the variance with respect to an element is 2 (element - mean) /
    // n.
    const double dvariance = -0.5 * rstd * rstd * rstd * drstd;
    for (std::size_t c = 0; c < columns; ++c) {
      result.dsum[at + c] = dout[at + c] * (weight[c] + offset) * rstd + dvariance * 2.0 * (sum[at + c] - mean) / n;
      if (!kind.rms) result.dsum[at + c] += dmean / n;
    }
  }
  return result;
}

}  // namespace mslt::test

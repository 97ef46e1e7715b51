// Dropout on the CPU.
#include <algorithm>
#include <array>

#include "backend/checks.h"
#include "backend/cpu/blocks.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/dropout.h"
#include "backend/cpu/float_data.h"
#include "base/philox.h"

namespace mslt {

void apply_dropout(const DropoutState& state, std::int64_t first, std::int64_t n, const float* in, float* out) {
  if (state.probability == 0.0f) {
    if (in != out) std::copy_n(in, n, out);
    return;
  }
  for (std::int64_t i = 0; i < n; ++i) {
    const auto element = static_cast<std::uint64_t>(first + i);
    const bool keep =
        uniform_from_word(philox_word(state.seed, state.step, state.operation, element)) >= state.probability;
    out[i] = keep ? in[i] * state.scale : 0.0f;
  }
}

namespace {

void drop_elements(const Tensor& out, const Tensor& in, const Dropout& dropout) {
  const DropoutState state(dropout);
  const FloatData from(in);
  const FloatData to(out);
  for_blocks(in.elements(), element_block, [&](std::int64_t first, std::int64_t n) {
    alignas(64) std::array<float, element_block> buffer;
    const float* values = from.read(first, n, buffer.data());
    float* target = to.target(first, buffer.data());
    apply_dropout(state, first, n, values, target);
    to.commit(first, n, target);
  });
}

}  // namespace

void CpuBackend::dropout_forward(const Tensor& out, const Tensor& in, const Dropout& dropout) {
  check_dropout(out, in, dropout);
  drop_elements(out, in, dropout);
}

void CpuBackend::dropout_backward(const Tensor& din, const Tensor& dout, const Dropout& dropout) {
  check_dropout(din, dout, dropout);
  drop_elements(din, dout, dropout);
}

}  // namespace mslt

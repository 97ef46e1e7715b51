// GELU, ReLU and SwiGLU on the CPU.
#include <algorithm>
#include <array>
#include <cmath>

#include "backend/checks.h"
#include "backend/cpu/blocks.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/float_data.h"

namespace mslt {
namespace {

using Block = std::array<float, element_block>;

// GELU's tanh form is x · sigmoid(2u) with u = sqrt(2/π) (x + 0.044715 x³), because (1 + tanh u) / 2 = sigmoid(2u).
constexpr float gelu_linear = 1.5957691216057308f;   // 2 sqrt(2/π)
constexpr float gelu_cubic = 0.071354816272600248f;  // 2 sqrt(2/π) · 0.044715

float sigmoid(float x) {
  return 1.0f / (1.0f + std::exp(-x));
}

void gelu_forward(const float* x, std::int64_t n, float* out) {
  for (std::int64_t i = 0; i < n; ++i) {
    out[i] = x[i] * sigmoid(x[i] * (gelu_linear + gelu_cubic * x[i] * x[i]));
  }
}

void gelu_backward(const float* x, const float* dout, std::int64_t n, float* din) {
  for (std::int64_t i = 0; i < n; ++i) {
    const float square = x[i] * x[i];
    const float s = sigmoid(x[i] * (gelu_linear + gelu_cubic * square));
    din[i] = dout[i] * (s + x[i] * s * (1.0f - s) * (gelu_linear + 3.0f * gelu_cubic * square));
  }
}

void relu_forward(const float* x, std::int64_t n, float* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = x[i] < 0.0f ? 0.0f : x[i];
}

void relu_backward(const float* x, const float* dout, std::int64_t n, float* din) {
  for (std::int64_t i = 0; i < n; ++i) din[i] = x[i] > 0.0f ? dout[i] : 0.0f;
}

void swiglu_forward(const float* gate, const float* up, std::int64_t n, float* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = gate[i] * sigmoid(gate[i]) * up[i];
}

void swiglu_backward(const float* gate, const float* up, const float* dout, std::int64_t n, float* dgate, float* dup) {
  for (std::int64_t i = 0; i < n; ++i) {
    const float s = sigmoid(gate[i]);
    const float silu = gate[i] * s;
    const float slope = s + silu * (1.0f - s);
    const float gradient = dout[i];
    dgate[i] = gradient * up[i] * slope;
    dup[i] = gradient * silu;
  }
}

// Calls body(row, first column, count) for pieces of at most element_block columns of every row.
template <class Body>
void for_row_pieces(std::int64_t rows, std::int64_t columns, const Body& body) {
  for_blocks(rows, rows_for(columns, 2 * element_block), [&](std::int64_t begin, std::int64_t count) {
    for (std::int64_t row = begin; row < begin + count; ++row) {
      for (std::int64_t c = 0; c < columns; c += element_block) {
        body(row, c, std::min(element_block, columns - c));
      }
    }
  });
}

}  // namespace

void CpuBackend::activation_forward(Activation activation, const Tensor& out, const Tensor& in) {
  check_activation_forward(activation, out, in);
  const FloatData from(in);
  const FloatData to(out);
  if (activation == Activation::swiglu) {
    const std::int64_t columns = out.shape()[-1];
    for_row_pieces(out.shape().rows(), columns, [&](std::int64_t row, std::int64_t c, std::int64_t n) {
      alignas(64) Block gate_buffer;
      alignas(64) Block up_buffer;
      const float* gate = from.read(row * 2 * columns + c, n, gate_buffer.data());
      const float* up = from.read((row * 2 + 1) * columns + c, n, up_buffer.data());
      float* target = to.target(row * columns + c, gate_buffer.data());
      swiglu_forward(gate, up, n, target);
      to.commit(row * columns + c, n, target);
    });
    return;
  }
  for_blocks(in.elements(), element_block, [&](std::int64_t first, std::int64_t n) {
    alignas(64) Block buffer;
    const float* x = from.read(first, n, buffer.data());
    float* target = to.target(first, buffer.data());
    (activation == Activation::gelu ? gelu_forward : relu_forward)(x, n, target);
    to.commit(first, n, target);
  });
}

void CpuBackend::activation_backward(Activation activation, const Tensor& din, const Tensor& dout, const Tensor& in) {
  check_activation_backward(activation, din, dout, in);
  const FloatData from(in);
  const FloatData gradient(dout);
  const FloatData to(din);
  if (activation == Activation::swiglu) {
    const std::int64_t columns = dout.shape()[-1];
    for_row_pieces(dout.shape().rows(), columns, [&](std::int64_t row, std::int64_t c, std::int64_t n) {
      alignas(64) Block gate_buffer;
      alignas(64) Block up_buffer;
      alignas(64) Block dout_buffer;
      const std::int64_t gate_at = row * 2 * columns + c;
      const std::int64_t up_at = gate_at + columns;
      const float* gate = from.read(gate_at, n, gate_buffer.data());
      const float* up = from.read(up_at, n, up_buffer.data());
      const float* upstream = gradient.read(row * columns + c, n, dout_buffer.data());
      float* dgate = to.target(gate_at, gate_buffer.data());
      float* dup = to.target(up_at, up_buffer.data());
      swiglu_backward(gate, up, upstream, n, dgate, dup);
      to.commit(gate_at, n, dgate);
      to.commit(up_at, n, dup);
    });
    return;
  }
  for_blocks(in.elements(), element_block, [&](std::int64_t first, std::int64_t n) {
    alignas(64) Block buffer;
    alignas(64) Block dout_buffer;
    const float* x = from.read(first, n, buffer.data());
    const float* upstream = gradient.read(first, n, dout_buffer.data());
    float* target = to.target(first, buffer.data());
    (activation == Activation::gelu ? gelu_backward : relu_backward)(x, upstream, n, target);
    to.commit(first, n, target);
  });
}

}  // namespace mslt

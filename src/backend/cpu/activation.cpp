// GELU, ReLU, SwiGLU and GeGLU on the CPU.
#include <algorithm>
#include <array>

#include "backend/cpu/blocks.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/float_data.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/activation.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/lanes-inl.h"
#include "backend/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace {

void gelu_forward(const float* x, std::int64_t n, float* out) {
  for_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR { hn::StoreU(gelu(d, hn::LoadU(d, x + i)), d, out + i); });
}

void gelu_backward(const float* x, const float* dout, std::int64_t n, float* din) {
  for_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::LoadU(d, dout + i), gelu_derivative(d, hn::LoadU(d, x + i))), d, din + i);
  });
}

void gelu_erf_forward(const float* x, std::int64_t n, float* out) {
  for_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR { hn::StoreU(gelu_erf(d, hn::LoadU(d, x + i)), d, out + i); });
}

void gelu_erf_backward(const float* x, const float* dout, std::int64_t n, float* din) {
  for_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::LoadU(d, dout + i), gelu_erf_derivative(d, hn::LoadU(d, x + i))), d, din + i);
  });
}

void relu_forward(const float* x, std::int64_t n, float* out) {
  for_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR {
    const auto value = hn::LoadU(d, x + i);
    hn::StoreU(hn::IfThenZeroElse(hn::Lt(value, hn::Zero(d)), value), d, out + i);
  });
}

void relu_backward(const float* x, const float* dout, std::int64_t n, float* din) {
  for_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR {
    const auto positive = hn::Gt(hn::LoadU(d, x + i), hn::Zero(d));
    hn::StoreU(hn::IfThenElseZero(positive, hn::LoadU(d, dout + i)), d, din + i);
  });
}

void swiglu_forward(const float* gate, const float* up, std::int64_t n, float* out) {
  for_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR {
    const auto g = hn::LoadU(d, gate + i);
    hn::StoreU(hn::Mul(hn::Mul(g, sigmoid(d, g)), hn::LoadU(d, up + i)), d, out + i);
  });
}

void swiglu_backward(const float* gate, const float* up, const float* dout, std::int64_t n, float* dgate, float* dup) {
  for_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR {
    const auto g = hn::LoadU(d, gate + i);
    const auto u = hn::LoadU(d, up + i);
    const auto upstream = hn::LoadU(d, dout + i);
    auto s = g;
    auto bell = g;
    sigmoid_and_bell(d, g, s, bell);
    const auto silu = hn::Mul(g, s);
    const auto slope = hn::MulAdd(g, bell, s);
    hn::StoreU(hn::Mul(hn::Mul(upstream, u), slope), d, dgate + i);
    hn::StoreU(hn::Mul(upstream, silu), d, dup + i);
  });
}

void geglu_forward(const float* gate, const float* up, std::int64_t n, float* out) {
  for_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR {
    hn::StoreU(hn::Mul(gelu(d, hn::LoadU(d, gate + i)), hn::LoadU(d, up + i)), d, out + i);
  });
}

void geglu_backward(const float* gate, const float* up, const float* dout, std::int64_t n, float* dgate, float* dup) {
  for_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR {
    const auto g = hn::LoadU(d, gate + i);
    const auto u = hn::LoadU(d, up + i);
    const auto upstream = hn::LoadU(d, dout + i);
    hn::StoreU(hn::Mul(hn::Mul(upstream, u), gelu_derivative(d, g)), d, dgate + i);
    hn::StoreU(hn::Mul(upstream, gelu(d, g)), d, dup + i);
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mslt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mslt {
namespace {

HWY_EXPORT(gelu_forward);
HWY_EXPORT(gelu_backward);
HWY_EXPORT(gelu_erf_forward);
HWY_EXPORT(gelu_erf_backward);
HWY_EXPORT(relu_forward);
HWY_EXPORT(relu_backward);
HWY_EXPORT(swiglu_forward);
HWY_EXPORT(swiglu_backward);
HWY_EXPORT(geglu_forward);
HWY_EXPORT(geglu_backward);

using Block = std::array<float, element_block>;

constexpr Cost activation_cost = {.flops = 32, .bytes = 12};

// Calls body(row, first column, count) for pieces of at most element_block columns of every row.
template <class Body>
void for_row_pieces(std::int64_t rows, std::int64_t columns, const Body& body) {
  const Cost cost = activation_cost * columns;
  for_blocks(rows, rows_for(columns, 2 * element_block), cost, [&](std::int64_t begin, std::int64_t count) {
    for (std::int64_t row = begin; row < begin + count; ++row) {
      for (std::int64_t c = 0; c < columns; c += element_block) {
        body(row, c, std::min(element_block, columns - c));
      }
    }
  });
}

}  // namespace

void CpuBackend::execute(const ActivationForward& op) {
  const FloatData from(op.in);
  const FloatData to(op.out);
  if (is_gated(op.activation)) {
    // Without &: depending on Highway's version, the macro yields a function or a pointer to one.
    const auto kernel = op.activation == Activation::swiglu ? HWY_DYNAMIC_DISPATCH(swiglu_forward)
                                                            : HWY_DYNAMIC_DISPATCH(geglu_forward);
    const std::int64_t columns = op.out.shape()[-1];
    for_row_pieces(op.out.shape().rows(), columns, [&](std::int64_t row, std::int64_t c, std::int64_t n) {
      alignas(64) Block gate_buffer;
      alignas(64) Block up_buffer;
      const float* gate = from.read(row * 2 * columns + c, n, gate_buffer.data());
      const float* up = from.read((row * 2 + 1) * columns + c, n, up_buffer.data());
      float* target = to.target(row * columns + c, gate_buffer.data());
      kernel(gate, up, n, target);
      to.commit(row * columns + c, n, target);
    });
    return;
  }
  const auto kernel = op.activation == Activation::gelu       ? HWY_DYNAMIC_DISPATCH(gelu_forward)
                      : op.activation == Activation::gelu_erf ? HWY_DYNAMIC_DISPATCH(gelu_erf_forward)
                                                              : HWY_DYNAMIC_DISPATCH(relu_forward);
  for_blocks(op.in.elements(), element_block, activation_cost, [&](std::int64_t first, std::int64_t n) {
    alignas(64) Block buffer;
    const float* x = from.read(first, n, buffer.data());
    float* target = to.target(first, buffer.data());
    kernel(x, n, target);
    to.commit(first, n, target);
  });
}

void CpuBackend::execute(const ActivationBackward& op) {
  const FloatData from(op.in);
  const FloatData gradient(op.dout);
  const FloatData to(op.din);
  if (is_gated(op.activation)) {
    const auto kernel = op.activation == Activation::swiglu ? HWY_DYNAMIC_DISPATCH(swiglu_backward)
                                                            : HWY_DYNAMIC_DISPATCH(geglu_backward);
    const std::int64_t columns = op.dout.shape()[-1];
    for_row_pieces(op.dout.shape().rows(), columns, [&](std::int64_t row, std::int64_t c, std::int64_t n) {
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
      kernel(gate, up, upstream, n, dgate, dup);
      to.commit(gate_at, n, dgate);
      to.commit(up_at, n, dup);
    });
    return;
  }
  const auto kernel = op.activation == Activation::gelu       ? HWY_DYNAMIC_DISPATCH(gelu_backward)
                      : op.activation == Activation::gelu_erf ? HWY_DYNAMIC_DISPATCH(gelu_erf_backward)
                                                              : HWY_DYNAMIC_DISPATCH(relu_backward);
  for_blocks(op.in.elements(), element_block, activation_cost, [&](std::int64_t first, std::int64_t n) {
    alignas(64) Block buffer;
    alignas(64) Block dout_buffer;
    const float* x = from.read(first, n, buffer.data());
    const float* upstream = gradient.read(first, n, dout_buffer.data());
    float* target = to.target(first, buffer.data());
    kernel(x, upstream, n, target);
    to.commit(first, n, target);
  });
}

}  // namespace mslt
#endif

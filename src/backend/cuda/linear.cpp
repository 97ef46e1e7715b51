// Matrix products by cuBLASLt, and those of few rows by the driver's kernel.
#include <cuda_runtime_api.h>

#include <optional>
#include <string>

#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/suits.h"
#include "backend/msl/drivers/cuda/cuda_status.h"
#include "backend/msl/drivers/cuda/few_rows_product.h"
#include "backend/msl/drivers/cuda/quantised_product.h"
#include "base/fail.h"

namespace mslt {
namespace {

using msl::cuda::ProductKind;
using msl::cuda::ProductOperands;

// Up to so many rows are bound by reading the weight, which the kernels do once; with two or more of them the library
// reads a large weight faster.
constexpr std::int64_t rows_of_kernels = 4;
constexpr std::int64_t large_weight = std::int64_t{9} << 19;

// Elements of the weight times rows up to which the driver's kernel of few rows is faster than the library, and than
// the other kernel of quantised weights, which is faster for up to rows_of_tile rows.
constexpr std::int64_t most_work = std::int64_t{72} << 20;
constexpr std::int64_t most_quantised_work = std::int64_t{128} << 20;
constexpr std::int64_t rows_of_tile = 8;

std::int64_t rows_of_kernels_for(const Weight& weight) {
  return !weight.scales && weight.values.elements() > large_weight ? 1 : rows_of_kernels;
}

std::string identity_of(const msl::cuda::Product& p, const ProductOperands& operands) {
  return msl::identity_of(p.kind, p.activations, p.weights, p.result, p.rows, p.outputs, p.inputs, p.bias, p.gelu,
                          p.keeps, p.accumulate, p.bias_gradient, p.alignment, p.timed, operands.in, operands.weight,
                          operands.dout, operands.bias, operands.pre_activation, operands.bias_gradient,
                          operands.result);
}

// Of one of the driver's kernels of few rows.
template <class Kernel>
std::string identity_of(const Kernel& p) {
  return msl::identity_of(p.in, p.weight, p.scales, p.bits, p.bias, p.gain, p.offset, p.out, p.rows, p.inner, p.outputs,
                          p.activation, p.norm, p.accumulate, p.epsilon, p.weight_offset, p.early);
}

cudaError_t launch(const msl::cuda::FewRowsProduct& kernel, DType dtype, cudaStream_t stream) {
  return msl::cuda::launch_few_rows_product(kernel, dtype, stream);
}
cudaError_t launch(const msl::cuda::QuantisedProduct& kernel, DType dtype, cudaStream_t stream) {
  return msl::cuda::launch_quantised_product(kernel, dtype, stream);
}

// Rows [first, first + count), as a matrix.
Tensor rows_of(const Tensor& tensor, std::int64_t first, std::int64_t count) {
  return tensor.reshape({tensor.shape().rows(), tensor.shape()[-1]}).slice(first, count);
}

// The sizes of a product of few rows that the driver's kernel can do, and faster than others.
std::optional<msl::cuda::FewRowsProduct> few_rows_product(const Weight& weight, DType activations, std::int64_t rows,
                                                          bool has_norm) {
  const bool is_quantised = static_cast<bool>(weight.scales);
  const DType kept = weight.values.dtype();
  if (!is_16_bit(activations) || !suit(is_quantised ? kept : activations, {&weight.values}) ||
      !suit(DType::f16, {&weight.scales})) {
    return std::nullopt;
  }
  const std::int64_t inner = weight.values.shape()[1] * (kept == DType::u8 ? 2 : 1);
  const std::int64_t elements = weight.outputs() * inner;
  if (elements > (is_quantised ? most_quantised_work : most_work) / rows) return std::nullopt;
  if (elements > large_weight && (!is_quantised || rows == 1)) return std::nullopt;
  msl::cuda::FewRowsProduct product = {.rows = static_cast<std::uint32_t>(rows),
                                       .inner = static_cast<std::uint32_t>(inner),
                                       .outputs = static_cast<std::uint32_t>(weight.values.shape()[0]),
                                       .bits = !is_quantised       ? 16u
                                               : kept == DType::u8 ? 4u
                                                                   : 8u,
                                       .norm = has_norm ? 1u : 0u};
  if (!product.plan()) return std::nullopt;
  return product;
}

// The sizes of a product of few rows that the driver's kernel for quantised weights can do.
std::optional<msl::cuda::QuantisedProduct> quantised_product(const Weight& weight, DType activations, std::int64_t rows,
                                                             bool has_norm) {
  const DType kept = weight.values.dtype();
  if (!is_16_bit(activations) || rows > msl::cuda::few_rows_most || !weight.scales || !suit(kept, {&weight.values}) ||
      !suit(DType::f16, {&weight.scales})) {
    return std::nullopt;
  }
  const std::int64_t inner = weight.values.shape()[1] * (kept == DType::u8 ? 2 : 1);
  msl::cuda::QuantisedProduct product = {.rows = static_cast<std::uint32_t>(rows),
                                         .inner = static_cast<std::uint32_t>(inner),
                                         .outputs = static_cast<std::uint32_t>(weight.values.shape()[0]),
                                         .bits = kept == DType::u8 ? 4u : 8u,
                                         .norm = has_norm ? 1u : 0u};
  if (!product.plan()) return std::nullopt;
  return product;
}

}  // namespace

template <class Op>
bool CudaBackend::multiply(const Op& op, const msl::cuda::Product& product, const ProductOperands& operands) {
  if (std::string why = products().refusal(product); !why.empty()) {
    if (product_use_ == Use::always) fail(ErrorKind::device, "{}: --products cublas cannot be had: {}", Op::name, why);
    return false;
  }
  library_call("cublas", op, products().plan(product).workspace_bytes,
               {[products = libraries_->products, product, operands](const msl::LibraryContext& context) {
                  products->run(product, operands, context.workspace, static_cast<cudaStream_t>(context.stream));
                },
                identity_of(product, operands)});
  return true;
}

bool CudaBackend::multiply_forward(const MatmulForward& op) {
  const Tensor& weight = op.weight.values;
  const std::int64_t rows = op.in.shape().rows();
  const std::int64_t outputs = weight.shape()[0];
  const std::int64_t inputs = weight.shape()[1];
  if (product_use_ == Use::never || rows == 0 || outputs == 0 || inputs == 0) return false;
  if (op.weight.scales) {
    if (multiply_few_rows(
            op, {.out = op.out, .in = op.in, .weight = op.weight, .bias = op.bias, .activation = op.activation})) {
      return true;
    }
    if (rows <= rows_of_kernels) return false;
    multiply_unpacked(op);
    return true;
  }
  if (product_use_ == Use::where_it_serves && rows <= rows_of_kernels_for(op.weight) && !op.pre_activation) {
    return false;
  }
  ProductOperands operands = {.in = address(op.in),
                              .weight = address(weight),
                              .bias = address(op.bias),
                              .pre_activation = address(op.pre_activation),
                              .result = address(op.out)};
  msl::cuda::Product product = {.kind = ProductKind::forward,
                                .activations = op.in.dtype(),
                                .weights = weight.dtype(),
                                .result = op.out.dtype(),
                                .rows = rows,
                                .outputs = outputs,
                                .inputs = inputs,
                                .bias = static_cast<bool>(op.bias),
                                .timed = is_recording()};
  product.alignment = alignment_of(operands);
  if (op.activation == Activation::none) {
    if (!multiply(op, product, operands)) return false;
    if (op.pre_activation) MslBackend::execute(Copy{.out = op.pre_activation, .in = op.out});
    return true;
  }
  if (op.activation == Activation::gelu) {
    msl::cuda::Product with_gelu = product;
    with_gelu.gelu = true;
    with_gelu.keeps = static_cast<bool>(op.pre_activation);
    if (products().refusal(with_gelu).empty()) return multiply(op, with_gelu, operands);
  }
  std::optional<msl::Scratch> argument;
  if (!op.pre_activation) argument.emplace(scratch(op.out.dtype(), op.out.shape()));
  const Tensor& pre = argument ? argument->tensor() : op.pre_activation;
  operands.pre_activation = nullptr;
  operands.result = address(pre);
  product.alignment = alignment_of(operands);
  const MatmulForward plain = {.out = pre, .in = op.in, .weight = op.weight, .bias = op.bias};
  if (!multiply(plain, product, operands)) return false;
  MslBackend::execute(ActivationForward{.activation = op.activation, .out = op.out, .in = pre});
  return true;
}

std::int64_t CudaBackend::fused_rows(const Weight& weight, DType activations, bool has_norm) const {
  if (product_use_ == Use::never) return MslBackend::fused_rows(weight, activations, has_norm);
  if (product_use_ == Use::always) return 0;
  if (!msl::cuda::runs_few_rows_products()) return rows_of_kernels_for(weight);
  // More rows take more of its shared memory.
  for (std::int64_t rows = msl::cuda::few_rows_most; rows > rows_of_kernels; rows /= 2) {
    if (few_rows_product(weight, activations, rows, has_norm) ||
        quantised_product(weight, activations, rows, has_norm)) {
      return rows;
    }
  }
  return rows_of_kernels_for(weight);
}

template <class Op>
bool CudaBackend::multiply_few_rows(const Op& op, const FusedProduct& product) {
  const std::int64_t rows = product.in.shape().rows();
  const bool is_quantised = static_cast<bool>(product.weight.scales);
  // One row of 16 bits is the kernels', or a chain's.
  const std::int64_t fewest = is_quantised ? 1 : 2;
  if (product_use_ != Use::where_it_serves || rows < fewest || rows > msl::cuda::few_rows_most) return false;
  const bool has_activation = product.activation == Activation::none || product.activation == Activation::gelu ||
                              product.activation == Activation::relu;
  if (!has_activation ||
      !suit(product.in.dtype(), {&product.out, &product.in, &product.norm_weight, &product.norm_bias, &product.bias})) {
    return false;
  }
  if (!few_rows_) {
    few_rows_ = msl::cuda::runs_few_rows_products();
    if (*few_rows_) {
      msl::cuda::check(msl::cuda::prepare_few_rows_products(), "preparing products of few rows");
      msl::cuda::check(msl::cuda::prepare_quantised_products(), "preparing products of quantised weights");
    }
  }
  if (!*few_rows_) return false;
  const bool has_norm = static_cast<bool>(product.norm_weight);
  auto plain = few_rows_product(product.weight, product.in.dtype(), rows, has_norm);
  auto quantised = quantised_product(product.weight, product.in.dtype(), rows, has_norm);
  if (quantised && (rows <= rows_of_tile || !plain)) {
    record_few_rows("quantised", op, product, *quantised);
    return true;
  }
  if (plain) record_few_rows("few_rows", op, product, *plain);
  return static_cast<bool>(plain);
}

template <class Op, class Kernel>
void CudaBackend::record_few_rows(std::string_view name, const Op& op, const FusedProduct& product, Kernel& kernel) {
  kernel.in = address(product.in);
  kernel.weight = address(product.weight.values);
  kernel.scales = address(product.weight.scales);
  kernel.bias = address(product.bias);
  kernel.gain = address(product.norm_weight);
  kernel.offset = address(product.norm_bias);
  kernel.out = address(product.out);
  kernel.activation = static_cast<std::uint32_t>(product.activation);
  if (product.norm_weight && product.norm.rms) kernel.norm = 2;
  kernel.accumulate = product.accumulate ? 1u : 0u;
  kernel.epsilon = product.norm.epsilon;
  kernel.weight_offset = product.norm.weight_offset;
  kernel.early = recorder().may_read_early(
                     {&product.weight.values, &product.weight.scales, &product.norm_weight, &product.norm_bias})
                     ? 1u
                     : 0u;
  library_call(name, op, 0,
               {[kernel, dtype = product.in.dtype()](const msl::LibraryContext& context) {
                  msl::cuda::check(launch(kernel, dtype, static_cast<cudaStream_t>(context.stream)),
                                   "launching a product of few rows");
                },
                identity_of(kernel)});
}

bool CudaBackend::prefers_library(const FusedProduct& op) const {
  const std::int64_t rows = op.in.shape().rows();
  return product_use_ == Use::where_it_serves && op.out.elements() > 0 && rows > rows_of_kernels_for(op.weight);
}

void CudaBackend::execute(const MatmulForward& op) {
  if (!multiply_forward(op)) MslBackend::execute(op);
}

void CudaBackend::execute(const MatmulBackwardInput& op) {
  const std::int64_t rows = op.dout.shape().rows();
  const std::int64_t outputs = op.weight.shape()[0];
  const std::int64_t inputs = op.weight.shape()[1];
  if (product_use_ == Use::never || rows == 0 || outputs == 0 || inputs == 0) return MslBackend::execute(op);
  const bool is_active = op.activation != Activation::none;
  const bool has_gelu = op.activation == Activation::gelu && is_16_bit(op.din.dtype());
  if (has_gelu && rows > 1 && rows * inputs >= msl::cuda::slow_gelu_gradients) {
    const std::int64_t half = rows / 2;
    for (const std::int64_t first : {std::int64_t{0}, half}) {
      MatmulBackwardInput part = op;
      const std::int64_t count = first == 0 ? half : rows - half;
      for (Tensor* each : {&part.din, &part.dout, &part.pre_activation}) *each = rows_of(*each, first, count);
      execute(part);
    }
    return;
  }
  // The sum of what was there and of a product of its own.
  std::optional<msl::Scratch> product_alone;
  if (is_active && op.accumulate) product_alone.emplace(scratch(op.din.dtype(), op.din.shape()));
  const Tensor& result = product_alone ? product_alone->tensor() : op.din;
  const ProductOperands operands = {.weight = address(op.weight),
                                    .dout = address(op.dout),
                                    .pre_activation = address(op.pre_activation),
                                    .result = address(result)};
  msl::cuda::Product product = {.kind = ProductKind::input_gradient,
                                .activations = op.dout.dtype(),
                                .weights = op.weight.dtype(),
                                .result = op.din.dtype(),
                                .rows = rows,
                                .outputs = outputs,
                                .inputs = inputs,
                                .gelu = op.activation == Activation::gelu,
                                .accumulate = op.accumulate && !is_active,
                                .alignment = alignment_of(operands)};
  product.gelu = product.gelu && products().refusal(product).empty();
  const MatmulBackwardInput plain = {
      .din = result, .dout = op.dout, .weight = op.weight, .accumulate = product.accumulate};
  if (!multiply(plain, product, operands)) return MslBackend::execute(op);
  if (is_active && !product.gelu) {
    MslBackend::execute(
        ActivationBackward{.activation = op.activation, .din = result, .dout = result, .in = op.pre_activation});
  }
  if (product_alone) MslBackend::execute(Add{.out = op.din, .in = result});
}

void CudaBackend::execute(const MatmulBackwardWeight& op) {
  const std::int64_t rows = op.dout.shape().rows();
  const std::int64_t outputs = op.dweight.shape()[0];
  const std::int64_t inputs = op.dweight.shape()[1];
  if (product_use_ == Use::never || rows == 0 || outputs == 0 || inputs == 0) return MslBackend::execute(op);
  const ProductOperands operands = {.in = address(op.in), .dout = address(op.dout), .result = address(op.dweight)};
  const msl::cuda::Product product = {.kind = ProductKind::weight_gradient,
                                      .activations = op.dout.dtype(),
                                      .weights = op.dweight.dtype(),
                                      .result = op.dweight.dtype(),
                                      .rows = rows,
                                      .outputs = outputs,
                                      .inputs = inputs,
                                      .accumulate = true,
                                      .alignment = alignment_of(operands)};
  const MatmulBackwardWeight plain = {.dweight = op.dweight, .dout = op.dout, .in = op.in};
  if (!multiply(plain, product, operands)) return MslBackend::execute(op);
  // The library's epilogue for it overwrites, and costs more than a kernel of its own.
  if (op.dbias) add_column_sums("matmul_backward_weight", op.dbias, op.dout);
}

}  // namespace mslt

// Matrix products of the CPU backend: a library's, with bias and activation applied to panels still in cache.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/linear.cpp"
#include <hwy/foreach_target.h>
// Above: compiles this file once a target.
#include <hwy/highway.h>

#include <algorithm>

#include "backend/backend.h"
#include "backend/cpu/math-inl.h"
#include "backend/cpu/weight_groups-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace {

void convert_bf16(const BFloat16* from, float* to, std::int64_t count) {
  convert(from, to, count);
}
void convert_f16(const Float16* from, float* to, std::int64_t count) {
  convert(from, to, count);
}

void dequantise_i8(const std::int8_t* row, const Float16* factors, std::int64_t count, float* to) {
  dequantise_row(row, factors, count, to);
}
void dequantise_u8(const std::uint8_t* row, const Float16* factors, std::int64_t count, float* to) {
  dequantise_row(row, factors, count, to);
}

// apply(vector, i) for all of [0, count): the last ones, fewer than a vector, through a copy of it.
template <class Apply>
HWY_INLINE void transform(std::int64_t count, const Apply& apply) {
  const FloatTag d;
  const auto step = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + step <= count; i += step) {
    apply([&](const float* from) HWY_ATTR { return hn::LoadU(d, from + i); },
          [&](Floats v, float* to) HWY_ATTR { hn::StoreU(v, d, to + i); });
  }
  if (i == count) return;
  HWY_ALIGN float edge[hn::MaxLanes(FloatTag())] = {};
  apply(
      [&](const float* from) HWY_ATTR {
        std::copy(from + i, from + count, edge);
        return hn::Load(d, edge);
      },
      [&](Floats v, float* to) HWY_ATTR {
        hn::Store(v, d, edge);
        std::copy(edge, edge + (count - i), to + i);
      });
}

// One row: out = activation(sum + bias); keeps the argument in `pre` where given. Any two may be the same memory.
void finish_row(float* out, const float* sum, const float* bias, float* pre, std::int64_t count,
                Activation activation) {
  const FloatTag d;
  const bool is_gelu = activation == Activation::gelu;
  const bool is_gelu_erf = activation == Activation::gelu_erf;
  const bool is_relu = activation == Activation::relu;
  transform(count, [&](auto load, auto store) HWY_ATTR {
    Floats x = load(sum);
    if (bias != nullptr) x = hn::Add(x, load(bias));
    if (pre != nullptr) store(x, pre);
    if (is_gelu) x = gelu(d, x);
    if (is_gelu_erf) x = gelu_erf(d, x);
    if (is_relu) x = hn::Max(hn::Zero(d), x);
    store(x, out);
  });
}

// One row: din (+)= product · activation'(pre).
void derive_row(float* din, const float* product, const float* pre, std::int64_t count, Activation activation,
                bool accumulate) {
  const FloatTag d;
  const bool is_gelu = activation == Activation::gelu;
  const bool is_gelu_erf = activation == Activation::gelu_erf;
  transform(count, [&](auto load, auto store) HWY_ATTR {
    const Floats x = load(pre);
    const Floats g = load(product);
    const Floats result = is_gelu       ? hn::Mul(g, gelu_derivative(d, x))
                          : is_gelu_erf ? hn::Mul(g, gelu_erf_derivative(d, x))
                                        : hn::IfThenElseZero(hn::Gt(x, hn::Zero(d)), g);
    store(accumulate ? hn::Add(load(din), result) : result, din);
  });
}

// sums[j] += the sum of column j of [rows, stride], for up to 4 vectors of columns. Rows are summed 64 at a time so
// that rounding errors grow with 64 + rows / 64 instead of rows.
void add_column_sums(float* sums, const float* matrix, std::int64_t rows, std::int64_t stride, std::int64_t columns) {
  constexpr std::int64_t chunk = 64;
  const FloatTag d;
  const auto step = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t j = 0;
  for (; j + 4 * step <= columns; j += 4 * step) {
    Floats total0 = hn::LoadU(d, sums + j);
    Floats total1 = hn::LoadU(d, sums + j + step);
    Floats total2 = hn::LoadU(d, sums + j + 2 * step);
    Floats total3 = hn::LoadU(d, sums + j + 3 * step);
    for (std::int64_t begin = 0; begin < rows; begin += chunk) {
      Floats part0 = hn::Zero(d);
      Floats part1 = part0;
      Floats part2 = part0;
      Floats part3 = part0;
      const float* row = matrix + begin * stride + j;
      for (std::int64_t i = begin; i < std::min(rows, begin + chunk); ++i, row += stride) {
        part0 = hn::Add(part0, hn::LoadU(d, row));
        part1 = hn::Add(part1, hn::LoadU(d, row + step));
        part2 = hn::Add(part2, hn::LoadU(d, row + 2 * step));
        part3 = hn::Add(part3, hn::LoadU(d, row + 3 * step));
      }
      total0 = hn::Add(total0, part0);
      total1 = hn::Add(total1, part1);
      total2 = hn::Add(total2, part2);
      total3 = hn::Add(total3, part3);
    }
    hn::StoreU(total0, d, sums + j);
    hn::StoreU(total1, d, sums + j + step);
    hn::StoreU(total2, d, sums + j + 2 * step);
    hn::StoreU(total3, d, sums + j + 3 * step);
  }
  for (; j < columns; ++j) {
    for (std::int64_t begin = 0; begin < rows; begin += chunk) {
      float part = 0.0f;
      for (std::int64_t i = begin; i < std::min(rows, begin + chunk); ++i) part += matrix[i * stride + j];
      sums[j] += part;
    }
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mslt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/gemm.h"
#include "backend/cpu/gemm_bf16.h"
#include "backend/cpu/scratch.h"
#include "backend/cpu/views.h"
#include "base/parallel.h"
#include "tensor/quantize.h"

namespace mslt {
namespace {

HWY_EXPORT(convert_bf16);
HWY_EXPORT(convert_f16);
HWY_EXPORT(dequantise_i8);
HWY_EXPORT(dequantise_u8);
HWY_EXPORT(finish_row);
HWY_EXPORT(derive_row);
HWY_EXPORT(add_column_sums);

// Outputs are made in panels of rows of about this size, which the caches keep until bias and activation are applied.
constexpr std::int64_t panel_bytes = std::int64_t{4} << 20;
// Fewer rows would spend a product's time on packing the weight.
constexpr std::int64_t least_panel_rows = 256;
// Up to here the kernels of matvec are as fast as the library, which packs the weight, and at first has it converted.
constexpr std::int64_t few_rows = 64;

void convert_serially(const Tensor& from, std::int64_t begin, std::int64_t count, float* to) {
  switch (from.dtype()) {
    case DType::bf16:
      HWY_DYNAMIC_DISPATCH(convert_bf16)(data_of<BFloat16>(from) + begin, to, count);
      return;
    case DType::f16:
      HWY_DYNAMIC_DISPATCH(convert_f16)(data_of<Float16>(from) + begin, to, count);
      return;
    default:
      std::copy_n(data_of<float>(from) + begin, count, to);
  }
}

// One row of a weight as floats.
void convert_row(const Weight& weight, std::int64_t row, std::int64_t inner, float* to) {
  if (!weight.scales) return convert_serially(weight.values, row * inner, inner, to);
  const Float16* const factors = data_of<Float16>(weight.scales.slice(row, 1));
  if (weight.values.dtype() == DType::i8) {
    HWY_DYNAMIC_DISPATCH(dequantise_i8)(data_of<std::int8_t>(weight.values) + row * inner, factors, inner, to);
  } else {
    HWY_DYNAMIC_DISPATCH(dequantise_u8)(data_of<std::uint8_t>(weight.values) + row * inner / 2, factors, inner, to);
  }
}

std::int64_t rows_a_panel(std::int64_t columns) {
  return std::max(least_panel_rows,
                  panel_bytes / static_cast<std::int64_t>(sizeof(float)) / std::max<std::int64_t>(columns, 1));
}

// What an element costs to convert, or to apply an activation or its derivative to.
constexpr Cost element_cost = {.flops = 32, .bytes = 12};

}  // namespace

void CpuBackend::multiply(std::int64_t m, std::int64_t n, std::int64_t k, const GemmMatrix& a, const GemmMatrix& b,
                          float* c, std::int64_t c_stride, bool accumulate) {
  if (m == 0 || n == 0) return;
  if (k == 0) {
    for (std::int64_t i = 0; i < m && !accumulate; ++i) std::fill_n(c + i * c_stride, n, 0.0f);
    return;
  }
  if (bf16_) return bf16_->multiply(m, n, k, a, b, c, c_stride, accumulate);
  gemm(m, n, k, a, b, c, c_stride, accumulate);
}

void CpuBackend::execute(const MatmulForward& op) {
  require_f32(op);
  const Tensor& weight = op.weight.values;
  const bool transposed = op.weight.transposed;
  const std::int64_t rows = op.in.shape().rows();
  const std::int64_t columns = op.weight.outputs();
  const std::int64_t inner = op.in.shape()[-1];
  auto* const out_data = data_of<float>(op.out);
  const auto* const in_data = data_of<float>(op.in);
  auto* const pre_data = data_of<float>(op.pre_activation);
  const bool reads_weight_once = rows <= few_rows || op.independent_rows;
  if (reads_weight_once) matvec(op);

  // A narrower weight is converted some of its rows at a time, which are columns of the output.
  const bool converts = !reads_weight_once && weight.dtype() != DType::f32;
  const std::int64_t width = converts
                                 ? std::clamp<std::int64_t>(panel_bytes / static_cast<std::int64_t>(sizeof(float)) /
                                                                std::max<std::int64_t>(inner, 1),
                                                            64, std::max<std::int64_t>(columns, 64))
                                 : columns;
  const bool converts_bias = op.bias && op.bias.dtype() != DType::f32;
  float* const scratch =
      scratch_->floats(static_cast<std::size_t>((converts ? width * inner : 0) + (converts_bias ? columns : 0)));
  const float* bias_data = nullptr;
  if (converts_bias) {
    float* const converted = scratch + (converts ? width * inner : 0);
    convert_serially(op.bias, 0, columns, converted);
    bias_data = converted;
  } else {
    bias_data = data_of<float>(op.bias);
  }

  const bool finishes = bias_data != nullptr || pre_data != nullptr || op.activation != Activation::none;
  if (reads_weight_once && !finishes) return;
  for (std::int64_t j = 0; j < columns; j += width) {
    const std::int64_t panel_columns = std::min(width, columns - j);
    GemmMatrix factor = {.data = scratch, .stride = transposed ? panel_columns : inner, .transposed = !transposed};
    if (converts && transposed) {
      parallel_for(inner, element_cost * panel_columns, [&](std::int64_t i) {
        convert_serially(weight, i * columns + j, panel_columns, scratch + i * panel_columns);
      });
    } else if (converts) {
      parallel_for(panel_columns, element_cost * inner,
                   [&](std::int64_t i) { convert_row(op.weight, j + i, inner, scratch + i * inner); });
    } else if (!reads_weight_once) {
      factor.data = data_of<float>(weight);
    }
    // Without anything to apply afterwards, one product does.
    const std::int64_t height = finishes ? rows_a_panel(panel_columns) : rows;
    for (std::int64_t i = 0; i < rows; i += height) {
      const std::int64_t panel_rows = std::min(height, rows - i);
      float* const product = (pre_data != nullptr && !reads_weight_once ? pre_data : out_data) + i * columns + j;
      if (!reads_weight_once) {
        multiply(panel_rows, panel_columns, inner, {in_data + i * inner, inner}, factor, product, columns, false);
      }
      if (!finishes) continue;
      parallel_for(panel_rows, element_cost * panel_columns, [&](std::int64_t r) {
        const std::int64_t at = (i + r) * columns + j;
        HWY_DYNAMIC_DISPATCH(finish_row)
        (out_data + at, product + r * columns, bias_data == nullptr ? nullptr : bias_data + j,
         pre_data == nullptr ? nullptr : pre_data + at, panel_columns, op.activation);
      });
    }
  }
}

// One operation after another: none of them takes less time for being one with others.
void CpuBackend::execute(const FusedProduct& op) {
  require_f32(op);
  MatmulForward product = {
      .out = op.out, .in = op.in, .weight = op.weight, .bias = op.bias, .activation = op.activation};
  std::unique_ptr<Buffer> normalized;
  if (op.norm_weight) {
    normalized = allocate(op.in.bytes(), "normalised rows");
    product.in = Tensor(*normalized, 0, DType::f32, op.in.shape());
    execute(ResidualNormForward{
        .out = product.in, .residual = op.in, .weight = op.norm_weight, .bias = op.norm_bias, .kind = op.norm});
  }
  std::unique_ptr<Buffer> added;
  if (op.accumulate) {
    added = allocate(op.out.bytes(), "rows to add");
    product.out = Tensor(*added, 0, DType::f32, op.out.shape());
  }
  execute(product);
  if (op.accumulate) execute(Add{.out = op.out, .in = product.out});
}

OperandElements operand_elements(const MatmulForward& op) {
  return {static_cast<std::size_t>(op.in.elements()), static_cast<std::size_t>(op.weight.values.elements())};
}

OperandElements operand_elements(const MatmulBackwardInput& op) {
  return {static_cast<std::size_t>(op.dout.elements()), static_cast<std::size_t>(op.weight.elements())};
}

OperandElements operand_elements(const MatmulBackwardWeight& op) {
  return {static_cast<std::size_t>(op.dout.elements()), static_cast<std::size_t>(op.in.elements())};
}

std::size_t scratch_floats(const MatmulBackwardInput& op) {
  if (op.activation == Activation::none || !op.accumulate) return 0;
  const std::int64_t columns = op.weight.shape()[1];
  return static_cast<std::size_t>(std::min(op.dout.shape().rows(), rows_a_panel(columns)) * columns);
}

void CpuBackend::execute(const MatmulBackwardInput& op) {
  require_f32(op);
  const std::int64_t rows = op.dout.shape().rows();
  const std::int64_t columns = op.weight.shape()[1];
  const std::int64_t inner = op.weight.shape()[0];
  auto* const din_data = data_of<float>(op.din);
  const auto* const dout_data = data_of<float>(op.dout);
  const auto* const weight_data = data_of<float>(op.weight);
  if (op.activation == Activation::none) {
    multiply(rows, columns, inner, {dout_data, inner}, {weight_data, columns}, din_data, columns, op.accumulate);
    return;
  }
  const auto* const pre_data = data_of<float>(op.pre_activation);
  const std::int64_t height = std::min(rows, rows_a_panel(columns));
  float* const scratch = op.accumulate ? scratch_->floats(scratch_floats(op)) : nullptr;
  for (std::int64_t i = 0; i < rows; i += height) {
    const std::int64_t panel_rows = std::min(height, rows - i);
    float* const product = op.accumulate ? scratch : din_data + i * columns;
    multiply(panel_rows, columns, inner, {dout_data + i * inner, inner}, {weight_data, columns}, product, columns,
             false);
    parallel_for(panel_rows, element_cost * columns, [&](std::int64_t r) {
      const std::int64_t at = (i + r) * columns;
      HWY_DYNAMIC_DISPATCH(derive_row)
      (din_data + at, product + r * columns, pre_data + at, columns, op.activation, op.accumulate);
    });
  }
}

void CpuBackend::execute(const MatmulBackwardWeight& op) {
  require_f32(op);
  const std::int64_t rows = op.dout.shape().rows();
  const std::int64_t columns = op.dweight.shape()[0];
  const std::int64_t inner = op.dweight.shape()[1];
  const auto* const dout_data = data_of<float>(op.dout);
  multiply(columns, inner, rows, {dout_data, columns, true}, {data_of<float>(op.in), inner}, data_of<float>(op.dweight),
           inner, true);
  if (!op.dbias) return;
  constexpr std::int64_t stripe = 128;
  auto* const dbias_data = data_of<float>(op.dbias);
  parallel_for((columns + stripe - 1) / stripe, Cost{.bytes = 4} * (rows * stripe), [&](std::int64_t s) {
    const std::int64_t begin = s * stripe;
    HWY_DYNAMIC_DISPATCH(add_column_sums)
    (dbias_data + begin, dout_data + begin, rows, columns, std::min(stripe, columns - begin));
  });
}

}  // namespace mslt
#endif

// Copies, casts and rearrangements as MSL kernels.
#include <bit>

#include "backend/msl/launch.h"
#include "backend/msl/msl_backend.h"
#include "kernels/layout_args.h"

namespace mslt {
namespace {

SpanArgs span_args(const Tensor& out, const Tensor& in) {
  return {.count = static_cast<std::uint64_t>(out.elements()),
          .aligned = msl::aligned_rows(msl::span_width, out, in),
          .reserved = 0};
}

// The columns of a tensor in units of 16 bits, for kernels that move bits.
std::int64_t half_columns(const Tensor& tensor) {
  return tensor.shape()[-1] * static_cast<std::int64_t>(size_of(tensor.dtype()) / 2);
}

// The value, repeated to fill four bytes.
std::uint32_t pattern_of(DType dtype, float value) {
  switch (dtype) {
    case DType::bf16:
      return 0x10001u * std::bit_cast<std::uint16_t>(to_bfloat16(value));
    case DType::f16:
      return 0x10001u * std::bit_cast<std::uint16_t>(to_float16(value));
    default:
      return std::bit_cast<std::uint32_t>(value);
  }
}

Tensor as_bytes(const Tensor& tensor) {
  return {tensor.buffer(), tensor.offset(), DType::u8, {static_cast<std::int64_t>(tensor.bytes())}};
}

}  // namespace

void MslBackend::execute(const Cast& op) {
  if (op.out.dtype() == op.in.dtype()) {
    execute(Copy{.out = op.out, .in = op.in});
    return;
  }
  if (op.in.elements() == 0) return;
  encode(msl::kernel_name("cast", op.in.dtype(), op.out.dtype()))
      .buffer(0, op.out)
      .buffer(1, op.in)
      .bytes(2, span_args(op.out, op.in))
      .dispatch_spans(op.in.elements(), tuning_.span_threads);
}

void MslBackend::execute(const Fill& op) {
  if (op.out.elements() == 0) return;
  const Tensor bytes = as_bytes(op.out);
  const FillArgs args = {.count = op.out.bytes(),
                         .aligned = msl::aligned_rows(msl::span_width, op.out),
                         .pattern = pattern_of(op.out.dtype(), op.value)};
  // A thread handles sixteen bytes.
  encode("fill_bytes").buffer(0, bytes).bytes(1, args).dispatch_spans((bytes.elements() + 1) / 2, tuning_.span_threads);
}

void MslBackend::execute(const Copy& op) {
  const bool same = &op.out.buffer() == &op.in.buffer() && op.out.offset() == op.in.offset();
  if (same || op.in.elements() == 0) return;
  const Tensor to = as_bytes(op.out);
  const Tensor from = as_bytes(op.in);
  // A thread handles sixteen bytes.
  encode("copy_bytes")
      .buffer(0, to)
      .buffer(1, from)
      .bytes(2, span_args(to, from))
      .dispatch_spans((to.elements() + 1) / 2, tuning_.span_threads);
}

void MslBackend::execute(const Add& op) {
  if (op.out.elements() == 0) return;
  const DType dtype = op.out.dtype();
  encode(op.in.dtype() == dtype ? msl::kernel_name("add", dtype) : msl::kernel_name("add", dtype, op.in.dtype()))
      .buffer(0, op.out)
      .buffer(1, op.in)
      .bytes(2, span_args(op.out, op.in))
      .in_place(0, 1)
      .dispatch_spans(op.out.elements(), tuning_.span_threads);
}

void MslBackend::execute(const GatherRows& op) {
  if (op.out.elements() == 0) return;
  const std::int64_t columns = half_columns(op.in);
  const GatherArgs args = {.rows = msl::count32(op.indices.elements(), "gather_rows"),
                           .columns = msl::count32(columns, "gather_rows"),
                           .source_rows = msl::count32(op.in.shape().rows(), "gather_rows"),
                           .aligned = msl::aligned_rows(columns, op.out, op.in)};
  msl::Encoder encoder = encode("gather_rows");
  encoder.untyped(0, op.out);
  if (op.in.elements() == 0) {
    encoder.optional(1, {});
  } else {
    encoder.untyped(1, op.in);
  }
  encoder.buffer(2, op.indices).bytes(3, args).dispatch_tiles(args.rows, columns, tuning_.tile_threads);
}

}  // namespace mslt

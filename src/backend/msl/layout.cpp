// Copies, casts and rearrangements as MSL kernels.
#include <bit>

#include "backend/checks.h"
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

// The columns of a tensor as the kernels that move bits count them, 16 bits each.
std::int64_t half_columns(const Tensor& tensor) {
  return tensor.shape()[-1] * static_cast<std::int64_t>(size_of(tensor.dtype()) / 2);
}

// Four bytes that repeat the value.
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

QkvArgs qkv_args(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& qkv) {
  const std::int64_t query = half_columns(q);
  const std::int64_t key = half_columns(k);
  const bool whole = query % msl::span_width == 0;
  return {.rows = msl::count32(qkv.shape().rows(), "qkv"),
          .query = msl::count32(query, "qkv"),
          .key = msl::count32(key, "qkv"),
          .aligned = whole ? msl::aligned_rows(key, q, k, v, qkv) : 0u};
}

Tensor as_bytes(const Tensor& tensor) {
  return {tensor.buffer(), tensor.offset(), DType::u8, {static_cast<std::int64_t>(tensor.bytes())}};
}

}  // namespace

void MslBackend::split_qkv(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& qkv,
                           const AttentionShape& shape) {
  check_split_qkv(q, k, v, qkv, shape);
  if (qkv.elements() == 0) return;
  const QkvArgs args = qkv_args(q, k, v, qkv);
  encode("split_qkv")
      .untyped(0, q)
      .untyped(1, k)
      .untyped(2, v)
      .untyped(3, qkv)
      .bytes(4, args)
      .dispatch_tiles(args.rows, half_columns(qkv), tuning_.tile_threads);
}

void MslBackend::join_qkv(const Tensor& qkv, const Tensor& q, const Tensor& k, const Tensor& v,
                          const AttentionShape& shape) {
  check_join_qkv(qkv, q, k, v, shape);
  if (qkv.elements() == 0) return;
  const QkvArgs args = qkv_args(q, k, v, qkv);
  encode("join_qkv")
      .untyped(0, qkv)
      .untyped(1, q)
      .untyped(2, k)
      .untyped(3, v)
      .bytes(4, args)
      .dispatch_tiles(args.rows, half_columns(qkv), tuning_.tile_threads);
}

void MslBackend::cast(const Tensor& out, const Tensor& in) {
  check_cast(out, in);
  if (out.dtype() == in.dtype()) {
    copy(out, in);
    return;
  }
  if (in.elements() == 0) return;
  encode(msl::kernel_name("cast", in.dtype(), out.dtype()))
      .buffer(0, out)
      .buffer(1, in)
      .bytes(2, span_args(out, in))
      .dispatch_spans(in.elements(), tuning_.span_threads);
}

void MslBackend::fill(const Tensor& out, float value) {
  check_fill(out);
  if (out.elements() == 0) return;
  const Tensor bytes = as_bytes(out);
  const FillArgs args = {.count = out.bytes(),
                         .aligned = msl::aligned_rows(msl::span_width, out),
                         .pattern = pattern_of(out.dtype(), value)};
  // A thread has sixteen bytes.
  encode("fill_bytes").buffer(0, bytes).bytes(1, args).dispatch_spans((bytes.elements() + 1) / 2, tuning_.span_threads);
}

void MslBackend::copy(const Tensor& out, const Tensor& in) {
  check_copy(out, in);
  const bool same = &out.buffer() == &in.buffer() && out.offset() == in.offset();
  if (same || in.elements() == 0) return;
  const Tensor to = as_bytes(out);
  const Tensor from = as_bytes(in);
  // A thread has sixteen bytes.
  encode("copy_bytes")
      .buffer(0, to)
      .buffer(1, from)
      .bytes(2, span_args(to, from))
      .dispatch_spans((to.elements() + 1) / 2, tuning_.span_threads);
}

void MslBackend::add(const Tensor& out, const Tensor& in) {
  check_add(out, in);
  if (out.elements() == 0) return;
  encode(msl::kernel_name("add", out.dtype()))
      .buffer(0, out)
      .buffer(1, in)
      .bytes(2, span_args(out, in))
      .in_place(0, 1)
      .dispatch_spans(out.elements(), tuning_.span_threads);
}

void MslBackend::gather_rows(const Tensor& out, const Tensor& in, const Tensor& indices) {
  check_gather_rows(out, in, indices);
  if (out.elements() == 0) return;
  const std::int64_t columns = half_columns(in);
  const GatherArgs args = {.rows = msl::count32(indices.elements(), "gather_rows"),
                           .columns = msl::count32(columns, "gather_rows"),
                           .source_rows = msl::count32(in.shape().rows(), "gather_rows"),
                           .aligned = msl::aligned_rows(columns, out, in)};
  msl::Encoder encoder = encode("gather_rows");
  encoder.untyped(0, out);
  if (in.elements() == 0) {
    encoder.optional(1, {});
  } else {
    encoder.untyped(1, in);
  }
  encoder.buffer(2, indices).bytes(3, args).dispatch_tiles(args.rows, columns, tuning_.tile_threads);
}

}  // namespace mslt

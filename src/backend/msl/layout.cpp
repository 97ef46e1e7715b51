// Copies, casts and rearrangements as MSL kernels.
#include "backend/checks.h"
#include "backend/msl/launch.h"
#include "backend/msl/msl_backend.h"
#include "kernels/layout_args.h"

namespace mslt {
namespace {

SpanArgs span_args(const Tensor& out, const Tensor& in, float value = 0.0f) {
  return {.count = static_cast<std::uint64_t>(out.elements()),
          .aligned = msl::aligned_rows(msl::span_width, out, in),
          .value = value};
}

QkvArgs qkv_args(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& qkv, const AttentionShape& shape) {
  const std::int64_t query = std::int64_t{shape.heads} * shape.head_size;
  const std::int64_t key = std::int64_t{shape.kv_heads} * shape.head_size;
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
  const QkvArgs args = qkv_args(q, k, v, qkv, shape);
  const msl::Launch launch = msl::tile_launch(args.rows, qkv.shape()[-1]);
  encode(msl::kernel_name("split_qkv", qkv.dtype()))
      .buffer(0, q)
      .buffer(1, k)
      .buffer(2, v)
      .buffer(3, qkv)
      .bytes(4, args)
      .dispatch(launch.groups, launch.threads);
}

void MslBackend::join_qkv(const Tensor& qkv, const Tensor& q, const Tensor& k, const Tensor& v,
                          const AttentionShape& shape) {
  check_join_qkv(qkv, q, k, v, shape);
  if (qkv.elements() == 0) return;
  const QkvArgs args = qkv_args(q, k, v, qkv, shape);
  const msl::Launch launch = msl::tile_launch(args.rows, qkv.shape()[-1]);
  encode(msl::kernel_name("join_qkv", qkv.dtype()))
      .buffer(0, qkv)
      .buffer(1, q)
      .buffer(2, k)
      .buffer(3, v)
      .bytes(4, args)
      .dispatch(launch.groups, launch.threads);
}

void MslBackend::cast(const Tensor& out, const Tensor& in) {
  check_cast(out, in);
  if (out.dtype() == in.dtype()) {
    copy(out, in);
    return;
  }
  if (in.elements() == 0) return;
  const msl::Launch launch = msl::span_launch(in.elements());
  encode(msl::kernel_name("cast", in.dtype(), out.dtype()))
      .buffer(0, out)
      .buffer(1, in)
      .bytes(2, span_args(out, in))
      .dispatch(launch.groups, launch.threads);
}

void MslBackend::fill(const Tensor& out, float value) {
  check_fill(out);
  if (out.elements() == 0) return;
  const msl::Launch launch = msl::span_launch(out.elements());
  encode(msl::kernel_name("fill", out.dtype()))
      .buffer(0, out)
      .bytes(1, span_args(out, {}, value))
      .dispatch(launch.groups, launch.threads);
}

void MslBackend::copy(const Tensor& out, const Tensor& in) {
  check_copy(out, in);
  const bool same = &out.buffer() == &in.buffer() && out.offset() == in.offset();
  if (same || in.elements() == 0) return;
  const Tensor to = as_bytes(out);
  const Tensor from = as_bytes(in);
  const msl::Launch launch = msl::span_launch((to.elements() + 1) / 2);  // a thread has sixteen bytes
  encode("copy_bytes")
      .buffer(0, to)
      .buffer(1, from)
      .bytes(2, span_args(to, from))
      .dispatch(launch.groups, launch.threads);
}

void MslBackend::add(const Tensor& out, const Tensor& in) {
  check_add(out, in);
  if (out.elements() == 0) return;
  const msl::Launch launch = msl::span_launch(out.elements());
  encode(msl::kernel_name("add", out.dtype()))
      .buffer(0, out)
      .buffer(1, in)
      .bytes(2, span_args(out, in))
      .in_place(0, 1)
      .dispatch(launch.groups, launch.threads);
}

void MslBackend::gather_rows(const Tensor& out, const Tensor& in, const Tensor& indices) {
  check_gather_rows(out, in, indices);
  if (out.elements() == 0) return;
  const std::int64_t columns = in.shape()[-1];
  const GatherArgs args = {.rows = msl::count32(indices.elements(), "gather_rows"),
                           .columns = msl::count32(columns, "gather_rows"),
                           .source_rows = msl::count32(in.shape().rows(), "gather_rows"),
                           .aligned = msl::aligned_rows(columns, out, in)};
  const msl::Launch launch = msl::tile_launch(args.rows, columns);
  encode(msl::kernel_name("gather_rows", in.dtype()))
      .buffer(0, out)
      .optional(1, in.elements() == 0 ? Tensor() : in)
      .buffer(2, indices)
      .bytes(3, args)
      .dispatch(launch.groups, launch.threads);
}

}  // namespace mslt

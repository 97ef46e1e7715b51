// Argument checks of the layout operations.
#include "backend/checks.h"
#include "backend/checks_support.h"

namespace mslt {
namespace {

void check_qkv_parts(const Arguments& arguments, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& qkv,
                     const AttentionShape& shape) {
  arguments.attention_shape(shape);
  arguments.present(qkv, "qkv");
  const std::int64_t rows = qkv.shape().rows();
  const std::int64_t query = std::int64_t{shape.heads} * shape.head_size;
  const std::int64_t key = std::int64_t{shape.kv_heads} * shape.head_size;
  arguments.matrix(qkv, "qkv", Elements::floating, rows, query + 2 * key);
  const auto check_part = [&](const Tensor& part, std::string_view name, std::int64_t columns) {
    arguments.matrix(part, name, Elements::floating, rows, columns);
    arguments.same_dtype(part, name, qkv, "qkv");
    arguments.apart(part, name, qkv, "qkv");
  };
  check_part(q, "q", query);
  check_part(k, "k", key);
  check_part(v, "v", key);
}

}  // namespace

void check_split_qkv(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& qkv,
                     const AttentionShape& shape) {
  const Arguments arguments("split_qkv");
  check_qkv_parts(arguments, q, k, v, qkv, shape);
  arguments.apart(q, "q", k, "k");
  arguments.apart(q, "q", v, "v");
  arguments.apart(k, "k", v, "v");
}

void check_join_qkv(const Tensor& qkv, const Tensor& q, const Tensor& k, const Tensor& v, const AttentionShape& shape) {
  check_qkv_parts(Arguments("join_qkv"), q, k, v, qkv, shape);
}

void check_cast(const Tensor& out, const Tensor& in) {
  const Arguments arguments("cast");
  arguments.elements(in, "in", Elements::floating);
  arguments.vector(out, "out", Elements::floating, in.elements());
  arguments.require(out.dtype() == in.dtype() || out.dtype() == DType::f32 || in.dtype() == DType::f32,
                    "out is {} and in is {}, but one of them must be f32, or both of one dtype.", out.describe(),
                    in.describe());
  arguments.apart(out, "out", in, "in");
}

void check_fill(const Tensor& out) {
  Arguments("fill").elements(out, "out", Elements::floating);
}

void check_copy(const Tensor& out, const Tensor& in) {
  const Arguments arguments("copy");
  arguments.present(out, "out");
  arguments.present(in, "in");
  arguments.same_dtype(out, "out", in, "in");
  arguments.require(out.elements() == in.elements(), "out is {} and in is {}, but both must have as many elements.",
                    out.describe(), in.describe());
  arguments.apart_or_same(out, "out", in, "in");
}

void check_add(const Tensor& out, const Tensor& in) {
  const Arguments arguments("add");
  arguments.elements(in, "in", Elements::floating);
  arguments.vector(out, "out", Elements::floating, in.elements());
  arguments.same_dtype(out, "out", in, "in");
  arguments.apart_or_same(out, "out", in, "in");
}

void check_gather_rows(const Tensor& out, const Tensor& in, const Tensor& indices) {
  const Arguments arguments("gather_rows");
  arguments.elements(in, "in", Elements::floating);
  arguments.require(in.shape().rank() >= 1, "in is {}, but must have at least 1 dimension.", in.describe());
  arguments.elements(indices, "indices", Elements::i32);
  arguments.matrix(out, "out", Elements::floating, indices.elements(), in.shape()[-1]);
  arguments.same_dtype(out, "out", in, "in");
  arguments.apart(out, "out", in, "in");
}

}  // namespace mslt

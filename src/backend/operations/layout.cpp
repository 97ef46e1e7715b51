// Checks of the layout operations.
#include "backend/operations/layout.h"

#include "backend/operations/checks.h"

namespace mslt {
namespace {

// For SplitQkv and JoinQkv.
template <class Op>
void check_parts(const Arguments& given, const Op& op) {
  check_attention_shape(given, op.shape);
  given.present(op.qkv);
  const std::int64_t rows = op.qkv.shape().rows();
  given.matrix(op.qkv, rows, op.shape.qkv_columns());
  given.matrix(op.q, rows, op.shape.query_columns());
  given.matrix(op.k, rows, op.shape.key_columns());
  given.matrix(op.v, rows, op.shape.key_columns());
}

}  // namespace

void SplitQkv::check(const Arguments& given) const {
  check_parts(given, *this);
}

void JoinQkv::check(const Arguments& given) const {
  check_parts(given, *this);
}

void Cast::check(const Arguments& given) const {
  given.elements(in);
  given.vector(out, in.elements());
  given.require(out.dtype() == in.dtype() || out.dtype() == DType::f32 || in.dtype() == DType::f32,
                "out is {} and in is {}, but one of them must be f32, or both of one dtype.", out.describe(),
                in.describe());
}

void Fill::check(const Arguments& given) const {
  given.elements(out);
}

void Copy::check(const Arguments& given) const {
  given.present(out);
  given.present(in);
  given.require(out.dtype() == in.dtype(), "out is {} and in is {}, but both must have the same dtype.", out.describe(),
                in.describe());
  given.require(out.elements() == in.elements(),
                "out is {} and in is {}, but both must have the same number of elements.", out.describe(),
                in.describe());
}

void Add::check(const Arguments& given) const {
  given.elements(in);
  given.vector(out, in.elements());
}

void GatherRows::check(const Arguments& given) const {
  given.rows(in);
  given.elements(indices);
  given.matrix(out, indices.elements(), in.shape()[-1]);
}

}  // namespace mslt

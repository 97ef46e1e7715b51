// Checks of the layout operations.
#include "backend/operations/layout.h"

#include "backend/operations/checks.h"

namespace mslt {
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

// Matrix products by oneDNN.
#include <dnnl.h>

#include "backend/cpu/gemm.h"
#include "base/fail.h"

namespace mslt {

void gemm(std::int64_t m, std::int64_t n, std::int64_t k, const GemmMatrix& a, const GemmMatrix& b, float* c,
          std::int64_t c_stride, bool accumulate) {
  const dnnl_status_t status = dnnl_sgemm(a.transposed ? 'T' : 'N', b.transposed ? 'T' : 'N', m, n, k, 1.0f, a.data,
                                          a.stride, b.data, b.stride, accumulate ? 1.0f : 0.0f, c, c_stride);
  if (status == dnnl_out_of_memory) fail(ErrorKind::memory, "oneDNN found no memory for a product.");
  if (status != dnnl_success) {
    fail(ErrorKind::device, "oneDNN refused a product of [{}, {}] and [{}, {}] with status {}.", m, k, k, n,
         static_cast<int>(status));
  }
}

}  // namespace mslt

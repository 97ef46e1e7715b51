// Matrix products by oneDNN.
#include <dnnl.h>

#include "backend/cpu/gemm.h"
#include "backend/cpu/host_info.h"
#include "base/fail.h"
#include "base/process_limits.h"

namespace mslt {
namespace {

// oneDNN generates its kernels at the first product, and crashes if it gets no address space for them; it was observed
// to take about 5 MiB.
bool require_room_for_kernels() {
  constexpr std::uint64_t room = std::uint64_t{16} << 20;
  if (address_space_left() < room) {
    fail(ErrorKind::memory, "There is no room for the kernels of matrix products, {}: {}.", binary_size(room),
         explain_memory(room, host_free_bytes()));
  }
  return true;
}

}  // namespace

void gemm(std::int64_t m, std::int64_t n, std::int64_t k, const GemmMatrix& a, const GemmMatrix& b, float* c,
          std::int64_t c_stride, bool accumulate) {
  [[maybe_unused]] static const bool has_room = require_room_for_kernels();
  const dnnl_status_t status = dnnl_sgemm(a.transposed ? 'T' : 'N', b.transposed ? 'T' : 'N', m, n, k, 1.0f, a.data,
                                          a.stride, b.data, b.stride, accumulate ? 1.0f : 0.0f, c, c_stride);
  if (status == dnnl_out_of_memory) fail(ErrorKind::memory, "oneDNN found no memory for a product.");
  if (status != dnnl_success) {
    fail(ErrorKind::device, "oneDNN refused a product of [{}, {}] and [{}, {}] with status {}.", m, k, k, n,
         static_cast<int>(status));
  }
}

}  // namespace mslt

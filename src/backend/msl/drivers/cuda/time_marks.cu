// The kernel of a mark.
#include <array>

#include "backend/msl/drivers/cuda/time_marks.h"

namespace mslt::msl::cuda {
namespace {

__global__ void __launch_bounds__(1) mark_time(std::uint64_t* memory, std::uint64_t most) {
  std::uint64_t nanoseconds = 0;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(nanoseconds));
  const std::uint64_t count = memory[0];
  if (count < most) memory[1 + count] = nanoseconds;
  memory[0] = count + 1;
}

}  // namespace

cudaError_t launch_mark(std::uint64_t* memory, std::uint64_t most, cudaStream_t stream) {
  // Not launched early: it is the end of what comes before it that it notes.
  std::array<void*, 2> arguments = {&memory, &most};
  return cudaLaunchKernel(reinterpret_cast<const void*>(&mark_time), dim3(1), dim3(1), arguments.data(), 0, stream);
}

}  // namespace mslt::msl::cuda

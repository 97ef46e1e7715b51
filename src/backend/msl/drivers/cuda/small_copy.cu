// The kernel of small copies.
#include "backend/msl/drivers/cuda/small_copy.h"

#include <array>
#include <cstdint>

#include "backend/msl/drivers/cuda/msl_begin.cuh"

namespace mslt::msl::cuda {
namespace {

constexpr std::size_t most_bytes = 4096;
constexpr unsigned threads = 128;

__global__ void __launch_bounds__(threads) copy_words(std::uint32_t* to, const std::uint32_t* from, unsigned words) {
  metal::mslt_begin();
  for (unsigned i = threadIdx.x; i < words; i += threads) to[i] = from[i];
}

}  // namespace

bool is_small_copy(const void* to, const void* from, std::size_t bytes) {
  return bytes <= most_bytes &&
         (reinterpret_cast<std::uintptr_t>(to) | reinterpret_cast<std::uintptr_t>(from) | bytes) % 4 == 0;
}

cudaError_t launch_small_copy(void* to, const void* from, std::size_t bytes, cudaStream_t stream) {
  auto* target = static_cast<std::uint32_t*>(to);
  const auto* source = static_cast<const std::uint32_t*>(from);
  auto words = static_cast<unsigned>(bytes / 4);
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = 1;
  config.blockDim = threads;
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = 1;
  std::array<void*, 3> arguments = {&target, &source, &words};
  return cudaLaunchKernelExC(&config, reinterpret_cast<const void*>(&copy_words), arguments.data());
}

}  // namespace mslt::msl::cuda

// Copies of few bytes by a kernel, which begin and end sooner than those of the copy engines.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

namespace mslt::msl::cuda {

// Whether a copy is small enough, and of whole words at both addresses.
bool is_small_copy(const void* to, const void* from, std::size_t bytes);
// Puts such a copy into the stream, between memory of the GPU or pinned memory of the host.
cudaError_t launch_small_copy(void* to, const void* from, std::size_t bytes, cudaStream_t stream);

}  // namespace mslt::msl::cuda

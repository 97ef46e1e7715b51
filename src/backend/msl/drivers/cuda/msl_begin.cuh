// How a kernel starts: before the one in front of it has ended, where it was launched so, and then waits for it.
#pragma once

namespace metal {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
// Lets the next kernel's threadgroups come up once all of this one's run.
__device__ __forceinline__ void mslt_let_next_start() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}
// Waits until all earlier kernels have ended and their memory is seen: each of them has waited so for the one in front
// of it.
__device__ __forceinline__ void mslt_wait() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}
#else
__device__ __forceinline__ void mslt_let_next_start() {}
__device__ __forceinline__ void mslt_wait() {}
#endif

__device__ __forceinline__ void mslt_begin() {
  mslt_let_next_start();
  mslt_wait();
}

}  // namespace metal

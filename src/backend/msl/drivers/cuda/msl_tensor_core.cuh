// Tensor cores and asynchronous copies, for the helpers of target/ that take the place of those of kernels/target/.
//
// Matrices of 16-bit elements lie in shared memory as rows of `units` units of 16 bytes, each at place_of(row, unit),
// so that eight rows at one unit, and eight units of one row, lie in different banks. A fragment is that of
// mma.m16n8k16: lane l has of a left operand and of sums the rows l / 4 and l / 4 + 8 and the columns 2 · (l % 4) and
// the next (of a left operand those 8 behind, too), and of a right operand the transpose of that.
#pragma once

#include "backend/msl/drivers/cuda/msl_simd.cuh"
#include "backend/msl/drivers/cuda/msl_types.cuh"

namespace metal::tensor_core {

// Where unit `unit` of row `row` lies, in units.
template <uint units>
__device__ __forceinline__ uint place_of(uint row, uint unit) {
  static_assert(units == 4 || units % 8 == 0);
  return row * units + (unit ^ (units == 4 ? row / 2 % 4 : row % 8));
}

__device__ __forceinline__ uint shared_address(const void* memory) {
  return static_cast<uint>(__cvta_generic_to_shared(memory));
}

// Copies 16 bytes from device to shared memory in the background, or zeros if not `exists`.
__device__ __forceinline__ void copy_unit(void* to, const void* from, bool exists) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(exists ? 16u : 0u)
               : "memory");
}

// Ends a batch of copies of this thread.
__device__ __forceinline__ void end_batch() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until at most `left` of this thread's latest batches are under way.
template <int left>
__device__ __forceinline__ void wait_for_batches() {
  asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
}

// Four 8×8 matrices at once, whose rows are at the addresses of lanes 0 to 7, 8 to 15 and so on.
__device__ __forceinline__ void load_four(uint (&words)[4], uint address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(address)
               : "memory");
}

// Four 8×8 matrices of a tile. In order, they are those at (0, 0), (8, 0), (0, 8), (8, 8) from (row, 8 · unit) on, or
// `across`: (0, 0), (0, 8), (8, 0), (8, 8); each of them transposed if so.
template <uint units, bool across, bool transposed>
__device__ __forceinline__ void load_matrices(uint (&words)[4], const uint4* tile, uint row, uint unit, uint lane) {
  const uint second = lane / 8 % 2;
  const uint third = lane / 16;
  const uint r = row + lane % 8 + 8 * (across ? third : second);
  const uint address = shared_address(tile + place_of<units>(r, unit + (across ? second : third)));
  if constexpr (transposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(address)
                 : "memory");
  } else {
    load_four(words, address);
  }
}

// The left operand of 16 rows and 16 of the inner length at (row, k), which lies in memory by rows, or by columns if
// transposed.
template <uint units, bool transposed>
__device__ __forceinline__ void load_left(uint (&words)[4], const uint4* tile, uint row, uint k, uint lane) {
  load_matrices<units, transposed, transposed>(words, tile, transposed ? k : row, (transposed ? row : k) / 8, lane);
}

// Two right operands of 16 of the inner length and 8 columns each, at (k, column) and (k, column + 8), which lie in
// memory by rows, or by columns if transposed.
template <uint units, bool transposed>
__device__ __forceinline__ void load_right(uint (&words)[4], const uint4* tile, uint k, uint column, uint lane) {
  load_matrices<units, transposed, !transposed>(words, tile, transposed ? column : k, (transposed ? k : column) / 8,
                                                lane);
}

// The 16 rows and 8 columns in `upper` and `lower` += left · right.
template <class T>
__device__ __forceinline__ void multiply(float (&upper)[2], float (&lower)[2], const uint (&left)[4], uint right_0,
                                         uint right_1) {
  static_assert(is_same_v<T, bfloat> || is_same_v<T, half>);
  if constexpr (is_same_v<T, bfloat>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(upper[0]), "+f"(upper[1]), "+f"(lower[0]), "+f"(lower[1])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right_0), "r"(right_1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(upper[0]), "+f"(upper[1]), "+f"(lower[0]), "+f"(lower[1])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right_0), "r"(right_1));
  }
}

// Two elements in a word, the first in its lower half.
template <class T>
__device__ __forceinline__ uint pair_of(float first, float second) {
  static_assert(is_same_v<T, bfloat> || is_same_v<T, half>);
  uint pair;
  if constexpr (is_same_v<T, bfloat>) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  }
  return pair;
}

}  // namespace metal::tensor_core

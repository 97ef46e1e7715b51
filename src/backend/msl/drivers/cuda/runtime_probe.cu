// Kernels that try the metal:: library in CUDA C++.
#include "backend/msl/drivers/cuda/runtime_probe.h"

#include <cuda_runtime.h>

#include <stdexcept>

#include "backend/msl/drivers/cuda/msl_cuda.cuh"

namespace mslt::msl::cuda::probe {
namespace {

void check(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}

// Device memory with a copy of something, or for results.
template <class T>
class Memory {
 public:
  explicit Memory(std::size_t count) : count_(count) { check(cudaMalloc(&data_, count * sizeof(T))); }
  Memory(const T* values, std::size_t count) : Memory(count) {
    check(cudaMemcpy(data_, values, count * sizeof(T), cudaMemcpyHostToDevice));
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() { cudaFree(data_); }
  T* data() { return data_; }
  void read(T* values) { check(cudaMemcpy(values, data_, count_ * sizeof(T), cudaMemcpyDeviceToHost)); }

 private:
  T* data_ = nullptr;
  std::size_t count_;
};

template <class T>
__global__ void convert(const float* values, std::uint16_t* bits, std::size_t count) {
  const std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < count) bits[i] = T(values[i]).bits;
}

template <class T>
std::vector<std::uint16_t> converted(const std::vector<float>& values) {
  Memory<float> in(values.data(), values.size());
  Memory<std::uint16_t> out(values.size());
  convert<T><<<static_cast<unsigned int>((values.size() + 255) / 256), 256>>>(in.data(), out.data(), values.size());
  check(cudaGetLastError());
  std::vector<std::uint16_t> bits(values.size());
  out.read(bits.data());
  return bits;
}

template <class T>
__global__ void multiply(const float* a, const float* b, const float* c, float* d, bool transpose_a, bool transpose_b) {
  __shared__ T left[64];
  __shared__ T right[64];
  for (unsigned int i = threadIdx.x; i < 64; i += 32) {
    left[i] = T(a[i]);
    right[i] = T(b[i]);
  }
  __syncwarp();
  metal::simdgroup_matrix<T, 8, 8> a_matrix;
  metal::simdgroup_matrix<T, 8, 8> b_matrix;
  metal::simdgroup_float8x8 sums;
  metal::simdgroup_load(a_matrix, left, 8, metal::ulong2(0, 0), transpose_a);
  metal::simdgroup_load(b_matrix, right, 8, metal::ulong2(0, 0), transpose_b);
  metal::simdgroup_load(sums, c);
  metal::simdgroup_multiply_accumulate(sums, a_matrix, b_matrix, sums);
  metal::simdgroup_store(sums, d);
}

__global__ void simd(const float* values, SimdResults* results) {
  const unsigned int lane = threadIdx.x;
  const float x = values[lane];
  results->sum[lane] = metal::simd_sum(x);
  results->product[lane] = metal::simd_product(x);
  results->max[lane] = metal::simd_max(x);
  results->min[lane] = metal::simd_min(x);
  results->xor_5[lane] = metal::simd_shuffle_xor(x, 5);
  results->up_3[lane] = metal::simd_shuffle_up(x, 3);
  results->down_3[lane] = metal::simd_shuffle_down(x, 3);
  results->from_7[lane] = metal::simd_broadcast(x, 7);
  results->inclusive[lane] = metal::simd_prefix_inclusive_sum(x);
  results->exclusive[lane] = metal::simd_prefix_exclusive_sum(x);
}

__global__ void integers(const std::uint32_t* values, IntegerResults* results) {
  const std::uint32_t x = values[threadIdx.x];
  const IntegerResults own = {metal::simd_sum(x),
                              metal::simd_max(x),
                              metal::simd_min(x),
                              metal::simd_and(x),
                              metal::simd_or(x),
                              metal::simd_xor(x),
                              1};
  const std::uint32_t words[6] = {own.sum, own.max, own.min, own.bit_and, own.bit_or, own.bit_xor};
  bool agree = true;
  for (const std::uint32_t word : words) agree = agree && word == metal::simd_broadcast_first(word);
  const std::uint32_t all = metal::simd_min(agree ? 1u : 0u);
  if (threadIdx.x == 0) {
    *results = own;
    results->agree = all;
  }
}

}  // namespace

std::uint16_t half_bits(float value) {
  return metal::half(value).bits;
}
float half_value(std::uint16_t bits) {
  return metal::as_type<metal::half>(bits);
}
std::uint16_t bfloat_bits(float value) {
  return metal::bfloat(value).bits;
}
float bfloat_value(std::uint16_t bits) {
  return metal::as_type<metal::bfloat>(bits);
}
std::uint32_t matrix_row(std::uint32_t lane) {
  return metal::matrix_detail::row_of(lane);
}
std::uint32_t matrix_column(std::uint32_t lane) {
  return metal::matrix_detail::column_of(lane);
}
std::uint32_t matrix_lane(std::uint32_t row, std::uint32_t column) {
  return metal::matrix_detail::lane_of(row, column);
}

bool has_gpu() {
  int count = 0;
  const bool found = cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
  cudaGetLastError();
  return found;
}

std::vector<std::uint16_t> half_bits_on_gpu(const std::vector<float>& values) {
  return converted<metal::half>(values);
}
std::vector<std::uint16_t> bfloat_bits_on_gpu(const std::vector<float>& values) {
  return converted<metal::bfloat>(values);
}

Square product(Element element, const Square& a, const Square& b, const Square& c, bool transpose_a, bool transpose_b) {
  Memory<float> left(a.data(), a.size());
  Memory<float> right(b.data(), b.size());
  Memory<float> old(c.data(), c.size());
  Memory<float> out(64);
  const auto kernel = element == Element::f32   ? multiply<float>
                      : element == Element::f16 ? multiply<metal::half>
                                                : multiply<metal::bfloat>;
  kernel<<<1, 32>>>(left.data(), right.data(), old.data(), out.data(), transpose_a, transpose_b);
  check(cudaGetLastError());
  Square result;
  out.read(result.data());
  return result;
}

SimdResults simd_operations(const Lanes& values) {
  Memory<float> in(values.data(), values.size());
  Memory<SimdResults> out(1);
  simd<<<1, 32>>>(in.data(), out.data());
  check(cudaGetLastError());
  SimdResults results;
  out.read(&results);
  return results;
}

IntegerResults integer_operations(const std::array<std::uint32_t, 32>& values) {
  Memory<std::uint32_t> in(values.data(), values.size());
  Memory<IntegerResults> out(1);
  integers<<<1, 32>>>(in.data(), out.data());
  check(cudaGetLastError());
  IntegerResults results;
  out.read(&results);
  return results;
}

}  // namespace mslt::msl::cuda::probe

// The kernel of products of few rows.
//
// What bounds such a product is reading the weight once, and how long a threadgroup takes from its input to its result.
// A threadgroup has some columns of all rows and, where the inner length is long, a part of it, which a cluster of
// threadgroups then joins. It reads its share of the weight before it waits for the kernel in front. A norm is taken
// apart for that:
//
//   Σ_k (factor · (x_k - centre) · gain_k + offset_k) · w_k = factor · (Σ_k x_k · w'_k - centre · Σ_k w'_k) + Σ_k
//   offset_k · w_k
//
// with w'_k = gain_k · w_k, so that all but the product with x is done before x is there. The rounding of w' takes the
// place of the rounding of the norm. A quantised weight becomes 16-bit elements in that time, too.
#include "backend/msl/drivers/cuda/few_rows_product.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "backend/msl/drivers/cuda/current_gpu.h"
#include "backend/msl/drivers/cuda/few_rows_weight.cuh"

namespace mslt::msl::cuda {
namespace {

constexpr unsigned warps = 16;
constexpr unsigned threads = 32 * warps;
// Of the inner length that a warp takes at once: two tensor core instructions.
constexpr unsigned step = 32;
// Elements behind each row in shared memory, so that eight rows at one column lie in different banks.
constexpr unsigned padding = unit;
// Units of rows that a lane keeps in registers while it measures them.
constexpr unsigned most_kept = 8;
constexpr unsigned most_normed = most_kept * 32 * unit;
constexpr unsigned most_parts = 4;
constexpr unsigned most_column_tiles = 4;
constexpr unsigned most_turns = 4;
constexpr unsigned most_turns_of_quantised = 16;
constexpr unsigned most_shared_bytes = 227 * 1024;

// 16 rows and 16 columns from `at` on, as a left operand.
template <typename T>
__device__ __forceinline__ void load_left(unsigned (&words)[4], const T* at, unsigned stride, unsigned lane) {
  metal::tensor_core::load_four(words, shared_address(at + lane % 16 * stride + lane / 16 * unit));
}

// 8 rows and 32 columns from `at` on, whose transposes are two right operands.
template <typename T>
__device__ __forceinline__ void load_right(unsigned (&words)[4], const T* at, unsigned stride, unsigned lane) {
  metal::tensor_core::load_four(words, shared_address(at + lane % 8 * stride + lane / 8 * unit));
}

__device__ __forceinline__ void arrive_at_cluster() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ __forceinline__ void wait_for_cluster() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// Where the threadgroup of that number in the cluster has what this one has at `at`.
__device__ __forceinline__ unsigned remote_address(const void* at, unsigned number) {
  unsigned remote;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(shared_address(at)), "r"(number));
  return remote;
}
__device__ __forceinline__ void send(unsigned to, float2 value) {
  asm volatile("st.shared::cluster.v2.f32 [%0], {%1, %2};" ::"r"(to), "f"(value.x), "f"(value.y) : "memory");
}

// What a norm leaves for the results of a row.
struct OfRow {
  float factor;
  float centre;
};

// Copies rows to shared memory and finds what their norm needs. A warp has `count` rows in registers at once.
template <typename T, unsigned count>
__device__ __forceinline__ void measure_rows(const FewRowsProduct& product, T* left, unsigned stride, OfRow* rows) {
  constexpr unsigned chunks = most_kept / count;
  const unsigned lane = threadIdx.x % 32;
  const unsigned units = product.inner / unit;
  const bool has_mean = product.norm == 1;
  const float inverse = 1.0f / static_cast<float>(product.inner);
#pragma unroll 1
  for (unsigned first = threadIdx.x / 32; first < product.rows; first += count * warps) {
    uint4 raw[count][chunks];
#pragma unroll
    for (unsigned chunk = 0; chunk < chunks; ++chunk) {
      if (chunk * 32 >= units) break;
#pragma unroll
      for (unsigned i = 0; i < count; ++i) {
        const unsigned row = min(first + i * warps, product.rows - 1);
        raw[i][chunk] =
            load_unit(static_cast<const T*>(product.in) + std::size_t(row) * product.inner, chunk * 32 + lane, units);
      }
    }
    // Sums of distances from an element of the row, which is near enough to the mean to lose nothing that matters.
    float pivot[count];
    float sum[count] = {};
    float squares[count] = {};
#pragma unroll
    for (unsigned i = 0; i < count; ++i) {
      pivot[i] = has_mean ? __shfl_sync(0xffffffffu, pair_of<T>(raw[i][0].x).x, 0) : 0.0f;
    }
#pragma unroll
    for (unsigned chunk = 0; chunk < chunks; ++chunk) {
      const unsigned at = chunk * 32 + lane;
      if (at >= units) break;
#pragma unroll
      for (unsigned i = 0; i < count; ++i) {
        reinterpret_cast<uint4*>(left + (first + i * warps) * stride)[at] = raw[i][chunk];
        float x[unit];
        unpack<T>(raw[i][chunk], x);
#pragma unroll
        for (unsigned k = 0; k < unit; ++k) {
          const float distance = x[k] - pivot[i];
          sum[i] += distance;
          squares[i] = fmaf(distance, distance, squares[i]);
        }
      }
    }
#pragma unroll
    for (unsigned mask = 16; mask > 0; mask /= 2) {
#pragma unroll
      for (unsigned i = 0; i < count; ++i) {
        sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], mask);
        squares[i] += __shfl_xor_sync(0xffffffffu, squares[i], mask);
      }
    }
#pragma unroll
    for (unsigned i = 0; i < count; ++i) {
      const float mean = has_mean ? sum[i] * inverse : 0.0f;
      const float divisor = fmaxf(fmaf(-mean, mean, squares[i] * inverse), 0.0f) + product.epsilon;
      if (lane == 0) rows[first + i * warps] = {divisor == 0.0f ? 0.0f : rsqrtf(divisor), pivot[i] + mean};
    }
  }
}

// Before the operands in shared memory.
template <unsigned rows, unsigned columns>
struct alignas(16) Head {
  Barrier right_full;
  Barrier left_full;
  OfRow of_row[rows];
  OfColumn of_column[columns];
};

template <typename T, unsigned row_tiles, unsigned column_tiles>
__global__ void __launch_bounds__(threads, 2) few_rows_product(const __grid_constant__ FewRowsProduct product) {
#if __CUDA_ARCH__ >= 900
  constexpr unsigned rows = 16 * row_tiles;
  constexpr unsigned columns = 8 * column_tiles;  // of which product.columns are used
  constexpr unsigned pairs = rows * columns / 2;
  constexpr unsigned own_pairs = (pairs + threads - 1) / threads;
  // Warps that share a tile of rows: each has some of the inner length.
  constexpr unsigned sharing = warps / row_tiles;
  extern __shared__ __align__(16) unsigned char memory[];
  Head<rows, columns>& head = *reinterpret_cast<Head<rows, columns>*>(memory);
  const unsigned lane = threadIdx.x % 32;
  const unsigned warp = threadIdx.x / 32;
  const bool has_norm = product.norm != 0;
  const unsigned parts = product.parts;
  const unsigned part = blockIdx.x % parts;
  const unsigned first_column = blockIdx.x / parts * product.columns;
  const unsigned existing = min(product.columns, product.outputs - first_column);
  const unsigned slice = product.inner / parts;
  const unsigned stride = slice + padding;
  T* const right = reinterpret_cast<T*>(memory + sizeof(head));
  T* const left = right + columns * stride;
  float2* const partial = reinterpret_cast<float2*>(left + rows * stride);
  // The sums of all parts for this threadgroup's share of the results.
  float2* const inbox = partial + sharing * pairs;
  // A quantised weight as it comes, and its scales.
  const bool is_quantised = product.bits < 16;
  const unsigned raw_stride = slice * product.bits / 8;
  unsigned char* const raw = reinterpret_cast<unsigned char*>(inbox + pairs);
  const RawWeight given = {raw, raw_stride, reinterpret_cast<unsigned*>(raw + columns * raw_stride),
                           scale_words(product, slice)};

  metal::mslt_let_next_start();
  if (threadIdx.x == 0) {
    initialize(&head.right_full, 1);
    initialize(&head.left_full, 1);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    expect_bytes(&head.right_full, existing * raw_stride);
    expect_bytes(&head.left_full, has_norm ? 0 : product.rows * slice * 2);
  }
  __syncthreads();
  if (parts > 1) arrive_at_cluster();
  if (threadIdx.x < existing) {
    const std::size_t row = first_column + threadIdx.x;
    void* const to = is_quantised ? static_cast<void*>(raw + threadIdx.x * raw_stride) : right + threadIdx.x * stride;
    copy_bulk(to, static_cast<const unsigned char*>(product.weight) + (row * parts + part) * raw_stride, raw_stride,
              &head.right_full);
  }
  if (is_quantised) copy_scales(product, given, first_column, existing, part);
  wait_for(&head.right_full, 0);
  if (product.bits == 8) prepare_weight<T, 8>(product, right, stride, slice, existing, given, head.of_column);
  if (product.bits == 4) prepare_weight<T, 4>(product, right, stride, slice, existing, given, head.of_column);
  if (!is_quantised && has_norm) {
    prepare_weight<T, 16>(product, right, stride, slice, existing, given, head.of_column);
  }
  metal::mslt_wait();

  if (!has_norm && threadIdx.x < product.rows) {
    copy_bulk(left + threadIdx.x * stride,
              static_cast<const T*>(product.in) + std::size_t(threadIdx.x) * product.inner + part * slice, slice * 2,
              &head.left_full);
  }
  // What is added at the end, asked for now: of the pairs of results that this thread will finish.
  const unsigned share = pairs / parts;
  const auto own_pair = [&](unsigned i) {
    return part * share + i * threads + threadIdx.x;
  };
  const auto exists = [&](unsigned i) {
    const unsigned pair = own_pair(i);
    return i * threads + threadIdx.x < share && pair / (columns / 2) < product.rows &&
           pair % (columns / 2) * 2 < existing;
  };
  const auto place_of = [&](unsigned i) {
    const unsigned pair = own_pair(i);
    return std::size_t(pair / (columns / 2)) * product.outputs + first_column + pair % (columns / 2) * 2;
  };
  unsigned before[own_pairs] = {};
  unsigned bias[own_pairs] = {};
#pragma unroll
  for (unsigned i = 0; i < own_pairs; ++i) {
    if (!exists(i)) continue;
    if (product.accumulate != 0) {
      before[i] = *reinterpret_cast<const unsigned*>(static_cast<const T*>(product.out) + place_of(i));
    }
    if (product.bias != nullptr) {
      bias[i] = *reinterpret_cast<const unsigned*>(static_cast<const T*>(product.bias) + first_column +
                                                   own_pair(i) % (columns / 2) * 2);
    }
  }
  if (has_norm) {
    if (product.inner <= most_normed / 2 && row_tiles > 1) {
      measure_rows<T, 2>(product, left, stride, head.of_row);
    } else {
      measure_rows<T, 1>(product, left, stride, head.of_row);
    }
  }
  // What other warps put into shared memory.
  if (has_norm || is_quantised) __syncthreads();
  wait_for(&head.left_full, 0);

  float sums[column_tiles][2][2] = {};
  const T* const own_left = left + warp % row_tiles * 16 * stride;
#pragma unroll 3
  for (unsigned k = warp / row_tiles * step; k < slice; k += sharing * step) {
    unsigned a[2][4];
    unsigned b[column_tiles][4];
#pragma unroll
    for (unsigned h = 0; h < 2; ++h) load_left(a[h], own_left + k + h * step / 2, stride, lane);
#pragma unroll
    for (unsigned c = 0; c < column_tiles; ++c) load_right(b[c], right + c * 8 * stride + k, stride, lane);
#pragma unroll
    for (unsigned h = 0; h < 2; ++h) {
#pragma unroll
      for (unsigned c = 0; c < column_tiles; ++c) {
        metal::tensor_core::multiply<MetalOf<T>>(sums[c][0], sums[c][1], a[h], b[c][2 * h], b[c][2 * h + 1]);
      }
    }
  }
  float2* const own_partial =
      partial + warp / row_tiles * pairs + (warp % row_tiles * 16 + lane / 4) * (columns / 2) + lane % 4;
#pragma unroll
  for (unsigned c = 0; c < column_tiles; ++c) {
    own_partial[c * 4] = {sums[c][0][0], sums[c][0][1]};
    own_partial[c * 4 + 8 * (columns / 2)] = {sums[c][1][0], sums[c][1][1]};
  }
  __syncthreads();
  const auto sum_of_warps = [&](unsigned pair) {
    float2 sum = partial[pair];
#pragma unroll
    for (unsigned w = 1; w < sharing; ++w) {
      const float2 more = partial[w * pairs + pair];
      sum = {sum.x + more.x, sum.y + more.y};
    }
    return sum;
  };
  if (parts > 1) {
    wait_for_cluster();  // All have begun.
#pragma unroll 1
    for (unsigned pair = threadIdx.x; pair < pairs; pair += threads) {
      const unsigned owner = pair / share;
      send(remote_address(inbox + part * share + (pair - owner * share), owner), sum_of_warps(pair));
    }
    arrive_at_cluster();
    wait_for_cluster();
  }
#pragma unroll
  for (unsigned i = 0; i < own_pairs; ++i) {
    if (!exists(i)) continue;
    float2 sum = {0.0f, 0.0f};
    if (parts == 1) {
      sum = sum_of_warps(own_pair(i));
    } else {
#pragma unroll 1
      for (unsigned from = 0; from < parts; ++from) {
        const float2 more = inbox[from * share + i * threads + threadIdx.x];
        sum = {sum.x + more.x, sum.y + more.y};
      }
    }
    if (has_norm) {
      const OfRow row = head.of_row[own_pair(i) / (columns / 2)];
      const OfColumn* const of = head.of_column + own_pair(i) % (columns / 2) * 2;
      sum.x = fmaf(row.factor, fmaf(-row.centre, of[0].weight, sum.x), of[0].offset);
      sum.y = fmaf(row.factor, fmaf(-row.centre, of[1].weight, sum.y), of[1].offset);
    }
    const float2 b = pair_of<T>(bias[i]);
    float2 result = {activate(product.activation, sum.x + b.x), activate(product.activation, sum.y + b.y)};
    if (product.accumulate != 0) {
      const float2 old = pair_of<T>(before[i]);
      result = {old.x + result.x, old.y + result.y};
    }
    *reinterpret_cast<unsigned*>(static_cast<T*>(product.out) + place_of(i)) = pack<T>(result.x, result.y);
  }
#endif
}

using Kernel = void (*)(FewRowsProduct);

template <typename T, unsigned row_tiles>
constexpr std::array<Kernel, most_column_tiles> kernels_of_columns = {
    few_rows_product<T, row_tiles, 1>, few_rows_product<T, row_tiles, 2>, few_rows_product<T, row_tiles, 3>,
    few_rows_product<T, row_tiles, 4>};

// By row tiles, then column tiles.
template <typename T>
constexpr std::array<std::array<Kernel, most_column_tiles>, 2> kernels_of = {kernels_of_columns<T, 1>,
                                                                             kernels_of_columns<T, 2>};

unsigned row_tiles_of(unsigned rows) {
  return (rows + 15) / 16;
}

std::size_t shared_bytes(const FewRowsProduct& product) {
  const std::size_t rows = 16 * row_tiles_of(product.rows);
  const std::size_t columns = 8 * product.column_tiles();
  const std::size_t head = 2 * sizeof(Barrier) + rows * sizeof(OfRow) + columns * sizeof(OfColumn);
  const unsigned slice = product.inner / product.parts;
  const std::size_t operands = (rows + columns) * (slice + padding) * 2;
  const std::size_t results = rows * columns * sizeof(float);
  const std::size_t raw =
      product.bits == 16 ? 0 : columns * (slice * product.bits / 8 + scale_words(product, slice) * 4);
  return head + operands + warps / (rows / 16) * results + results + raw;
}

unsigned groups_of(const FewRowsProduct& product) {
  return (product.outputs + product.columns - 1) / product.columns * product.parts;
}

// Cycles, about: bytes that a multiprocessor reads in one of them, and what joining parts takes.
constexpr unsigned bytes_a_cycle = 48;
constexpr unsigned cycles_of_cluster = 700;

}  // namespace

bool runs_few_rows_products() {
  return is_hopper_or_later();
}

cudaError_t prepare_few_rows_products() {
  for (const auto& all : {kernels_of<__nv_bfloat16>, kernels_of<__half>}) {
    for (std::size_t r = 0; r < all.size(); ++r) {
      for (std::size_t c = 0; c < all[r].size(); ++c) {
        const cudaError_t status = cudaFuncSetAttribute(reinterpret_cast<const void*>(all[r][c]),
                                                        cudaFuncAttributeMaxDynamicSharedMemorySize, most_shared_bytes);
        if (status != cudaSuccess) return status;
      }
    }
  }
  return cudaSuccess;
}

bool FewRowsProduct::plan() {
  if (rows == 0 || rows > few_rows_most || inner == 0 || outputs == 0 || outputs % 2 != 0) return false;
  if (norm != 0 && inner > most_normed) return false;
  const auto groups_at_once = static_cast<unsigned>(multiprocessors());
  // Whole words of scales.
  const unsigned grain = bits == 8 ? 2 * weight_group : step;
  const unsigned turns_at_most = bits == 16 ? most_turns : most_turns_of_quantised;
  unsigned least = ~0u;
  FewRowsProduct best = *this;
  for (parts = 1; parts <= (norm != 0 ? 1 : most_parts); parts *= 2) {
    if (inner % (parts * grain) != 0) continue;
    // As many columns as turns of all multiprocessors have.
    for (unsigned turns = 1; turns <= turns_at_most; ++turns) {
      const unsigned groups = std::max(groups_at_once * turns / parts, 1u);
      columns = (outputs + 2 * groups - 1) / (2 * groups) * 2;
      if (columns > 8 * most_column_tiles || shared_bytes(*this) > most_shared_bytes) continue;
      const unsigned read = inner / parts * (bits * columns + 16 * rows) / 8;
      const unsigned cycles = turns * (read / bytes_a_cycle) + (parts > 1 ? cycles_of_cluster : 0);
      if (cycles >= least) continue;
      least = cycles;
      best = *this;
    }
  }
  *this = best;
  return least != ~0u;
}

cudaError_t launch_few_rows_product(const FewRowsProduct& product, DType dtype, cudaStream_t stream) {
  const std::size_t number = row_tiles_of(product.rows) - 1;
  const auto& all = dtype == DType::bf16 ? kernels_of<__nv_bfloat16> : kernels_of<__half>;
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  if (const cudaError_t status = cudaStreamIsCapturing(stream, &capture); status != cudaSuccess) return status;
  std::array<cudaLaunchAttribute, 2> attributes{};
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim.x = product.parts;
  attributes[0].val.clusterDim.y = 1;
  attributes[0].val.clusterDim.z = 1;
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = groups_of(product);
  config.blockDim = threads;
  config.dynamicSmemBytes = shared_bytes(product);
  config.stream = stream;
  config.attrs = attributes.data();
  config.numAttrs = product.early != 0 && capture == cudaStreamCaptureStatusActive ? 2 : 1;
  std::array<void*, 1> arguments = {const_cast<FewRowsProduct*>(&product)};
  return cudaLaunchKernelExC(&config, reinterpret_cast<const void*>(all[number][product.column_tiles() - 1]),
                             arguments.data());
}

}  // namespace mslt::msl::cuda

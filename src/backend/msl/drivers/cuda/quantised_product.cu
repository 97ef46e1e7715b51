// The kernel of products of few rows with a quantised weight.
//
// What bounds such a product is reading the weight once, and turning its whole numbers into operands of tensor cores.
// Warps take tiles of the weight's rows; each has a ring of stages in shared memory of its own, which runs ahead over
// the tiles, so that no warp waits for another while it reads. The ring is full before the kernel waits for the one in
// front. The rows of the input, normed if asked, lie in shared memory whole.
#include "backend/msl/drivers/cuda/quantised_product.h"

#include <algorithm>
#include <array>
#include <bit>

#include "backend/msl/drivers/cuda/current_gpu.h"
#include "backend/msl/drivers/cuda/element_math.cuh"
#include "backend/msl/drivers/cuda/few_rows_product.h"
#include "backend/msl/drivers/cuda/quantised_weight.cuh"

namespace mslt::msl::cuda {
namespace {

constexpr unsigned warps = 8;
constexpr unsigned threads = 32 * warps;
// Elements of 16 bytes.
constexpr unsigned unit = 8;
// Elements behind each row of the input, so that the words that lanes read at once lie in different banks.
constexpr unsigned padding = 32;
constexpr unsigned ring_stages = 3;
// Floats between rows of a tile's results, for the same reason.
constexpr unsigned result_stride = tile_rows + 4;
constexpr unsigned most_shared_bytes = 227 * 1024;
// Of which two threadgroups of a multiprocessor have at most.
constexpr unsigned half_shared_bytes = 113 * 1024;

template <typename T>
using MetalOf = std::conditional_t<std::is_same_v<T, __nv_bfloat16>, metal::bfloat, metal::half>;

template <typename T>
__device__ __forceinline__ unsigned pack(float first, float second) {
  return metal::tensor_core::pair_of<MetalOf<T>>(first, second);
}

// A row's norm is (x - centre) · factor · gain + offset.
struct OfRow {
  float factor;
  float centre;
};

// Parts of shared memory, in bytes from its begin on.
struct Layout {
  unsigned input;        // rows of part + padding elements
  unsigned group_sums;   // of the input: a float for each group and row
  unsigned results;      // two for each warp
  unsigned ring;         // ring_stages for each warp
  unsigned stage_bytes;  // of the ring
  unsigned end;
};

__host__ __device__ constexpr unsigned row_tiles_of(unsigned rows) {
  return rows <= 8 ? 1 : rows <= 16 ? 2 : 4;
}

// Memory for the results of a tile: with two, warps begin the next while others still read.
__host__ __device__ constexpr unsigned result_buffers(unsigned row_tiles) {
  return row_tiles < 4 ? 2 : 1;
}

__host__ __device__ constexpr Layout layout_of(const QuantisedProduct& product) {
  const unsigned rows = 8 * row_tiles_of(product.rows);
  Layout layout{};
  layout.input = few_rows_most * sizeof(OfRow);
  layout.group_sums = layout.input + product.rows * (product.part + padding) * 2;
  const unsigned sums = product.bits == 4 ? product.part / weight_group * rows * 4 : 0;
  layout.results = layout.group_sums + sums;
  layout.ring = layout.results + result_buffers(rows / 8) * warps * rows * result_stride * 4;
  layout.stage_bytes = product.bits == 8 ? Stage<8>::bytes : Stage<4>::bytes;
  layout.end = layout.ring + warps * ring_stages * layout.stage_bytes;
  return layout;
}

// Where a unit of a row of the input lies in shared memory.
template <typename T>
__device__ __forceinline__ T* input_at(const QuantisedProduct& product, T* input, unsigned row, unsigned at) {
  return input + row * (product.part + padding) + at * unit;
}

// Calls take(row, unit) for this thread's of `units` units of each row. Units of a group belong to neighbouring lanes.
template <typename Take>
__device__ __forceinline__ void for_own_units(const QuantisedProduct& product, unsigned units, const Take& take) {
  unsigned row = threadIdx.x / units;
  unsigned at = threadIdx.x % units;
#pragma unroll 4
  for (unsigned i = threadIdx.x; i < product.rows * units; i += threads) {
    take(row, at);
    // Instead of a division.
    at += threads;
    while (at >= units) {
      at -= units;
      ++row;
    }
  }
}

// What the norm of each row needs, one row a warp at a time. Distances are from an element of the row, which is near
// enough to the mean to lose nothing that matters.
template <typename T>
__device__ __forceinline__ void measure_rows(const QuantisedProduct& product, T* input, OfRow* rows) {
  const unsigned lane = threadIdx.x % 32;
  const float inverse = 1.0f / static_cast<float>(product.inner);
#pragma unroll 1
  for (unsigned row = threadIdx.x / 32; row < product.rows; row += warps) {
    const float pivot = product.norm == 1 ? to_float(*input_at(product, input, row, 0)) : 0.0f;
    float sum = 0.0f;
    float squares = 0.0f;
#pragma unroll 4
    for (unsigned at = lane; at < product.inner / unit; at += 32) {
      float x[unit];
      unpack<T>(*reinterpret_cast<const uint4*>(input_at(product, input, row, at)), x);
#pragma unroll
      for (unsigned k = 0; k < unit; ++k) {
        const float distance = x[k] - pivot;
        sum += distance;
        squares = fmaf(distance, distance, squares);
      }
    }
    const float mean = product.norm == 1 ? sum_of_warp(sum) * inverse : 0.0f;
    const float divisor = fmaxf(fmaf(-mean, mean, sum_of_warp(squares) * inverse), 0.0f) + product.epsilon;
    if (lane == 0) rows[row] = {divisor == 0.0f ? 0.0f : rsqrtf(divisor), pivot + mean};
  }
}

// Brings a unit into the order of the operands, normed if asked, and for 4 bits adds up its group. A group's lanes do
// that together.
template <typename T, unsigned bits, unsigned row_tiles, bool has_norm>
__device__ __forceinline__ void prepare_unit(const QuantisedProduct& product, T* input, float* group_sums,
                                             const OfRow* rows, unsigned row, unsigned at) {
  constexpr unsigned units_a_group = weight_group / unit;
  const unsigned present = __activemask();
  uint4 raw = *reinterpret_cast<const uint4*>(input_at(product, input, row, at));
  float x[unit];
  if constexpr (has_norm) {
    const OfRow of = rows[row];
    float gain[unit];
    float offset[unit] = {};
    unpack<T>(raw, x);
    unpack<T>(static_cast<const uint4*>(product.gain)[at], gain);
    if (product.offset != nullptr) unpack<T>(static_cast<const uint4*>(product.offset)[at], offset);
#pragma unroll
    for (unsigned k = 0; k < unit; ++k) {
      x[k] = fmaf((x[k] - of.centre) * of.factor, gain[k] + product.weight_offset, offset[k]);
    }
    raw = {pack<T>(x[0], x[1]), pack<T>(x[2], x[3]), pack<T>(x[4], x[5]), pack<T>(x[6], x[7])};
  }
  __syncwarp(present);
  T* const to = input_at(product, input, row, at / units_a_group * units_a_group) +
                PlaceInGroup<bits>::of_unit(at % units_a_group);
  *reinterpret_cast<uint2*>(to) = {__byte_perm(raw.x, raw.y, 0x5410u), __byte_perm(raw.x, raw.y, 0x7632u)};
  *reinterpret_cast<uint2*>(to + PlaceInGroup<bits>::next) = {__byte_perm(raw.z, raw.w, 0x5410u),
                                                              __byte_perm(raw.z, raw.w, 0x7632u)};
  if constexpr (bits == 4) {
    unpack<T>(raw, x);
    float sum = ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
    sum += __shfl_xor_sync(present, sum, 1);
    sum += __shfl_xor_sync(present, sum, 2);
    if (at % units_a_group == 0) group_sums[at / units_a_group * 8 * row_tiles + row] = sum;
  }
}

// Brings the part of the input that begins with element `first` of its rows to shared memory as prepare_unit says.
template <typename T, unsigned bits, unsigned row_tiles>
__device__ __forceinline__ void bring_input(const QuantisedProduct& product, unsigned first, T* input,
                                            float* group_sums, OfRow* rows) {
  const T* const in = static_cast<const T*>(product.in) + first;
  const unsigned units = min(product.part, product.inner - first) / unit;
  for_own_units(product, units, [&](unsigned row, unsigned at) {
    metal::tensor_core::copy_unit(input_at(product, input, row, at), in + std::size_t(row) * product.inner + at * unit,
                                  true);
  });
  metal::tensor_core::end_batch();
  metal::tensor_core::wait_for_batches<0>();
  if (product.norm == 0) {
    // A thread prepares what it copied itself.
    for_own_units(product, units, [&](unsigned row, unsigned at) {
      prepare_unit<T, bits, row_tiles, false>(product, input, group_sums, rows, row, at);
    });
  } else {
    __syncthreads();
    measure_rows<T>(product, input, rows);
    __syncthreads();
    for_own_units(product, units, [&](unsigned row, unsigned at) {
      prepare_unit<T, bits, row_tiles, true>(product, input, group_sums, rows, row, at);
    });
  }
  __syncthreads();
}

// sums[n] += a stage's products with rows 8 · n to 8 · n + 7 of the input.
template <typename T, unsigned bits, unsigned row_tiles, bool whole>
__device__ __forceinline__ void add_stage(float (&sums)[row_tiles][2][2], const unsigned char* stage, unsigned groups,
                                          const T* const (&input)[row_tiles], const float* group_sums) {
  using S = Stage<bits>;
  const unsigned lane = threadIdx.x % 32;
  const unsigned char* const scales = stage + S::scales_at + lane / 4 * S::groups * S::scale_bytes;
  // Four groups' scales of a row are read at once.
  constexpr unsigned together = 4;
  constexpr unsigned words = together * S::scale_bytes / 4;
  unsigned raw[2][words];
#pragma unroll
  for (unsigned group = 0; group < S::groups; ++group) {
    if (!whole && group >= groups) break;
    if (group % together == 0) {
#pragma unroll
      for (unsigned half = 0; half < 2; ++half) {
        const unsigned char* const from = scales + half * 8 * S::groups * S::scale_bytes + group * S::scale_bytes;
        if constexpr (bits == 8) {
          const uint2 two = *reinterpret_cast<const uint2*>(from);
          raw[half][0] = two.x;
          raw[half][1] = two.y;
        } else {
          const uint4 four = *reinterpret_cast<const uint4*>(from);
          raw[half][0] = four.x;
          raw[half][1] = four.y;
          raw[half][2] = four.z;
          raw[half][3] = four.w;
        }
      }
    }
    unsigned left[2][4];
    load_group<T, bits>(left, stage, group);
    float scale[2];
    float minimum[2];
#pragma unroll
    for (unsigned half = 0; half < 2; ++half) {
      const unsigned place = group % together;
      if constexpr (bits == 8) {
        const float2 two = pair_of<__half>(raw[half][place / 2]);
        scale[half] = place % 2 == 0 ? two.x : two.y;
      } else {
        const float2 two = pair_of<__half>(raw[half][place]);
        scale[half] = two.x;
        minimum[half] = fmaf(-half_byte_offset<T>, two.x, two.y);
      }
    }
#pragma unroll
    for (unsigned n = 0; n < row_tiles; ++n) {
      const uint4 right = *reinterpret_cast<const uint4*>(input[n] + group * weight_group);
      float own[2][2] = {};
      metal::tensor_core::multiply<MetalOf<T>>(own[0], own[1], left[0], right.x, right.y);
      metal::tensor_core::multiply<MetalOf<T>>(own[0], own[1], left[1], right.z, right.w);
      float2 of_input = {};
      if constexpr (bits == 4) {
        of_input = *reinterpret_cast<const float2*>(group_sums + group * 8 * row_tiles + n * 8);
      }
#pragma unroll
      for (unsigned half = 0; half < 2; ++half) {
        if constexpr (bits == 4) {
          sums[n][half][0] = fmaf(minimum[half], of_input.x, sums[n][half][0]);
          sums[n][half][1] = fmaf(minimum[half], of_input.y, sums[n][half][1]);
        }
        sums[n][half][0] = fmaf(scale[half], own[half][0], sums[n][half][0]);
        sums[n][half][1] = fmaf(scale[half], own[half][1], sums[n][half][1]);
      }
    }
  }
}

// Waits for all warps of a team of `sharing`, whose number is `team`.
__device__ __forceinline__ void wait_for_team(unsigned team, unsigned sharing) {
  if (sharing > 1) {
    asm volatile("bar.sync %0, %1;" ::"r"(team + 1), "r"(sharing * 32) : "memory");
  } else {
    __syncwarp();
  }
}

template <typename T, unsigned bits, unsigned row_tiles>
__global__ void __launch_bounds__(threads, row_tiles < 4 ? 2 : 1)
    quantised_product(const __grid_constant__ QuantisedProduct product) {
#if __CUDA_ARCH__ >= 900
  using S = Stage<bits>;
  constexpr unsigned rows = 8 * row_tiles;
  constexpr unsigned tile_results = rows * result_stride;
  extern __shared__ __align__(16) unsigned char memory[];
  const Layout layout = layout_of(product);
  OfRow* const of_row = reinterpret_cast<OfRow*>(memory);
  T* const input = reinterpret_cast<T*>(memory + layout.input);
  float* const group_sums = reinterpret_cast<float*>(memory + layout.group_sums);
  const unsigned lane = threadIdx.x % 32;
  const unsigned warp = threadIdx.x / 32;
  unsigned char* const ring = memory + layout.ring + warp * ring_stages * S::bytes;
  // Warps that share tiles, and which of them this is.
  const unsigned sharing = product.sharing;
  const unsigned team = warp / sharing;
  const unsigned member = warp % sharing;
  float* const results = reinterpret_cast<float*>(memory + layout.results);
  const unsigned tiles = (product.outputs + tile_rows - 1) / tile_rows;
  const unsigned stages = (product.inner + S::length - 1) / S::length;
  const unsigned tile_step = gridDim.x * (warps / sharing);

  metal::mslt_let_next_start();
  // What is asked for next.
  unsigned next_tile = blockIdx.x + gridDim.x * team;
  unsigned next_stage = member;
  unsigned next_slot = 0;
  StageReader<bits> reader(product);
  reader.begin_tile(next_tile * tile_rows);
  const auto ask = [&] {
    if (next_tile < tiles) {
      reader.fetch(ring + next_slot * S::bytes, next_stage);
      next_stage += sharing;
      if (next_stage >= stages) {
        next_stage = member;
        next_tile += tile_step;
        reader.begin_tile(next_tile * tile_rows);
      }
    }
    metal::tensor_core::end_batch();
    next_slot = next_slot + 1 == ring_stages ? 0 : next_slot + 1;
  };
#pragma unroll 1
  for (unsigned i = 0; i + 1 < ring_stages; ++i) ask();
  if (threadIdx.x == 0 && product.norm != 0) {
    ask_ahead(product.gain, product.inner * 2);
    if (product.offset != nullptr) ask_ahead(product.offset, product.inner * 2);
  }
  metal::mslt_wait();
  const T* own_input[row_tiles];
#pragma unroll
  for (unsigned n = 0; n < row_tiles; ++n) {
    // Past the last row that row stands in; what comes of it is not written.
    own_input[n] = input + min(n * 8 + lane / 4, product.rows - 1) * (product.part + padding) + lane % 4 * unit;
  }
  unsigned slot = 0;
  unsigned parity = 0;
  float sums[row_tiles][2][2];
#pragma unroll 1
  for (unsigned part = 0; part < product.inner; part += product.part) {
    if (part > 0) __syncthreads();
    bring_input<T, bits, row_tiles>(product, part, input, group_sums, of_row);
    const unsigned end_of_part = min(stages, (part + product.part) / S::length);
#pragma unroll 1
    for (unsigned tile = blockIdx.x + gridDim.x * team; tile < tiles; tile += tile_step) {
      if (part == 0) {
#pragma unroll
        for (unsigned n = 0; n < row_tiles; ++n) sums[n][0][0] = sums[n][0][1] = sums[n][1][0] = sums[n][1][1] = 0.0f;
      }
#pragma unroll 1
      for (unsigned stage = part / S::length + member; stage < end_of_part; stage += sharing) {
        metal::tensor_core::wait_for_batches<ring_stages - 2>();
        // All lanes' copies are there, and none reads the stage before this one any more.
        __syncwarp();
        ask();
        const unsigned first = stage * S::length - part;
        const T* at[row_tiles];
#pragma unroll
        for (unsigned n = 0; n < row_tiles; ++n) at[n] = own_input[n] + first;
        const unsigned char* const own_stage = ring + slot * S::bytes;
        const float* const own_sums = group_sums + first / weight_group * rows + lane % 4 * 2;
        const unsigned left = (product.inner - part - first) / weight_group;
        if (left >= S::groups) {
          add_stage<T, bits, row_tiles, true>(sums, own_stage, left, at, own_sums);
        } else {
          add_stage<T, bits, row_tiles, false>(sums, own_stage, left, at, own_sums);
        }
        slot = slot + 1 == ring_stages ? 0 : slot + 1;
      }
      // With more parts than one, the next goes on with this tile's sums.
      if (part + product.part < product.inner) continue;
      // Rows of the input by rows of the tile.
      float* const own = results + (parity * warps + warp) * tile_results;
#pragma unroll
      for (unsigned n = 0; n < row_tiles; ++n) {
#pragma unroll
        for (unsigned half = 0; half < 2; ++half) {
#pragma unroll
          for (unsigned k = 0; k < 2; ++k) {
            own[(n * 8 + lane % 4 * 2 + k) * result_stride + lane / 4 + 8 * half] = sums[n][half][k];
          }
        }
      }
      wait_for_team(team, sharing);
      const float* const of_team = results + (parity * warps + warp - member) * tile_results;
#pragma unroll 1
      for (unsigned i = member * 32 + lane; i < tile_rows * product.rows; i += sharing * 32) {
        const unsigned row = i / tile_rows;
        const unsigned column = tile * tile_rows + i % tile_rows;
        if (column >= product.outputs) continue;
        float sum = 0.0f;
#pragma unroll 1
        for (unsigned w = 0; w < sharing; ++w) sum += of_team[w * tile_results + row * result_stride + i % tile_rows];
        if (product.bias != nullptr) sum += to_float(static_cast<const T*>(product.bias)[column]);
        T& out = static_cast<T*>(product.out)[std::size_t(row) * product.outputs + column];
        const float result = activate(product.activation, sum);
        out = from_float<T>(product.accumulate != 0 ? to_float(out) + result : result);
      }
      if constexpr (result_buffers(row_tiles) == 1) {
        wait_for_team(team, sharing);
      } else {
        parity = 1 - parity;
      }
    }
  }
#endif
}

using Kernel = void (*)(QuantisedProduct);

// By row tiles.
template <typename T, unsigned bits>
constexpr std::array<Kernel, 3> kernels_of = {quantised_product<T, bits, 1>, quantised_product<T, bits, 2>,
                                              quantised_product<T, bits, 4>};

Kernel kernel_of(const QuantisedProduct& product, DType dtype) {
  const std::size_t number = row_tiles_of(product.rows) / 2;
  if (dtype == DType::bf16)
    return (product.bits == 8 ? kernels_of<__nv_bfloat16, 8> : kernels_of<__nv_bfloat16, 4>)[number];
  return (product.bits == 8 ? kernels_of<__half, 8> : kernels_of<__half, 4>)[number];
}

}  // namespace

cudaError_t prepare_quantised_products() {
  for (const auto& all :
       {kernels_of<__nv_bfloat16, 8>, kernels_of<__nv_bfloat16, 4>, kernels_of<__half, 8>, kernels_of<__half, 4>}) {
    for (const Kernel kernel : all) {
      const cudaError_t status = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                                      cudaFuncAttributeMaxDynamicSharedMemorySize, most_shared_bytes);
      if (status != cudaSuccess) return status;
    }
  }
  return cudaSuccess;
}

bool QuantisedProduct::plan() {
  if (rows == 0 || rows > few_rows_most || inner == 0 || outputs == 0) return false;
  if (inner % (2 * weight_group) != 0 || inner > 1u << 20) return false;
  const unsigned length = bits == 8 ? Stage<8>::length : Stage<4>::length;
  const unsigned stages = (inner + length - 1) / length;
  const unsigned tiles = (outputs + tile_rows - 1) / tile_rows;
  const auto processors = static_cast<unsigned>(multiprocessors());
  if (processors == 0) return false;
  part = stages * length;
  const unsigned bytes = layout_of(*this).end;
  groups = std::min(tiles, bytes <= half_shared_bytes && row_tiles_of(rows) < 4 ? 2 * processors : processors);
  const unsigned own_tiles = (tiles + groups - 1) / groups;
  if (bytes > most_shared_bytes) {
    if (norm != 0 || own_tiles > warps) return false;
    sharing = std::bit_floor(warps / own_tiles);
    // Whole turns of the warps that share a tile, so that each begins a part with a stage of its own number.
    const unsigned turn = warps * length;
    while (part > turn && layout_of(*this).end > most_shared_bytes) part = (part / 2 + turn - 1) / turn * turn;
    return layout_of(*this).end <= most_shared_bytes;
  }
  unsigned least = ~0u;
  // Joining the sums of a team takes as long as half a stage for each of its warps. Four warps are the best of equals.
  for (const unsigned each : {4u, 2u, 1u, 8u}) {
    const unsigned teams = warps / each;
    const unsigned turns = (own_tiles + teams - 1) / teams * ((stages + each - 1) / each);
    const unsigned time = 2 * turns + (each > 1 ? each : 0);
    if (time < least) {
      least = time;
      sharing = each;
    }
  }
  return true;
}

cudaError_t launch_quantised_product(const QuantisedProduct& product, DType dtype, cudaStream_t stream) {
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  if (const cudaError_t status = cudaStreamIsCapturing(stream, &capture); status != cudaSuccess) return status;
  std::array<cudaLaunchAttribute, 1> attributes{};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = product.groups;
  config.blockDim = threads;
  config.dynamicSmemBytes = layout_of(product).end;
  config.stream = stream;
  config.attrs = attributes.data();
  config.numAttrs = product.early != 0 && capture == cudaStreamCaptureStatusActive ? 1 : 0;
  std::array<void*, 1> arguments = {const_cast<QuantisedProduct*>(&product)};
  return cudaLaunchKernelExC(&config, reinterpret_cast<const void*>(kernel_of(product, dtype)), arguments.data());
}

}  // namespace mslt::msl::cuda

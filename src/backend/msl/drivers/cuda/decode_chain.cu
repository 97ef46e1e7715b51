// The kernel of chains of operations of one row.
//
// One threadgroup a multiprocessor has the same share of every product's rows. Weights depend on nothing in a chain, so
// one warp copies them into a ring of tiles in shared memory as soon as a tile is free, which is long before their step
// begins. Results go from threadgroup to threadgroup in words that hold two elements and the launch's number: who reads
// a word sees by the number whether it is there, so that no fence and no counter stands between two steps (as in the LL
// protocol of NCCL).
#include "backend/msl/drivers/cuda/decode_chain.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "backend/msl/drivers/cuda/chain_attention.cuh"
#include "backend/msl/drivers/cuda/chain_product.cuh"
#include "backend/msl/drivers/cuda/current_gpu.h"

namespace mslt::msl::cuda {
namespace {

template <typename T>
__global__ void __launch_bounds__(threads, 1) decode_chain(const __grid_constant__ Chain chain) {
#if __CUDA_ARCH__ >= 900
  extern __shared__ __align__(128) unsigned char memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  // The first word counts launches, the second the threadgroups that are through; then comes the best of all.
  const unsigned number = *static_cast<volatile unsigned*>(chain.state) + 1;
  if (threadIdx.x == 0) {
    for (Barrier& each : shared.tile_full) initialize(&each, 1);
    for (Barrier& each : shared.tile_free) initialize(&each, warps);
    for (Barrier& each : shared.order_full) initialize(&each, 1);
    for (Barrier& each : shared.order_free) initialize(&each, warps + 1);
    for (Barrier& each : shared.partial_full) initialize(&each, warps);
    for (Barrier& each : shared.partial_free) initialize(&each, 1);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    shared.position = chain.place.first != nullptr ? *chain.place.first : 0;
  }
  if (threadIdx.x < chain.place.positions / block_positions) shared.table[threadIdx.x] = chain.place.table[threadIdx.x];
  __syncthreads();
  if (threadIdx.x / 32 == copying_warp) {
    if (threadIdx.x % 32 == 0) copy_ahead(chain, shared);
  } else if (threadIdx.x / 32 == finishing_warp) {
    unsigned used = 0;
    Candidate best = 0;
    for (unsigned i = 0; i < chain.count; ++i) {
      wait_for(&shared.order_full[i % orders], i / orders % 2);
      const ChainStep& step = shared.order[i % orders];
      const unsigned choices = i + 1 == chain.count ? chain.largest.choices : 0;
      if (step.kind == ChainStep::Kind::product) finish_product<T>(step, number, shared, used, choices, best);
      if (step.kind == ChainStep::Kind::embedding) run_embedding<T>(step, number, shared.position);
      if (step.kind == ChainStep::Kind::attention) ask_for_next_cache<T>(step, chain.place.positions, shared);
      __syncwarp();
      if (threadIdx.x % 32 == 0) arrive(&shared.order_free[i % orders]);
    }
    if (chain.largest.index != nullptr) propose(chain, best);
  } else {
    unsigned used = 0;
    for (unsigned i = 0; i < chain.count; ++i) {
      wait_for(&shared.order_full[i % orders], i / orders % 2);
      const ChainStep& step = shared.order[i % orders];
      if (step.kind == ChainStep::Kind::attention) run_attention<T>(step, number, chain.place.positions, shared);
      if (step.kind == ChainStep::Kind::product) run_product<T>(step, number, shared, used);
      __syncwarp();
      if (threadIdx.x % 32 == 0) arrive(&shared.order_free[i % orders]);
    }
  }
  // The last threadgroup begins the next launch's number, since all others have read this one's.
  __syncthreads();
  if (threadIdx.x != 0) return;
  const bool has_largest = chain.largest.index != nullptr;
  if (has_largest) __threadfence();
  if (atomicAdd(chain.state + 1, 1) + 1 < gridDim.x) return;
  if (has_largest) put_largest<T>(chain);
  chain.state[1] = 0;
  chain.state[0] = number;
#endif
}

// Words of a step's result.
std::size_t words_of(const ChainStep& step) {
  switch (step.kind) {
    case ChainStep::Kind::product:
      return step.product.outputs / 2;
    case ChainStep::Kind::attention:
      return step.attention.heads * chain_head_size / 2;
    case ChainStep::Kind::embedding:
      return step.embedding.columns / 2;
  }
  return 0;
}

// Bytes before the results, which begin at lines of their own.
constexpr std::size_t state_head = 256;

std::size_t in_lines(std::size_t bytes) {
  return (bytes + 127) / 128 * 128;
}

// Gives each threadgroup its share of the results.
void share_out(ChainStep& step, unsigned groups) {
  const auto pairs = static_cast<unsigned>(words_of(step));
  step.pairs = pairs / groups;
  step.more = pairs % groups;
}

// What a product's steps take, in about so many cycles.
constexpr unsigned span_time = 100;
constexpr unsigned sum_time = 170;
constexpr unsigned part_time = 35;

// Chooses parts of rows that keep the warps busy for the shortest time.
void divide_rows(ChainStep& step, unsigned groups) {
  const ChainProduct& product = step.product;
  const unsigned pairs = product.outputs / 2;
  step.tile_rows = std::min(tile_bytes / (product.inner * 2), most_tile_rows);
  const unsigned spans = product.inner / span;
  const unsigned rows = std::min(step.tile_rows, 2 * ((pairs + groups - 1) / groups));
  unsigned least = ~0u;
  for (const unsigned parts : {1, 2, 3, 4, 6, 12}) {
    const unsigned lane_spans = (spans + 32 * parts - 1) / (32 * parts);
    // Warps multiply two rows at once, then sum over lanes. Who joins the parts reads them one after the other.
    const unsigned passes = (rows * parts + 2 * warps - 1) / (2 * warps);
    const unsigned time = passes * (lane_spans * span_time + sum_time) + parts * part_time;
    if (time >= least) continue;
    step.parts = parts;
    step.spans = lane_spans;
    step.inverse_parts = 65536 / parts + 1;
    step.rows_at_once = warps / parts;
    least = time;
  }
}

const void* kernel_of(DType dtype) {
  return dtype == DType::bf16 ? reinterpret_cast<const void*>(&decode_chain<__nv_bfloat16>)
                              : reinterpret_cast<const void*>(&decode_chain<__half>);
}

}  // namespace

bool runs_chains() {
  return is_hopper_or_later();
}

cudaError_t prepare_chains() {
  for (const DType dtype : {DType::bf16, DType::f16}) {
    const cudaError_t status =
        cudaFuncSetAttribute(kernel_of(dtype), cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Shared));
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

std::size_t Chain::state_bytes() const {
  std::size_t bytes = state_head;
  // The last one's result is for later launches alone.
  for (std::size_t i = 0; i + 1 < count; ++i) bytes += in_lines(8 * words_of(steps[i]));
  return bytes;
}

void Chain::plan() {
  const auto groups = static_cast<unsigned>(multiprocessors());
  std::size_t at = state_head;
  ChainStep* attention = nullptr;
  for (std::size_t i = 0; i < count; ++i) {
    ChainStep& step = steps[i];
    step.from = i == 0 ? nullptr : steps[i - 1].to;
    step.to = i + 1 == count ? nullptr : reinterpret_cast<std::uint64_t*>(reinterpret_cast<unsigned char*>(state) + at);
    at += in_lines(8 * words_of(step));
    if (step.kind != ChainStep::Kind::attention) share_out(step, groups);
    if (step.kind == ChainStep::Kind::product) divide_rows(step, groups);
    if (step.kind != ChainStep::Kind::attention) continue;
    // Heads lie far apart, so that their threadgroups are on different parts of the chip.
    step.stride = std::max(groups / step.attention.heads, 1u);
    if (attention != nullptr) {
      attention->next_keys = step.attention.keys;
      attention->next_values = step.attention.values;
    }
    attention = &step;
  }
}

cudaError_t launch_chain(const Chain& chain, DType dtype, cudaStream_t stream) {
  const auto groups = static_cast<unsigned>(multiprocessors());
  cudaLaunchAttribute together{};
  together.id = cudaLaunchAttributeCooperative;
  together.val.cooperative = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = groups;
  config.blockDim = threads;
  config.dynamicSmemBytes = sizeof(Shared);
  config.stream = stream;
  config.attrs = &together;
  config.numAttrs = 1;
  std::array<void*, 1> arguments = {const_cast<Chain*>(&chain)};
  return cudaLaunchKernelExC(&config, kernel_of(dtype), arguments.data());
}

}  // namespace mslt::msl::cuda

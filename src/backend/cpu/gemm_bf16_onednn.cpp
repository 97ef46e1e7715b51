// Products of bf16 by oneDNN: operands are rounded once, and then multiplied one tile of the result at a time.
#include "backend/cpu/gemm_bf16.h"

#include <dnnl.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <vector>

#include "backend/cpu/float_data.h"
#include "backend/cpu/gemm_tiles.h"
#include "backend/cpu/onednn_calls.h"
#include "base/parallel.h"

namespace mslt {
namespace {

// Packing an operand for the instructions costs as much as a few hundred rows of a product.
constexpr GemmTileLimits bf16_limits = {.largest = 1024, .smallest = 128, .multiple = 32};

// A matrix as it is stored, in bf16 and without gaps.
struct Rounded {
  std::vector<BFloat16> values;
  std::int64_t stride = 0;
  bool transposed = false;

  void take(const GemmMatrix& from, std::int64_t rows, std::int64_t columns) {
    transposed = from.transposed;
    const std::int64_t stored = transposed ? columns : rows;
    stride = transposed ? rows : columns;
    if (values.size() < static_cast<std::size_t>(stored * stride))
      values.resize(static_cast<std::size_t>(stored * stride));
    parallel_for(stored, Cost{.flops = 4, .bytes = 6} * stride, [&](std::int64_t i) {
      narrow(reinterpret_cast<std::byte*>(values.data() + i * stride), DType::bf16, from.data + i * from.stride,
             stride);
    });
  }
  dnnl::memory::desc part(std::int64_t rows, std::int64_t columns) const {
    const dnnl::memory::dims strides = transposed ? dnnl::memory::dims{1, stride} : dnnl::memory::dims{stride, 1};
    return {{rows, columns}, dnnl::memory::data_type::bf16, strides};
  }
  void* at(std::int64_t row, std::int64_t column) {
    return values.data() + (transposed ? column * stride + row : row * stride + column);
  }
};

// oneDNN 2 describes an operation first, oneDNN 3 does not.
template <class Matmul>
typename Matmul::primitive_desc description_of(const dnnl::engine& engine, const dnnl::memory::desc& a,
                                               const dnnl::memory::desc& b, const dnnl::memory::desc& c,
                                               const dnnl::primitive_attr& attributes) {
  if constexpr (requires { typename Matmul::desc; }) {
    return {typename Matmul::desc(a, b, c), attributes, engine};
  } else {
    return {engine, a, b, c, attributes};
  }
}

// All that a kernel for a tile depends on.
using Key = std::array<std::int64_t, 9>;

struct Kernel {
  dnnl::memory::desc a, b, c, scratch;
  dnnl::matmul multiply;
};

}  // namespace

struct Bf16Gemm::State {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  std::map<Key, Kernel> kernels;
  Rounded a, b;
  std::vector<std::vector<std::byte>> scratch;  // of each thread

  const Kernel& kernel(std::int64_t m, std::int64_t n, std::int64_t k, std::int64_t c_stride, bool accumulate);
};

const Kernel& Bf16Gemm::State::kernel(std::int64_t m, std::int64_t n, std::int64_t k, std::int64_t c_stride,
                                      bool accumulate) {
  const Key key = {
      m, n, k, a.stride, a.transposed ? 1 : 0, b.stride, b.transposed ? 1 : 0, c_stride, accumulate ? 1 : 0};
  const auto known = kernels.find(key);
  if (known != kernels.end()) return known->second;
  Kernel made = {.a = a.part(m, k),
                 .b = b.part(k, n),
                 .c = {{m, n}, dnnl::memory::data_type::f32, dnnl::memory::dims{c_stride, 1}},
                 .scratch = {},
                 .multiply = {}};
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
  const auto description = description_of<dnnl::matmul>(engine, made.a, made.b, made.c, attributes);
  made.scratch = description.scratchpad_desc();
  made.multiply = dnnl::matmul(description);
  return kernels.emplace(key, std::move(made)).first->second;
}

bool Bf16Gemm::available() {
  const auto instructions = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  constexpr auto needed = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  return (instructions & needed) == needed;
}

Bf16Gemm::Bf16Gemm() {
  if (!available()) fail(ErrorKind::device, "This CPU has no instructions for products of bf16: AVX512-BF16 or AMX.");
  onednn::require_room_for_kernels();
  state_ = std::make_unique<State>();
}

Bf16Gemm::~Bf16Gemm() = default;

void Bf16Gemm::multiply(std::int64_t m, std::int64_t n, std::int64_t k, const GemmMatrix& a, const GemmMatrix& b,
                        float* c, std::int64_t c_stride, bool accumulate) {
  State& state = *state_;
  state.a.take(a, m, k);
  state.b.take(b, k, n);
  const GemmTiles tile = choose_tiles(m, n, bf16_limits);
  const std::int64_t rows = tile.rows;
  const std::int64_t columns = tile.columns;
  const std::int64_t across = tiles_of(n, columns);
  const auto kernel_of = [&](std::int64_t i) -> const Kernel& {
    return state.kernel(std::min(rows, m - i / across * rows), std::min(columns, n - i % across * columns), k, c_stride,
                        accumulate);
  };
  try {
    const std::int64_t tiles = tiles_of(m, rows) * across;
    std::size_t scratch_bytes = 0;
    {
      // Kernels are made for the threads that OpenMP has at that time. Only edges differ from the first tile.
      const onednn::SingleThread alone;
      for (const std::int64_t i : {std::int64_t{0}, across - 1, tiles - across, tiles - 1}) {
        scratch_bytes = std::max(scratch_bytes, kernel_of(i).scratch.get_size());
      }
    }
    state.scratch.resize(static_cast<std::size_t>(parallel_threads()));
    for (std::vector<std::byte>& each : state.scratch) each.resize(std::max(each.size(), scratch_bytes));
    const Cost cost = Cost{.flops = 0.1} * (rows * columns * k);
    parallel_for_slots(tiles, cost, [&](std::int64_t i, int slot) {
      const onednn::SingleThread alone;
      const std::int64_t row = i / across * rows;
      const std::int64_t column = i % across * columns;
      const Kernel& kernel = kernel_of(i);
      dnnl::stream stream(state.engine);
      std::vector<std::byte>& scratch = state.scratch[static_cast<std::size_t>(slot)];
      kernel.multiply.execute(stream, {{DNNL_ARG_SRC, {kernel.a, state.engine, state.a.at(row, 0)}},
                                       {DNNL_ARG_WEIGHTS, {kernel.b, state.engine, state.b.at(0, column)}},
                                       {DNNL_ARG_DST, {kernel.c, state.engine, c + row * c_stride + column}},
                                       {DNNL_ARG_SCRATCHPAD, {kernel.scratch, state.engine, scratch.data()}}});
      stream.wait();
    });
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_out_of_memory) fail(ErrorKind::memory, "oneDNN found no memory for a product.");
    fail(ErrorKind::device, "oneDNN refused a product of [{}, {}] and [{}, {}] in bf16: {}.", m, k, k, n, error.what());
  }
}

std::size_t Bf16Gemm::bytes() const {
  std::size_t total = (state_->a.values.capacity() + state_->b.values.capacity()) * sizeof(BFloat16);
  for (const std::vector<std::byte>& each : state_->scratch) total += each.capacity();
  return total;
}

}  // namespace mslt

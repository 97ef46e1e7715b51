// The CPU backend's products and attention on the shapes of one training step of `mini` and of decode, compared with
// the peak that its library reaches on a large product in the same run.
#include <benchmark/benchmark.h>

#include <cmath>
#include <memory>
#include <numeric>
#include <span>
#include <vector>

#include "backend/cpu/gemm.h"
#include "backend/registry.h"
#include "base/parallel.h"
#include "base/philox.h"

namespace mslt {
namespace {

// mini: L6 H6 C384 F1536 V2048, T 256, batch 16.
constexpr std::int64_t batch = 16;
constexpr std::int64_t length = 256;
constexpr std::int64_t rows = batch * length;
constexpr std::int64_t channels = 384;
constexpr int heads = 6;
constexpr int head_size = 64;

Backend& cpu() {
  static const std::unique_ptr<Backend> backend = make_backend("cpu");
  return *backend;
}

// Normal values of one tensor, in its own memory.
struct Random {
  Random(DType dtype, const Shape& shape)
      : buffer(cpu().allocate(static_cast<std::size_t>(shape.elements()) * size_of(dtype), "bench")),
        tensor(*buffer, 0, dtype, shape) {
    PhiloxStream stream(1, 0, 0);
    for (std::byte& byte : std::span(buffer->host(), buffer->size())) byte = std::byte(stream() & 0x3Fu);
    if (dtype != DType::f32) return;
    for (float& value : tensor.host<float>()) value = stream.normal();
  }
  std::unique_ptr<Buffer> buffer;
  Tensor tensor;
};

void report_flops(benchmark::State& state, double flops) {
  state.counters["FLOP/s"] =
      benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
}

void report_bytes(benchmark::State& state, double bytes) {
  state.counters["B/s"] =
      benchmark::Counter(bytes, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
}

void peak(benchmark::State& state) {
  constexpr std::int64_t n = 2048;
  std::vector<float> a(n * n, 1.0f);
  std::vector<float> b(n * n, 1.0f);
  std::vector<float> c(n * n);
  for (auto _ : state) gemm(n, n, n, {a.data(), n}, {b.data(), n}, c.data(), n, false);
  report_flops(state, 2.0 * n * n * n);
}
BENCHMARK(peak)->UseRealTime()->Unit(benchmark::kMillisecond);

// The step's products as [columns, inner]: qkv, projection, up, down, logits.
void step_products(benchmark::internal::Benchmark* b) {
  for (const auto& [columns, inner] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {1152, 384}, {384, 384}, {1536, 384}, {384, 1536}, {2048, 384}}) {
    b->Args({columns, inner});
  }
  b->ArgNames({"columns", "inner"})->UseRealTime()->Unit(benchmark::kMillisecond);
}

void matmul_forward(benchmark::State& state) {
  const std::int64_t columns = state.range(0);
  const std::int64_t inner = state.range(1);
  const Random in(DType::f32, {rows, inner});
  const Random weight(DType::f32, {columns, inner});
  const Random bias(DType::f32, {columns});
  const Random out(DType::f32, {rows, columns});
  const Random pre(DType::f32, {rows, columns});
  const bool up = columns == 1536;
  for (auto _ : state) {
    cpu().run(MatmulForward{.out = out.tensor,
                            .in = in.tensor,
                            .weight = weight.tensor,
                            .bias = columns == 2048 ? Tensor() : bias.tensor,
                            .activation = up ? Activation::gelu : Activation::none,
                            .pre_activation = up ? pre.tensor : Tensor()});
  }
  report_flops(state, 2.0 * rows * static_cast<double>(columns * inner));
}
BENCHMARK(matmul_forward)->Apply(step_products);

void matmul_backward_input(benchmark::State& state) {
  const std::int64_t columns = state.range(0);
  const std::int64_t inner = state.range(1);
  const Random din(DType::f32, {rows, inner});
  const Random weight(DType::f32, {columns, inner});
  const Random dout(DType::f32, {rows, columns});
  const Random pre(DType::f32, {rows, inner});
  const bool down = inner == 1536;
  for (auto _ : state) {
    cpu().run(MatmulBackwardInput{.din = din.tensor,
                                  .dout = dout.tensor,
                                  .weight = weight.tensor,
                                  .activation = down ? Activation::gelu : Activation::none,
                                  .pre_activation = down ? pre.tensor : Tensor()});
  }
  report_flops(state, 2.0 * rows * static_cast<double>(columns * inner));
}
BENCHMARK(matmul_backward_input)->Apply(step_products);

void matmul_backward_weight(benchmark::State& state) {
  const std::int64_t columns = state.range(0);
  const std::int64_t inner = state.range(1);
  const Random in(DType::f32, {rows, inner});
  const Random dweight(DType::f32, {columns, inner});
  const Random dbias(DType::f32, {columns});
  const Random dout(DType::f32, {rows, columns});
  for (auto _ : state) {
    cpu().run(MatmulBackwardWeight{.dweight = dweight.tensor,
                                   .dbias = columns == 2048 ? Tensor() : dbias.tensor,
                                   .dout = dout.tensor,
                                   .in = in.tensor});
  }
  report_flops(state, 2.0 * rows * static_cast<double>(columns * inner));
}
BENCHMARK(matmul_backward_weight)->Apply(step_products);

struct AttentionTensors {
  AttentionTensors(std::int64_t sequences, std::int64_t positions)
      : qkv(DType::f32, {sequences, positions, 3 * channels}),
        dqkv(DType::f32, {sequences, positions, 3 * channels}),
        out(DType::f32, {sequences, positions, channels}),
        dout(DType::f32, {sequences, positions, channels}),
        log_sum_exp(DType::f32, {sequences, heads, positions}),
        flops(2.0 * static_cast<double>(sequences * heads * positions * (positions + 1)) * head_size) {}

  AttentionShape shape = {heads, heads, head_size, 0.125f, true};
  Random qkv, dqkv, out, dout, log_sum_exp;
  double flops;  // of the forward pass's two causal products
};

void attention_shapes(benchmark::internal::Benchmark* b) {
  b->Args({batch, length})->Args({2, 2048})->ArgNames({"B", "T"})->UseRealTime()->Unit(benchmark::kMillisecond);
}

void attention_forward(benchmark::State& state) {
  const AttentionTensors t(state.range(0), state.range(1));
  for (auto _ : state)
    cpu().run(AttentionForward{
        .out = t.out.tensor, .log_sum_exp = t.log_sum_exp.tensor, .qkv = t.qkv.tensor, .shape = t.shape});
  report_flops(state, t.flops);
}
BENCHMARK(attention_forward)->Apply(attention_shapes);

void attention_backward(benchmark::State& state) {
  const AttentionTensors t(state.range(0), state.range(1));
  cpu().run(AttentionForward{
      .out = t.out.tensor, .log_sum_exp = t.log_sum_exp.tensor, .qkv = t.qkv.tensor, .shape = t.shape});
  for (auto _ : state) {
    cpu().run(AttentionBackward{.dqkv = t.dqkv.tensor,
                                .dout = t.dout.tensor,
                                .qkv = t.qkv.tensor,
                                .out = t.out.tensor,
                                .log_sum_exp = t.log_sum_exp.tensor,
                                .shape = t.shape});
  }
  report_flops(state, 2.5 * t.flops);
}
BENCHMARK(attention_backward)->Apply(attention_shapes);

// The floor of the next: a plain loop that reads as many bytes as its weight has in f32.
void read(benchmark::State& state) {
  const Random memory(DType::u8, {std::int64_t{8192} * 4096 * 4});
  const std::span words(reinterpret_cast<const std::uint64_t*>(memory.buffer->host()), memory.buffer->size() / 8);
  constexpr std::int64_t blocks = 128;
  std::vector<std::uint64_t> sums(blocks);
  for (auto _ : state) {
    parallel_for(blocks, large_cost, [&](std::int64_t i) {
      const auto block = words.subspan(static_cast<std::size_t>(i) * words.size() / blocks, words.size() / blocks);
      sums[static_cast<std::size_t>(i)] = std::accumulate(block.begin(), block.end(), std::uint64_t{0});
    });
    benchmark::DoNotOptimize(sums.data());
    benchmark::ClobberMemory();
  }
  report_bytes(state, static_cast<double>(memory.buffer->size()));
}
BENCHMARK(read)->UseRealTime()->Unit(benchmark::kMillisecond);

// A weight larger than any cache: [8192, 4096].
void matvec(benchmark::State& state) {
  constexpr std::int64_t columns = 8192;
  constexpr std::int64_t inner = 4096;
  const auto dtype = static_cast<DType>(state.range(1));
  const bool quantised = dtype == DType::i8 || dtype == DType::u8;
  const Random in(DType::f32, {state.range(0), inner});
  const Random out(DType::f32, {state.range(0), columns});
  const Random weight(dtype, {columns, dtype == DType::u8 ? inner / 2 : inner});
  const Random scales(DType::f16, dtype == DType::u8 ? Shape{columns, inner / 32, 2} : Shape{columns, inner / 32});
  const bool transposed = state.range(2) != 0;
  const Weight used = transposed  ? Weight::by_columns(weight.tensor.reshape({inner, columns}))
                      : quantised ? Weight(weight.tensor, scales.tensor)
                                  : Weight(weight.tensor);
  for (auto _ : state) cpu().run(MatmulForward{.out = out.tensor, .in = in.tensor, .weight = used});
  state.SetLabel(std::string(name_of(dtype)));
  report_bytes(state, static_cast<double>(weight.tensor.bytes() + (quantised ? scales.tensor.bytes() : 0)));
  report_flops(state, 2.0 * static_cast<double>(state.range(0) * columns * inner));
}
BENCHMARK(matvec)
    ->ArgsProduct({{1, 4, 8, 64},
                   {static_cast<int>(DType::f32), static_cast<int>(DType::bf16), static_cast<int>(DType::f16),
                    static_cast<int>(DType::i8), static_cast<int>(DType::u8)},
                   {0}})
    ->ArgsProduct({{1, 4, 8, 64},
                   {static_cast<int>(DType::f32), static_cast<int>(DType::bf16), static_cast<int>(DType::f16)},
                   {1}})
    ->ArgNames({"rows", "dtype", "transposed"})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

// One decode step of `mini`: its products of few rows, in cache.
void matmul_forward_few_rows(benchmark::State& state) {
  const std::int64_t count = state.range(0);
  const Random in(DType::f32, {count, channels});
  const Random weight(DType::f32, {1152, channels});
  const Random bias(DType::f32, {1152});
  const Random out(DType::f32, {count, 1152});
  for (auto _ : state) {
    cpu().run(MatmulForward{.out = out.tensor, .in = in.tensor, .weight = weight.tensor, .bias = bias.tensor});
  }
  report_flops(state, 2.0 * static_cast<double>(count * 1152 * channels));
}
BENCHMARK(matmul_forward_few_rows)->RangeMultiplier(2)->Range(1, 64)->UseRealTime()->Unit(benchmark::kMicrosecond);

void attention_decode(benchmark::State& state) {
  const std::int64_t sequences = state.range(0);
  const std::int64_t positions = state.range(1);
  const std::int64_t pages = positions / KvCacheView::block_size;
  const Random qkv(DType::f32, {sequences, 1, 3 * channels});
  const Random out(DType::f32, {sequences, 1, channels});
  const Random keys(DType::f32, {sequences * pages, KvCacheView::block_size, channels});
  const Random values(DType::f32, {sequences * pages, KvCacheView::block_size, channels});
  const Random table(DType::i32, {sequences, pages});
  const Random first(DType::i32, {sequences});
  std::int32_t block = 0;
  for (std::int32_t& entry : table.tensor.host<std::int32_t>()) entry = block++;
  for (std::int32_t& entry : first.tensor.host<std::int32_t>()) entry = static_cast<std::int32_t>(positions - 1);
  for (auto _ : state) {
    cpu().run(AttentionDecode{.out = out.tensor,
                              .qkv = qkv.tensor,
                              .cache = {keys.tensor, values.tensor, table.tensor},
                              .positions = {first.tensor},
                              .shape = {heads, heads, head_size, 0.125f, true}});
  }
  report_bytes(state, static_cast<double>(keys.tensor.bytes() + values.tensor.bytes()));
}
BENCHMARK(attention_decode)
    ->Args({1, 256})
    ->Args({1, 16384})
    ->Args({16, 2048})
    ->ArgNames({"B", "positions"})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace mslt

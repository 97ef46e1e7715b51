// The CPU backend's memory-bound operations on the shapes of one training step of `mini` and of GPT-2: bytes read and
// written per second, compared with a memcpy of equal size in the same run.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "backend/registry.h"
#include "base/parallel.h"
#include "base/philox.h"

namespace mslt {
namespace {

constexpr std::int64_t batch = 16;
constexpr std::int64_t length = 256;
constexpr std::int64_t rows = batch * length;
constexpr std::int64_t channels = 768;
constexpr std::int64_t hidden = 4 * channels;
constexpr std::int64_t vocab = 50257;
constexpr std::int64_t padded_vocab = 50304;
constexpr std::int64_t logit_rows = 256;
constexpr std::int64_t parameters = 1 << 24;
const AttentionShape attention{12, 12, 64, 0.125f, true};

Backend& cpu() {
  static const std::unique_ptr<Backend> backend = make_backend("cpu");
  return *backend;
}

struct Data {
  Data(DType dtype, const Shape& shape)
      : buffer(cpu().allocate(static_cast<std::size_t>(shape.elements()) * size_of(dtype), "bench")),
        tensor(*buffer, 0, dtype, shape) {
    PhiloxStream stream(1, 0, 0);
    if (dtype == DType::f32) {
      for (float& value : tensor.host<float>()) value = 4.0f * stream.uniform() - 2.0f;
    } else {
      std::memset(buffer->host(), 0, buffer->size());
    }
  }
  operator const Tensor&() const { return tensor; }

  std::unique_ptr<Buffer> buffer;
  Tensor tensor;
};

// Random ids below `bound`.
Data random_ids(const Shape& shape, std::int64_t bound) {
  Data ids(DType::i32, shape);
  PhiloxStream stream(2, 0, 0);
  for (std::int32_t& id : ids.tensor.host<std::int32_t>()) {
    id = static_cast<std::int32_t>(stream.below(static_cast<std::uint64_t>(bound)));
  }
  return ids;
}

// Runs `operation`, which moves `bytes` of memory, then a memcpy of equal traffic, half read and half written.
template <class Operation>
void measure(benchmark::State& state, double bytes, const Operation& operation) {
  const auto half = static_cast<std::size_t>(bytes / 2.0);
  std::vector<std::byte> from(half, std::byte{1});
  std::vector<std::byte> to(half, std::byte{2});
  const auto threads = static_cast<std::size_t>(parallel_threads());
  const auto copy = [&] {
    parallel_for(static_cast<std::int64_t>(threads), [&](std::int64_t i) {
      const std::size_t begin = half / threads * static_cast<std::size_t>(i);
      std::memcpy(to.data() + begin, from.data() + begin, half / threads);
    });
  };
  using Clock = std::chrono::steady_clock;
  double operation_seconds = 1e9;
  double copy_seconds = 1e9;
  operation();
  for (auto _ : state) {
    const Clock::time_point start = Clock::now();
    operation();
    const Clock::time_point middle = Clock::now();
    copy();
    benchmark::ClobberMemory();
    const double taken = std::chrono::duration<double>(middle - start).count();
    operation_seconds = std::min(operation_seconds, taken);
    copy_seconds = std::min(copy_seconds, std::chrono::duration<double>(Clock::now() - middle).count());
    state.SetIterationTime(taken);
  }
  // The best of all iterations: the machine's performance when nobody else uses it.
  state.counters["GB/s"] = bytes / operation_seconds * 1e-9;
  state.counters["memcpy_GB/s"] = bytes / copy_seconds * 1e-9;
  state.counters["of_memcpy"] = copy_seconds / operation_seconds;
}

double bytes_of_all(std::initializer_list<Tensor> tensors) {
  double total = 0.0;
  for (const Tensor& tensor : tensors) total += static_cast<double>(tensor.bytes());
  return total;
}

void embedding_forward(benchmark::State& state) {
  const Data out(DType::f32, {batch, length, channels});
  const Data tokens = random_ids({batch, length}, vocab);
  const Data weight(DType::f32, {vocab, channels});
  const Data places(DType::f32, {length, channels});
  measure(state, 2.0 * bytes_of_all({out}), [&] {
    cpu().run(EmbeddingForward{.out = out, .tokens = tokens, .token_weight = weight, .position_weight = places});
  });
}

void embedding_backward(benchmark::State& state) {
  const Data dout(DType::f32, {batch, length, channels});
  const Data tokens = random_ids({batch, length}, vocab);
  const Data weight(DType::f32, {vocab, channels});
  const Data places(DType::f32, {length, channels});
  measure(state, 4.0 * bytes_of_all({dout}), [&] {
    cpu().run(EmbeddingBackward{.dtoken_weight = weight, .dposition_weight = places, .dout = dout, .tokens = tokens});
  });
}

void rope_forward(benchmark::State& state) {
  const Data qkv(DType::f32, {batch, length, 3 * channels});
  const Data frequencies(DType::f32, {32});
  measure(state, 2.0 * bytes_of_all({qkv}) * 2.0 / 3.0,
          [&] { cpu().run(Rope{.qkv = qkv, .inverse_frequencies = frequencies, .shape = attention}); });
}

void norm_forward(benchmark::State& state) {
  const Data out(DType::f32, {rows, channels});
  const Data sum(DType::f32, {rows, channels});
  const Data residual(DType::f32, {rows, channels});
  const Data x(DType::f32, {rows, channels});
  const Data weight(DType::f32, {channels});
  const Data bias(DType::f32, {channels});
  const Data mean(DType::f32, {rows});
  const Data rstd(DType::f32, {rows});
  const Data random(DType::u32, {4});
  const Dropout dropout{static_cast<float>(state.range(0)) / 100.0f, 0, random};
  measure(state, bytes_of_all({out, sum, residual, x}), [&] {
    cpu().run(ResidualNormForward{.out = out,
                                  .sum = sum,
                                  .mean = mean,
                                  .rstd = rstd,
                                  .residual = residual,
                                  .x = x,
                                  .weight = weight,
                                  .bias = bias,
                                  .dropout = dropout});
  });
}

void norm_backward(benchmark::State& state) {
  const Data dsum(DType::f32, {rows, channels});
  const Data dout(DType::f32, {rows, channels});
  const Data sum(DType::f32, {rows, channels});
  const Data weight(DType::f32, {channels});
  const Data dweight(DType::f32, {channels});
  const Data dbias(DType::f32, {channels});
  const Data mean(DType::f32, {rows});
  const Data rstd(DType::f32, {rows});
  measure(state, bytes_of_all({dsum, dsum, dout, sum}), [&] {
    cpu().run(ResidualNormBackward{.dsum = dsum,
                                   .dweight = dweight,
                                   .dbias = dbias,
                                   .dout = dout,
                                   .dsum_direct = dsum,
                                   .sum = sum,
                                   .mean = mean,
                                   .rstd = rstd,
                                   .weight = weight});
  });
}

void activation_forward(benchmark::State& state, Activation activation) {
  const std::int64_t width = activation == Activation::swiglu ? 2 * hidden : hidden;
  const Data in(DType::f32, {rows, width});
  const Data out(DType::f32, {rows, hidden});
  measure(state, bytes_of_all({in, out}),
          [&] { cpu().run(ActivationForward{.activation = activation, .out = out, .in = in}); });
}

void activation_backward(benchmark::State& state, Activation activation) {
  const std::int64_t width = activation == Activation::swiglu ? 2 * hidden : hidden;
  const Data in(DType::f32, {rows, width});
  const Data dout(DType::f32, {rows, hidden});
  const Data din(DType::f32, {rows, width});
  measure(state, bytes_of_all({in, dout, din}),
          [&] { cpu().run(ActivationBackward{.activation = activation, .din = din, .dout = dout, .in = in}); });
}

void dropout_forward(benchmark::State& state) {
  const Data in(DType::f32, {rows, channels});
  const Data out(DType::f32, {rows, channels});
  const Data random(DType::u32, {4});
  measure(state, bytes_of_all({in, out}),
          [&] { cpu().run(DropElements{.out = out, .in = in, .dropout = {0.1f, 0, random}}); });
}

void cross_entropy(benchmark::State& state) {
  const Data logits(DType::f32, {logit_rows, padded_vocab});
  const Data losses(DType::f32, {logit_rows});
  const Data targets = random_ids({logit_rows}, vocab);
  const Data scale(DType::f32, {1});
  const bool backward = state.range(0) != 0;
  measure(state, bytes_of_all({logits}) * (backward ? 2.0 : 1.0), [&] {
    cpu().run(CrossEntropy{.losses = losses,
                           .logits = logits,
                           .targets = targets,
                           .vocab = vocab,
                           .loss_scale = backward ? scale.tensor : Tensor()});
  });
}

void global_norm(benchmark::State& state) {
  const Data gradients(DType::f32, {parameters});
  const Data out(DType::f32, {1});
  measure(state, bytes_of_all({gradients}), [&] { cpu().run(GlobalNorm{.out = out, .gradients = gradients}); });
}

void adamw(benchmark::State& state) {
  const Data values(DType::f32, {parameters});
  const Data gradients(DType::f32, {parameters});
  const Data first(DType::f32, {parameters});
  const Data second(DType::f32, {parameters});
  const Data norm(DType::f32, {1});
  const Data step(DType::f32, {adamw_state_size});
  for (float& value : second.tensor.host<float>()) value = std::abs(value);
  for (float& value : step.tensor.host<float>()) value = 0.001f;
  norm.tensor.host<float>()[0] = 1.0f;
  measure(state, bytes_of_all({values, values, gradients, first, first, second, second}), [&] {
    cpu().run(AdamWUpdate{.parameters = values,
                          .gradients = gradients,
                          .first_moment = first,
                          .second_moment = second,
                          .state = step,
                          .norm = norm});
  });
}

void argmax(benchmark::State& state) {
  const Data logits(DType::f32, {logit_rows, padded_vocab});
  const Data values(DType::f32, {logit_rows});
  const Data indices(DType::i32, {logit_rows});
  measure(state, bytes_of_all({logits}),
          [&] { cpu().run(Argmax{.values = values, .indices = indices, .logits = logits, .vocab = vocab}); });
}

void top_k(benchmark::State& state) {
  const Data logits(DType::f32, {logit_rows, padded_vocab});
  const Data values(DType::f32, {logit_rows, 50});
  const Data indices(DType::i32, {logit_rows, 50});
  measure(state, bytes_of_all({logits}),
          [&] { cpu().run(TopK{.values = values, .indices = indices, .logits = logits, .vocab = vocab}); });
}

void cast(benchmark::State& state) {
  const Data in(static_cast<DType>(state.range(0)), {parameters});
  const Data out(static_cast<DType>(state.range(1)), {parameters});
  state.SetLabel(std::string(name_of(in.tensor.dtype())) + " to " + std::string(name_of(out.tensor.dtype())));
  measure(state, bytes_of_all({in, out}), [&] { cpu().run(Cast{.out = out, .in = in}); });
}

void copy(benchmark::State& state) {
  const Data in(DType::f32, {parameters});
  const Data out(DType::f32, {parameters});
  measure(state, bytes_of_all({in, out}), [&] { cpu().run(Copy{.out = out, .in = in}); });
}

void add(benchmark::State& state) {
  const Data in(DType::f32, {parameters});
  const Data out(DType::f32, {parameters});
  measure(state, bytes_of_all({in, out, out}), [&] { cpu().run(Add{.out = out, .in = in}); });
}

void settings(benchmark::internal::Benchmark* b) {
  b->UseManualTime()->Unit(benchmark::kMillisecond);
}

BENCHMARK(embedding_forward)->Apply(settings);
BENCHMARK(embedding_backward)->Apply(settings);
BENCHMARK(rope_forward)->Apply(settings);
BENCHMARK(norm_forward)->Arg(0)->Arg(10)->ArgName("dropped_percent")->Apply(settings);
BENCHMARK(norm_backward)->Apply(settings);
BENCHMARK_CAPTURE(activation_forward, gelu, Activation::gelu)->Apply(settings);
BENCHMARK_CAPTURE(activation_forward, relu, Activation::relu)->Apply(settings);
BENCHMARK_CAPTURE(activation_forward, swiglu, Activation::swiglu)->Apply(settings);
BENCHMARK_CAPTURE(activation_backward, gelu, Activation::gelu)->Apply(settings);
BENCHMARK_CAPTURE(activation_backward, relu, Activation::relu)->Apply(settings);
BENCHMARK_CAPTURE(activation_backward, swiglu, Activation::swiglu)->Apply(settings);
BENCHMARK(dropout_forward)->Apply(settings);
BENCHMARK(cross_entropy)->Arg(0)->Arg(1)->ArgName("backward")->Apply(settings);
BENCHMARK(global_norm)->Apply(settings);
BENCHMARK(adamw)->Apply(settings);
BENCHMARK(argmax)->Apply(settings);
BENCHMARK(top_k)->Apply(settings);
BENCHMARK(cast)
    ->Args({static_cast<int>(DType::f32), static_cast<int>(DType::bf16)})
    ->Args({static_cast<int>(DType::f32), static_cast<int>(DType::f16)})
    ->Args({static_cast<int>(DType::bf16), static_cast<int>(DType::f32)})
    ->Args({static_cast<int>(DType::f16), static_cast<int>(DType::f32)})
    ->Apply(settings);
BENCHMARK(copy)->Apply(settings);
BENCHMARK(add)->Apply(settings);

}  // namespace
}  // namespace mslt

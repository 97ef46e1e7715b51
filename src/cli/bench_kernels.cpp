// Each operation of a training step alone, at a model's shapes.
#include <algorithm>
#include <array>
#include <memory>
#include <span>

#include "base/philox.h"
#include "cli/bench.h"

namespace mslt::cli {
namespace {

// Allocates tensors for one benchmark and times operations on them.
class KernelBench {
 public:
  KernelBench(Backend& backend, const KernelBenchOptions& options)
      : backend_(backend), dtype_(dtype_from_name(options.dtype)) {}

  // A tensor of the benchmark's dtype with small random values.
  Tensor values(const Shape& shape) {
    const Tensor result = make(dtype_, shape);
    const Tensor source = dtype_ == DType::f32 ? result : make(DType::f32, shape);
    PhiloxStream stream(1, static_cast<std::uint32_t>(buffers_.size()), 0);
    std::vector<float> numbers(static_cast<std::size_t>(shape.elements()));
    for (float& number : numbers) number = 0.1f * (stream.uniform() - 0.5f);
    backend_.upload(source, std::as_bytes(std::span(numbers)));
    if (dtype_ != DType::f32) backend_.run(Cast{.out = result, .in = source});
    return result;
  }

  Tensor ids(const Shape& shape, std::int64_t vocab_size) {
    const Tensor result = make(DType::i32, shape);
    PhiloxStream stream(2, static_cast<std::uint32_t>(buffers_.size()), 0);
    std::vector<std::int32_t> numbers(static_cast<std::size_t>(shape.elements()));
    for (std::int32_t& number : numbers) {
      number = static_cast<std::int32_t>(stream.below(static_cast<std::uint64_t>(vocab_size)));
    }
    backend_.upload(result, std::as_bytes(std::span(numbers)));
    return result;
  }

  Tensor make(DType dtype, const Shape& shape) {
    const std::size_t bytes = static_cast<std::size_t>(shape.elements()) * size_of(dtype);
    buffers_.push_back(backend_.allocate(bytes, "bench"));
    return {*buffers_.back(), 0, dtype, shape};
  }

  template <class Op>
  void time(const std::string& name, const Op& op) {
    const auto once = [&] {
      backend_.run(op);
      backend_.wait();
    };
    once();
    // By the device's own clock where it has one: starting a kernel takes as long as a short one runs.
    std::array<double, 5> seconds{};
    for (double& one : seconds) {
      const double before = backend_.device_seconds();
      const double elapsed = time_once(once);
      const double of_device = backend_.device_seconds() - before;
      one = of_device > 0.0 ? of_device : elapsed;
    }
    std::nth_element(seconds.begin(), seconds.begin() + 2, seconds.end());
    const Work work = work_of(op);
    results_.push_back({name, seconds[2], work.flops, work.bytes});
  }

  std::vector<KernelBenchResult> take_results() { return std::move(results_); }

 private:
  Backend& backend_;
  DType dtype_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<KernelBenchResult> results_;
};

void bench_products(KernelBench& bench, const std::string& name, std::int64_t rows, std::int64_t in, std::int64_t out) {
  const Tensor x = bench.values(Shape{rows, in});
  const Tensor y = bench.values(Shape{rows, out});
  const Tensor weight = bench.values(Shape{out, in});
  const Tensor bias = bench.values(Shape{out});
  bench.time(name + " forward", MatmulForward{.out = y, .in = x, .weight = weight, .bias = bias});
  bench.time(name + " backward input", MatmulBackwardInput{.din = x, .dout = y, .weight = weight});
  bench.time(name + " backward weight", MatmulBackwardWeight{.dweight = weight, .dbias = bias, .dout = y, .in = x});
}

void bench_attention(KernelBench& bench, const Config& config, std::int64_t batch) {
  const std::int64_t time = config.max_positions;
  const AttentionShape shape{static_cast<int>(config.heads), static_cast<int>(config.kv_heads),
                             static_cast<int>(config.head_size), 0.125f, true};
  const Tensor qkv = bench.values(Shape{batch, time, (config.heads + 2 * config.kv_heads) * config.head_size});
  const Tensor dqkv = bench.values(qkv.shape());
  const Tensor out = bench.values(Shape{batch, time, config.heads * config.head_size});
  const Tensor log_sum_exp = bench.make(DType::f32, Shape{batch, config.heads, time});
  bench.time("attention forward", AttentionForward{.out = out, .log_sum_exp = log_sum_exp, .qkv = qkv, .shape = shape});
  bench.time(
      "attention backward",
      AttentionBackward{.dqkv = dqkv, .dout = out, .qkv = qkv, .out = out, .log_sum_exp = log_sum_exp, .shape = shape});
}

void bench_rows(KernelBench& bench, const Config& config, std::int64_t rows) {
  const Shape wide{rows, config.channels};
  const Tensor a = bench.values(wide);
  const Tensor b = bench.values(wide);
  const Tensor c = bench.values(wide);
  const Tensor d = bench.values(wide);
  const Tensor weight = bench.values(Shape{config.channels});
  const Tensor bias = bench.values(Shape{config.channels});
  const Tensor dweight = bench.values(weight.shape());
  const Tensor dbias = bench.values(bias.shape());
  const Tensor mean = bench.make(DType::f32, Shape{rows});
  const Tensor rstd = bench.make(DType::f32, Shape{rows});
  bench.time(
      "residual_norm forward",
      ResidualNormForward{
          .out = a, .sum = b, .mean = mean, .rstd = rstd, .residual = c, .x = d, .weight = weight, .bias = bias});
  bench.time("residual_norm backward", ResidualNormBackward{.dsum = a,
                                                            .dweight = dweight,
                                                            .dbias = dbias,
                                                            .dout = c,
                                                            .dsum_direct = d,
                                                            .sum = b,
                                                            .mean = mean,
                                                            .rstd = rstd,
                                                            .weight = weight});

  const Tensor up = bench.values(Shape{rows, config.ffn_size});
  const Tensor down = bench.values(up.shape());
  bench.time("gelu forward", ActivationForward{.activation = Activation::gelu, .out = down, .in = up});
  bench.time("gelu backward", ActivationBackward{.activation = Activation::gelu, .din = down, .dout = down, .in = up});

  const Tensor logits = bench.values(Shape{rows, config.vocab_size});
  const Tensor losses = bench.make(DType::f32, Shape{rows});
  const Tensor targets = bench.ids(Shape{rows}, config.vocab_size);
  const Tensor scale = bench.make(DType::f32, Shape{1});
  bench.time(
      "cross_entropy",
      CrossEntropy{
          .losses = losses, .logits = logits, .targets = targets, .vocab = config.vocab_size, .loss_scale = scale});

  const Tensor tokens = targets.reshape(Shape{rows / config.max_positions, config.max_positions});
  const Tensor embedded = a.reshape(Shape{rows / config.max_positions, config.max_positions, config.channels});
  const Tensor table = bench.values(Shape{config.vocab_size, config.channels});
  bench.time("embedding forward", EmbeddingForward{.out = embedded, .tokens = tokens, .token_weight = table});
  bench.time("embedding backward", EmbeddingBackward{.dtoken_weight = table, .dout = embedded, .tokens = tokens});
}

void bench_optimizer(KernelBench& bench, std::int64_t parameters) {
  const Shape shape{parameters};
  const Tensor p = bench.values(shape);
  const Tensor g = bench.values(shape);
  const Tensor m = bench.make(DType::f32, shape);
  const Tensor v = bench.make(DType::f32, shape);
  const Tensor norm = bench.make(DType::f32, Shape{1});
  const Tensor state = bench.make(DType::f32, Shape{adamw_state_size});
  bench.time("global_norm", GlobalNorm{.out = norm, .gradients = g});
  bench.time("adamw",
             AdamWUpdate{
                 .parameters = p, .gradients = g, .first_moment = m, .second_moment = v, .state = state, .norm = norm});
}

}  // namespace

std::vector<KernelBenchResult> bench_kernels(Backend& backend, const KernelBenchOptions& options) {
  check_size("--batch-size", options.batch_size, 1, std::int64_t{1} << 24);
  KernelBench bench(backend, options);
  const Config& config = options.model;
  config.validate();
  const std::int64_t rows = options.batch_size * config.max_positions;
  bench_products(bench, "qkv", rows, config.channels, (config.heads + 2 * config.kv_heads) * config.head_size);
  bench_products(bench, "ffn_up", rows, config.channels, config.ffn_size);
  bench_products(bench, "ffn_down", rows, config.ffn_size, config.channels);
  bench_products(bench, "lm_head", rows, config.channels, config.vocab_size);
  bench_attention(bench, config, options.batch_size);
  bench_rows(bench, config, rows);
  bench_optimizer(bench, config.parameter_count());
  return bench.take_results();
}

}  // namespace mslt::cli

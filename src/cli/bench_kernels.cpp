// Each operation of a training step alone, at a model's shapes.
#include <functional>
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

  Backend& backend() { return backend_; }

  // A tensor of the benchmark's dtype with small random values.
  Tensor values(const Shape& shape) {
    const Tensor result = make(dtype_, shape);
    const Tensor source = dtype_ == DType::f32 ? result : make(DType::f32, shape);
    PhiloxStream stream(1, static_cast<std::uint32_t>(buffers_.size()), 0);
    std::vector<float> numbers(static_cast<std::size_t>(shape.elements()));
    for (float& number : numbers) number = 0.1f * (stream.uniform() - 0.5f);
    backend_.upload(source, std::as_bytes(std::span(numbers)));
    if (dtype_ != DType::f32) backend_.cast(result, source);
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

  void time(const std::string& operation, double flops, std::span<const Tensor> touched,
            const std::function<void()>& run) {
    double bytes = 0.0;
    for (const Tensor& tensor : touched) bytes += static_cast<double>(tensor.bytes());
    const auto once = [&] {
      run();
      backend_.wait();
    };
    once();
    results_.push_back({operation, median_seconds(5, once), flops, bytes});
  }

  std::vector<KernelBenchResult> take_results() { return std::move(results_); }

 private:
  Backend& backend_;
  DType dtype_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<KernelBenchResult> results_;
};

void bench_products(KernelBench& bench, const std::string& name, std::int64_t rows, std::int64_t in, std::int64_t out) {
  Backend& backend = bench.backend();
  const Tensor x = bench.values(Shape{rows, in});
  const Tensor y = bench.values(Shape{rows, out});
  const Tensor weight = bench.values(Shape{out, in});
  const Tensor bias = bench.values(Shape{out});
  const double flops = 2.0 * static_cast<double>(rows) * static_cast<double>(in) * static_cast<double>(out);
  const std::vector<Tensor> touched = {x, y, weight};
  bench.time(name + " forward", flops, touched,
             [&] { backend.matmul_forward(y, x, weight, bias, Activation::none, {}); });
  bench.time(name + " backward input", flops, touched,
             [&] { backend.matmul_backward_input(x, y, weight, Activation::none, {}, false); });
  bench.time(name + " backward weight", flops, touched, [&] { backend.matmul_backward_weight(weight, bias, y, x); });
}

void bench_attention(KernelBench& bench, const Config& config, std::int64_t batch) {
  Backend& backend = bench.backend();
  const std::int64_t time = config.max_positions;
  const AttentionShape shape{static_cast<int>(config.heads), static_cast<int>(config.kv_heads),
                             static_cast<int>(config.head_size), 0.125f, true};
  const Tensor qkv = bench.values(Shape{batch, time, (config.heads + 2 * config.kv_heads) * config.head_size});
  const Tensor dqkv = bench.values(qkv.shape());
  const Tensor out = bench.values(Shape{batch, time, config.heads * config.head_size});
  const Tensor log_sum_exp = bench.make(DType::f32, Shape{batch, config.heads, time});
  // Two products forward, five backward, over half of the square.
  const double product = static_cast<double>(batch * config.heads * config.head_size) * static_cast<double>(time) *
                         static_cast<double>(time);
  bench.time("attention forward", 2.0 * product, std::vector{qkv, out},
             [&] { backend.attention_forward(out, log_sum_exp, qkv, shape, {}); });
  bench.time("attention backward", 5.0 * product, std::vector{qkv, out, out, dqkv},
             [&] { backend.attention_backward(dqkv, out, qkv, out, log_sum_exp, shape, {}); });
}

void bench_rows(KernelBench& bench, const Config& config, std::int64_t rows) {
  Backend& backend = bench.backend();
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
  const NormKind kind{};
  bench.time("residual_norm forward", 0.0, std::vector{a, b, c, d},
             [&] { backend.residual_norm_forward(a, b, mean, rstd, c, d, weight, bias, kind, {}); });
  bench.time("residual_norm backward", 0.0, std::vector{a, c, b, d},
             [&] { backend.residual_norm_backward(a, dweight, dbias, c, d, b, mean, rstd, weight, kind); });

  const Tensor up = bench.values(Shape{rows, config.ffn_size});
  const Tensor down = bench.values(up.shape());
  bench.time("gelu forward", 0.0, std::vector{up, down},
             [&] { backend.activation_forward(Activation::gelu, down, up); });
  bench.time("gelu backward", 0.0, std::vector{up, down, down},
             [&] { backend.activation_backward(Activation::gelu, down, down, up); });

  const Tensor logits = bench.values(Shape{rows, config.vocab_size});
  const Tensor losses = bench.make(DType::f32, Shape{rows});
  const Tensor targets = bench.ids(Shape{rows}, config.vocab_size);
  const Tensor scale = bench.make(DType::f32, Shape{1});
  bench.time("cross_entropy", 0.0, std::vector{logits, logits},
             [&] { backend.cross_entropy(losses, logits, targets, config.vocab_size, scale); });

  const Tensor tokens = targets.reshape(Shape{rows / config.max_positions, config.max_positions});
  const Tensor embedded = a.reshape(Shape{rows / config.max_positions, config.max_positions, config.channels});
  const Tensor table = bench.values(Shape{config.vocab_size, config.channels});
  bench.time("embedding forward", 0.0, std::vector{a, a},
             [&] { backend.embedding_forward(embedded, tokens, table, {}, {}, 1.0f); });
  bench.time("embedding backward", 0.0, std::vector{a, table},
             [&] { backend.embedding_backward(table, {}, embedded, tokens, 1.0f); });
}

void bench_optimizer(KernelBench& bench, std::int64_t parameters) {
  Backend& backend = bench.backend();
  const Shape shape{parameters};
  const Tensor p = bench.values(shape);
  const Tensor g = bench.values(shape);
  const Tensor m = bench.make(DType::f32, shape);
  const Tensor v = bench.make(DType::f32, shape);
  const Tensor norm = bench.make(DType::f32, Shape{1});
  const Tensor state = bench.make(DType::f32, Shape{adamw_state_size});
  bench.time("global_norm", 0.0, std::vector{g}, [&] { backend.global_norm(norm, g, false); });
  bench.time("adamw", 0.0, std::vector{p, p, g, m, m, v, v},
             [&] { backend.adamw(p, g, m, v, {}, state, norm, AdamWConfig{}); });
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

// The MSL backend's memory-bound operations on a GPU at GPT-2's shapes: bytes as in docs/kernels.md over the GPU's own
// time, compared with a device-to-device copy in the same run. Products and attention as FLOP/s. Prints Markdown.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "backend/msl/cuda_backend.h"
#include "backend/msl/drivers/host/host_device.h"
#include "backend/msl/msl_backend.h"
#include "base/philox.h"
#include "bench/timed_device.h"
#include "mslt/error.h"

namespace mslt::bench {
namespace {

struct Options {
  std::string device = "cuda";
  std::string only;  // operations whose name contains it
  int repetitions = 25;
  std::int64_t batch = 32;
  std::int64_t length = 1024;
  std::int64_t channels = 768;
  std::int64_t vocab = 50257;
  std::int64_t parameters = 124475904;
  std::int64_t copy_bytes = std::int64_t{1} << 30;
  bool products = true;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.at(values.size() / 2);
}

double bytes_of(const Tensor& tensor) {
  return static_cast<double>(tensor.bytes());
}

std::unique_ptr<msl::Device> make_device(const std::string& name) {
  if (name == "cuda") return make_msl_cuda_device();
  if (name == "msl-host") return std::make_unique<msl::host::HostDevice>();
  throw Error(ErrorKind::usage, fmt::format("There is no device '{}' here. Valid are cuda and msl-host.", name));
}

class Bench {
 public:
  explicit Bench(const Options& options)
      : options_(options),
        rows_(options.batch * options.length),
        heads_(static_cast<int>(options.channels / 64)),
        attention_{heads_, heads_, 64, 0.125f, true},
        backend_(std::make_unique<TimedDevice>(make_device(options.device), times_)),
        flush_(make(DType::f32, {options.copy_bytes / 16})),
        flushed_(make(DType::f32, {1})) {}

  void run();

 private:
  // Tensors of one operation live until those of the next are made.
  Tensor make(DType dtype, const Shape& shape) {
    buffers_.push_back(backend_.allocate(static_cast<std::size_t>(shape.elements()) * size_of(dtype), "bench"));
    return {*buffers_.back(), 0, dtype, shape};
  }
  Tensor values(DType dtype, const Shape& shape, float least = -1.0f, float most = 1.0f);
  Tensor ids(const Shape& shape, std::int64_t bound);
  Tensor whole_numbers(const Shape& shape, const std::function<std::int64_t(std::int64_t)>& value);

  // Median seconds of the GPU for `operation`, which starts with none of its tensors in the caches.
  double seconds(const std::function<void()>& operation, int repetitions);
  void measure(const std::string& name, DType dtype, double bytes, const std::function<void()>& operation);
  void measure_flops(const std::string& name, DType dtype, double flops, const std::function<void()>& operation);
  // Whether an operation of that name is selected; frees the tensors of the previous one.
  bool wants(const std::string& name);

  // Bytes per second, read and written, of a copy of `bytes`.
  double copy_rate(std::int64_t bytes);
  void measure_copy();
  void embedding(DType dtype);
  void norm(DType dtype);
  void activations(DType dtype);
  void loss(DType dtype);
  void optimizer(DType dtype);
  void inference(DType dtype);
  void matvec(DType dtype);
  void layout(DType dtype);
  void products(DType dtype);
  void attention(DType dtype);

  Options options_;
  std::int64_t rows_;
  int heads_;
  AttentionShape attention_;
  Times times_;
  MslBackend backend_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  Tensor flush_;
  Tensor flushed_;
  double copy_rate_ = 0.0;
};

Tensor Bench::whole_numbers(const Shape& shape, const std::function<std::int64_t(std::int64_t)>& value) {
  const Tensor result = make(DType::i32, shape);
  std::vector<std::int32_t> numbers(static_cast<std::size_t>(shape.elements()));
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    numbers[i] = static_cast<std::int32_t>(value(static_cast<std::int64_t>(i)));
  }
  backend_.upload(result, std::as_bytes(std::span(numbers)));
  return result;
}

Tensor Bench::ids(const Shape& shape, std::int64_t bound) {
  PhiloxStream stream(2, 0, 0);
  return whole_numbers(
      shape, [&](std::int64_t) { return static_cast<std::int64_t>(stream.below(static_cast<std::uint64_t>(bound))); });
}

// A block of random numbers, repeated.
Tensor Bench::values(DType dtype, const Shape& shape, float least, float most) {
  const Tensor result = make(dtype, shape);
  const std::int64_t count = shape.elements();
  const std::int64_t block = std::min<std::int64_t>(count, 1 << 20);
  PhiloxStream stream(1, static_cast<std::uint32_t>(buffers_.size()), 0);
  std::vector<float> numbers(static_cast<std::size_t>(block));
  for (float& number : numbers) number = least + (most - least) * stream.uniform();
  const Tensor source = make(DType::f32, {block});
  backend_.upload(source, std::as_bytes(std::span(numbers)));
  for (std::int64_t first = 0; first < count; first += block) {
    const std::int64_t size = std::min(block, count - first);
    const Tensor part(result.buffer(), static_cast<std::size_t>(first) * size_of(dtype), dtype, {size});
    backend_.run(Cast{.out = part, .in = Tensor(source.buffer(), 0, DType::f32, {size})});
  }
  backend_.wait();
  return result;
}

double Bench::seconds(const std::function<void()>& operation, int repetitions) {
  constexpr int warm_up = 3;
  for (int i = 0; i < warm_up; ++i) operation();
  backend_.wait();
  times_.take();
  std::vector<double> all;
  for (int i = 0; i < repetitions; ++i) {
    // Reading this fills the caches and gives the host time to hand the operation over.
    backend_.run(Sum{.out = flushed_, .in = flush_});
    backend_.submit();
    operation();
    backend_.wait();
    // The first command buffer was that read; an operation of many dispatches fills several.
    const std::vector<double> taken = times_.take();
    double total = 0.0;
    for (std::size_t k = 1; k < taken.size(); ++k) total += taken[k];
    all.push_back(total);
  }
  return median(all);
}

bool Bench::wants(const std::string& name) {
  if (!options_.only.empty() && name.find(options_.only) == std::string::npos) return false;
  buffers_.resize(2);  // those of flush_ and flushed_
  return true;
}

void Bench::measure(const std::string& name, DType dtype, double bytes, const std::function<void()>& operation) {
  const double taken = seconds(operation, options_.repetitions);
  const double rate = bytes / taken;
  fmt::print("| {} | {} | {:.1f} | {:.1f} | {:.0f} | {:.0f} % | {:.0f} % |\n", name, name_of(dtype), bytes * 1e-6,
             taken * 1e6, rate * 1e-9, 100.0 * rate / copy_rate_,
             100.0 * rate / copy_rate(static_cast<std::int64_t>(bytes / 2.0)));
  std::fflush(stdout);
}

void Bench::measure_flops(const std::string& name, DType dtype, double flops, const std::function<void()>& operation) {
  const double taken = seconds(operation, 3);
  fmt::print("| {} | {} | {:.2f} | {:.2f} |\n", name, name_of(dtype), taken * 1e3, flops / taken * 1e-12);
  std::fflush(stdout);
}

double Bench::copy_rate(std::int64_t bytes) {
  const Tensor from = make(DType::u8, {bytes});
  const Tensor to = make(DType::u8, {bytes});
  const double taken = seconds([&] { backend_.recorder().copy(to, from); }, options_.repetitions);
  return 2.0 * static_cast<double>(bytes) / taken;
}

void Bench::measure_copy() {
  copy_rate_ = copy_rate(options_.copy_bytes);
  fmt::print(
      "{}: a device-to-device copy of {:.2f} GiB moves {:.0f} GB/s, read and written. The last column compares with "
      "a copy\n"
      "of as many bytes as the operation moves, which has the same launch overhead.\n\n",
      backend_.device().name, static_cast<double>(options_.copy_bytes) / 0x1p30, copy_rate_ * 1e-9);
}

void Bench::embedding(DType dtype) {
  const std::int64_t c = options_.channels;
  const Shape shape{options_.batch, options_.length, c};
  if (wants("embedding")) {
    const Tensor out = values(dtype, shape);
    const Tensor weight = values(dtype, {options_.vocab, c});
    const Tensor places = values(dtype, {options_.length, c});
    PhiloxStream stream(2, 0, 0);
    std::set<std::uint64_t> different;
    for (std::int64_t i = 0; i < rows_; ++i) different.insert(stream.below(static_cast<std::uint64_t>(options_.vocab)));
    const Tensor tokens = ids({options_.batch, options_.length}, options_.vocab);
    const double read = static_cast<double>(different.size() * static_cast<std::size_t>(c) * size_of(dtype));
    measure("embedding_forward (different rows once)", dtype,
            bytes_of(out) + read + bytes_of(places) + bytes_of(tokens), [&] {
              backend_.run(
                  EmbeddingForward{.out = out, .tokens = tokens, .token_weight = weight, .position_weight = places});
            });
    measure("embedding_backward (all launches)", dtype,
            2.0 * bytes_of(out) + 2.0 * read + 2.0 * bytes_of(places) + 40.0 * static_cast<double>(rows_), [&] {
              backend_.run(EmbeddingBackward{
                  .dtoken_weight = weight, .dposition_weight = places, .dout = out, .tokens = tokens});
            });
  }
  if (wants("rope")) {
    const Tensor qkv = values(dtype, {options_.batch, options_.length, 3 * c});
    const Tensor frequencies = values(DType::f32, {32}, 0.0f, 1.0f);
    const double bytes = bytes_of(qkv) * 2.0 * 2.0 / 3.0;
    measure("rope_forward", dtype, bytes,
            [&] { backend_.run(Rope{.qkv = qkv, .inverse_frequencies = frequencies, .shape = attention_}); });
    measure("rope_backward", dtype, bytes, [&] {
      backend_.run(Rope{.qkv = qkv, .inverse_frequencies = frequencies, .shape = attention_, .backward = true});
    });
  }
}

void Bench::norm(DType dtype) {
  if (!wants("norm")) return;
  const std::int64_t c = options_.channels;
  const Tensor out = values(dtype, {rows_, c});
  const Tensor sum = values(dtype, {rows_, c});
  const Tensor residual = values(dtype, {rows_, c});
  const Tensor x = values(dtype, {rows_, c});
  const Tensor weight = values(dtype, {c});
  const Tensor bias = values(dtype, {c});
  const Tensor mean = values(DType::f32, {rows_});
  const Tensor rstd = values(DType::f32, {rows_});
  const Tensor random = whole_numbers({4}, [](std::int64_t i) { return i; });
  const Tensor state(random.buffer(), 0, DType::u32, {4});
  const double each = bytes_of(out);
  const double rows = static_cast<double>(rows_);
  measure("residual_norm_forward LayerNorm", dtype, 4.0 * each + 8.0 * rows, [&] {
    backend_.run(ResidualNormForward{.out = out,
                                     .sum = sum,
                                     .mean = mean,
                                     .rstd = rstd,
                                     .residual = residual,
                                     .x = x,
                                     .weight = weight,
                                     .bias = bias});
  });
  measure("residual_norm_forward without x", dtype, 2.0 * each + 8.0 * rows, [&] {
    backend_.run(ResidualNormForward{
        .out = out, .mean = mean, .rstd = rstd, .residual = residual, .weight = weight, .bias = bias});
  });
  measure("residual_norm_forward RMSNorm", dtype, 4.0 * each + 4.0 * rows, [&] {
    backend_.run(ResidualNormForward{
        .out = out, .sum = sum, .rstd = rstd, .residual = residual, .x = x, .weight = weight, .kind = {.rms = true}});
  });
  measure("residual_norm_forward, dropout 0.1", dtype, 4.0 * each + 8.0 * rows, [&] {
    backend_.run(ResidualNormForward{.out = out,
                                     .sum = sum,
                                     .mean = mean,
                                     .rstd = rstd,
                                     .residual = residual,
                                     .x = x,
                                     .weight = weight,
                                     .bias = bias,
                                     .dropout = {0.1f, 1, state}});
  });
  const Tensor dweight = values(dtype, {c});
  const Tensor dbias = values(dtype, {c});
  const double parts = std::min(1024.0, rows / 4.0);
  const double partial = 16.0 * parts * static_cast<double>(c);
  measure("residual_norm_backward (all launches)", dtype, 4.0 * each + 8.0 * rows + partial, [&] {
    backend_.run(ResidualNormBackward{.dsum = out,
                                      .dweight = dweight,
                                      .dbias = dbias,
                                      .dout = x,
                                      .dsum_direct = residual,
                                      .sum = sum,
                                      .mean = mean,
                                      .rstd = rstd,
                                      .weight = weight});
  });
}

void Bench::activations(DType dtype) {
  const std::int64_t f = 4 * options_.channels;
  if (wants("gelu") || wants("relu")) {
    const Tensor in = values(dtype, {rows_, f}, -3.0f, 3.0f);
    const Tensor out = values(dtype, {rows_, f});
    const Tensor dout = values(dtype, {rows_, f});
    for (const Activation activation : {Activation::gelu, Activation::relu}) {
      const std::string name = activation == Activation::gelu ? "gelu" : "relu";
      measure(name + "_forward", dtype, 2.0 * bytes_of(in),
              [&] { backend_.run(ActivationForward{.activation = activation, .out = out, .in = in}); });
      measure(name + "_backward", dtype, 3.0 * bytes_of(in),
              [&] { backend_.run(ActivationBackward{.activation = activation, .din = out, .dout = dout, .in = in}); });
    }
  }
  if (wants("swiglu")) {
    const Tensor in = values(dtype, {rows_, 2 * f}, -3.0f, 3.0f);
    const Tensor din = values(dtype, {rows_, 2 * f});
    const Tensor out = values(dtype, {rows_, f});
    measure("swiglu_forward", dtype, 3.0 * bytes_of(out),
            [&] { backend_.run(ActivationForward{.activation = Activation::swiglu, .out = out, .in = in}); });
    measure("swiglu_backward", dtype, 5.0 * bytes_of(out), [&] {
      backend_.run(ActivationBackward{.activation = Activation::swiglu, .din = din, .dout = out, .in = in});
    });
  }
  if (wants("dropout")) {
    const Tensor in = values(dtype, {rows_, options_.channels});
    const Tensor out = values(dtype, {rows_, options_.channels});
    const Tensor random = whole_numbers({4}, [](std::int64_t i) { return i; });
    const Tensor state(random.buffer(), 0, DType::u32, {4});
    measure("dropout_forward", dtype, 2.0 * bytes_of(in),
            [&] { backend_.run(DropElements{.out = out, .in = in, .dropout = {0.1f, 1, state}}); });
  }
}

void Bench::loss(DType dtype) {
  if (wants("cross_entropy")) {
    const std::int64_t padded = (options_.vocab + 127) / 128 * 128;
    const Tensor logits = values(dtype, {rows_, padded}, -3.0f, 3.0f);
    const Tensor losses = values(DType::f32, {rows_});
    const Tensor targets = ids({rows_}, options_.vocab);
    const Tensor scale = values(DType::f32, {1});
    measure("cross_entropy with gradient", dtype, 2.0 * bytes_of(logits), [&] {
      backend_.run(CrossEntropy{
          .losses = losses, .logits = logits, .targets = targets, .vocab = options_.vocab, .loss_scale = scale});
    });
    measure("cross_entropy", dtype, bytes_of(logits), [&] {
      backend_.run(CrossEntropy{.losses = losses, .logits = logits, .targets = targets, .vocab = options_.vocab});
    });
  }
  if (dtype == DType::f32 && wants("sum")) {
    const Tensor in = values(DType::f32, {options_.parameters});
    const Tensor out = values(DType::f32, {1});
    measure("sum", dtype, bytes_of(in), [&] { backend_.run(Sum{.out = out, .in = in}); });
  }
}

void Bench::optimizer(DType dtype) {
  const std::int64_t n = options_.parameters;
  if (wants("global_norm")) {
    const Tensor gradients = values(dtype, {n});
    const Tensor out = values(DType::f32, {1});
    measure("global_norm", dtype, bytes_of(gradients),
            [&] { backend_.run(GlobalNorm{.out = out, .gradients = gradients}); });
  }
  if (wants("adamw")) {
    const Tensor parameters = values(dtype, {n});
    const Tensor gradients = values(dtype, {n});
    const Tensor first = values(DType::f32, {n});
    const Tensor second = values(DType::f32, {n}, 0.0f, 1.0f);
    const Tensor master = values(DType::f32, {n});
    const Tensor state = values(DType::f32, {adamw_state_size}, 0.001f, 0.002f);
    const Tensor norm = values(DType::f32, {1}, 1.0f, 2.0f);
    measure("adamw", dtype, 2.0 * bytes_of(parameters) + bytes_of(gradients) + 16.0 * static_cast<double>(n), [&] {
      backend_.run(AdamWUpdate{.parameters = parameters,
                               .gradients = gradients,
                               .first_moment = first,
                               .second_moment = second,
                               .state = state,
                               .norm = norm});
    });
    if (dtype == DType::f32) return;  // these are the master weights themselves
    measure("adamw with master weights", dtype,
            bytes_of(parameters) + bytes_of(gradients) + 24.0 * static_cast<double>(n), [&] {
              backend_.run(AdamWUpdate{.parameters = parameters,
                                       .gradients = gradients,
                                       .first_moment = first,
                                       .second_moment = second,
                                       .master = master,
                                       .state = state,
                                       .norm = norm});
            });
  }
}

void Bench::inference(DType dtype) {
  const std::int64_t c = options_.channels;
  const std::int64_t blocks_each = (options_.length + KvCacheView::block_size - 1) / KvCacheView::block_size;
  if (wants("kv_cache_append") || wants("attention_decode")) {
    const std::int64_t blocks = options_.batch * blocks_each;
    const Tensor keys = values(dtype, {blocks, KvCacheView::block_size, c});
    const Tensor cached = values(dtype, {blocks, KvCacheView::block_size, c});
    const Tensor table = whole_numbers({options_.batch, blocks_each}, [](std::int64_t i) { return i; });
    const KvCacheView cache{keys, cached, table};
    const Tensor prompt = values(dtype, {options_.batch, options_.length, 3 * c});
    measure("kv_cache_append of prompts", dtype, 4.0 * bytes_of(prompt) / 3.0,
            [&] { backend_.run(KvCacheAppend{.cache = cache, .qkv = prompt, .shape = attention_}); });
    const Tensor qkv = values(dtype, {options_.batch, 1, 3 * c});
    const Tensor out = values(dtype, {options_.batch, 1, c});
    const Tensor last = whole_numbers({options_.batch}, [&](std::int64_t) { return options_.length - 1; });
    measure("attention_decode at the last position", dtype, bytes_of(keys) + bytes_of(cached), [&] {
      backend_.run(AttentionDecode{.out = out, .qkv = qkv, .cache = cache, .positions = {last}, .shape = attention_});
    });
  }
  if (wants("argmax") || wants("top_k")) {
    const std::int64_t n = std::min<std::int64_t>(rows_, 1024);
    const Tensor logits = values(dtype, {n, (options_.vocab + 127) / 128 * 128});
    const Tensor best = values(DType::f32, {n, 50});
    const Tensor places = ids({n, 50}, 1);
    measure("argmax", dtype, bytes_of(logits), [&] {
      backend_.run(Argmax{.values = best.reshape({n * 50}).slice(0, n),
                          .indices = places.reshape({n * 50}).slice(0, n),
                          .logits = logits,
                          .vocab = options_.vocab});
    });
    measure("top_k, k 50", dtype, bytes_of(logits),
            [&] { backend_.run(TopK{.values = best, .indices = places, .logits = logits, .vocab = options_.vocab}); });
  }
}

void Bench::matvec(DType dtype) {
  if (!wants("matvec")) return;
  const std::int64_t c = options_.channels;
  const std::int64_t v = (options_.vocab + 127) / 128 * 128;
  const Tensor in = values(dtype, {4, c});
  const Tensor one(in.buffer(), 0, dtype, {1, c});
  const Tensor out = values(dtype, {4, v});
  const Tensor out_one(out.buffer(), 0, dtype, {1, v});
  const Tensor plain = values(dtype, {v, c});
  const Tensor bytes = make(DType::i8, {v, c});
  const Tensor halves = make(DType::u8, {v, c / 2});
  const Tensor scales = values(DType::f16, {v, c / 32}, 0.0f, 0.1f);
  const Tensor lines = values(DType::f16, {v, c / 32, 2}, 0.0f, 0.1f);
  const double other = bytes_of(one) + bytes_of(out_one);
  measure("matvec of the output head", dtype, bytes_of(plain) + other,
          [&] { backend_.run(MatmulForward{.out = out_one, .in = one, .weight = plain}); });
  measure("matvec of the output head, 4 rows", dtype, bytes_of(plain) + 4.0 * other,
          [&] { backend_.run(MatmulForward{.out = out, .in = in, .weight = plain}); });
  measure("matvec of the output head, i8", dtype, bytes_of(bytes) + bytes_of(scales) + other,
          [&] { backend_.run(MatmulForward{.out = out_one, .in = one, .weight = {bytes, scales}}); });
  measure("matvec of the output head, 4 bits", dtype, bytes_of(halves) + bytes_of(lines) + other,
          [&] { backend_.run(MatmulForward{.out = out_one, .in = one, .weight = {halves, lines}}); });
}

void Bench::layout(DType dtype) {
  const std::int64_t c = options_.channels;
  const Shape shape{options_.batch, options_.length, c};
  if (wants("cast") || wants("fill") || wants("copy") || wants("add")) {
    const std::int64_t n = options_.parameters;
    const DType other = dtype == DType::f32 ? DType::bf16 : DType::f32;
    const Tensor in = values(dtype, {n});
    const Tensor out = values(dtype, {n});
    const Tensor converted = values(other, {n});
    measure(fmt::format("cast to {}", name_of(other)), dtype, bytes_of(in) + bytes_of(converted),
            [&] { backend_.run(Cast{.out = converted, .in = in}); });
    measure("fill", dtype, bytes_of(out), [&] { backend_.run(Fill{.out = out, .value = 1.0f}); });
    measure("copy", dtype, bytes_of(in) + bytes_of(out), [&] { backend_.run(Copy{.out = out, .in = in}); });
    measure("add", dtype, bytes_of(in) + 2.0 * bytes_of(out), [&] { backend_.run(Add{.out = out, .in = in}); });
  }
  if (wants("gather_rows")) {
    const Tensor in = values(dtype, {rows_, c});
    const Tensor out = values(dtype, {rows_, c});
    const Tensor indices = whole_numbers({rows_}, [&](std::int64_t i) { return i * 7919 % rows_; });
    measure("gather_rows", dtype, 2.0 * bytes_of(out),
            [&] { backend_.run(GatherRows{.out = out, .in = in, .indices = indices}); });
  }
}

void Bench::products(DType dtype) {
  const std::int64_t c = options_.channels;
  const std::int64_t v = (options_.vocab + 127) / 128 * 128;
  struct Product {
    const char* name;
    std::int64_t rows, in, out;
  };
  for (const auto& [name, rows, in, out] : {Product{"qkv", rows_, c, 3 * c}, Product{"attention out", rows_, c, c},
                                            Product{"ffn up", rows_, c, 4 * c}, Product{"ffn down", rows_, 4 * c, c},
                                            Product{"logits, an eighth", std::max<std::int64_t>(rows_ / 8, 1), c, v}}) {
    if (!wants("product")) continue;
    const Tensor x = values(dtype, {rows, in});
    const Tensor y = values(dtype, {rows, out});
    const Tensor weight = values(dtype, {out, in});
    const Tensor bias = values(dtype, {out});
    const double flops = 2.0 * static_cast<double>(rows) * static_cast<double>(in) * static_cast<double>(out);
    const std::string what = fmt::format("product {} [{}, {}] · [{}, {}]", name, rows, in, in, out);
    measure_flops(what + " forward", dtype, flops,
                  [&] { backend_.run(MatmulForward{.out = y, .in = x, .weight = weight, .bias = bias}); });
    measure_flops(what + " backward, input", dtype, flops,
                  [&] { backend_.run(MatmulBackwardInput{.din = x, .dout = y, .weight = weight}); });
    measure_flops(what + " backward, weight and bias", dtype, flops,
                  [&] { backend_.run(MatmulBackwardWeight{.dweight = weight, .dbias = bias, .dout = y, .in = x}); });
  }
}

void Bench::attention(DType dtype) {
  if (!wants("attention")) return;
  const std::int64_t c = options_.channels;
  const Tensor qkv = values(dtype, {options_.batch, options_.length, 3 * c});
  const Tensor dqkv = values(dtype, {options_.batch, options_.length, 3 * c});
  const Tensor out = values(dtype, {options_.batch, options_.length, c});
  const Tensor dout = values(dtype, {options_.batch, options_.length, c});
  const Tensor statistics = values(DType::f32, {options_.batch, heads_, options_.length});
  const double length = static_cast<double>(options_.length);
  const double pairs = static_cast<double>(options_.batch * heads_) * length * (length + 1.0) / 2.0;
  measure_flops("attention forward, causal", dtype, 4.0 * 64.0 * pairs, [&] {
    backend_.run(AttentionForward{.out = out, .log_sum_exp = statistics, .qkv = qkv, .shape = attention_});
  });
  measure_flops("attention backward, causal", dtype, 14.0 * 64.0 * pairs, [&] {
    backend_.run(AttentionBackward{
        .dqkv = dqkv, .dout = dout, .qkv = qkv, .out = out, .log_sum_exp = statistics, .shape = attention_});
  });
}

void Bench::run() {
  measure_copy();
  fmt::print("| operation | dtype | MB | µs | GB/s | of the copy | of a copy alike |\n|---|---|---|---|---|---|---|\n");
  for (const DType dtype : {DType::bf16, DType::f32}) {
    embedding(dtype);
    norm(dtype);
    activations(dtype);
    loss(dtype);
    optimizer(dtype);
    inference(dtype);
    matvec(dtype);
    layout(dtype);
  }
  if (!options_.products) return;
  fmt::print("\n| operation | dtype | ms | TFLOP/s |\n|---|---|---|---|\n");
  for (const DType dtype : {DType::bf16, DType::f32}) {
    products(dtype);
    attention(dtype);
  }
}

}  // namespace
}  // namespace mslt::bench

int main(int argc, char** argv) {
  mslt::bench::Options options;
  CLI::App app("Memory-bound operations of the MSL backend, compared with a device-to-device copy");
  app.add_option("--device", options.device, "cuda or msl-host");
  app.add_option("--only", options.only, "Operations whose name holds this");
  app.add_option("--repetitions", options.repetitions, "Of each operation, after warming up")
      ->check(CLI::Range(1, 1000));
  app.add_option("--batch-size", options.batch, "Sequences")->check(CLI::PositiveNumber);
  app.add_option("--length", options.length, "Positions of a sequence")->check(CLI::PositiveNumber);
  app.add_option("--channels", options.channels, "Channels, a multiple of 64")->check(CLI::PositiveNumber);
  app.add_option("--vocab-size", options.vocab, "Vocabulary")->check(CLI::PositiveNumber);
  app.add_option("--parameters", options.parameters, "Elements of the optimiser's and elementwise operations")
      ->check(CLI::PositiveNumber);
  app.add_option("--copy-bytes", options.copy_bytes, "Of the copy")
      ->check(CLI::Range(std::int64_t{1024}, std::int64_t{1} << 33));
  app.add_flag("!--no-products", options.products, "Leave products and attention out");
  CLI11_PARSE(app, argc, argv);
  try {
    mslt::bench::Bench(options).run();
  } catch (const mslt::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}

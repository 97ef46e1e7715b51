// NVIDIA's libraries at a GPT-2's shapes: every product with its plan, with and without epilogues, and attention,
// beside the largest rate that a product reaches. Prints Markdown.
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "backend/msl/drivers/cuda/cublaslt_products.h"
#include "backend/msl/drivers/cuda/cudnn_attention.h"
#include "backend/msl/drivers/cuda/device_memory.h"
#include "base/philox.h"
#include "mslt/error.h"
#include "tensor/half.h"

namespace mslt::bench {
namespace {

using namespace msl::cuda;

struct Options {
  std::string dtype = "bf16";
  std::int64_t batch = 32;
  std::int64_t length = 1024;
  std::int64_t channels = 768;
  std::int64_t vocab = 50304;
  std::int64_t peak_side = 8192;
  int repetitions = 30;
  bool any_bits = false;
  bool products = true;
  bool attention = true;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.at(values.size() / 2);
}

class Bench {
 public:
  explicit Bench(const Options& options)
      : options_(options), dtype_(dtype_from_name(options.dtype)), products_(product_options(options)) {
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
    check(cudaEventCreate(&begin_), "making an event");
    check(cudaEventCreate(&end_), "making an event");
    workspace_ = allocate_device(ProductOptions().workspace_bytes);
    random_ = make_random();
  }
  ~Bench() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
    cudaStreamDestroy(stream_);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  void run() {
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, 0), "asking for the GPU's properties");
    fmt::print("{}, {}, B {}, T {}, C {}\n\n", properties.name, options_.dtype, options_.batch, options_.length,
               options_.channels);
    measure_peak();
    if (options_.products) run_products();
    if (options_.attention) run_attention();
  }

 private:
  static constexpr std::size_t random_elements = (std::size_t{1} << 20) - 24;

  static ProductOptions product_options(const Options& options) {
    ProductOptions result;
    result.same_bits = !options.any_bits;
    return result;
  }

  DeviceMemory make_random() const {
    std::vector<std::byte> values(random_elements * size_of(dtype_));
    PhiloxStream random(1, 0, 0);
    for (std::size_t i = 0; i < random_elements; ++i) {
      const float value = random.normal();
      const BFloat16 as_bfloat = to_bfloat16(value);
      const Float16 as_half = to_float16(value);
      const void* from = dtype_ == DType::bf16  ? static_cast<const void*>(&as_bfloat)
                         : dtype_ == DType::f16 ? static_cast<const void*>(&as_half)
                                                : static_cast<const void*>(&value);
      std::memcpy(values.data() + i * size_of(dtype_), from, size_of(dtype_));
    }
    DeviceMemory memory = allocate_device(values.size());
    check(cudaMemcpy(memory.get(), values.data(), values.size(), cudaMemcpyHostToDevice), "copying");
    return memory;
  }

  DeviceMemory random_tensor(std::int64_t elements, DType dtype) const {
    const std::size_t bytes = static_cast<std::size_t>(elements) * size_of(dtype);
    DeviceMemory memory = allocate_device(bytes);
    const std::size_t period = random_elements * size_of(dtype_);
    for (std::size_t at = 0; at < bytes; at += period) {
      check(cudaMemcpy(memory.get() + at, random_.get(), std::min(period, bytes - at), cudaMemcpyDeviceToDevice),
            "copying");
    }
    return memory;
  }

  // The median of a run's microseconds.
  double microseconds(const std::function<void()>& work) const {
    for (int i = 0; i < 3; ++i) work();
    std::vector<double> all;
    for (int i = 0; i < options_.repetitions; ++i) {
      check(cudaEventRecord(begin_, stream_), "timing");
      work();
      check(cudaEventRecord(end_, stream_), "timing");
      check(cudaEventSynchronize(end_), "timing");
      float milliseconds = 0.0f;
      check(cudaEventElapsedTime(&milliseconds, begin_, end_), "timing");
      all.push_back(1e3 * static_cast<double>(milliseconds));
    }
    return median(all);
  }

  Product product(ProductKind kind, std::int64_t rows, std::int64_t outputs, std::int64_t inputs) const {
    Product result;
    result.kind = kind;
    result.activations = result.weights = result.result = dtype_;
    result.rows = rows;
    result.outputs = outputs;
    result.inputs = inputs;
    return result;
  }

  double time_product(const Product& p) {
    const DeviceMemory in = random_tensor(p.rows * p.inputs, p.activations);
    const DeviceMemory weight = random_tensor(p.outputs * p.inputs, p.weights);
    const DeviceMemory dout = random_tensor(p.rows * p.outputs, p.activations);
    const DeviceMemory result =
        random_tensor(std::max({p.rows * p.outputs, p.rows * p.inputs, p.outputs * p.inputs}), p.result);
    const DeviceMemory pre = random_tensor(p.rows * std::max(p.outputs, p.inputs), p.result);
    const DeviceMemory bias = random_tensor(p.outputs, p.result);
    ProductOperands operands;
    operands.in = in.get();
    operands.weight = weight.get();
    operands.dout = dout.get();
    operands.bias = operands.bias_gradient = bias.get();
    operands.pre_activation = pre.get();
    operands.result = result.get();
    products_.plan(p);
    return microseconds([&] { products_.run(p, operands, workspace_.get(), stream_); });
  }

  void measure_peak() {
    const std::int64_t side = options_.peak_side;
    const Product p = product(ProductKind::forward, side, side, side);
    peak_ = product_flops(p) / time_product(p) * 1e-6;
    fmt::print("The peak, a product of {} x {} x {}: {:.1f} TFLOP/s ({})\n\n", side, side, side, peak_,
               products_.plan(p).algorithm);
  }

  void print_product(const char* name, const char* epilogue, const Product& p) {
    const std::string refusal = products_.refusal(p);
    if (!refusal.empty()) {
      fmt::print("| {} | {} | {} x {} x {} | {} |\n", name, epilogue, p.rows, p.outputs, p.inputs, refusal);
      return;
    }
    const double time = time_product(p);
    const double rate = product_flops(p) / time * 1e-6;
    const ProductPlan plan = products_.plan(p);
    fmt::print(
        "| {} | {} | {} x {} x {} | {:.1f} | {:.1f} | {:.2f} | {:.1f} / {:.1f} / {:.1f} | {} of {} | {}, {} KiB |\n",
        name, epilogue, p.rows, p.outputs, p.inputs, time, rate, rate / peak_, plan.first_microseconds,
        plan.microseconds, plan.fastest_microseconds, plan.alike, plan.candidates, plan.algorithm,
        plan.workspace_bytes / 1024);
    std::fflush(stdout);
  }

  void run_products() {
    fmt::print(
        "| product | with | rows x outputs x inputs | us | TFLOP/s | of the peak | us when chosen: first, taken, "
        "fastest | with the first's bits | plan |\n|---|---|---|---|---|---|---|---|---|\n");
    const std::int64_t rows = options_.batch * options_.length;
    const std::int64_t c = options_.channels;
    struct Layer {
      const char* name;
      std::int64_t outputs, inputs;
    };
    for (const Layer& layer : {Layer{"qkv", 3 * c, c}, Layer{"proj", c, c}, Layer{"fc", 4 * c, c},
                               Layer{"fc_proj", c, 4 * c}, Layer{"head", options_.vocab, c}}) {
      run_layer(layer.name, rows, layer.outputs, layer.inputs);
    }
    fmt::print("\n");
  }

  void run_layer(const std::string& name, std::int64_t rows, std::int64_t outputs, std::int64_t inputs) {
    Product forward = product(ProductKind::forward, rows, outputs, inputs);
    const std::string forward_name = name + " forward";
    print_product(forward_name.c_str(), "", forward);
    if (name != "head") {
      forward.bias = true;
      print_product(forward_name.c_str(), "bias", forward);
    }
    if (name == "fc") {
      forward.gelu = true;
      print_product(forward_name.c_str(), "bias, gelu", forward);
      forward.keeps = true;
      print_product(forward_name.c_str(), "bias, gelu, its argument kept", forward);
    }
    Product input = product(ProductKind::input_gradient, rows, outputs, inputs);
    const std::string input_name = name + " input gradient";
    print_product(input_name.c_str(), "", input);
    if (name == "fc_proj") {
      input.gelu = true;
      print_product(input_name.c_str(), "gelu'", input);
    }
    Product weight = product(ProductKind::weight_gradient, rows, outputs, inputs);
    const std::string weight_name = name + " weight gradient";
    weight.accumulate = true;
    print_product(weight_name.c_str(), "added", weight);
    if (name != "head") {
      weight.bias_gradient = true;
      print_product(weight_name.c_str(), "added, bias gradient", weight);
      weight.bias_gradient = false;
    }
    weight.result = DType::f32;
    print_product(weight_name.c_str(), "added to f32", weight);
  }

  void run_attention() {
    fmt::print(
        "| attention | us | TFLOP/s | of the peak | workspace MiB | parts | engine |\n|---|---|---|---|---|---|---|\n");
    for (const std::int64_t head_size : {64, 128}) {
      AttentionProblem p;
      p.dtype = dtype_;
      p.batch = options_.batch;
      p.length = options_.length;
      p.heads = p.kv_heads = options_.channels / head_size;
      p.head_size = head_size;
      p.scale = 1.0f / std::sqrt(static_cast<float>(head_size));
      attend(p);
    }
    fmt::print("\n");
  }

  void print_attention(const std::string& name, double flops, double time, const AttentionPlan& plan) const {
    const double rate = flops / time * 1e-6;
    fmt::print("| {} | {:.1f} | {:.1f} | {:.2f} | {:.1f} | {} | {} |\n", name, time, rate, rate / peak_,
               static_cast<double>(plan.workspace_bytes) / 0x1p20, plan.parts, plan.engine);
    std::fflush(stdout);
  }

  void attend(const AttentionProblem& p) {
    const std::int64_t rows = p.batch * p.length;
    const std::int64_t width = (p.heads + 2 * p.kv_heads) * p.head_size;
    const std::int64_t out_width = p.heads * p.head_size;
    const double steps = static_cast<double>(p.length);
    // One multiplication and addition for every channel of every pair of positions that meet.
    const double pair_flops = static_cast<double>(p.batch * out_width) * steps * (steps + 1.0);
    const DeviceMemory qkv = random_tensor(rows * width, p.dtype);
    const DeviceMemory dout = random_tensor(rows * out_width, p.dtype);
    const DeviceMemory out = allocate_device(static_cast<std::size_t>(rows * out_width) * size_of(p.dtype));
    const DeviceMemory dqkv = allocate_device(static_cast<std::size_t>(rows * width) * size_of(p.dtype));
    const DeviceMemory sums = allocate_device(static_cast<std::size_t>(rows * p.heads) * sizeof(float));
    const std::string heads = fmt::format("{} heads of {}", p.heads, p.head_size);
    {
      CudnnAttention attention;
      const std::string refusal = attention.forward_refusal(p);
      if (!refusal.empty()) {
        fmt::print("| {} | {} |\n", heads, refusal);
        return;
      }
      const AttentionPlan plan = attention.forward_plan(p);
      const DeviceMemory workspace = allocate_device(plan.workspace_bytes);
      const double time =
          microseconds([&] { attention.forward(p, {out.get(), sums.get(), qkv.get()}, workspace.get(), stream_); });
      print_attention("forward, " + heads, 2.0 * pair_flops, time, plan);
    }
    struct Way {
      const char* name;
      AttentionOptions options;
    };
    for (const Way& way :
         {Way{"backward", {std::size_t{128} << 20, true}}, Way{"backward", {std::size_t{256} << 20, true}},
          Way{"backward", {std::size_t{512} << 20, true}}, Way{"backward", {std::size_t{1} << 30, true}},
          Way{"backward", {std::size_t{8} << 30, true}}, Way{"backward, any bits", {std::size_t{8} << 30, false}}}) {
      CudnnAttention attention(way.options);
      const std::string refusal = attention.backward_refusal(p);
      if (!refusal.empty()) {
        fmt::print("| {}, {} | {} |\n", way.name, heads, refusal);
        continue;
      }
      const AttentionPlan plan = attention.backward_plan(p);
      const DeviceMemory workspace = allocate_device(plan.workspace_bytes);
      const double time = microseconds([&] {
        attention.backward(p, {dqkv.get(), dout.get(), qkv.get(), out.get(), sums.get()}, workspace.get(), stream_);
      });
      print_attention(fmt::format("{}, {}", way.name, heads), 5.0 * pair_flops, time, plan);
    }
  }

  Options options_;
  DType dtype_;
  CublasLtProducts products_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
  DeviceMemory workspace_;
  DeviceMemory random_;
  double peak_ = 0.0;
};

int run(int argc, char** argv) {
  Options options;
  CLI::App app("Measures products by cuBLASLt and attention by cuDNN.");
  app.add_option("--dtype", options.dtype, "f32, bf16 or f16")->capture_default_str();
  app.add_option("--batch", options.batch)->capture_default_str();
  app.add_option("--length", options.length)->capture_default_str();
  app.add_option("--channels", options.channels)->capture_default_str();
  app.add_option("--vocab", options.vocab)->capture_default_str();
  app.add_option("--peak-side", options.peak_side, "rows of the product whose rate is the peak")->capture_default_str();
  app.add_option("--repetitions", options.repetitions)->capture_default_str();
  app.add_flag("--any-bits", options.any_bits, "take the fastest plan, whatever its bits");
  app.add_flag("!--no-products", options.products, "leave the products out");
  app.add_flag("!--no-attention", options.attention, "leave attention out");
  CLI11_PARSE(app, argc, argv);
  try {
    Bench(options).run();
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace mslt::bench

int main(int argc, char** argv) {
  return mslt::bench::run(argc, argv);
}

// Random operands of a product: allocation, contents, bits and times.
#include "backend/msl/drivers/cuda/product_scratch.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/philox.h"
#include "tensor/half.h"

namespace mslt::msl::cuda {
namespace {

// Random numbers that repeat after so many elements; the bytes of each dtype are a multiple of 16.
constexpr std::size_t random_elements = (std::size_t{1} << 20) - 24;
// What is looked at of a large result: pieces of one length, far apart.
constexpr std::size_t whole_bytes = std::size_t{4} << 20;
constexpr std::size_t piece_bytes = 64;
constexpr std::size_t pieces = 65536;
constexpr int batches = 3;
constexpr double batch_microseconds = 1500.0;
constexpr int most_runs = 20;
constexpr double hopeless = 1.25;

template <class T, class Convert>
std::vector<std::byte> random_values(Convert&& convert) {
  std::vector<std::byte> result(random_elements * sizeof(T));
  for (std::size_t block = 0; block < random_elements / 4; ++block) {
    const PhiloxBlock words = philox_block(1, 0, 0, block);
    for (std::size_t i = 0; i < 4; ++i) {
      const T value = convert(2.0f * uniform_from_word(words[i]) - 1.0f);
      std::memcpy(result.data() + (4 * block + i) * sizeof(T), &value, sizeof(T));
    }
  }
  return result;
}

// Bits that are numbers of at most 1 in size. A mixture of two dtypes has f32 beside a 16-bit one: whichever they are
// read as, they are finite.
std::vector<std::byte> random_bytes(const Product& product) {
  if (product.activations == DType::bf16) return random_values<BFloat16>(to_bfloat16);
  if (product.activations == DType::f16) return random_values<Float16>(to_float16);
  return random_values<float>([](float value) { return value; });
}

}  // namespace

std::byte* ProductScratch::add(std::int64_t rows, std::int64_t columns, DType dtype, bool wanted) {
  if (!wanted || !has_room_) return nullptr;
  const auto bytes = static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns) * size_of(dtype);
  DeviceMemory memory = try_allocate_device(bytes);
  has_room_ = memory != nullptr;
  if (!has_room_) return nullptr;
  memory_.push_back(std::move(memory));
  written_.push_back({memory_.back().get(), bytes});
  return memory_.back().get();
}

std::optional<ProductScratch> ProductScratch::make(const Product& p, std::size_t workspace_bytes) {
  ProductScratch scratch;
  const bool forward = p.kind == ProductKind::forward;
  const bool input = p.kind == ProductKind::input_gradient;
  ProductOperands& operands = scratch.operands_;
  operands.in = scratch.add(p.rows, p.inputs, p.activations, !input);
  operands.dout = scratch.add(p.rows, p.outputs, p.activations, !forward);
  operands.weight = scratch.add(p.outputs, p.inputs, p.weights, forward || input);
  operands.bias = scratch.add(1, p.outputs, p.weights, p.bias);
  if (input) operands.pre_activation = scratch.add(p.rows, p.inputs, p.result, p.gelu);
  const std::size_t read = scratch.written_.size();
  operands.result = forward ? scratch.add(p.rows, p.outputs, p.result)
                    : input ? scratch.add(p.rows, p.inputs, p.result)
                            : scratch.add(p.outputs, p.inputs, p.result);
  if (forward) operands.pre_activation = scratch.add(p.rows, p.outputs, p.result, p.keeps);
  operands.bias_gradient = scratch.add(1, p.outputs, p.result, p.bias_gradient);
  const std::vector<std::byte> random = random_bytes(p);
  if (scratch.has_room_) {
    scratch.workspace_ = try_allocate_device(workspace_bytes);
    scratch.random_ = try_allocate_device(random.size());
  }
  if (!scratch.workspace_ || !scratch.random_) return std::nullopt;
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
  scratch.stream_.reset(stream);
  for (Event* event : {&scratch.begin_, &scratch.end_}) {
    cudaEvent_t made = nullptr;
    check(cudaEventCreate(&made), "making an event");
    event->reset(made);
  }
  check(cudaMemcpy(scratch.random_.get(), random.data(), random.size(), cudaMemcpyHostToDevice), "copying");
  for (const Written& each : scratch.written_) scratch.fill(each.data, each.bytes);
  scratch.written_.erase(scratch.written_.begin(), scratch.written_.begin() + static_cast<std::ptrdiff_t>(read));
  check(cudaDeviceSynchronize(), "waiting for the GPU");
  return scratch;
}

void ProductScratch::fill(std::byte* data, std::size_t bytes) const {
  const std::size_t period = random_elements * 2;  // a part of it for f32
  for (std::size_t begin = 0; begin < bytes; begin += period) {
    check(cudaMemcpyAsync(data + begin, random_.get(), std::min(period, bytes - begin), cudaMemcpyDeviceToDevice,
                          stream_.get()),
          "copying");
  }
}

void ProductScratch::reset() const {
  for (const Written& each : written_) fill(each.data, each.bytes);
}

std::vector<std::byte> ProductScratch::sample() const {
  std::vector<std::byte> result;
  for (const Written& each : written_) {
    const std::size_t begin = result.size();
    if (each.bytes <= whole_bytes) {
      result.resize(begin + each.bytes);
      check(cudaMemcpyAsync(result.data() + begin, each.data, each.bytes, cudaMemcpyDeviceToHost, stream_.get()),
            "running a product");
      continue;
    }
    // An odd multiple of 16 bytes, so that pieces do not stand below one another in the matrix.
    const std::size_t apart = std::max((each.bytes / pieces / 32) * 32 + 16, piece_bytes + 16);
    const std::size_t count = (each.bytes - piece_bytes) / apart + 1;
    result.resize(begin + count * piece_bytes);
    check(cudaMemcpy2DAsync(result.data() + begin, piece_bytes, each.data, apart, piece_bytes, count,
                            cudaMemcpyDeviceToHost, stream_.get()),
          "running a product");
  }
  check(cudaStreamSynchronize(stream_.get()), "running a product");
  return result;
}

double ProductScratch::timed(const std::function<bool()>& run, int times) const {
  check(cudaEventRecord(begin_.get(), stream_.get()), "timing a product");
  for (int i = 0; i < times; ++i) run();
  check(cudaEventRecord(end_.get(), stream_.get()), "timing a product");
  check(cudaEventSynchronize(end_.get()), "timing a product");
  float milliseconds = 0.0f;
  check(cudaEventElapsedTime(&milliseconds, begin_.get(), end_.get()), "timing a product");
  return 1e3 * static_cast<double>(milliseconds) / times;
}

double ProductScratch::microseconds(const std::function<bool()>& run, double fastest) const {
  const double once = timed(run, 1);
  if (once > hopeless * fastest) return once;
  const int times = std::clamp(static_cast<int>(batch_microseconds / std::max(once, 1.0)), 1, most_runs);
  double shortest = once;
  for (int batch = 0; batch < batches; ++batch) shortest = std::min(shortest, timed(run, times));
  return shortest;
}

}  // namespace mslt::msl::cuda

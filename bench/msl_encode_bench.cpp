// The cost of the checks before a dispatch: encoding a kernel of ten arguments through the checking encoder, and the
// same calls made directly to the driver, on a device that does nothing.
#include <benchmark/benchmark.h>

#include <memory>
#include <vector>

#include "backend/msl/encoder.h"
#include "kernels/norm_args.h"

namespace mslt::msl {
namespace {

class IdleBuffer final : public Buffer {
 public:
  explicit IdleBuffer(std::size_t bytes, std::string_view label) : Buffer(bytes, nullptr, label) {}
};

class IdlePipeline final : public Pipeline {
 public:
  std::string_view name() const override { return "idle"; }
  std::uint32_t max_threads_per_threadgroup() const override { return 1024; }
};

class IdleCommands final : public CommandBuffer {
 public:
  void set_pipeline(const Pipeline& pipeline) override { benchmark::DoNotOptimize(&pipeline); }
  void set_buffer(std::uint32_t index, Buffer& buffer, std::size_t offset) override {
    benchmark::DoNotOptimize(index + offset);
    benchmark::DoNotOptimize(&buffer);
  }
  void set_bytes(std::uint32_t /*index*/, std::span<const std::byte> bytes) override {
    benchmark::DoNotOptimize(bytes.data());
  }
  void set_threadgroup_memory(std::uint32_t /*index*/, std::uint32_t bytes) override {
    benchmark::DoNotOptimize(bytes);
  }
  void dispatch(GridSize groups, GridSize threads) override { benchmark::DoNotOptimize(groups.x + threads.x); }
  void copy(Buffer&, std::size_t, Buffer&, std::size_t, std::size_t) override {}
  void fill(Buffer&, std::size_t, std::size_t, std::uint8_t) override {}
  void on_completed(std::function<void(const CommandTiming&, std::string_view)> handler) override {
    handler_ = std::move(handler);
  }
  void commit() override { handler_({}, {}); }
  void wait() override {}

 private:
  std::function<void(const CommandTiming&, std::string_view)> handler_;
};

class IdleDevice final : public Device {
 public:
  const DeviceInfo& info() const override { return info_; }
  const DeviceLimits& limits() const override { return limits_; }
  std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label, bool /*host_visible*/) override {
    return std::make_unique<IdleBuffer>(bytes, label);
  }
  const Pipeline& pipeline(std::string_view /*name*/) override { return pipeline_; }
  std::unique_ptr<CommandBuffer> command_buffer() override { return std::make_unique<IdleCommands>(); }

 private:
  DeviceInfo info_;
  DeviceLimits limits_;
  IdlePipeline pipeline_;
};

// The arguments of norm_forward: nine tensors and a struct.
struct Arguments {
  explicit Arguments(Device& device) {
    for (int i = 0; i < 9; ++i) {
      buffers.push_back(device.allocate(4096, "tensor", false));
      tensors.emplace_back(*buffers.back(), 0, DType::f32, Shape{1024});
    }
  }
  std::vector<std::unique_ptr<Buffer>> buffers;
  std::vector<Tensor> tensors;
  NormForwardArgs args = {};
};

void encode_with_checks(benchmark::State& state) {
  IdleDevice device;
  Recorder recorder(device, kernel_table());
  const Arguments arguments(device);
  const KernelInfo& info = kernel_info("norm_forward_f32_f32");
  for (auto _ : state) {
    Encoder encoder(recorder, info.name);
    std::size_t next = 0;
    for (const ArgumentInfo& argument : info.arguments) {
      if (argument.kind == ArgumentKind::bytes) {
        encoder.bytes(argument.index, arguments.args);
      } else if (argument.element == "float") {
        encoder.buffer(argument.index, arguments.tensors[next++]);
      } else {
        encoder.untyped(argument.index, arguments.tensors[next++]);
      }
    }
    encoder.dispatch({8192}, {128});
  }
}
BENCHMARK(encode_with_checks);

void driver_calls_alone(benchmark::State& state) {
  IdleDevice device;
  Recorder recorder(device, kernel_table());
  const Arguments arguments(device);
  const KernelInfo& info = kernel_info("norm_forward_f32_f32");
  const Pipeline& pipeline = device.pipeline(info.name);
  for (auto _ : state) {
    Commands& commands = recorder.commands();
    commands.set_pipeline(pipeline);
    std::size_t next = 0;
    for (const ArgumentInfo& argument : info.arguments) {
      if (argument.kind == ArgumentKind::bytes) {
        commands.set_bytes(argument.index, std::as_bytes(std::span(&arguments.args, 1)));
      } else {
        commands.set_buffer(argument.index, arguments.tensors[next++].buffer(), 0);
      }
    }
    commands.dispatch({8192}, {128});
    recorder.dispatched(0, {info.name});
  }
}
BENCHMARK(driver_calls_alone);

}  // namespace
}  // namespace mslt::msl

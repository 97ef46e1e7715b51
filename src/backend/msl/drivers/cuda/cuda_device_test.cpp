// Tests of the CUDA driver: launches, order, completion and failures; without a GPU, that its absence is said.
#include "backend/msl/drivers/cuda/cuda_device.h"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "backend/msl/cuda_backend.h"
#include "backend/msl/test_kernels.h"

namespace mslt::msl::cuda::driver_test {
std::span<const CudaKernel> cuda_kernels();
}  // namespace mslt::msl::cuda::driver_test

namespace mslt::msl::cuda {
namespace {

using test::error_of;
using test::make_tensor;
using test::OwnedTensor;

std::unique_ptr<CudaDevice> test_device(CudaDevice::Memory memory = CudaDevice::Memory::zeroed) {
  return std::make_unique<CudaDevice>(driver_test::cuda_kernels(), msl::driver_test::kernel_table(), memory);
}

bool has_device() {
  return !msl_cuda_devices().empty();
}

class CudaDeviceTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_device()) GTEST_SKIP() << "there is no NVIDIA GPU";
    device_ = test_device();
  }

  // Pinned memory that the host writes directly.
  OwnedTensor tensor(const Shape& shape) { return make_tensor(*device_, DType::f32, shape); }

  void encode_add(CommandBuffer& commands, const OwnedTensor& a, const OwnedTensor& b, const OwnedTensor& sum,
                  float scale) {
    const VectorAddArgs args = {static_cast<std::uint64_t>(sum.tensor.elements()), scale, 0};
    commands.set_pipeline(device_->pipeline("vector_add"));
    commands.set_buffer(0, *a.buffer, 0);
    commands.set_buffer(1, *b.buffer, 0);
    commands.set_buffer(2, *sum.buffer, 0);
    commands.set_bytes(3, std::as_bytes(std::span(&args, 1)));
    commands.dispatch({static_cast<std::uint32_t>((args.count + 127) / 128)}, {32});
  }

  std::unique_ptr<CudaDevice> device_;
};

TEST(CudaAbsenceTest, IsSaid) {
  if (has_device()) GTEST_SKIP() << "there is an NVIDIA GPU";
  const std::string message = error_of(ErrorKind::device, [] { make_msl_cuda_backend(); });
  EXPECT_NE(message.find("cuda"), std::string::npos) << message;
  EXPECT_NE(message.find("cpu"), std::string::npos) << message;
}

TEST_F(CudaDeviceTest, DescribesItself) {
  EXPECT_EQ(device_->info().backend, "cuda");
  EXPECT_FALSE(device_->info().name.empty());
  EXPECT_GT(device_->info().memory_bytes, std::uint64_t{1} << 30);
  EXPECT_GT(device_->info().compute_units, 0);
  EXPECT_EQ(device_->limits().max_threads_per_threadgroup, 1024u);
}

TEST_F(CudaDeviceTest, AddsVectorsOfAnyLength) {
  for (const std::int64_t count : {1, 3, 4, 127, 1000}) {
    const OwnedTensor a = tensor({count});
    const OwnedTensor b = tensor({count});
    const OwnedTensor sum = tensor({count});
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      a.tensor.host<float>()[i] = static_cast<float>(i) + 1.0f;
      b.tensor.host<float>()[i] = -5.0f * static_cast<float>(i);
    }
    const auto commands = device_->command_buffer();
    encode_add(*commands, a, b, sum, 2.0f);
    commands->commit();
    commands->wait();
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      ASSERT_EQ(sum.tensor.host<float>()[i], 2.0f * a.tensor.host<float>()[i] + b.tensor.host<float>()[i]);
    }
  }
}

TEST_F(CudaDeviceTest, SumsRowsThroughSimdgroupsAndBarriers) {
  for (const std::uint32_t threads : {32u, 64u, 1024u}) {
    const OwnedTensor x = tensor({7, 333});
    const OwnedTensor sum = tensor({7});
    for (std::size_t i = 0; i < 7 * 333; ++i) x.tensor.host<float>()[i] = static_cast<float>(i % 100);
    const RowSumArgs args = {333};
    const auto commands = device_->command_buffer();
    commands->set_pipeline(device_->pipeline("row_sum"));
    commands->set_buffer(0, *x.buffer, 0);
    commands->set_buffer(1, *sum.buffer, 0);
    commands->set_bytes(2, std::as_bytes(std::span(&args, 1)));
    commands->dispatch({7}, {threads / 32, 32});
    commands->commit();
    commands->wait();
    for (std::size_t row = 0; row < 7; ++row) {
      float expected = 0.0f;
      for (std::size_t i = 0; i < 333; ++i) expected += x.tensor.host<float>()[row * 333 + i];
      EXPECT_EQ(sum.tensor.host<float>()[row], expected);
    }
  }
}

// What a library puts into the stream runs between the kernels before and after it.
TEST_F(CudaDeviceTest, RunsALibrarysWorkInOrder) {
  const OwnedTensor a = tensor({100});
  const OwnedTensor b = tensor({100});
  const OwnedTensor sum = tensor({100});
  const OwnedTensor workspace = tensor({100});
  for (float& value : a.tensor.host<float>()) value = 3.0f;
  const auto commands = device_->command_buffer();
  encode_add(*commands, a, b, sum, 2.0f);  // sum = 6
  const LibraryContext given = {.workspace = device_->address(workspace.tensor), .workspace_bytes = 400};
  commands->library_call(
      "copying", {}, given,
      {[to = device_->address(b.tensor), from = device_->address(sum.tensor)](const LibraryContext& context) {
        auto* const stream = static_cast<cudaStream_t>(context.stream);
        cudaMemcpyAsync(context.workspace, from, 400, cudaMemcpyDefault, stream);
        cudaMemcpyAsync(to, context.workspace, 400, cudaMemcpyDefault, stream);
      }});
  encode_add(*commands, a, b, sum, 1.0f);  // sum = 3 + 6
  commands->commit();
  commands->wait();
  for (const float value : sum.tensor.host<float>()) ASSERT_EQ(value, 9.0f);

  const auto failing = device_->command_buffer();
  failing->library_call("planning", {}, {}, {[](const LibraryContext&) {
                          throw Error(ErrorKind::device, "There is no plan.");
                        }});
  failing->commit();
  const std::string message = error_of(ErrorKind::device, [&] { failing->wait(); });
  EXPECT_NE(message.find("There is no plan."), std::string::npos) << message;
  EXPECT_NE(message.find("planning"), std::string::npos) << message;
}

TEST_F(CudaDeviceTest, GivesKernelsThreadgroupMemory) {
  const OwnedTensor x = tensor({11, 45});
  const OwnedTensor factor = tensor({11});
  const OwnedTensor y = tensor({11, 45});
  for (std::size_t i = 0; i < 11 * 45; ++i) x.tensor.host<float>()[i] = static_cast<float>(i);
  for (std::size_t i = 0; i < 11; ++i) factor.tensor.host<float>()[i] = static_cast<float>(i) - 3.0f;
  ScaleRowsArgs args{};
  args.rows = 11;
  args.columns = 45;
  args.shift = 0.5f;
  const auto commands = device_->command_buffer();
  commands->set_pipeline(device_->pipeline("scale_rows_f32"));
  commands->set_threadgroup_memory(0, 8 * sizeof(float));
  commands->set_buffer(0, *x.buffer, 0);
  commands->set_buffer(1, *factor.buffer, 0);
  commands->set_buffer(2, *y.buffer, 0);
  commands->set_bytes(4, std::as_bytes(std::span(&args, 1)));
  commands->dispatch({2, 2}, {32, 8});
  commands->commit();
  commands->wait();
  for (std::size_t row = 0; row < 11; ++row) {
    for (std::size_t i = row * 45; i < (row + 1) * 45; ++i) {
      ASSERT_EQ(y.tensor.host<float>()[i], factor.tensor.host<float>()[row] * x.tensor.host<float>()[i] + 0.5f);
    }
  }
}

TEST_F(CudaDeviceTest, RunsCommandsInOrderOnTheGpusOwnMemory) {
  const OwnedTensor host = tensor({4});
  const auto inside = device_->allocate(16, "inside", false);
  EXPECT_EQ(inside->host(), nullptr);
  for (std::size_t i = 0; i < 4; ++i) host.tensor.host<float>()[i] = static_cast<float>(i);
  const auto commands = device_->command_buffer();
  commands->copy(*inside, 4, *host.buffer, 0, 12);  // ?, 0, 1, 2
  commands->fill(*inside, 12, 4, 0);                // ?, 0, 1, 0
  commands->fill(*host.buffer, 0, 16, 0x40);
  commands->copy(*host.buffer, 0, *inside, 0, 16);
  commands->commit();
  commands->wait();
  const auto values = host.tensor.host<float>();
  EXPECT_EQ(std::vector<float>(values.begin(), values.end()), (std::vector<float>{0.0f, 0.0f, 1.0f, 0.0f}));
}

TEST_F(CudaDeviceTest, CommandBuffersRunInTheOrderOfTheirCommits) {
  const OwnedTensor x = tensor({4});
  const OwnedTensor y = tensor({4});
  x.tensor.host<float>()[0] = 1.0f;
  const auto later = device_->command_buffer();
  const auto earlier = device_->command_buffer();
  encode_add(*later, y, y, x, 1.0f);    // x = 2y
  encode_add(*earlier, x, x, y, 2.0f);  // y = 3x
  {
    const auto dropped = device_->command_buffer();
    dropped->fill(*x.buffer, 0, 16, 0xff);
  }
  earlier->commit();
  later->commit();
  later->wait();
  EXPECT_EQ(y.tensor.host<float>()[0], 3.0f);
  EXPECT_EQ(x.tensor.host<float>()[0], 6.0f);
}

// The third of its kind and those after it are graphs, which do what was recorded at that time and nothing else.
TEST_F(CudaDeviceTest, LaunchesWhatComesAgainAsAGraph) {
  const OwnedTensor x = tensor({4});
  const OwnedTensor y = tensor({4});
  const auto inside = device_->allocate(16, "inside", false);
  void* const inside_address = device_->address(Tensor(*inside, 0, DType::f32, {4}));
  const auto run = [&](float scale, bool is_known) {
    const auto commands = device_->command_buffer();
    for (int i = 0; i < 4; ++i) {
      encode_add(*commands, x, y, y, scale);  // y += scale · x
      commands->copy(*inside, 0, *y.buffer, 0, 16);
      commands->fill(*y.buffer, 4, 4, 0);
    }
    commands->library_call("copy_back", {}, {},
                           {[&](const LibraryContext& context) {
                              cudaMemcpyAsync(y.buffer->host(), inside_address, 4, cudaMemcpyDefault,
                                              static_cast<cudaStream_t>(context.stream));
                            },
                            is_known ? "it" : ""});
    commands->commit();
    commands->wait();
  };
  x.tensor.host<float>()[0] = 1.0f;
  float expected = 0.0f;
  for (int i = 0; i < 6; ++i) {
    run(1.0f, true);
    expected += 4.0f;
    EXPECT_EQ(y.tensor.host<float>()[0], expected);
    EXPECT_EQ(device_->graph_launches(), static_cast<std::uint64_t>(std::max(i - 1, 0)));
  }
  // Other arguments, and what a library does that does not say it, are other work.
  run(2.0f, true);
  run(1.0f, false);
  expected += 8.0f + 4.0f;
  EXPECT_EQ(y.tensor.host<float>()[0], expected);
  EXPECT_EQ(device_->graph_launches(), 4u);
  // Graphs read memory when they run.
  x.tensor.host<float>()[0] = 3.0f;
  run(1.0f, true);
  EXPECT_EQ(y.tensor.host<float>()[0], expected + 12.0f);
  EXPECT_EQ(device_->graph_launches(), 5u);
}

// Memory that is freed and allocated again may have its old address.
TEST_F(CudaDeviceTest, ForgetsGraphsOfMemoryThatIsFreed) {
  for (int i = 0; i < 8; ++i) {
    const OwnedTensor x = tensor({4});
    const auto inside = device_->allocate(16, "inside", false);
    for (int j = 0; j < (i % 4 == 3 ? 3 : 1); ++j) {
      x.tensor.host<float>()[0] = static_cast<float>(i + j);
      const auto commands = device_->command_buffer();
      for (int k = 0; k < 4; ++k) {
        commands->copy(*inside, 0, *x.buffer, 0, 8);
        commands->fill(*x.buffer, 0, 16, 0);
        commands->copy(*x.buffer, 8, *inside, 0, 8);
        commands->copy(*x.buffer, 0, *inside, 0, 8);
      }
      commands->commit();
      commands->wait();
      EXPECT_EQ(x.tensor.host<float>()[0], static_cast<float>(i + j));
    }
  }
  EXPECT_EQ(device_->graph_launches(), 2u);
}

// Though a kernel's threadgroups come up before the one in front of it has ended: large ones and small ones by turns.
TEST_F(CudaDeviceTest, KernelsSeeWhatTheOnesBeforeThemWrote) {
  constexpr std::int64_t count = 1 << 20;
  const OwnedTensor x = tensor({count});
  const OwnedTensor y = tensor({count});
  const OwnedTensor few = tensor({4});
  for (float& value : x.tensor.host<float>()) value = 1.0f;
  for (int i = 1; i <= 5; ++i) {
    const auto commands = device_->command_buffer();
    for (int j = 0; j < 20; ++j) {
      encode_add(*commands, x, y, y, 1.0f);      // y += 1
      encode_add(*commands, y, few, few, 1.0f);  // few += the first of y
      encode_add(*commands, few, few, few, 0.0f);
    }
    commands->commit();
    commands->wait();
    const auto values = y.tensor.host<float>();
    ASSERT_TRUE(std::all_of(values.begin(), values.end(), [&](float value) { return value == 20.0f * i; })) << i;
    const float last = 20.0f * static_cast<float>(i);
    EXPECT_EQ(few.tensor.host<float>()[3], last * (last + 1.0f) / 2.0f);
  }
  EXPECT_EQ(device_->graph_launches(), 3u);
}

TEST_F(CudaDeviceTest, TellsOfCompletionWithTimes) {
  const OwnedTensor x = tensor({1 << 20});
  std::atomic<int> calls = 0;
  std::vector<CommandTiming> timings;
  for (int i = 0; i < 3; ++i) {
    const auto commands = device_->command_buffer();
    encode_add(*commands, x, x, x, 1.0f);
    commands->on_completed([&](const CommandTiming& timing, std::string_view error) {
      EXPECT_EQ(error, "");
      timings.push_back(timing);
      ++calls;
    });
    commands->commit();
    commands->wait();
    EXPECT_EQ(calls, i + 1);
  }
  for (std::size_t i = 0; i < timings.size(); ++i) {
    EXPECT_LT(timings[i].gpu_start, timings[i].gpu_end);
    if (i > 0) {
      EXPECT_LE(timings[i - 1].gpu_end, timings[i].gpu_start);
    }
  }
}

// In order, of each time that a command buffer runs: also where it is a graph.
TEST_F(CudaDeviceTest, NotesTheTimesOfMarks) {
  const OwnedTensor x = tensor({1 << 20});
  EXPECT_TRUE(device_->has_marks());
  device_->take_marks();
  constexpr int runs = 5;
  constexpr int adds = 20;
  for (int i = 0; i < runs; ++i) {
    const auto commands = device_->command_buffer();
    commands->mark();
    for (int j = 0; j < adds; ++j) {
      encode_add(*commands, x, x, x, 1.0f);
      commands->mark();
    }
    commands->commit();
    commands->wait();
  }
  EXPECT_EQ(device_->graph_launches(), 3u);
  const std::vector<double> times = device_->take_marks();
  ASSERT_EQ(times.size(), std::size_t{runs * (adds + 1)});
  EXPECT_TRUE(std::ranges::is_sorted(times));
  for (int i = 0; i < runs; ++i) EXPECT_LT(times.at(i * (adds + 1)), times.at(i * (adds + 1) + adds));
  EXPECT_TRUE(device_->take_marks().empty());
}

TEST_F(CudaDeviceTest, AllocatesZeroedMemoryUnlessToldOtherwise) {
  const std::size_t bytes = std::size_t{1} << 20;
  for (int i = 0; i < 2; ++i) {
    const auto buffer = device_->allocate(bytes, "zeroes", false);
    const auto host = device_->allocate(bytes, "host", true);
    const auto commands = device_->command_buffer();
    commands->copy(*host, 0, *buffer, 0, bytes);
    commands->fill(*buffer, 0, bytes, 0xff);
    commands->commit();
    commands->wait();
    EXPECT_TRUE(std::all_of(host->host(), host->host() + bytes, [](std::byte b) { return b == std::byte{0}; }));
  }
  EXPECT_EQ(test_device(CudaDevice::Memory::undefined)->allocate(16, "undefined", false)->size(), 16u);
}

TEST_F(CudaDeviceTest, CountsTheBytesOfItsOwnMemory) {
  const std::size_t before = device_->peak_bytes();
  {
    const auto first = device_->allocate(1000, "first", false);
    const auto second = device_->allocate(500, "second", false);
    const auto pinned = device_->allocate(4000, "pinned", true);
  }
  EXPECT_EQ(device_->peak_bytes(), before + 1500);
  const auto third = device_->allocate(1400, "third", false);
  EXPECT_EQ(device_->peak_bytes(), before + 1500);
  const auto fourth = device_->allocate(200, "fourth", false);
  EXPECT_EQ(device_->peak_bytes(), before + 1600);
}

TEST_F(CudaDeviceTest, RefusesWhatCannotRun) {
  EXPECT_NE(error_of(ErrorKind::device, [&] { device_->pipeline("no_such"); }).find("'no_such'"), std::string::npos);
  EXPECT_NE(error_of(ErrorKind::memory, [&] { device_->allocate(std::size_t{1} << 60, "too much", false); })
                .find("'too much'"),
            std::string::npos);
  const auto commands = device_->command_buffer();
  commands->set_pipeline(device_->pipeline("vector_add"));
  EXPECT_NE(error_of(ErrorKind::device, [&] { commands->dispatch({1, 65536}, {32}); }).find("65536"),
            std::string::npos);
  EXPECT_NE(error_of(ErrorKind::device, [&] { commands->set_threadgroup_memory(0, 16); }).find("vector_add"),
            std::string::npos);
}

TEST_F(CudaDeviceTest, ReportsALaunchThatFails) {
  const OwnedTensor x = tensor({4});
  const auto commands = device_->command_buffer();
  encode_add(*commands, x, x, x, 1.0f);
  commands->dispatch({1}, {2048});  // more threads than a block has
  std::string told;
  commands->on_completed([&](const CommandTiming&, std::string_view error) { told = error; });
  commands->commit();
  const std::string message = error_of(ErrorKind::device, [&] { commands->wait(); });
  EXPECT_NE(message.find("vector_add (2)"), std::string::npos) << message;
  EXPECT_EQ(told, message);
  // The device goes on.
  const auto next = device_->command_buffer();
  encode_add(*next, x, x, x, 1.0f);
  next->commit();
  next->wait();
}

}  // namespace
}  // namespace mslt::msl::cuda

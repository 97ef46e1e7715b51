// Tests of the host driver: kernels with and without barriers, order of commands, completion.
#include "backend/msl/drivers/host/host_device.h"

#include <gtest/gtest.h>

#include <atomic>
#include <numeric>

#include "backend/msl/test_kernels.h"

namespace mslt::msl {
namespace {

using test::make_tensor;
using test::OwnedTensor;
using test::test_device;

void fill_counting(const OwnedTensor& tensor, float first) {
  const auto values = tensor.tensor.host<float>();
  std::iota(values.begin(), values.end(), first);
}

void encode_add(CommandBuffer& commands, Device& device, const OwnedTensor& a, const OwnedTensor& b,
                const OwnedTensor& sum, float scale) {
  const VectorAddArgs args = {static_cast<std::uint64_t>(sum.tensor.elements()), scale, 0};
  commands.set_pipeline(device.pipeline("vector_add"));
  commands.set_buffer(0, *a.buffer, 0);
  commands.set_buffer(1, *b.buffer, 0);
  commands.set_buffer(2, *sum.buffer, 0);
  commands.set_bytes(3, std::as_bytes(std::span(&args, 1)));
  commands.dispatch({static_cast<std::uint32_t>((args.count + 127) / 128)}, {32});
}

TEST(HostDevice, AddsVectorsOfAnyLength) {
  const auto device = test_device();
  for (const std::int64_t count : {1, 3, 4, 127, 1000}) {
    const OwnedTensor a = make_tensor(*device, DType::f32, {count});
    const OwnedTensor b = make_tensor(*device, DType::f32, {count});
    const OwnedTensor sum = make_tensor(*device, DType::f32, {count});
    fill_counting(a, 1.0f);
    fill_counting(b, -5.0f);
    const auto commands = device->command_buffer();
    encode_add(*commands, *device, a, b, sum, 2.0f);
    commands->commit();
    commands->wait();
    for (std::int64_t i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      ASSERT_EQ(sum.tensor.host<float>()[at], 2.0f * a.tensor.host<float>()[at] + b.tensor.host<float>()[at]);
    }
  }
}

TEST(HostDevice, SumsRowsThroughSimdgroupsAndBarriers) {
  for (const int host_threads : {1, 3}) {
    const auto device = test_device(host_threads);
    for (const std::uint32_t threads : {32u, 64u, 1024u}) {
      const OwnedTensor x = make_tensor(*device, DType::f32, {7, 333});
      const OwnedTensor sum = make_tensor(*device, DType::f32, {7});
      fill_counting(x, 0.0f);
      const RowSumArgs args = {333};
      const auto commands = device->command_buffer();
      commands->set_pipeline(device->pipeline("row_sum"));
      commands->set_buffer(0, *x.buffer, 0);
      commands->set_buffer(1, *sum.buffer, 0);
      commands->set_bytes(2, std::as_bytes(std::span(&args, 1)));
      commands->dispatch({7}, {threads});
      commands->commit();
      commands->wait();
      for (std::size_t row = 0; row < 7; ++row) {
        const double first = 333.0 * static_cast<double>(row);
        EXPECT_EQ(sum.tensor.host<float>()[row], 333.0 * first + 332.0 * 333.0 / 2.0) << threads << " threads";
      }
    }
  }
}

TEST(HostDevice, RunsCommandsInOrderAndCompletesOnItsOwn) {
  const auto device = test_device();
  const OwnedTensor a = make_tensor(*device, DType::f32, {1000});
  const OwnedTensor b = make_tensor(*device, DType::f32, {1000});
  fill_counting(a, 0.0f);
  std::atomic<int> completed = 0;
  std::vector<std::unique_ptr<CommandBuffer>> batches;
  for (int batch = 0; batch < 3; ++batch) {
    batches.push_back(device->command_buffer());
    CommandBuffer& commands = *batches.back();
    // b = a; a = b + b.
    commands.fill(*b.buffer, 0, b.buffer->size(), 0xFF);
    commands.copy(*b.buffer, 0, *a.buffer, 0, a.buffer->size());
    encode_add(commands, *device, b, b, a, 1.0f);
    commands.on_completed([&completed, batch](const CommandTiming& timing, std::string_view error) {
      EXPECT_EQ(completed.fetch_add(1), batch);
      EXPECT_LE(timing.gpu_start, timing.gpu_end);
      EXPECT_EQ(error, "");
    });
    commands.commit();
  }
  batches.back()->wait();
  EXPECT_EQ(completed.load(), 3);
  for (std::size_t i = 0; i < 1000; ++i) ASSERT_EQ(a.tensor.host<float>()[i], 8.0f * static_cast<float>(i));
}

TEST(HostDevice, NamesAMissingKernel) {
  const auto device = test_device();
  EXPECT_NE(test::error_of(ErrorKind::device, [&] { device->pipeline("nothing"); }).find("'nothing'"),
            std::string::npos);
}

}  // namespace
}  // namespace mslt::msl

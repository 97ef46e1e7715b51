// Tests of the recorder: order, read-backs, scratch, and how often the host waits.
#include "backend/msl/recorder.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <vector>

#include "backend/msl/encoder.h"
#include "backend/msl/test_kernels.h"

namespace mslt::msl {
namespace {

using test::make_tensor;
using test::OwnedTensor;

class RecorderTest : public testing::Test {
 protected:
  RecorderTest()
      : device_(test::test_device()),
        recorder_(*device_, driver_test::kernel_table()),
        x_(make_tensor(*device_, DType::f32, {4})),
        y_(make_tensor(*device_, DType::f32, {4})) {}

  // y = 2x, x = y.
  void record_doubling() {
    const VectorAddArgs args = {4, 1.0f, 0};
    Encoder(recorder_, "vector_add").buffer(0, x_).buffer(1, x_).buffer(2, y_).bytes(3, args).dispatch({1}, {32});
    recorder_.copy(x_, y_);
  }

  std::unique_ptr<host::HostDevice> device_;
  Recorder recorder_;
  OwnedTensor x_;
  OwnedTensor y_;
};

TEST_F(RecorderTest, WaitsOnceForAnyNumberOfDispatches) {
  x_.tensor.host<float>()[0] = 1e-30f;
  for (int i = 0; i < 100; ++i) record_doubling();
  recorder_.submit();
  for (int i = 0; i < 80; ++i) record_doubling();
  EXPECT_EQ(recorder_.counters().waits, 0u);
  recorder_.wait();
  EXPECT_EQ(recorder_.counters().waits, 1u);
  EXPECT_EQ(recorder_.counters().dispatches, 180u);
  EXPECT_GE(recorder_.counters().commits, 3u);
  EXPECT_EQ(x_.tensor.host<float>()[0], std::ldexp(1e-30f, 180));
}

TEST_F(RecorderTest, AddsUpTheTimeOfTheDevice) {
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 200; ++i) record_doubling();
  EXPECT_EQ(recorder_.counters().device_seconds, 0.0);
  recorder_.wait();
  const double first = recorder_.counters().device_seconds;
  EXPECT_GT(first, 0.0);
  record_doubling();
  recorder_.wait();
  EXPECT_GT(recorder_.counters().device_seconds, first);
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  EXPECT_LE(recorder_.counters().device_seconds, elapsed.count());
}

TEST_F(RecorderTest, ReadsBackWhatWasThereAtThatPoint) {
  x_.tensor.host<float>()[0] = 1.0f;
  std::vector<float> seen;
  for (int i = 0; i < 3; ++i) {
    record_doubling();
    recorder_.read_back(x_, [&seen](std::span<const std::byte> bytes) {
      ASSERT_EQ(bytes.size(), 16u);
      float value = 0.0f;
      std::memcpy(&value, bytes.data(), sizeof(value));
      seen.push_back(value);
    });
  }
  recorder_.wait();
  EXPECT_EQ(seen, (std::vector<float>{2.0f, 4.0f, 8.0f}));
}

TEST_F(RecorderTest, ThrottlesBySubmissions) {
  x_.tensor.host<float>()[0] = 1.0f;
  int seen = 0;
  for (int submission = 0; submission < 5; ++submission) {
    // More dispatches than a batch holds: a submission can be several command buffers.
    for (int i = 0; i < 70; ++i) record_doubling();
    recorder_.read_back(x_, [&seen](std::span<const std::byte>) { ++seen; });
    recorder_.submit();
  }
  recorder_.throttle(7);
  recorder_.throttle(2);
  EXPECT_GE(seen, 3);
  recorder_.throttle(0);
  EXPECT_EQ(seen, 5);
  EXPECT_EQ(recorder_.counters().waits, 3u);
}

TEST_F(RecorderTest, UploadsInOrder) {
  const std::vector<float> values = {1.0f, 2.0f, 3.0f, 4.0f};
  record_doubling();
  recorder_.upload(x_, std::as_bytes(std::span(values)));
  record_doubling();
  std::vector<float> result(4);
  recorder_.download(x_, std::as_writable_bytes(std::span(result)));
  EXPECT_EQ(result, (std::vector<float>{2.0f, 4.0f, 6.0f, 8.0f}));
  EXPECT_EQ(recorder_.counters().waits, 1u);
}

TEST_F(RecorderTest, ReusesScratch) {
  const Buffer* first = nullptr;
  {
    const Scratch scratch = recorder_.scratch(DType::f32, {100});
    first = &scratch.tensor().buffer();
    const Scratch other = recorder_.scratch(DType::f32, {100});
    EXPECT_NE(first, &other.tensor().buffer());
  }
  EXPECT_EQ(recorder_.working_memory().scratch, 800u);
  {
    const Scratch scratch = recorder_.scratch(DType::bf16, {150});
  }
  EXPECT_EQ(recorder_.working_memory().scratch, 800u);
  EXPECT_EQ(recorder_.working_memory().staging, 0u);
}

TEST_F(RecorderTest, ReplaysWhatWasRecordedInTheSameCommandBuffers) {
  x_.tensor.host<float>()[0] = 1e-30f;
  std::vector<std::string> reports;
  recorder_.observe([&](const DispatchRecord& record) { reports.emplace_back(record.kernel); });
  const auto recording = recorder_.record([&] {
    for (int i = 0; i < 70; ++i) record_doubling();
  });
  recorder_.wait();
  EXPECT_EQ(x_.tensor.host<float>()[0], 1e-30f);
  EXPECT_EQ(recorder_.counters().dispatches, 0u);
  EXPECT_EQ(recorder_.counters().commits, 0u);
  EXPECT_TRUE(reports.empty());

  for (int i = 1; i <= 2; ++i) {
    recorder_.replay(*recording);
    EXPECT_EQ(recorder_.counters().dispatches, 70u * static_cast<unsigned>(i));
    EXPECT_EQ(recorder_.counters().commits, 2u * static_cast<unsigned>(i));
  }
  // What is recorded around it stays in its place, and out of its command buffers.
  record_doubling();
  recorder_.replay(*recording);
  EXPECT_EQ(recorder_.counters().commits, 7u);
  EXPECT_EQ(reports.size(), 2u * (3 * 70 + 1));
  EXPECT_EQ(reports.front(), "vector_add");
  recorder_.wait();
  EXPECT_EQ(x_.tensor.host<float>()[0], std::ldexp(1e-30f, 211));
}

TEST_F(RecorderTest, RecordingsKeepTheirScratch) {
  const auto recording = recorder_.record([&] {
    const Scratch scratch = recorder_.scratch(DType::f32, {4});
    recorder_.copy(scratch, x_);
    recorder_.copy(y_, scratch);
  });
  const WorkingMemory held = recorder_.working_memory();
  for (int i = 0; i < 4; ++i) {
    x_.tensor.host<float>()[0] = static_cast<float>(i);
    recorder_.replay(*recording);
    recorder_.wait();
    EXPECT_EQ(y_.tensor.host<float>()[0], static_cast<float>(i));
  }
  EXPECT_EQ(recorder_.working_memory().scratch, held.scratch);
}

TEST_F(RecorderTest, RecordsNothingButCommands) {
  const std::vector<float> values(4);
  std::vector<float> result(4);
  const auto refusal = [&](const std::function<void()>& work) {
    return test::error_of(ErrorKind::usage, [&] { recorder_.record(work); });
  };
  EXPECT_NE(refusal([&] { recorder_.upload(x_, std::as_bytes(std::span(values))); }).find("upload"), std::string::npos);
  EXPECT_NE(refusal([&] { recorder_.download(x_, std::as_writable_bytes(std::span(result))); }).find("download"),
            std::string::npos);
  EXPECT_NE(refusal([&] { recorder_.read_back(x_, {}); }).find("read_back"), std::string::npos);
  EXPECT_NE(refusal([&] { recorder_.submit(); }).find("submit"), std::string::npos);
  EXPECT_NE(refusal([&] { recorder_.wait(); }).find("wait"), std::string::npos);
  EXPECT_NE(refusal([&] { recorder_.throttle(1); }).find("throttle"), std::string::npos);
  EXPECT_NE(refusal([&] { recorder_.record([] {}); }).find("record"), std::string::npos);
  // It is over then.
  record_doubling();
  recorder_.wait();
  EXPECT_EQ(recorder_.counters().dispatches, 1u);
  Recorder other(*device_, driver_test::kernel_table());
  const auto recording = other.record([] {});
  EXPECT_NE(test::error_of(ErrorKind::usage, [&] { recorder_.replay(*recording); }), "");
}

}  // namespace
}  // namespace mslt::msl

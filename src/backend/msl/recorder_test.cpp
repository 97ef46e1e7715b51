// Tests of the recorder: order, read-backs, scratch, and how often the host waits.
#include "backend/msl/recorder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "backend/msl/encoder.h"
#include "backend/msl/staged_slot.h"
#include "backend/msl/test_kernels.h"
#include "base/clock.h"

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
    // More dispatches than fit a batch: a submission can be several command buffers.
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

// Notes where copies come from.
class NotingCommands final : public CommandBuffer {
 public:
  NotingCommands(std::unique_ptr<CommandBuffer> commands, std::vector<const Buffer*>& sources)
      : commands_(std::move(commands)), sources_(sources) {}
  void set_pipeline(const Pipeline& pipeline) override { commands_->set_pipeline(pipeline); }
  void set_buffer(std::uint32_t index, Buffer& buffer, std::size_t offset) override {
    commands_->set_buffer(index, buffer, offset);
  }
  void set_bytes(std::uint32_t index, std::span<const std::byte> bytes) override { commands_->set_bytes(index, bytes); }
  void set_threadgroup_memory(std::uint32_t index, std::uint32_t bytes) override {
    commands_->set_threadgroup_memory(index, bytes);
  }
  void dispatch(GridSize groups, GridSize threads) override { commands_->dispatch(groups, threads); }
  void copy(Buffer& destination, std::size_t destination_offset, Buffer& source, std::size_t source_offset,
            std::size_t bytes) override {
    sources_.push_back(&source);
    commands_->copy(destination, destination_offset, source, source_offset, bytes);
  }
  void fill(Buffer& buffer, std::size_t offset, std::size_t bytes, std::uint8_t value) override {
    commands_->fill(buffer, offset, bytes, value);
  }
  void on_completed(std::function<void(const CommandTiming&, std::string_view)> handler) override {
    commands_->on_completed(std::move(handler));
  }
  void commit() override { commands_->commit(); }
  void wait() override { commands_->wait(); }

 private:
  std::unique_ptr<CommandBuffer> commands_;
  std::vector<const Buffer*>& sources_;
};

class NotingDevice final : public Device {
 public:
  NotingDevice(Device& device, std::vector<const Buffer*>& sources) : device_(device), sources_(sources) {}
  const DeviceInfo& info() const override { return device_.info(); }
  const DeviceLimits& limits() const override { return device_.limits(); }
  std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label, bool host_visible) override {
    return device_.allocate(bytes, label, host_visible);
  }
  const Pipeline& pipeline(std::string_view name) override { return device_.pipeline(name); }
  std::unique_ptr<CommandBuffer> command_buffer() override {
    return std::make_unique<NotingCommands>(device_.command_buffer(), sources_);
  }

 private:
  Device& device_;
  std::vector<const Buffer*>& sources_;
};

TEST_F(RecorderTest, SlotsUploadFromFixedAddresses) {
  std::vector<const Buffer*> sources;
  NotingDevice noting(*device_, sources);
  Recorder recorder(noting, driver_test::kernel_table());
  const auto recording = recorder.record([&] { recorder.copy(y_, x_); });
  std::vector<float> seen;
  {
    StagedSlot slot(recorder, x_, 2, "x");
    EXPECT_EQ(recorder.working_memory().staging, 512u);
    for (int i = 0; i < 6; ++i) {
      // The device has work, so the host may not write to the tensor itself.
      recorder.fill_bytes(y_, 0);
      const std::vector<float> values(4, static_cast<float>(i));
      slot.write(std::as_bytes(std::span(values)));
      recorder.replay(*recording);
      recorder.read_back(y_, [&seen](std::span<const std::byte> bytes) {
        float value = 0.0f;
        std::memcpy(&value, bytes.data(), sizeof(value));
        seen.push_back(value);
      });
    }
    recorder.fill_bytes(y_, 0);
    const std::vector<float> values(4, 6.0f);
    slot.write(std::as_bytes(std::span(values)));
    const std::vector<float> fewer(2, 7.0f);
    slot.write(std::as_bytes(std::span(fewer)));
    const std::array<std::byte, 20> more{};
    EXPECT_EQ(
        test::error_of(ErrorKind::input, [&] { slot.write(more); }),
        "upload: the tensor is f32 [4] of 'test', 16 bytes, but the host's memory has 20; both must be the same.");
  }
  // What is on its way when the slot goes keeps its memory, and arrives, whatever takes staging memory next.
  const std::vector<float> others(4, 9.0f);
  for (int i = 0; i < 10; ++i) recorder.upload(y_, std::as_bytes(std::span(others)));
  recorder.wait();
  const auto left = x_.tensor.host<float>();
  EXPECT_EQ(std::vector<float>(left.begin(), left.end()), (std::vector<float>{7.0f, 7.0f, 6.0f, 6.0f}));
  EXPECT_EQ(seen, (std::vector<float>{0.0f, 1.0f, 2.0f, 3.0f, 4.0f, 5.0f}));
  std::erase_if(sources, [&](const Buffer* source) { return source == x_.buffer.get() || source == y_.buffer.get(); });
  ASSERT_EQ(sources.size(), 18u);
  EXPECT_NE(sources[0], sources[1]);
  for (std::size_t i = 2; i < 8; ++i) EXPECT_EQ(sources[i], sources[i - 2]);
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
  EXPECT_FALSE(recorder_.is_recording());
  const auto recording = recorder_.record([&] {
    EXPECT_TRUE(recorder_.is_recording());
    for (int i = 0; i < 70; ++i) record_doubling();
  });
  EXPECT_FALSE(recorder_.is_recording());
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
  // A short one is played among the others.
  const auto few = recorder_.record([&] {
    for (int i = 0; i < 7; ++i) record_doubling();
  });
  record_doubling();
  recorder_.replay(*few);
  record_doubling();
  EXPECT_EQ(recorder_.counters().commits, 7u);
  EXPECT_EQ(recorder_.counters().dispatches, 220u);
  recorder_.wait();
  EXPECT_EQ(recorder_.counters().commits, 8u);
  EXPECT_EQ(x_.tensor.host<float>()[0], std::ldexp(1e-30f, 220));
  // Many of them do not gather in one command buffer without end: after the tenth there are 70 dispatches.
  for (int i = 0; i < 10; ++i) recorder_.replay(*few);
  EXPECT_EQ(recorder_.counters().commits, 9u);
  recorder_.wait();
}

TEST_F(RecorderTest, ReadsEarlyWhatItsRecordingDoesNotWrite) {
  const auto may_read_x = [&] {
    return recorder_.may_read_early({&x_.tensor});
  };
  EXPECT_FALSE(may_read_x()) << "nothing is recorded";
  const Tensor first = x_.tensor.slice(0, 1);
  const Tensor second = x_.tensor.slice(1, 1);
  const auto recording = recorder_.record([&] {
    EXPECT_TRUE(may_read_x());
    recorder_.fill_bytes(first, 0);
    EXPECT_FALSE(may_read_x());
    EXPECT_FALSE(recorder_.may_read_early({&second, &first}));
    const Tensor absent;
    EXPECT_TRUE(recorder_.may_read_early({&second, &absent}));
    recorder_.set_pending([&] { recorder_.copy(second, first); });
    EXPECT_FALSE(recorder_.may_read_early({&second}));
  });
  // As short as it is, it has a command buffer of its own.
  record_doubling();
  recorder_.replay(*recording);
  EXPECT_EQ(recorder_.counters().commits, 2u);
  for (const bool doubles : {false, true}) {
    const auto other = recorder_.record([&] {
      if (doubles) record_doubling();
      EXPECT_EQ(may_read_x(), !doubles);
    });
  }
  recorder_.wait();
}

// Whose commands they are, also of replays and of what was kept to be recorded later; uploads are nobody's.
void expect_times_of_operations(Recorder& recorder, const Tensor& x, const Tensor& y) {
  const auto doubling = [&] {
    const VectorAddArgs args = {4, 1.0f, 0};
    Encoder(recorder, "vector_add").buffer(0, x).buffer(1, x).buffer(2, y).bytes(3, args).dispatch({1}, {32});
    recorder.copy(x, y);
  };
  const auto recording = recorder.record([&] {
    recorder.as_operation([&] { recorder.set_pending(doubling); });
    recorder.as_operation([&] { recorder.fill_bytes(y, 0); });
  });
  x.host<float>()[0] = 1.0f;
  const double before = steady_seconds();
  const std::array<float, 4> values = {1.0f};
  recorder.begin_times();
  recorder.as_operation(doubling);
  recorder.upload(y, std::as_bytes(std::span(values)));
  recorder.replay(*recording);
  recorder.replay(*recording);
  recorder.as_operation(doubling);
  const std::vector<KernelTime> times = recorder.end_times();
  EXPECT_EQ(x.host<float>()[0], 16.0f);
  std::vector<std::pair<std::size_t, std::string>> seen;
  double end = before;
  for (const KernelTime& time : times) {
    seen.emplace_back(time.operation, time.kernel);
    EXPECT_GE(time.seconds, 0.0) << time.kernel;
    EXPECT_GE(time.begin, end - 1e-6) << time.kernel;
    end = time.begin + time.seconds;
  }
  EXPECT_LE(end, steady_seconds());
  EXPECT_GT(end, before);
  const std::vector<std::pair<std::size_t, std::string>> expected = {
      {0, "vector_add"}, {0, "copy"}, {1, "vector_add"}, {1, "copy"},       {2, "fill"},
      {3, "vector_add"}, {3, "copy"}, {4, "fill"},       {5, "vector_add"}, {5, "copy"}};
  EXPECT_EQ(seen, expected);
  EXPECT_EQ(times.front().work.bytes, 48.0);
  // They are kept no longer, and counted from the beginning again.
  recorder.replay(*recording);
  recorder.wait();
  recorder.begin_times();
  EXPECT_TRUE(recorder.end_times().empty());
}

TEST_F(RecorderTest, TimesCommandsByMarks) {
  expect_times_of_operations(recorder_, x_, y_);
  // All at once, then the last replay: nothing is handed over alone.
  EXPECT_EQ(recorder_.counters().commits, 2u);
}

TEST_F(RecorderTest, TimesCommandsByCommandBuffersWithoutMarks) {
  std::vector<const Buffer*> sources;
  NotingDevice noting(*device_, sources);
  Recorder recorder(noting, driver_test::kernel_table());
  expect_times_of_operations(recorder, x_, y_);
  EXPECT_EQ(recorder.counters().commits, 12u);
}

TEST_F(RecorderTest, TimesNothingOfWhatFails) {
  recorder_.begin_times();
  EXPECT_THROW(recorder_.as_operation([] { fail(ErrorKind::device, "no operation"); }), Error);
  recorder_.as_operation([&] { recorder_.fill_bytes(y_, 0); });
  const std::vector<KernelTime> times = recorder_.end_times();
  ASSERT_EQ(times.size(), 1u);
  EXPECT_EQ(times.front().operation, 1u);

  const std::array<Argument, 0> none = {};
  const auto breaks = [&] {
    recorder_.library_call("breaking", none, {}, 0, {[](const LibraryContext&) {
                             fail(ErrorKind::device, "broken");
                           }});
  };
  recorder_.begin_times();
  recorder_.as_operation(breaks);
  EXPECT_THROW(recorder_.wait(), Error);
  recorder_.as_operation([&] { recorder_.fill_bytes(y_, 0); });
  EXPECT_TRUE(recorder_.end_times().empty());
  recorder_.begin_times();
  recorder_.as_operation(breaks);
  EXPECT_THROW(recorder_.end_times(), Error);
  recorder_.begin_times();
  recorder_.as_operation([&] { recorder_.fill_bytes(y_, 0); });
  EXPECT_EQ(recorder_.end_times().size(), 1u);
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

// A device of small staging memory, which counts what is allocated of it.
class SmallStaging final : public Device {
 public:
  struct Count {
    std::size_t live = 0;
    std::size_t peak = 0;
    int allocations = 0;
  };

  SmallStaging() : limits_(host_->limits()) { limits_.staging_bytes = 4096; }

  const Count& count() const { return count_; }
  const DeviceInfo& info() const override { return host_->info(); }
  const DeviceLimits& limits() const override { return limits_; }
  std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label, bool host_visible) override {
    auto buffer = host_->allocate(bytes, label, host_visible);
    if (label != "staging") return buffer;
    return std::make_unique<Counted>(std::move(buffer), count_);
  }
  const Pipeline& pipeline(std::string_view name) override { return host_->pipeline(name); }
  std::unique_ptr<CommandBuffer> command_buffer() override { return host_->command_buffer(); }

 private:
  class Counted final : public Buffer {
   public:
    Counted(std::unique_ptr<Buffer> buffer, Count& count)
        : Buffer(buffer->size(), buffer->host(), buffer->label()), buffer_(std::move(buffer)), count_(count) {
      ++count_.allocations;
      count_.live += size();
      count_.peak = std::max(count_.peak, count_.live);
    }
    ~Counted() override { count_.live -= size(); }

   private:
    std::unique_ptr<Buffer> buffer_;
    Count& count_;
  };

  std::unique_ptr<host::HostDevice> host_ = test::test_device();
  DeviceLimits limits_;
  Count count_;
};

class StagingTest : public testing::Test {
 protected:
  // Uploads behind work, which is what needs staging where the host reaches the memory.
  void upload(const OwnedTensor& tensor, const std::vector<float>& values) {
    recorder_.fill_bytes(tensor, 0);
    recorder_.upload(tensor, std::as_bytes(std::span(values)));
  }
  std::vector<float> contents(const OwnedTensor& tensor) {
    std::vector<float> values(static_cast<std::size_t>(tensor.tensor.elements()));
    recorder_.read_back(
        tensor, [&](std::span<const std::byte> bytes) { std::memcpy(values.data(), bytes.data(), bytes.size()); });
    recorder_.wait();
    return values;
  }
  static std::vector<float> counting(std::int64_t count, float first) {
    std::vector<float> values(static_cast<std::size_t>(count));
    std::iota(values.begin(), values.end(), first);
    return values;
  }

  SmallStaging device_;
  Recorder recorder_{device_, driver_test::kernel_table()};
};

TEST_F(StagingTest, ManyUploadsInOneGoStayWithinIt) {
  std::vector<OwnedTensor> tensors;
  for (int i = 0; i < 40; ++i) {
    tensors.push_back(make_tensor(device_, DType::f32, {100 + i}));
    upload(tensors.back(), counting(100 + i, static_cast<float>(1000 * i)));
  }
  recorder_.wait();
  EXPECT_LE(device_.count().peak, 2 * 4096u);  // in use, and kept for later
  EXPECT_LE(device_.count().live, 4096u);
  EXPECT_EQ(contents(tensors.front()), counting(100, 0.0f));
  EXPECT_EQ(contents(tensors.back()), counting(139, 39000.0f));
}

TEST_F(StagingTest, LargeUploadsGoInParts) {
  const OwnedTensor large = make_tensor(device_, DType::f32, {50001});
  upload(large, counting(50001, 7.0f));
  recorder_.wait();
  EXPECT_LE(device_.count().peak, 2 * 4096u);
  EXPECT_EQ(contents(large), counting(50001, 7.0f));
}

TEST_F(StagingTest, WhatComesAgainIsNotAllocatedAgain) {
  const OwnedTensor small = make_tensor(device_, DType::f32, {10});
  const OwnedTensor large = make_tensor(device_, DType::f32, {3000});  // more than is kept of several
  contents(large);
  const int allocations = device_.count().allocations;
  for (int i = 0; i < 5; ++i) contents(large);
  EXPECT_EQ(device_.count().allocations, allocations);
  upload(small, counting(10, 0.0f));
  recorder_.wait();
  EXPECT_LE(device_.count().live, 4096u);
}

// Those before it hold what is in the way; those behind have nothing to do with it.
TEST_F(StagingTest, WaitsOnlyWhereThereIsNoRoom) {
  const OwnedTensor tensor = make_tensor(device_, DType::f32, {256});  // 1024 bytes
  for (int i = 0; i < 4; ++i) {
    upload(tensor, counting(256, static_cast<float>(i)));
    recorder_.submit();
  }
  EXPECT_EQ(recorder_.counters().waits, 0u);
  EXPECT_EQ(contents(tensor), counting(256, 3.0f));
}

}  // namespace
}  // namespace mslt::msl

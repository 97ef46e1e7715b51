// Tests of the encoder: it refuses every kind of wrong binding with a message that names it.
#include "backend/msl/encoder.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "backend/msl/drivers/idle/idle_device.h"
#include "backend/msl/test_kernels.h"

namespace mslt::msl {
namespace {

using test::error_of;
using test::make_tensor;
using test::OwnedTensor;

class EncoderTest : public testing::Test {
 protected:
  EncoderTest()
      : device_(test::test_device(1)),
        recorder_(*device_, driver_test::kernel_table()),
        a_(make_tensor(*device_, DType::f32, {8})),
        b_(make_tensor(*device_, DType::f32, {8})),
        sum_(make_tensor(*device_, DType::f32, {8})) {}

  Encoder encode(std::string_view kernel) { return Encoder(recorder_, kernel); }

  // The message contains the kernel, its place, and each of the words.
  template <class Call>
  void expect_error(Call&& call, const std::vector<std::string>& words) {
    const std::string message = error_of(ErrorKind::device, call);
    EXPECT_NE(message, "");
    for (const std::string& word : words) EXPECT_NE(message.find(word), std::string::npos) << message;
  }

  std::unique_ptr<host::HostDevice> device_;
  Recorder recorder_;
  OwnedTensor a_;
  OwnedTensor b_;
  OwnedTensor sum_;
  VectorAddArgs args_ = {8, 1.0f, 0};
};

TEST_F(EncoderTest, RunsWhatIsRight) {
  a_.tensor.host<float>()[5] = 3.0f;
  encode("vector_add").buffer(0, a_).buffer(1, b_).buffer(2, sum_, 8).bytes(3, args_).dispatch({1}, {32});
  recorder_.wait();
  EXPECT_EQ(sum_.tensor.host<float>()[5], 3.0f);
}

TEST_F(EncoderTest, NamesAnUnboundArgument) {
  expect_error([&] { encode("vector_add").buffer(0, a_).buffer(2, sum_).bytes(3, args_).dispatch({1}, {32}); },
               {"'vector_add'", "vector_add.metal:", "argument 1 'b'", "not bound"});
  expect_error([&] { encode("vector_add").buffer(0, Tensor()); }, {"argument 0 'a'", "absent"});
}

TEST_F(EncoderTest, NamesAWrongIndexOrKind) {
  expect_error([&] { encode("vector_add").buffer(9, a_); }, {"[[buffer(9)]]"});
  expect_error([&] { encode("vector_add").buffer(3, a_); }, {"argument 3 'args'", "bytes", "a buffer"});
  expect_error([&] { encode("vector_add").threadgroup(0, 64); }, {"[[threadgroup(0)]]"});
  expect_error([&] { encode("vector_add").buffer(0, a_).buffer(0, a_); }, {"argument 0 'a'", "twice"});
}

TEST_F(EncoderTest, NamesAWrongElementType) {
  const OwnedTensor halves = make_tensor(*device_, DType::bf16, {8});
  expect_error([&] { encode("vector_add").buffer(0, halves); }, {"argument 0 'a'", "float", "bf16"});
}

TEST_F(EncoderTest, NamesATensorThatIsTooSmall) {
  expect_error([&] { encode("vector_add").buffer(2, sum_, 9); },
               {"argument 2 'sum'", "9 elements (36 bytes)", "8 (32 bytes)"});
  expect_error([&] { encode("vector_add").bytes(3, 1.0f); }, {"argument 3 'args'", "16 bytes", "given 4"});
}

TEST_F(EncoderTest, NamesWhatOverlaps) {
  const auto in_place = [&] {
    encode("vector_add").buffer(0, a_).buffer(1, b_).buffer(2, a_).bytes(3, args_).dispatch({1}, {32});
  };
  expect_error(in_place, {"writes argument 2 'sum'", "overlaps argument 0 'a'", "bytes 0 to 32"});
  encode("vector_add").buffer(0, a_).buffer(1, a_).buffer(2, sum_).bytes(3, args_).dispatch({1}, {32});
  encode("vector_add").buffer(0, a_).buffer(1, b_).buffer(2, a_).bytes(3, args_).in_place(2, 0).dispatch({1}, {32});
  EXPECT_EQ(recorder_.counters().dispatches, 2u);
}

TEST_F(EncoderTest, NamesALaunchThatIsTooLarge) {
  const auto launch = [&](GridSize groups, GridSize threads) {
    encode("vector_add").buffer(0, a_).buffer(1, b_).buffer(2, sum_).bytes(3, args_).dispatch(groups, threads);
  };
  expect_error([&] { launch({1}, {32, 33}); }, {"32 x 33 x 1", "1056", "1024"});
  expect_error([&] { launch({0}, {32}); }, {"0 x 1 x 1"});
  const OwnedTensor x = make_tensor(*device_, DType::f32, {8, 32});
  const OwnedTensor y = make_tensor(*device_, DType::f32, {8, 32});
  const ScaleRowsArgs args = {8, 32, 0.0f};
  const auto scale = [&](std::uint64_t bytes) {
    encode("scale_rows_f32")
        .buffer(0, x)
        .buffer(1, a_)
        .buffer(2, y)
        .bytes(4, args)
        .threadgroup(0, bytes)
        .dispatch({1}, {32, 8});
  };
  expect_error([&] { scale(40000); }, {"argument 0 'factors'", "40000", "32768"});
  expect_error([&] { scale(32768); }, {"33824 bytes", "1056 of them", "32768"});
  scale(32);
}

TEST_F(EncoderTest, FixedGroupsNeedTheKernelsOwnLimit) {
  const auto launch = [&](GridSize threads) {
    encode("vector_add").buffer(0, a_).buffer(1, b_).buffer(2, sum_).bytes(3, args_).dispatch({1}, threads);
  };
  launch({32});
  expect_error([&] { launch({64}); },
               {"vector_add", "groups of 64 threads are fixed", "max_total_threads_per_threadgroup"});
}

using Shapes = std::vector<std::array<std::uint32_t, 4>>;  // groups along x and y, threads along x and y

// Records the dispatches.
class ListingCommands final : public CommandBuffer {
 public:
  explicit ListingCommands(Shapes& shapes) : shapes_(shapes) {}
  void set_pipeline(const Pipeline& /*pipeline*/) override {}
  void set_buffer(std::uint32_t /*index*/, Buffer& /*buffer*/, std::size_t /*offset*/) override {}
  void set_bytes(std::uint32_t /*index*/, std::span<const std::byte> /*bytes*/) override {}
  void set_threadgroup_memory(std::uint32_t /*index*/, std::uint32_t /*bytes*/) override {}
  void dispatch(GridSize groups, GridSize threads) override {
    shapes_.push_back({groups.x, groups.y, threads.x, threads.y});
  }
  void copy(Buffer& /*destination*/, std::size_t /*destination_offset*/, Buffer& /*source*/,
            std::size_t /*source_offset*/, std::size_t /*bytes*/) override {}
  void fill(Buffer& /*destination*/, std::size_t /*offset*/, std::size_t /*bytes*/, std::uint8_t /*value*/) override {}
  void on_completed(std::function<void(const CommandTiming&, std::string_view)> handler) override {
    handlers_.push_back(std::move(handler));
  }
  void commit() override {
    for (const auto& handler : handlers_) handler({}, {});
  }
  void wait() override {}

 private:
  Shapes& shapes_;
  std::vector<std::function<void(const CommandTiming&, std::string_view)>> handlers_;
};

// Its kernels have registers for groups of 112 threads.
class NarrowDevice final : public Device {
 public:
  explicit NarrowDevice(Shapes& shapes) : shapes_(shapes) {}
  const DeviceInfo& info() const override { return memory_.info(); }
  const DeviceLimits& limits() const override { return memory_.limits(); }
  std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label, bool /*host_visible*/) override {
    return memory_.allocate(bytes, label, true);
  }
  const Pipeline& pipeline(std::string_view /*name*/) override { return pipeline_; }
  std::unique_ptr<CommandBuffer> command_buffer() override { return std::make_unique<ListingCommands>(shapes_); }

 private:
  class NarrowPipeline final : public Pipeline {
   public:
    std::string_view name() const override { return "any kernel"; }
    std::uint32_t max_threads_per_threadgroup() const override { return 112; }
  };
  idle::IdleDevice memory_{{}, {}};
  NarrowPipeline pipeline_;
  Shapes& shapes_;
};

TEST(EncoderLaunches, KeepToTheRegistersOfTheKernel) {
  Shapes shapes;
  NarrowDevice device(shapes);
  Recorder recorder(device, driver_test::kernel_table());
  const OwnedTensor tensor = make_tensor(device, DType::f32, {8});
  const VectorAddArgs args = {8, 1.0f, 0};
  const auto launch = [&](auto dispatch) {
    Encoder encoder(recorder, "vector_add");
    encoder.buffer(0, tensor).buffer(1, tensor).buffer(2, tensor).bytes(3, args).in_place(2, 0).in_place(2, 1);
    dispatch(encoder);
  };
  launch([](Encoder& e) { e.dispatch_spans(8000, 64); });
  launch([](Encoder& e) { e.dispatch_spans(8000, 256); });
  launch([](Encoder& e) { e.dispatch_tiles(100, 64, 32); });
  launch([](Encoder& e) { e.dispatch_tiles(100, 64, 512); });
  launch([](Encoder& e) { e.dispatch_rows(100, 2); });
  launch([](Encoder& e) { e.dispatch_rows(100, 16); });
  recorder.wait();
  const Shapes expected = {{16, 1, 64, 1}, {9, 1, 112, 1}, {25, 1, 8, 4},
                           {13, 1, 8, 8},  {50, 1, 64, 1}, {34, 1, 96, 1}};
  EXPECT_EQ(shapes, expected);
}

TEST(EncoderNames, AreTheKernelsOfTheDtypes) {
  EXPECT_EQ(kernel_name("norm", DType::bf16), "norm_bf16");
  EXPECT_EQ(kernel_name("cast", DType::f32, DType::f16), "cast_f32_f16");
  EXPECT_EQ(group_count(257, 256), 2u);
  EXPECT_EQ(group_count(0, 256), 0u);
}

}  // namespace
}  // namespace mslt::msl

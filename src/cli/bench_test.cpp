// Tests of what the benchmarks measure.
#include "cli/bench.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <thread>

#include "backend/simulated_device.h"
#include "backend/timed_backend.h"

namespace mslt::cli {
namespace {

TrainBenchOptions small_training() {
  TrainBenchOptions options;
  options.model.max_positions = 16;
  options.model.layers = 1;
  options.model.channels = options.model.ffn_size = 16;
  options.model.heads = options.model.kv_heads = 1;
  options.model.head_size = 16;
  options.batch_size = options.steps = 1;
  options.vocab_size = 300;
  return options;
}

// A device that is done with each submission so long after the one before it, and until then lets the host go on.
class LateDevice final : public MemorylessBackend<LateDevice> {
 public:
  static constexpr std::chrono::milliseconds delay{3};

  template <class Op>
  void each(const Op& /*op*/) {}
  void submit() override { done_.push_back((done_.empty() ? Clock::now() : done_.back()) + delay); }
  void throttle(std::size_t in_flight) override {
    for (; done_.size() > in_flight; done_.pop_front()) std::this_thread::sleep_until(done_.front());
  }
  void wait() override { throttle(0); }

 private:
  using Clock = std::chrono::steady_clock;
  std::deque<Clock::time_point> done_;
};

// The host hands over steps in no time while the device has some to do.
TEST(BenchTrain, AStepTakesAsLongAsTheDeviceWorks) {
  TrainBenchOptions options = small_training();
  options.steps = 3;
  LateDevice device;
  EXPECT_GE(bench_train(device, options).step_seconds, std::chrono::duration<double>(LateDevice::delay).count());
}

// Those of the timed steps, and nothing else that ran.
TEST(BenchOperations, TellOfEachOperationOfAStep) {
  SimulatedDevice device([](std::string_view, DType, const Work&) {});
  TimedBackend timing(device);
  StepTimeline timeline;
  const auto timed = [&](bool begins) {
    if (begins) {
      timing.begin_step();
    } else {
      timeline = timing.end_step();
    }
  };
  const auto calls = [&](std::string_view name) {
    return std::ranges::count(timeline.operations, name, &OperationTime::operation);
  };
  TrainBenchOptions training = small_training();
  training.model.layers = 2;
  training.steps = 3;
  training.timed = timed;
  bench_train(timing, training);
  EXPECT_EQ(calls(AttentionBackward::name), training.steps * training.model.layers);
  EXPECT_EQ(calls(EmbeddingForward::name), training.steps);
  EXPECT_EQ(calls(AttentionDecode::name), 0);
  GenerateBenchOptions decoding;
  decoding.model = training.model;
  decoding.model.vocab_size = training.vocab_size;
  decoding.prompt_tokens = 3;
  decoding.new_tokens = 5;
  decoding.sampling.temperature = 0.0f;
  decoding.timed = timed;
  bench_generate(timing, decoding);
  EXPECT_EQ(calls(AttentionDecode::name), decoding.new_tokens * decoding.model.layers);
  EXPECT_EQ(calls(Argmax::name), decoding.new_tokens);
  EXPECT_EQ(calls(EmbeddingForward::name), decoding.new_tokens);
}

// A step in 16 bits is measured against products in 16 bits.
TEST(BenchTrain, ThePeakIsThatOfTheTypeOfTheStep) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    TrainBenchOptions options = small_training();
    options.dtype = std::string(name_of(dtype));
    int large = 0;
    SimulatedDevice device([&](std::string_view operation, DType ran, const Work& work) {
      if (operation != MatmulForward::name || work.flops < 1e8) return;
      EXPECT_EQ(ran, dtype);
      ++large;
    });
    bench_train(device, options);
    EXPECT_GT(large, 0);
  }
}

}  // namespace
}  // namespace mslt::cli

// Tests of profiles: what they count against formulas, how they add up, and what they say of layers and memory.
#include "profile/profile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string_view>

#include "backend/memoryless_backend.h"
#include "base/clock.h"
#include "base/fail.h"
#include "profile/memory_curve.h"
#include "profile/test_profiles.h"

namespace mslt {
namespace {

using test::profile_of;
using test::small_gpt2;
using test::small_llama;
using test::small_post_norm;

constexpr double batch = 2.0;
constexpr double positions = 16.0;
constexpr double rows = batch * positions;
constexpr double element = 4.0;

Work work_of_all(const ProfileSummary& summary, std::string_view name) {
  Work work;
  for (const ProfileRow& row : summary.operations) {
    if (row.name != name) continue;
    work.flops += row.work.flops;
    work.bytes += row.work.bytes;
  }
  return work;
}

// The matrices of a model, by their sizes alone.
struct Matrix {
  double out;
  double in;
  bool bias;  // of which the weight gradient's product gives the gradient
};

std::vector<Matrix> matrices_of(const Config& config) {
  const auto channels = static_cast<double>(config.channels);
  const auto heads = static_cast<double>(config.heads * config.head_size);
  const auto keys = static_cast<double>(config.kv_heads * config.head_size);
  const auto ffn = static_cast<double>(config.ffn_size);
  const double gates = config.activation == ActivationType::swiglu ? 2.0 : 1.0;
  std::vector<Matrix> matrices;
  for (std::int64_t i = 0; i < config.layers; ++i) {
    matrices.push_back({heads + 2.0 * keys, channels, config.qkv_bias});
    // The gradients of biases in front of an addition come from the norm behind it.
    matrices.push_back({channels, heads, false});
    matrices.push_back({gates * ffn, channels, config.ffn_bias});
    matrices.push_back({channels, ffn, false});
  }
  matrices.push_back({static_cast<double>(config.vocab_size), channels, false});
  return matrices;
}

// With a vocabulary that needs no padding, which the formulas do not count.
Config unpadded(Config config) {
  config.vocab_size = 128;
  return config;
}

class ProfileWorkTest : public testing::TestWithParam<Config> {};

TEST_P(ProfileWorkTest, IsWhatTheSizesOfTheModelSay) {
  const Config& config = GetParam();
  const ProfileSummary summary = summarise(profile_of(config, "cpu", WorkloadKind::train, 2));
  double products = 0.0;
  double weight_bytes = 0.0;
  for (const Matrix& matrix : matrices_of(config)) {
    products += 2.0 * rows * matrix.out * matrix.in;
    weight_bytes += element * (2.0 * matrix.out * matrix.in + rows * (matrix.out + matrix.in) +
                               (matrix.bias ? 2.0 * matrix.out : 0.0));
  }
  EXPECT_DOUBLE_EQ(work_of_all(summary, "matmul_forward").flops, products);
  EXPECT_DOUBLE_EQ(work_of_all(summary, "matmul_backward_input").flops, products);
  EXPECT_DOUBLE_EQ(work_of_all(summary, "matmul_backward_weight").flops, products);
  EXPECT_DOUBLE_EQ(work_of_all(summary, "matmul_backward_weight").bytes, weight_bytes);

  const auto layers = static_cast<double>(config.layers);
  const auto heads = static_cast<double>(config.heads);
  const auto size = static_cast<double>(config.head_size);
  const double pairs = layers * batch * heads * positions * (positions + 1.0) / 2.0;
  EXPECT_DOUBLE_EQ(work_of_all(summary, "attention_forward").flops, pairs * 2.0 * 2.0 * size);
  EXPECT_DOUBLE_EQ(work_of_all(summary, "attention_backward").flops, pairs * 5.0 * 2.0 * size);
  const double qkv = rows * size * (heads + 2.0 * static_cast<double>(config.kv_heads));
  const double statistics = batch * heads * positions;
  EXPECT_DOUBLE_EQ(work_of_all(summary, "attention_forward").bytes,
                   layers * element * (qkv + rows * heads * size + statistics));
  EXPECT_DOUBLE_EQ(work_of_all(summary, "attention_backward").bytes,
                   layers * element * (2.0 * qkv + 2.0 * rows * heads * size + statistics));

  // Weights and both moments read and written, gradients read; gaps between segments count as well.
  const double adamw = work_of_all(summary, "adamw").bytes;
  const double parameters = static_cast<double>(config.parameter_count());
  const double gaps = 64.0 * (10.0 * layers + 6.0);
  EXPECT_GE(adamw, 28.0 * parameters);
  EXPECT_LE(adamw, 28.0 * (parameters + gaps));
}

INSTANTIATE_TEST_SUITE_P(Models, ProfileWorkTest,
                         testing::Values(unpadded(small_gpt2()), unpadded(small_llama()), unpadded(small_post_norm())));

class ProfileTest : public testing::TestWithParam<std::string> {};

// Whatever else the machine does, operations and the gaps between them are the step.
TEST_P(ProfileTest, OperationsAndGapsAreTheStep) {
  const StepSamples samples = profile_of(small_gpt2(), GetParam(), WorkloadKind::train, 3);
  ASSERT_EQ(samples.timed.size(), 3u);
  ASSERT_EQ(samples.whole_seconds.size(), 3u);
  for (const StepTimeline& step : samples.timed) {
    double end = 0.0;
    for (const OperationTime& one : step.operations) {
      EXPECT_GE(one.begin, end);
      EXPECT_GE(one.begin, one.handed_over);
      EXPECT_GE(one.handed_end, one.handed_over);
      EXPECT_GE(one.seconds, 0.0);
      EXPECT_LE(one.seconds, one.end - one.begin + 1e-9);
      end = one.end;
    }
    EXPECT_LE(end, step.seconds + 1e-9);
    EXPECT_GT(step.operation_seconds(), 0.0);
    EXPECT_LE(step.operation_seconds(), step.seconds);
  }
  const ProfileSummary summary = summarise(samples);
  double shares = 0.0;
  for (std::size_t step = 0; step < samples.timed.size(); ++step) {
    double sum = 0.0;
    for (const ProfileRow& row : summary.operations) sum += row.samples[step];
    EXPECT_NEAR(sum, samples.timed[step].operation_seconds(), 1e-9);
  }
  for (const LayerTime& layer : summary.layers) shares += layer.seconds;
  double mean = 0.0;
  for (const StepTimeline& step : samples.timed) mean += step.operation_seconds() / 3.0;
  EXPECT_NEAR(shares, mean, 1e-9);
  EXPECT_EQ(summary.sentences.size(), 3u);
  EXPECT_TRUE(std::ranges::is_sorted(summary.operations, std::greater(), &ProfileRow::lost_seconds));
}

TEST_P(ProfileTest, KernelsAreThoseOfTheDevice) {
  const StepSamples samples = profile_of(small_llama(), GetParam(), WorkloadKind::decode, 1);
  const ProfileSummary summary = summarise(samples);
  EXPECT_EQ(summary.kernels.empty(), GetParam() == "cpu");
  for (const OperationTime& one : samples.timed.front().operations) {
    EXPECT_EQ(one.kernels.empty(), GetParam() == "cpu") << one.operation;
    double seconds = 0.0;
    for (const KernelTime& kernel : one.kernels) {
      EXPECT_GT(kernel.seconds, 0.0) << kernel.kernel;
      EXPECT_GE(kernel.begin, one.begin - 1e-9) << kernel.kernel;
      EXPECT_LE(kernel.begin + kernel.seconds, one.end + 1e-9) << kernel.kernel;
      seconds += kernel.seconds;
    }
    if (!one.kernels.empty()) {
      EXPECT_NEAR(one.seconds, seconds, 1e-9) << one.operation;
    }
  }
}

// Steps between timed ones compute what they would without.
TEST_P(ProfileTest, ChangesNoResult) {
  const std::unique_ptr<Backend> backend = make_backend(GetParam());
  TimedBackend timed(*backend);
  const auto buffer = timed.allocate(64, "numbers");
  const Tensor number(*buffer, 0, DType::f32, Shape{1});
  const auto recording = timed.record([&] { timed.run(Add{.out = number, .in = number}); });
  timed.run(Fill{.out = number, .value = 1.0f});
  timed.replay(*recording);
  timed.begin_step();
  timed.replay(*recording);
  const StepTimeline step = timed.end_step();
  timed.replay(*recording);
  float value = 0.0f;
  timed.download(number, std::as_writable_bytes(std::span(&value, 1)));
  EXPECT_EQ(value, 8.0f);
  ASSERT_EQ(step.operations.size(), 1u);
  EXPECT_EQ(step.operations.front().operation, "add");
}

INSTANTIATE_TEST_SUITE_P(Devices, ProfileTest, testing::Values("cpu", "msl-host"),
                         [](const auto& each) { return each.param == "cpu" ? "Cpu" : "MslHost"; });

// A device that hands times out as given, and records nothing.
class DeviceWithTimes final : public MemorylessBackend<DeviceWithTimes> {
 public:
  explicit DeviceWithTimes(std::vector<KernelTime> times) : times_(std::move(times)) {}
  template <class Op>
  void each(const Op& /*op*/) {}
  bool has_device_times() const override { return true; }
  std::vector<KernelTime> end_times() override { return times_; }

 private:
  std::vector<KernelTime> times_;
};

TEST(TimedBackendTest, MakesOneOfOperationsInOneLaunch) {
  const double now = steady_seconds();
  const auto launch = [&](std::string_view kernel, double seconds, double begin, std::size_t operation) {
    return KernelTime{std::string(kernel), {}, seconds, now + begin, operation};
  };
  DeviceWithTimes device({launch("fill", 1.0, 100.0, 0), launch("chain", 2.0, 102.0, 1), launch("add", 3.0, 104.0, 4),
                          launch("sum", 1.0, 109.0, 4), launch("copy", 9.0, 110.0, KernelTime::no_operation)});
  TimedBackend timed(device);
  const auto buffer = timed.allocate(64, "numbers");
  const Tensor number(*buffer, 0, DType::f32, Shape{4});
  const auto recording = timed.record([&] {
    for (int i = 0; i < 3; ++i) timed.run(Add{.out = number, .in = number});
  });
  timed.begin_step();
  timed.run(Fill{.out = number, .value = 1.0f});
  timed.replay(*recording);
  timed.run(Add{.out = number, .in = number});
  const StepTimeline step = timed.end_step();
  ASSERT_EQ(step.operations.size(), 3u);
  EXPECT_EQ(step.operations[0].operation, "fill");
  const OperationTime& fused = step.operations[1];
  EXPECT_EQ(fused.operation, "fused_operations");
  EXPECT_EQ(fused.seconds, 2.0);
  EXPECT_EQ(fused.work.bytes, 3.0 * step.operations[2].work.bytes);
  EXPECT_EQ(fused.uses.size(), 6u);
  EXPECT_EQ(fused.handed_end, fused.handed_over);
  // It idled for two seconds within the last.
  EXPECT_EQ(step.operations[2].operation, "add");
  EXPECT_EQ(step.operations[2].seconds, 4.0);
  EXPECT_NEAR(step.operations[2].end - step.operations[2].begin, 6.0, 1e-6);
  EXPECT_GE(step.operations[2].handed_over, fused.handed_over);
  EXPECT_TRUE(std::ranges::any_of(step.host, [](const HostTime& one) { return one.what == "replay"; }));
}

TEST(TimedBackendTest, NamesTheLayerOfEachOperation) {
  const StepSamples samples = profile_of(small_gpt2(), "cpu", WorkloadKind::train, 1);
  int attention = 0;
  for (const OperationTime& one : samples.timed.front().operations) {
    EXPECT_TRUE(one.layer == "layer 0" || one.layer == "layer 1" || one.layer == "embedding" || one.layer == "output" ||
                one.layer == "all layers" || one.layer.empty())
        << one.layer;
    if (one.operation == "attention_forward") {
      EXPECT_EQ(one.layer, fmt::format("layer {}", attention++));
    }
    if (one.operation == "attention_backward") {
      EXPECT_EQ(one.layer, fmt::format("layer {}", --attention));
    }
    if (one.operation == "embedding_forward") {
      EXPECT_EQ(one.layer, "embedding");
    }
    if (one.operation == "global_norm") {
      EXPECT_EQ(one.layer, "all layers");
    }
  }
  EXPECT_EQ(attention, 0);
}

StepTimeline three_operations() {
  StepTimeline step;
  step.seconds = 3.0;
  const int buffer = 0;
  const int weights = 0;
  const void* const activations = &buffer;
  step.buffers[activations] = {"activations", 1000};
  step.buffers[&weights] = {"parameters", 500};
  const auto add = [&](std::string_view name, std::vector<MemoryUse> uses) {
    OperationTime one;
    one.operation = name;
    one.begin = static_cast<double>(step.operations.size());
    one.uses = std::move(uses);
    step.operations.push_back(std::move(one));
  };
  add("first", {{activations, 0, 100, Access::write}});
  add("second", {{activations, 100, 300, Access::write}, {activations, 0, 100, Access::read}});
  add("third", {{activations, 0, 50, Access::write}, {activations, 100, 300, Access::read}});
  return step;
}

TEST(MemoryCurveTest, HoldsActivationsFromTheirWritingToTheirLastReading) {
  const MemoryCurve curve = memory_curve(three_operations());
  const auto bytes = [&](std::string_view holder) {
    const auto found = std::ranges::find(curve.holders, holder);
    return found == curve.holders.end() ? std::vector<double>()
                                        : curve.bytes[static_cast<std::size_t>(found - curve.holders.begin())];
  };
  EXPECT_EQ(bytes("parameters"), (std::vector<double>{500, 500, 500}));
  EXPECT_EQ(bytes("activations of first"), (std::vector<double>{100, 100, 0}));
  EXPECT_EQ(bytes("activations of second"), (std::vector<double>{0, 200, 200}));
  EXPECT_EQ(bytes("activations of third"), (std::vector<double>{0, 0, 50}));
  EXPECT_EQ(curve.most(), 800.0);
}

TEST(MemoryCurveTest, PutsTheSmallestTogether) {
  const MemoryCurve curve = memory_curve(three_operations(), 2);
  ASSERT_EQ(curve.holders.size(), 3u);
  EXPECT_EQ(curve.holders.back(), "others");
  EXPECT_EQ(curve.most(), 800.0);
}

// A model that runs holds no more than its arena of activations.
TEST(MemoryCurveTest, StaysWithinThePlan) {
  const StepSamples samples = profile_of(small_llama(), "cpu", WorkloadKind::train, 1);
  double all = 0.0;
  for (const auto& [buffer, about] : samples.timed.front().buffers) all += static_cast<double>(about.bytes);
  const MemoryCurve curve = memory_curve(samples.timed.front());
  EXPECT_GT(curve.most(), 0.5 * all);
  EXPECT_LE(curve.most(), all);
}

}  // namespace
}  // namespace mslt

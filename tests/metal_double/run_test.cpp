// Whole runs through the Metal driver: training gives the CPU's losses, a model generates the same text.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>

#include "backend/msl/msl_backend.h"
#include "backend/registry.h"
#include "backend/timed_backend.h"
#include "formats/model_folder.h"
#include "model/inference_pass.h"
#include "mslt/error.h"
#include "mslt/generator.h"
#include "mslt/trainer.h"
#include "tests/metal_double/metal_double.h"
#include "train/metrics.h"
#include "train/test_run.h"
#include "train/trainer_parts.h"

namespace mslt {
namespace {

enum class Family { gpt, llama, original };

// Names in the tests' output.
std::string name_of_test(const testing::TestParamInfo<Family>& info) {
  constexpr const char* names[] = {"gpt", "llama", "original"};
  return names[static_cast<int>(info.param)];
}

void make(Family family, Config& model) {
  if (family == Family::llama) {
    model.norm = NormType::rmsnorm;
    model.position = PositionType::rope;
    model.activation = ActivationType::swiglu;
    model.kv_heads = 1;
    model.qkv_bias = model.attention_out_bias = model.ffn_bias = model.norm_bias = false;
    model.tied_embeddings = false;
  }
  if (family == Family::original) {
    model.norm_position = NormPosition::post;
    model.position = PositionType::sinusoidal;
    model.activation = ActivationType::relu;
    model.embedding_scale = 4.0f;
  }
}

class MetalRunTest : public testing::TestWithParam<Family> {
 protected:
  void SetUp() override { make_test_data(folder_.path()); }

  TrainOptions options(const std::string& device, const std::string& dtype = "f32") const {
    TrainOptions options = test_options(folder_.path());
    make(GetParam(), options.model);
    options.device = device;
    options.dtype = dtype;
    options.output = folder_.path() / (device + dtype);
    options.steps = 12;
    options.warmup = 2;
    options.grad_accum = 2;
    options.dropout = 0.1f;
    options.eval_every = 6;
    options.save_every = 0;
    options.report = options.tensorboard = false;
    return options;
  }

  // Every loss and gradient norm of a run.
  static std::vector<double> train(const TrainOptions& options) {
    Trainer(options, {}).run();
    std::vector<double> values;
    const MetricsHistory history = read_metrics(options.output / "metrics.jsonl");
    for (const auto& step : history.steps) {
      values.push_back(step.loss);
      values.push_back(step.gradient_norm);
    }
    for (const auto& evaluation : history.evaluations) values.push_back(evaluation.loss);
    return values;
  }

  // The largest relative difference between two runs.
  static double difference(const std::vector<double>& a, const std::vector<double>& b) {
    if (a.size() != b.size() || a.empty()) return INFINITY;
    double largest = 0.0;
    for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]) / std::abs(b[i]));
    return largest;
  }

  TestFolder folder_;
};

TEST_P(MetalRunTest, TrainsAndWritesAsTheCpuDoes) {
  const std::vector<double> cpu = train(options("cpu"));
  const std::vector<double> metal = train(options("metal"));
  EXPECT_LT(difference(metal, cpu), 1e-6);
  EXPECT_LT(metal[metal.size() - 1], metal[0]);

  std::vector<std::vector<Generated>> texts;
  for (const char* device : {"cpu", "metal"}) {
    Model model = Model::load(options("metal").output, {.device = device, .dtype = "f32"});
    Generator generator(model);
    texts.push_back(generator.generate("the river", {.sampling = {.temperature = 0.0f}, .max_new_tokens = 12}));
    texts.push_back(generator.generate("my brother", {.sampling = {.seed = 5}, .max_new_tokens = 12, .num = 2}));
  }
  EXPECT_EQ(texts[0][0].tokens, texts[2][0].tokens);
  for (std::size_t i = 0; i < 2; ++i) EXPECT_EQ(texts[1][i].tokens, texts[3][i].tokens);
}

// Metal has no marks: command buffers that are handed over one behind the other tell the times.
TEST(MetalTimesTest, AreThoseOfEachOperationInOrder) {
  const std::unique_ptr<Backend> backend = make_backend("metal");
  TimedBackend timed(*backend);
  const auto buffer = timed.allocate(1024, "numbers");
  const Tensor numbers(*buffer, 0, DType::f32, Shape{256});
  const auto recording = timed.record([&] {
    for (int i = 0; i < 3; ++i) timed.run(Add{.out = numbers, .in = numbers});
  });
  const std::vector<float> ones(256, 1.0f);
  timed.begin_step();
  timed.run(Fill{.out = numbers, .value = 3.0f});
  timed.upload(numbers, std::as_bytes(std::span(ones)));
  timed.replay(*recording);
  timed.replay(*recording);
  const StepTimeline step = timed.end_step();
  std::vector<float> values(256);
  timed.download(numbers, std::as_writable_bytes(std::span(values)));
  EXPECT_EQ(values, std::vector<float>(256, 64.0f));
  ASSERT_EQ(step.operations.size(), 7u);
  double end = 0.0;
  for (const OperationTime& one : step.operations) {
    EXPECT_EQ(one.kernels.size(), 1u) << one.operation;
    EXPECT_GE(one.begin, std::max(end, one.handed_over)) << one.operation;
    EXPECT_GT(one.seconds, 0.0) << one.operation;
    end = one.end;
  }
  EXPECT_LE(end, step.seconds + 1e-9);
}

TEST_P(MetalRunTest, ReadsMappedWeightsInPlace) {
  train(options("metal"));
  const std::filesystem::path folder = options("metal").output;
  const std::unique_ptr<Backend> backend = make_backend("metal");
  const LoadedModel copied = load_model_folder(*backend, folder);
  const std::uint64_t before = metal_double::allocated_bytes();
  LoadedModel mapped = load_model_folder(*backend, folder, std::nullopt, WeightMemory::mapped);
  const Arena& parameters = mapped.transformer->parameters();
  std::size_t in_place = 0;
  for (const Segment& segment : parameters.layout().segments()) {
    if (parameters.is_mapped(segment.name)) in_place += parameters.tensor(segment).bytes();
  }
  // GPT-2's matrices are transposed in the file.
  const std::size_t bytes = parameters.layout().bytes();
  EXPECT_GT(in_place, GetParam() == Family::gpt ? bytes / 8 : bytes * 9 / 10);
  // In addition to the mapping, which Metal counts, only the rest was allocated.
  const Transformer& model = *mapped.transformer;
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  std::uint64_t expected = (std::filesystem::file_size(folder / "model.safetensors") + page - 1) / page * page;
  expected += std::max<std::uint64_t>(parameters.buffer().size(), 16);
  if (!model.frequencies().empty()) expected += model.frequencies()[0].inverse.buffer().size();
  if (model.position_table()) expected += model.position_table().buffer().size();
  EXPECT_EQ(metal_double::allocated_bytes() - before, expected);

  const std::vector<std::int32_t> tokens = {1, 5, 9};
  const auto logits = [&](Transformer& transformer) {
    KvCache cache(*backend, transformer.config(), DType::f32, 1, 8);
    InferencePass pass(transformer, cache);
    const std::array<int, 1> slots = {0};
    const std::array<std::span<const std::int32_t>, 1> rows = {tokens};
    const Tensor out = pass.forward(slots, rows);
    std::vector<float> values(static_cast<std::size_t>(out.elements()));
    backend->download(out, std::as_writable_bytes(std::span(values)));
    return values;
  };
  EXPECT_EQ(logits(*mapped.transformer), logits(*copied.transformer));
}

TEST_P(MetalRunTest, TrainsInSixteenBits) {
  const std::vector<double> full = train(options("metal"));
  EXPECT_LT(difference(train(options("metal", "bf16")), full), 1e-2);
  EXPECT_LT(difference(train(options("metal", "f16")), full), 1e-3);
}

TEST_P(MetalRunTest, GivesTheSameBitsWhateverTheOrder) {
  metal_double::Settings settings = metal_double::default_settings();
  const std::vector<double> first = train(options("metal"));
  settings.seed = 99;
  metal_double::reset(settings);
  std::filesystem::remove_all(options("metal").output);
  EXPECT_EQ(train(options("metal")), first);
}

TEST_P(MetalRunTest, WaitsOnceAStep) {
  const auto counters_of = [this](std::int64_t steps) {
    const std::unique_ptr<Backend> backend = make_backend("metal");
    TrainOptions quiet = options("metal");
    quiet.output = folder_.path() / std::to_string(steps);
    quiet.eval_every = 0;
    quiet.steps = steps;
    Trainer(std::make_unique<Trainer::Parts>(quiet, TrainCallbacks(), *backend)).run();
    return dynamic_cast<MslBackend&>(*backend).recorder().counters();
  };
  const msl::Counters fewer = counters_of(6);
  const msl::Counters more = counters_of(12);
  EXPECT_EQ(more.waits - fewer.waits, 6u);
  // Some command buffers per step, and some dispatches that wait for no other.
  EXPECT_GE(more.commits - fewer.commits, 6u);
  EXPECT_LT(metal_double::counts().barriers, (fewer.dispatches + more.dispatches) * 4 / 5);
}

TEST_P(MetalRunTest, AFailedCommandBufferEndsTheRunWithItsReason) {
  metal_double::fail_command_buffer(40, 8, "Insufficient Memory");
  try {
    train(options("metal"));
    ADD_FAILURE() << "Nothing was thrown.";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::device);
    EXPECT_NE(std::string(error.what()).find("the GPU has no memory left for it (Insufficient Memory). It held: "),
              std::string::npos)
        << error.what();
  }
}

INSTANTIATE_TEST_SUITE_P(Families, MetalRunTest, testing::Values(Family::gpt, Family::llama, Family::original),
                         name_of_test);

}  // namespace
}  // namespace mslt

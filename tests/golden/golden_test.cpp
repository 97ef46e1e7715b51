// Whole models against PyTorch: logits, also over the cache, loss, every gradient and ten AdamW steps.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "golden_file.h"
#include "model/config_fields.h"
#include "model/inference_pass.h"
#include "model/training_pass.h"
#include "tests/backend/backend_under_test.h"

namespace mslt {
namespace {

// f32 against f32 in another order of summation, as relative norms. Ten AdamW steps divide by the square root of the
// second moment and so amplify differences of small gradients.
constexpr double forward_tolerance = 2e-6;
constexpr double gradient_tolerance = 1e-5;
constexpr double trained_tolerance = 2e-5;
// Of single rows of logits.
constexpr double cached_tolerance = 1e-5;

// The fields that `json` has; rope_scaling's are in an object of their own.
Config config_of(const nlohmann::json& json) {
  Config config;
  visit_fields(config, [&]<class T>(const ConfigField& field, T& value) {
    const nlohmann::json& place = field.is_nested() ? json.value("rope_scaling", nlohmann::json::object()) : json;
    const std::string name(field.member());
    if (!place.contains(name)) return;
    if constexpr (std::is_enum_v<T>) {
      value = from_name<T>(place.at(name).get<std::string>());
    } else {
      place.at(name).get_to(value);
    }
  });
  return config;
}

std::vector<float> download(Backend& backend, const Tensor& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
  backend.download(tensor, std::as_writable_bytes(std::span(values)));
  return values;
}

// |actual - expected| / |expected| in the Euclidean norm.
double relative_error(const std::vector<float>& actual, const std::vector<float>& expected) {
  EXPECT_EQ(actual.size(), expected.size());
  double difference = 0;
  double norm = 0;
  for (std::size_t i = 0; i < std::min(actual.size(), expected.size()); ++i) {
    difference += std::pow(static_cast<double>(actual[i]) - static_cast<double>(expected[i]), 2);
    norm += std::pow(static_cast<double>(expected[i]), 2);
  }
  return std::sqrt(difference / norm);
}

// One golden file with its model, on one device.
class Golden : public testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  void SetUp() override {
    file_ = std::make_unique<test::GoldenFile>(std::string(MSLT_TEST_DATA) + "/golden/" + std::get<0>(GetParam()) +
                                               ".safetensors");
    backend_ = test::make_test_backend(std::get<1>(GetParam()));
    transformer_ = std::make_unique<Transformer>(*backend_, config_of(file_->metadata("config")), DType::f32);
    for (const Segment& segment : segments()) {
      const std::vector<std::int64_t> shape = file_->shape("initial." + segment.name);
      ASSERT_EQ(Shape(shape.data(), shape.size()), segment.shape) << segment.name;
      const std::vector<float> values = file_->read<float>("initial." + segment.name);
      backend_->upload(transformer_->parameters().tensor(segment), std::as_bytes(std::span(values)));
    }
    const std::vector<std::int64_t> shape = file_->shape("tokens");
    pass_ = std::make_unique<TrainingPass>(*transformer_, shape[0], shape[1], TrainingPass::Mode::train);
    const std::vector<std::int64_t> tokens = file_->read<std::int64_t>("tokens");
    const std::vector<std::int64_t> targets = file_->read<std::int64_t>("targets");
    pass_->set_batch(std::vector<std::int32_t>(tokens.begin(), tokens.end()),
                     std::vector<std::int32_t>(targets.begin(), targets.end()));
    counted_ = std::count_if(targets.begin(), targets.end(), [](std::int64_t target) { return target >= 0; });
    ArenaLayout layout;
    layout.add("loss_sum", DType::f32, {1});
    layout.add("loss_scale", DType::f32, {1});
    layout.add("norm", DType::f32, {1});
    layout.add("state", DType::f32, {adamw_state_size});
    scalars_ = Arena(layout, backend_->allocate(layout.bytes(), "scalars"));
    backend_->run(Fill{.out = scalars_.tensor("loss_scale"), .value = 1.0f / static_cast<float>(counted_)});
  }

  std::span<const Segment> segments() const { return transformer_->layout().arena.segments(); }

  float forward_backward() {
    pass_->zero_gradients();
    backend_->run(Fill{.out = scalars_.tensor("loss_sum"), .value = 0.0f});
    pass_->forward_backward(scalars_.tensor("loss_sum"), scalars_.tensor("loss_scale"), {});
    return download(*backend_, scalars_.tensor("loss_sum"))[0] / static_cast<float>(counted_);
  }

  std::unique_ptr<test::GoldenFile> file_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Transformer> transformer_;
  std::unique_ptr<TrainingPass> pass_;
  Arena scalars_;
  std::ptrdiff_t counted_ = 0;
};

TEST_P(Golden, Logits) {
  const std::vector<float> logits = download(*backend_, pass_->forward_logits());
  EXPECT_LE(relative_error(logits, file_->read<float>("logits")), forward_tolerance);
}

// A prompt of half of each sequence, then its other tokens one by one, as generation does it.
TEST_P(Golden, LogitsOverTheCache) {
  const std::vector<std::int64_t> shape = file_->shape("tokens");
  const auto length = static_cast<std::size_t>(shape[1]);
  const std::vector<std::int64_t> stored = file_->read<std::int64_t>("tokens");
  const std::vector<std::int32_t> tokens(stored.begin(), stored.end());
  const std::vector<float> expected = file_->read<float>("logits");
  const std::size_t columns = expected.size() / tokens.size();
  const Config& config = transformer_->config();
  std::vector<int> slots(static_cast<std::size_t>(shape[0]));
  std::iota(slots.begin(), slots.end(), 0);
  KvCache cache(*backend_, config, DType::f32, static_cast<int>(slots.size()), shape[0] * config.max_positions);
  InferencePass pass(*transformer_, cache);
  std::size_t count = length / 2;
  for (std::size_t done = 0; done < length; done += std::exchange(count, 1)) {
    std::vector<std::span<const std::int32_t>> next;
    for (std::size_t i = 0; i < slots.size(); ++i) {
      next.push_back(std::span(tokens).subspan(i * length + done, count));
    }
    const std::vector<float> logits = download(*backend_, pass.forward(slots, next));
    ASSERT_EQ(logits.size(), slots.size() * columns);
    for (std::size_t i = 0; i < slots.size(); ++i) {
      const auto row = [&](const std::vector<float>& rows, std::size_t number) {
        const auto begin = rows.begin() + static_cast<std::ptrdiff_t>(number * columns);
        return std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(columns));
      };
      EXPECT_LE(relative_error(row(logits, i), row(expected, i * length + done + count - 1)), cached_tolerance)
          << "sequence " << i << ", " << done + count << " tokens";
    }
  }
}

TEST_P(Golden, LossAndGradients) {
  const float expected = file_->read<float>("losses").front();
  EXPECT_NEAR(forward_backward(), expected, forward_tolerance * static_cast<double>(expected));
  for (const Segment& segment : segments()) {
    const std::vector<float> gradient = download(*backend_, pass_->gradients().tensor(segment));
    EXPECT_LE(relative_error(gradient, file_->read<float>("gradient." + segment.name)), gradient_tolerance)
        << segment.name;
  }
}

TEST_P(Golden, LossAlone) {
  const float expected = file_->read<float>("losses").front();
  backend_->run(Fill{.out = scalars_.tensor("loss_sum"), .value = 0.0f});
  pass_->forward_loss(scalars_.tensor("loss_sum"));
  EXPECT_NEAR(download(*backend_, scalars_.tensor("loss_sum"))[0] / static_cast<float>(counted_), expected,
              forward_tolerance * static_cast<double>(expected));
}

TEST_P(Golden, TenStepsOfAdamW) {
  const nlohmann::json settings = file_->metadata("optimizer");
  AdamWConfig optimizer;
  settings.at("beta1").get_to(optimizer.beta1);
  settings.at("beta2").get_to(optimizer.beta2);
  settings.at("epsilon").get_to(optimizer.epsilon);
  const auto weight_decay = settings.at("weight_decay").get<float>();
  const ArenaLayout& layout = transformer_->layout().arena;
  const Arena first(layout, backend_->allocate(layout.bytes(), "first moments"));
  const Arena second(layout, backend_->allocate(layout.bytes(), "second moments"));
  const Tensor norm = scalars_.tensor("norm");
  const Tensor state = scalars_.tensor("state");
  const std::size_t decayed = transformer_->layout().decayed;
  const std::vector<float> losses = file_->read<float>("losses");

  for (int step = 1; step <= settings.at("steps").get<int>(); ++step) {
    const float expected = losses[static_cast<std::size_t>(step - 1)];
    EXPECT_NEAR(forward_backward(), expected, trained_tolerance * static_cast<double>(expected)) << "step " << step;
    backend_->run(GlobalNorm{.out = norm, .gradients = pass_->gradients().whole()});
    std::vector<float> values(adamw_state_size);
    values[adamw_learning_rate] = settings.at("learning_rate").get<float>();
    values[adamw_inverse_correction1] =
        static_cast<float>(1 / (1 - std::pow(settings.at("beta1").get<double>(), step)));
    values[adamw_inverse_correction2] =
        static_cast<float>(1 / (1 - std::pow(settings.at("beta2").get<double>(), step)));
    values[adamw_gradient_scale] = 1.0f;
    values[adamw_max_norm] = settings.at("max_norm").get<float>();
    backend_->upload(state, std::as_bytes(std::span(values)));
    const auto update = [&](std::size_t begin, std::size_t end, float decay) {
      optimizer.weight_decay = decay;
      backend_->run(AdamWUpdate{.parameters = transformer_->parameters().range(begin, end),
                                .gradients = pass_->gradients().range(begin, end),
                                .first_moment = first.range(begin, end),
                                .second_moment = second.range(begin, end),
                                .state = state,
                                .norm = norm,
                                .config = optimizer});
    };
    update(0, decayed - 1, weight_decay);
    update(decayed, segments().size() - 1, 0.0f);
  }
  EXPECT_NEAR(forward_backward(), losses.back(), trained_tolerance * static_cast<double>(losses.back()));
  for (const Segment& segment : segments()) {
    const std::vector<float> trained = download(*backend_, transformer_->parameters().tensor(segment));
    EXPECT_LE(relative_error(trained, file_->read<float>("final." + segment.name)), trained_tolerance) << segment.name;
  }
}

INSTANTIATE_TEST_SUITE_P(PyTorch, Golden,
                         testing::Combine(testing::Values("gpt2", "llama", "llama3", "qwen2", "post_norm", "gpt2_erf",
                                                          "qwen3", "smollm3", "olmo2", "gemma2", "gemma3"),
                                          testing::ValuesIn(test::test_backends())),
                         [](const auto& instance) {
                           const std::string& device = std::get<1>(instance.param);
                           return std::get<0>(instance.param) + "_" + test::test_backend_name({device, 0});
                         });

}  // namespace
}  // namespace mslt

// AdamW's steps against double precision, its state's names, and the loss scale.
#include "train/optimizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "base/philox.h"
#include "mslt/error.h"
#include "train/run_state.h"
#include "train/schedule.h"
#include "train/test_folder.h"

namespace mslt {
namespace {

constexpr std::size_t decayed_segments = 2;

ArenaLayout layout(std::int64_t spare_rows = 0) {
  ArenaLayout arena;
  arena.add("up.weight", DType::f32, {5, 7});
  arena.add("down.weight", DType::f32, {3, 65});
  arena.add("embedding.weight", DType::f32, {9, 3}, spare_rows);
  arena.add("norm.bias", DType::f32, {1});
  return arena;
}

Arena make_arena(CpuBackend& backend, std::int64_t spare_rows = 0) {
  const ArenaLayout arena = layout(spare_rows);
  return {arena, backend.allocate(arena.bytes(), "test")};
}

// Normal numbers in every segment, zeros in the gaps.
void randomize(const Arena& arena, std::uint64_t seed, float deviation) {
  for (const Segment& segment : arena.layout().segments()) {
    PhiloxStream stream(seed, 0, static_cast<std::uint32_t>(segment.offset));
    for (float& value : arena.tensor(segment).host<float>()) value = deviation * stream.normal();
  }
}

// The definition, in double, of one tensor.
struct Reference {
  std::vector<double> p, m, v;
  void step(std::span<const float> gradients, double scale, double rate, double decay, int update) {
    constexpr double beta1 = 0.9f;
    constexpr double beta2 = 0.95f;
    constexpr double epsilon = 1e-8f;
    for (std::size_t i = 0; i < p.size(); ++i) {
      const double g = gradients[i] * scale;
      m[i] = beta1 * m[i] + (1.0 - beta1) * g;
      v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
      const double mean = m[i] / (1.0 - std::pow(beta1, update));
      const double square = v[i] / (1.0 - std::pow(beta2, update));
      p[i] -= rate * (mean / (std::sqrt(square) + epsilon) + decay * p[i]);
    }
  }
};

TEST(AdamW, TenStepsEqualDoublePrecision) {
  CpuBackend backend;
  const Arena parameters = make_arena(backend);
  const Arena gradients = make_arena(backend);
  randomize(parameters, 1, 1.0f);
  AdamW optimizer(backend, parameters, decayed_segments, {0.9f, 0.95f, 1e-8f, 0.1f});
  std::vector<Reference> references;
  for (const Segment& segment : parameters.layout().segments()) {
    const auto values = parameters.tensor(segment).host<float>();
    references.push_back(
        {{values.begin(), values.end()}, std::vector<double>(values.size()), std::vector<double>(values.size())});
  }
  constexpr double max_norm = 1.5;
  constexpr double gradient_scale = 0.25;
  for (int update = 1; update <= 10; ++update) {
    // Some steps are clipped and some are not.
    randomize(gradients, static_cast<std::uint64_t>(100 + update), update % 3 == 0 ? 0.02f : 1.0f);
    double squares = 0.0;
    for (const float g : gradients.whole().host<float>()) squares += static_cast<double>(g) * g;
    const double norm = std::sqrt(squares);
    const double rate = 0.01 * update;
    optimizer.set_update(update, rate, static_cast<float>(gradient_scale), static_cast<float>(max_norm));
    optimizer.update(gradients);
    EXPECT_NEAR(optimizer.norm().host<float>()[0], norm, 1e-6 * norm);
    const double scale = gradient_scale * std::min(1.0, max_norm / (norm * gradient_scale + 1e-6));
    for (std::size_t i = 0; i < references.size(); ++i) {
      const Segment& segment = parameters.layout().segments()[i];
      const auto g = gradients.tensor(segment).host<float>();
      references[i].step(g, scale, rate, i < decayed_segments ? 0.1f : 0.0, update);
      const auto p = parameters.tensor(segment).host<float>();
      for (std::size_t j = 0; j < p.size(); ++j) EXPECT_NEAR(p[j], references[i].p[j], 2e-6) << segment.name;
    }
  }
}

TEST(AdamW, ANormThatIsNotFiniteChangesNothing) {
  CpuBackend backend;
  const Arena parameters = make_arena(backend);
  const Arena gradients = make_arena(backend);
  randomize(parameters, 1, 1.0f);
  AdamW optimizer(backend, parameters, decayed_segments, {});
  const auto whole = parameters.whole().host<float>();
  const std::vector<float> before(whole.begin(), whole.end());
  gradients.tensor("norm.bias").host<float>()[0] = NAN;
  optimizer.set_update(1, 0.1, 1.0f, 1.0f);
  optimizer.update(gradients);
  EXPECT_EQ(std::memcmp(before.data(), whole.data(), whole.size_bytes()), 0);
}

TEST(AdamW, StateSavesAndLoadsBitForBit) {
  CpuBackend backend;
  const Arena parameters = make_arena(backend);
  const Arena gradients = make_arena(backend);
  randomize(parameters, 1, 1.0f);
  randomize(gradients, 2, 1.0f);
  AdamW first(backend, parameters, decayed_segments, {});
  AdamW second(backend, parameters, decayed_segments, {});
  first.set_update(1, 0.1, 1.0f, 0.0f);
  first.update(gradients);
  const TestFolder folder;
  save_optimizer(folder.path() / "optimizer.safetensors", backend, first);
  load_optimizer(folder.path() / "optimizer.safetensors", backend, second);
  std::vector<std::pair<std::string, Tensor>> saved;
  first.for_each_tensor([&](const std::string& name, const Tensor& tensor) { saved.emplace_back(name, tensor); });
  ASSERT_EQ(saved.size(), 8u);
  EXPECT_EQ(saved[0].first, "first_moment.up.weight");
  EXPECT_EQ(saved[7].first, "second_moment.norm.bias");
  std::size_t i = 0;
  second.for_each_tensor([&](const std::string& name, const Tensor& tensor) {
    EXPECT_EQ(name, saved[i].first);
    EXPECT_EQ(tensor.shape(), saved[i].second.shape());
    EXPECT_EQ(std::memcmp(tensor.host<float>().data(), saved[i].second.host<float>().data(), tensor.bytes()), 0);
    EXPECT_NE(tensor.host<float>()[0], 0.0f);
    ++i;
  });
}

// Files have none, so that a run goes on whether the program that began it had them or not.
TEST(AdamW, SpareRowsAreInNoFileAndChangeNothing) {
  CpuBackend backend;
  const TestFolder folder;
  const auto path = folder.path() / "optimizer.safetensors";
  const auto update = [&](AdamW& optimizer, std::int64_t spare_rows, int number) {
    const Arena gradients = make_arena(backend, spare_rows);
    for (const Segment& segment : gradients.layout().segments()) {
      std::span<float> values = gradients.tensor(segment).host<float>();
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i + 100 * number));
    }
    optimizer.set_update(number, 0.1, 1.0f, 1.0f);
    optimizer.update(gradients);
  };
  const Arena without = make_arena(backend);
  const Arena with = make_arena(backend, 40);
  ASSERT_GT(with.layout().bytes(), without.layout().bytes());
  AdamW before(backend, without, 3, {});
  AdamW after(backend, with, 3, {});
  update(before, 0, 1);
  save_optimizer(path, backend, before);
  load_optimizer(path, backend, after);
  for (const Segment& segment : without.layout().segments()) {
    backend.run(Copy{.out = with.tensor(segment.name), .in = without.tensor(segment)});
  }
  update(before, 0, 2);
  update(after, 40, 2);
  for (const Segment& segment : without.layout().segments()) {
    const auto expected = without.tensor(segment).host<float>();
    const auto actual = with.tensor(segment.name).host<float>();
    EXPECT_TRUE(std::equal(actual.begin(), actual.end(), expected.begin(), expected.end())) << segment.name;
  }
  for (const float value : with.with_spare("embedding.weight").slice(9, 40).host<float>()) EXPECT_EQ(value, 0.0f);
  const std::uintmax_t bytes = std::filesystem::file_size(path);
  save_optimizer(path, backend, after);
  EXPECT_EQ(std::filesystem::file_size(path), bytes);
}

TEST(AdamW, LoadingRejectsAnotherModelsState) {
  CpuBackend backend;
  const Arena parameters = make_arena(backend);
  const AdamW optimizer(backend, parameters, decayed_segments, {});
  ArenaLayout other_layout;
  other_layout.add("up.weight", DType::f32, {7, 5});
  const Arena other(other_layout, backend.allocate(other_layout.bytes(), "other"));
  const AdamW other_optimizer(backend, other, 1, {});
  const TestFolder folder;
  const auto path = folder.path() / "optimizer.safetensors";
  save_optimizer(path, backend, optimizer);
  EXPECT_THROW(load_optimizer(path, backend, other_optimizer), Error);
  save_optimizer(path, backend, other_optimizer);
  EXPECT_THROW(load_optimizer(path, backend, optimizer), Error);
}

TEST(AdamW, CountsTheBytesOfItsState) {
  const ArenaLayout narrow = layout().with_dtype(DType::bf16);
  EXPECT_EQ(AdamW::moment_bytes(layout()), 2 * layout().bytes());
  EXPECT_EQ(AdamW::master_bytes(layout()), 0u);
  EXPECT_EQ(AdamW::moment_bytes(narrow), 4 * narrow.bytes());
  EXPECT_EQ(AdamW::master_bytes(narrow), 2 * narrow.bytes());
}

TEST(LossScaler, HalvesOnOverflowAndDoublesWhenAllIsWell) {
  LossScaler scaler(1024.0, 3);
  EXPECT_FALSE(scaler.update(true));
  EXPECT_FALSE(scaler.update(false));
  EXPECT_EQ(scaler.scale(), 512.0);
  EXPECT_EQ(scaler.good_updates(), 0);
  for (int i = 0; i < 3; ++i) scaler.update(true);
  EXPECT_EQ(scaler.scale(), 1024.0);
  LossScaler copy;
  copy.restore(scaler.scale(), scaler.good_updates());
  bool gave_up = false;
  for (int i = 0; i < 40 && !gave_up; ++i) gave_up = copy.update(false);
  EXPECT_TRUE(gave_up);
}

}  // namespace
}  // namespace mslt

// Training and decoding take no more memory of the device once they run.
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <numeric>
#include <span>
#include <string_view>
#include <vector>

#include "backend/msl/drivers/idle/idle_device.h"
#include "backend/msl/msl_backend.h"
#include "model/inference_pass.h"
#include "model/test_models.h"
#include "train/training_step.h"

namespace mslt {
namespace {

// A device as slow as can be, which is done with nothing before it is waited for, and counts what is allocated.
class StepCountingDevice final : public msl::Device {
 public:
  explicit StepCountingDevice(int& allocations) : allocations_(allocations) {}
  const DeviceInfo& info() const override { return idle_.info(); }
  const msl::DeviceLimits& limits() const override { return idle_.limits(); }
  std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label, bool host_visible) override {
    ++allocations_;
    return idle_.allocate(bytes, label, host_visible);
  }
  const msl::Pipeline& pipeline(std::string_view name) override { return idle_.pipeline(name); }
  std::unique_ptr<msl::CommandBuffer> command_buffer() override { return idle_.command_buffer(); }

 private:
  int& allocations_;
  msl::idle::IdleDevice idle_{{.backend = "idle", .name = "idle", .trains_16_bit = true}, {}};
};

Config steady_model() {
  Config config = test::small_llama();
  config.dropout = 0.1f;
  return config;
}

TEST(SteadyState, TrainingTakesNoMoreMemory) {
  int allocations = 0;
  MslBackend backend(std::make_unique<StepCountingDevice>(allocations));
  Transformer transformer(backend, steady_model(), DType::bf16);
  TrainingStep step(transformer, {.batch_size = 2, .seq_len = 20, .grad_accum = 3});
  const auto ids = test::random_ids(120, steady_model().vocab_size, 1);
  const auto train = [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i <= last; ++i) {
      step.run({.step = i, .update = i, .learning_rate = 1e-3, .tokens = ids, .targets = ids});
      backend.throttle(TrainingStep::most_in_flight(DType::bf16));
    }
  };
  train(1, 3);
  const int before = allocations;
  EXPECT_GT(before, 0);
  train(4, 12);
  EXPECT_EQ(allocations, before);
}

// A model on a device that counts its allocations, and three sequences to decode.
struct Decoding {
  int allocations = 0;
  MslBackend backend = MslBackend(std::make_unique<StepCountingDevice>(allocations));
  Transformer transformer = Transformer(backend, steady_model(), DType::bf16);
  KvCache cache = KvCache(backend, steady_model(), DType::bf16, 3, 3 * steady_model().max_positions);
  InferencePass pass = InferencePass(transformer, cache);
  std::array<int, 3> slots = {2, 0, 1};
  std::vector<std::int32_t> ids = test::random_ids(3, steady_model().vocab_size, 1);
};

TEST(SteadyState, DecodingTakesNoMoreMemory) {
  Decoding decoding;
  auto& [allocations, backend, transformer, cache, pass, slots, ids] = decoding;
  std::vector<float> logits;
  const auto decode = [&](std::size_t sequences, int tokens) {
    for (int i = 0; i < tokens; ++i) {
      std::vector<std::span<const std::int32_t>> next;
      for (std::size_t s = 0; s < sequences; ++s) next.push_back(std::span(ids).subspan(s, 1));
      const Tensor out = pass.forward(std::span(slots).first(sequences), next);
      logits.resize(static_cast<std::size_t>(out.elements()));
      backend.download(out, std::as_writable_bytes(std::span(logits)));
    }
  };
  decode(3, 3);
  decode(2, 2);
  const int before = allocations;
  // Across a block of the cache, and with the sequences as they were before.
  decode(3, 20);
  decode(2, 5);
  EXPECT_EQ(allocations, before);
}

// Of its own: the device, which is done with nothing here, would hold more of the pool for every step.
TEST(SteadyState, StepsUploadFromTheSameMemory) {
  Decoding decoding;
  auto& [allocations, backend, transformer, cache, pass, slots, ids] = decoding;
  const auto decode = [&](std::size_t sequences, int steps) {
    for (int i = 0; i < steps; ++i) {
      pass.set_next_tokens(std::span(ids).first(sequences));
      pass.step(std::span(slots).first(sequences));
    }
  };
  decode(3, 3);
  decode(2, 1);
  const int before = allocations;
  // Across a block of the cache.
  decode(3, 20);
  decode(2, 5);
  EXPECT_EQ(allocations, before);
}

// The launches that each layer adds to a step of so many sequences.
std::uint64_t launches_a_layer(Config config, std::int64_t sequences) {
  std::vector<int> slots(static_cast<std::size_t>(sequences));
  std::iota(slots.begin(), slots.end(), 0);
  const auto launches = [&](std::int64_t layers) {
    config.layers = layers;
    int allocations = 0;
    MslBackend backend(std::make_unique<StepCountingDevice>(allocations));
    Transformer transformer(backend, config, DType::bf16);
    KvCache cache(backend, config, DType::bf16, static_cast<int>(sequences), sequences * config.max_positions);
    InferencePass pass(transformer, cache);
    pass.step(slots);
    const std::uint64_t before = backend.recorder().counters().dispatches;
    pass.step(slots);
    return backend.recorder().counters().dispatches - before;
  };
  return launches(3) - launches(2);
}

TEST(SteadyState, DecodingLaunchesFewKernelsALayer) {
  Config gpt2;
  gpt2.max_positions = 64;
  gpt2.channels = 64;
  gpt2.heads = gpt2.kv_heads = 2;
  gpt2.head_size = 32;
  gpt2.ffn_size = 256;
  EXPECT_EQ(launches_a_layer(gpt2, 1), 5u);
  EXPECT_EQ(launches_a_layer(gpt2, 8), 5u);
  // More sequences: the norms, with the residual, are launches of their own.
  EXPECT_EQ(launches_a_layer(gpt2, 9), 7u);
  Config llama = gpt2;
  llama.norm = NormType::rmsnorm;
  llama.position = PositionType::rope;
  llama.activation = ActivationType::swiglu;
  llama.qkv_bias = llama.attention_out_bias = llama.ffn_bias = llama.norm_bias = false;
  // The gated activation is one, too.
  EXPECT_EQ(launches_a_layer(llama, 1), 6u);
}

}  // namespace
}  // namespace mslt

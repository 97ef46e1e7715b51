// Tests of what the benchmarks measure.
#include "cli/bench.h"

#include <gtest/gtest.h>

#include "backend/simulated_device.h"

namespace mslt::cli {
namespace {

// A step in 16 bits is measured against products in 16 bits.
TEST(BenchTrain, ThePeakIsThatOfTheTypeOfTheStep) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    TrainBenchOptions options;
    options.model.max_positions = 16;
    options.model.layers = 1;
    options.model.channels = options.model.ffn_size = 16;
    options.model.heads = options.model.kv_heads = 1;
    options.model.head_size = 16;
    options.dtype = std::string(name_of(dtype));
    options.batch_size = options.steps = 1;
    options.vocab_size = 300;
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
